"""SeqIO tasks: what is asked of the model, in tokens.

The only room that imports TensorFlow and SeqIO; everything left of it runs
without them, from a token cache. In reading order:

  prompts        templates as data: literal text and slots
  vocabulary     text pieces, item codes and user codes in one table
  sources        the examples of a dataset and a split, as a SeqIO source
  slots          what stands in a template's slots, as token ids
  preprocessors  history truncation; writing inputs and targets
  metrics        token ids back to items; ranking metrics for SeqIO
  registry       task definitions, and tasks made of them
  requests       examples of what a person passes or types
  online         training batches straight from a task
  run_tasks      the tasks of a run, for T5X and `seqio_cache_tasks`
"""
