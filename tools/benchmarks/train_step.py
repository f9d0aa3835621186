"""Measures training: the jitted step, the input beside it, and the loop.

  python tools/benchmarks/train_step.py --run_dir=runs/NAME [--model=tiger]
    [--t5x_python=.venv-t5x/bin/python]

The run must have been tokenized. The bare step runs over batches that lie on
the devices already, by bucket and mixed; the loop is the trainer's own over
the same batches, with reading, metrics and writers. Where there is an
interpreter that has T5X (docs/t5x.md), its step runs over the same mixed
batches, with our model and with its own. Prints a table, and the same as one
line of JSON.
"""

import argparse
import collections
import itertools
import json
import os
import pathlib
import platform
import subprocess
import tempfile
import time

import gin
import jax
import numpy as np

from genrec_jax import train
from genrec_jax.training import (
  optimizers,
  partitioning,
  steps,
  trainer,
  writers,
)

GIN_FILES = pathlib.Path(__file__).resolve().parents[2] / 'gin'


def make_model(name: str, vocab_size: int, optimizer):
  """Returns the model of gin/models/NAME.gin for a vocabulary."""
  gin.parse_config_files_and_bindings(
    [str(GIN_FILES / 'models' / f'{name}.gin')],
    [f'VOCAB_SIZE = {vocab_size}'],
  )
  model = gin.query_parameter('%MODEL').scoped_configurable_fn()
  model.optimizer_def = optimizer
  return model


def rate(step, state, batches, repeats: int = 3):
  """Returns the state and the best rate of examples among some passes."""
  state, _, finite = step(state, batches[0])
  finite.block_until_ready()
  examples = sum(len(batch['decoder_target_tokens']) for batch in batches)
  best = 0.0
  for _ in range(repeats):
    start = time.perf_counter()
    for batch in batches:
      state, _, finite = step(state, batch)
    finite.block_until_ready()
    best = max(best, examples / (time.perf_counter() - start))
  return state, best


def rates_of_t5x(
  python: str, batches, *, model: str, vocab_size: int
) -> dict[str, float]:
  """Returns what t5x_worker.py measures on these batches."""
  worker = pathlib.Path(__file__).with_name('t5x_worker.py')
  with tempfile.TemporaryDirectory() as directory:
    path = pathlib.Path(directory) / 'batches.npz'
    np.savez(
      path,
      **{
        f'{number}/{name}': array
        for number, batch in enumerate(batches)
        for name, array in batch.items()
      },
    )
    done = subprocess.run(
      [
        *(python, str(worker), str(path)),
        *(f'--model={model}', f'--vocab_size={vocab_size}'),
      ],
      stdout=subprocess.PIPE,
      text=True,
      check=True,
    )
  return json.loads(done.stdout.splitlines()[-1])


def main():
  """Measures all and prints what came out."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--run_dir', type=pathlib.Path, required=True)
  parser.add_argument('--model', default='tiny', help='a file of gin/models')
  parser.add_argument('--batch_size', type=int, default=256)
  parser.add_argument('--num_batches', type=int, default=24)
  parser.add_argument('--num_buckets', type=int, default=5)
  parser.add_argument('--t5x_python', help='an interpreter that has T5X')
  arguments = parser.parse_args()
  partitioning.use_compilation_cache()

  def make_batches():
    return train.cached_batches(
      run_dir=arguments.run_dir,
      seed=0,
      batch_size=arguments.batch_size,
      num_buckets=arguments.num_buckets,
    )

  vocab_size = train.vocab_size(run_dir=arguments.run_dir)
  model = make_model(
    arguments.model,
    vocab_size,
    optimizers.adamw(learning_rate=1e-3, weight_decay=0.01),
  )
  batches = make_batches()
  next(batches)
  start = time.perf_counter()
  host = list(itertools.islice(batches, arguments.num_batches))
  examples = arguments.num_batches * arguments.batch_size
  results = {'input alone': examples / (time.perf_counter() - start)}

  mesh = partitioning.make_mesh()
  sharding = partitioning.batch_sharding(mesh)
  placed = [partitioning.put_batch(batch, sharding) for batch in host]
  by_length = collections.defaultdict(list)
  for batch in placed:
    by_length[batch['encoder_input_tokens'].shape[1]].append(batch)
  with partitioning.partitioned(mesh):
    abstract = steps.abstract_state(model, mesh)
    state = steps.initial_state(model, mesh, abstract, seed=0)
    step = steps.make_train_step(model, mesh, abstract, seed=0)
    for length, of_length in sorted(by_length.items()):
      state, best = rate(step, state, of_length)
      results[f'step, inputs of {length}'] = best
    state, results['step, mixed'] = rate(step, state, placed)

  # The loop over the same batches: the first pass of them compiles.
  class Repeated:
    def __init__(self):
      self._batches = itertools.cycle(host)

    def __next__(self):
      return next(self._batches)

    def get_state(self):
      return {}

  with tempfile.TemporaryDirectory() as run_dir:
    trainer.train(
      model=model,
      make_train_batches=Repeated,
      run_dir=run_dir,
      num_steps=4 * arguments.num_batches,
      log_period=arguments.num_batches,
    )
    rows = writers.read_rows(pathlib.Path(run_dir) / 'logs' / 'metrics.jsonl')
  results['loop'] = max(row['examples_per_second'] for row in rows[1:])
  # Again, as other work on the machine comes and goes.
  with partitioning.partitioned(mesh):
    state, again = rate(step, state, placed)
  results['step, mixed'] = max(results['step, mixed'], again)
  if arguments.t5x_python:
    found = rates_of_t5x(
      arguments.t5x_python,
      host,
      model=arguments.model,
      vocab_size=vocab_size,
    )
    results |= {f'T5X, {name}, mixed': value for name, value in found.items()}

  print(f'{"":<24}{"examples/s":>12}')
  for name, value in results.items():
    print(f'{name:<24}{value:>12,.0f}')
  share = results['loop'] / results['step, mixed']
  print(f'The loop runs at {share:.1%} of the bare step.')
  facts = {
    'model': arguments.model,
    'batch_size': arguments.batch_size,
    'examples_per_second': {k: round(v, 1) for k, v in results.items()},
    'device': jax.devices()[0].device_kind,
    'machine': f'{platform.machine()}, {os.cpu_count()} CPUs',
    'jax': jax.__version__,
  }
  print(json.dumps(facts))


if __name__ == '__main__':
  main()
