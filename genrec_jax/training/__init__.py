"""Teaching the model: one loop, from token batches to checkpoints.

partitioning   the (data, model) mesh; logical axis names to shardings
optimizers     schedules, AdamW, Adafactor; clipping, parameter averages
steps          the train state and the jitted step that advances it
checkpoints    Orbax checkpoints in T5X's tree; restoring for evaluation
prefetch       the next batches, put on the devices by a thread
writers        metrics as JSON lines and TensorBoard event files
trainer        the loop; read this one first
"""
