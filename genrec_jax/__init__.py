"""genrec_jax: a language model that generates recommendations.

The way data goes, and the order in which one reads the package:

  data        what happened: interactions, items, users; the one split
  ids         who the items are: short sequences of codes
  retrieval   what train data are near to an example: BM25, inner products
  models      the T5 encoder-decoder in Flax
  decoding    the catalogue as a trie; beam search over it
  evaluation  how good the lists are
  baselines   what the model must beat
  training    partitioning, optimizers, checkpoints, the loop
  answering   what a checkpoint says to the examples of any task
  measuring   how good that is, beside what the model must beat
  experiments runs that differ in one thing, beside each other
  exchange    what goes to other libraries, and comes from them
  tasks       SeqIO tasks and prompts (the only room that needs TensorFlow)

and then the commands, one module each: `prepare`, `build_ids`, `tokenize`,
`train`, `evaluate`, `recommend`, `report`; `main` dispatches them as `genrec`.
"""
