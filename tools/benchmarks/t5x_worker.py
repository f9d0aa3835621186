"""Trains under T5X: the other side of a comparison.

  python tools/benchmarks/t5x_worker.py BATCHES.npz --model=tiny --vocab_size=V

Runs in an interpreter that has T5X beside this package (docs/t5x.md), and
train_step.py starts it with the batches that it measured itself. The step is
that of T5X's trainer, on its partitioner's mesh; the model is ours, then the
one of T5X's own examples with the same sizes; the optimizer is ours for both.
Prints one line of JSON: examples per second by model.
"""

import argparse
import json
import time

import jax
import numpy as np
import train_step
from t5x import models, partitioning, trainer, utils
from t5x.examples.t5 import network

from genrec_jax.training import optimizers
from genrec_jax.training import partitioning as our_partitioning
from genrec_jax.training.t5x import wrap_optimizer

# Of our T5Config, what T5X's has too.
SHARED = (
  'vocab_size',
  'dtype',
  'emb_dim',
  'num_heads',
  'head_dim',
  'mlp_dim',
  'num_encoder_layers',
  'num_decoder_layers',
  'mlp_activations',
  'dropout_rate',
  'logits_via_embedding',
)


def their_model(config, optimizer_def) -> models.EncoderDecoderModel:
  """Returns T5X's own model of the sizes of ours."""
  sizes = {name: getattr(config, name) for name in SHARED}
  return models.EncoderDecoderModel(
    network.Transformer(network.T5Config(**sizes)),
    input_vocabulary=None,
    output_vocabulary=None,
    optimizer_def=optimizer_def,
    loss_normalizing_factor='NUM_REAL_TARGET_TOKENS',
  )


def make_step(model, batch):
  """Returns T5X's jitted step and the state it starts from."""
  partitioner = partitioning.PjitPartitioner(
    num_partitions=1,
    logical_axis_rules=partitioning.standard_logical_axis_rules(),
  )
  initializer = utils.TrainStateInitializer(
    optimizer_def=model.optimizer_def,
    init_fn=model.get_initial_variables,
    input_shapes={name: value.shape for name, value in batch.items()},
    input_types={name: value.dtype for name, value in batch.items()},
    partitioner=partitioner,
  )
  state = initializer.from_scratch(jax.random.PRNGKey(0))
  steps = trainer.Trainer(
    model=model,
    train_state=state,
    partitioner=partitioner,
    train_state_axes=initializer.train_state_axes,
    eval_names=(),
    summary_dir=None,
    rng=jax.random.PRNGKey(1),
    learning_rate_fn=lambda step: 1e-3,
    num_microbatches=None,
  )
  return steps._partitioned_train_step, state


def rate(step, state, batches, repeats: int = 3) -> float:
  """Returns the best rate of examples among some passes."""
  for batch in batches:  # compiles
    state, _ = step(state, batch)
  jax.block_until_ready(state)
  examples = sum(len(batch['decoder_target_tokens']) for batch in batches)
  best = 0.0
  for _ in range(repeats):
    start = time.perf_counter()
    for batch in batches:
      state, _ = step(state, batch)
    jax.block_until_ready(state)
    best = max(best, examples / (time.perf_counter() - start))
  return best


def main():
  """Measures both models and prints what came out."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('batches', help='arrays named NUMBER/FEATURE')
  parser.add_argument('--model', required=True, help='a file of gin/models')
  parser.add_argument('--vocab_size', type=int, required=True)
  arguments = parser.parse_args()
  our_partitioning.use_compilation_cache()
  batches = {}
  with np.load(arguments.batches) as arrays:
    for name, array in arrays.items():
      number, feature = name.split('/')
      batches.setdefault(number, {})[feature] = array
  batches = jax.device_put(list(batches.values()))
  optimizer = wrap_optimizer(
    optimizers.adamw(learning_rate=1e-3, weight_decay=0.01)
  )
  ours = train_step.make_model(arguments.model, arguments.vocab_size, optimizer)
  theirs = their_model(ours.module.config, optimizer)
  found = {}
  for name, model in (('our model', ours), ("T5X's model", theirs)):
    found[name] = rate(*make_step(model, batches[0]), batches)
  print(json.dumps(found))


if __name__ == '__main__':
  main()
