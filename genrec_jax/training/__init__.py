"""Teaching the model: one loop, from token batches to checkpoints.

partitioning   the (data, model) mesh; logical axis names to shardings
optimizers     schedules, AdamW, Adafactor; clipping, parameter averages
steps          the train state and the jitted step that advances it
checkpoints    Orbax checkpoints in T5X's tree; restoring for evaluation
checkpoint_files  which of them there are, and which is the best
parameters     parameters alone: those that a run starts from
checksum       one number of all their bits
t5x_tree       the train state as that tree, and back
t5x            the optimizer, and the record of a run, as T5X wants them
prefetch       the next batches, put on the devices by a thread
stopping       signals: what is saved before a run stops, in every process
hosts          several processes that do one run together
meter          what steps took and said since the last row
writers        metrics as JSON lines and TensorBoard event files
trainer        the loop; read this one first
"""
