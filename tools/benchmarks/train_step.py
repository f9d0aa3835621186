"""Measures training: the jitted step, the input beside it, and the loop.

  python tools/benchmarks/train_step.py --run_dir=runs/NAME [--model=tiger]
    [--t5x_python=.venv-t5x/bin/python] [--hf_python=.venv-hf/bin/python]

The run must have been tokenized. The bare step runs over batches that lie on
the devices already, by bucket and mixed; the loop is the trainer's own over
the same batches, with reading, metrics and writers. Where there is an
interpreter that has T5X (docs/t5x.md), its step runs over the same mixed
batches, with our model and with its own; where there is one that has torch and
transformers, Hugging Face's T5 of the same sizes, eager and compiled. Prints a
table, and the same as one line of JSON.
"""

import time

BEGAN = time.perf_counter()

import argparse
import collections
import itertools
import json
import os
import pathlib
import platform
import subprocess
import tempfile

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

IMPORTED = time.perf_counter() - BEGAN
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


def save_batches(path: pathlib.Path, batches) -> None:
  """Writes batches as arrays named NUMBER/FEATURE, for the workers."""
  np.savez(
    path,
    **{
      f'{number}/{name}': array
      for number, batch in enumerate(batches)
      for name, array in batch.items()
    },
  )


def run_worker(python: str, script: str, *arguments) -> dict[str, float]:
  """Returns what the last line that a worker prints says, JSON."""
  worker = pathlib.Path(__file__).with_name(script)
  done = subprocess.run(
    [python, str(worker), *map(str, arguments)],
    stdout=subprocess.PIPE,
    text=True,
    check=True,
  )
  return json.loads(done.stdout.splitlines()[-1])


def run_peers(arguments, batches, model, vocab_size) -> dict[str, float]:
  """Returns what T5X and Hugging Face do on these batches, if asked."""
  found = {}
  with tempfile.TemporaryDirectory() as directory:
    path = pathlib.Path(directory) / 'batches.npz'
    save_batches(path, batches)
    if arguments.t5x_python:
      found |= {
        f'T5X, {name}': value
        for name, value in run_worker(
          arguments.t5x_python,
          't5x_worker.py',
          path,
          f'--model={arguments.model}',
          f'--vocab_size={vocab_size}',
        ).items()
      }
    if arguments.hf_python:
      from genrec_jax.exchange.hugging_face import hugging_face_config

      settings = pathlib.Path(directory) / 'config.json'
      config = hugging_face_config(model.module.config)
      settings.write_text(
        json.dumps(config | {'dropout_rate': model.module.config.dropout_rate})
      )
      found |= {
        f'Hugging Face, {name}': value
        for name, value in run_worker(
          arguments.hf_python, 'hugging_face_training.py', path, settings
        ).items()
      }
  return found


def measure_peak(size: int = 2048) -> float:
  """Returns the FLOP/s of a product of two square matrices, the best of 5."""
  product = jax.jit(lambda a, b: a @ b)
  matrix = jax.numpy.ones((size, size), jax.numpy.float32)
  product(matrix, matrix).block_until_ready()
  seconds = []
  for _ in range(5):
    start = time.perf_counter()
    product(matrix, matrix).block_until_ready()
    seconds.append(time.perf_counter() - start)
  return 2 * size**3 / min(seconds)


def main():
  """Measures all and prints what came out."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--run_dir', type=pathlib.Path, required=True)
  parser.add_argument('--model', default='tiny', help='a file of gin/models')
  parser.add_argument('--batch_size', type=int, default=256)
  parser.add_argument('--num_batches', type=int, default=24)
  parser.add_argument('--num_buckets', type=int, default=5)
  parser.add_argument('--t5x_python', help='an interpreter that has T5X')
  parser.add_argument('--hf_python', help='one that has torch, transformers')
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
    start = time.perf_counter()
    compiled = step.lower(state, placed[0]).compile()
    seconds = {'import': IMPORTED, 'compile': time.perf_counter() - start}
    flops = compiled.cost_analysis()['flops']
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
  peers = run_peers(arguments, host, model, vocab_size)
  of_first = by_length[placed[0]['encoder_input_tokens'].shape[1]]
  with partitioning.partitioned(mesh):
    _, first = rate(step, state, of_first)
  speed, peak = flops * first / arguments.batch_size, measure_peak()

  print(f'{"":<24}{"examples/s":>12}')
  for name, value in results.items():
    print(f'{name:<24}{value:>12,.0f}')
  for name, value in peers.items():
    print(f'{name:<44}{value:>12,.1f}')
  tokens = sum(
    np.count_nonzero(batch[name])
    for batch in host
    for name in ('encoder_input_tokens', 'decoder_target_tokens')
  )
  print(
    f'{tokens / examples * results["step, mixed"]:,.0f} tokens/s;'
    f' {speed / 1e9:.0f} GFLOP/s by the compiled program, {speed / peak:.0%} of'
    f' the {peak / 1e9:.0f} of a product of matrices; imported in'
    f' {seconds["import"]:.1f} s, compiled (or read) in'
    f' {seconds["compile"]:.1f} s.'
  )
  share = results['loop'] / results['step, mixed']
  print(f'The loop runs at {share:.1%} of the bare step.')
  facts = {
    'model': arguments.model,
    'batch_size': arguments.batch_size,
    'examples_per_second': {k: round(v, 1) for k, v in results.items()},
    'peers': peers,
    'seconds': seconds,
    'flops_per_second': speed,
    'peak_flops_per_second': peak,
    'device': jax.devices()[0].device_kind,
    'machine': f'{platform.machine()}, {os.cpu_count()} CPUs',
    'jax': jax.__version__,
  }
  print(json.dumps(facts))


if __name__ == '__main__':
  main()
