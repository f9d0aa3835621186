"""Measures the input pipeline alone, in examples a second.

  python tools/benchmarks/input_pipeline.py --run_dir=runs/NAME

Compares what a training step may wait for: (a) the SeqIO task, prompts
written as they are needed, and (b) the token cache. The run must have been
tokenized. Prints a table, and the same as one line of JSON.
"""

import argparse
import itertools
import json
import os
import pathlib
import platform
import time

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('CUDA_VISIBLE_DEVICES', '-1')

from genrec_jax.data.batches import TrainBatches, suggest_buckets
from genrec_jax.data.token_cache import TokenCache


def measure(batches, num_batches: int, batch_size: int) -> dict[str, float]:
  """Draws batches after the first; returns the time and rate of the rest."""
  next(batches)
  wall, cpu = time.perf_counter(), time.process_time()
  tokens = padding = 0
  for batch in itertools.islice(batches, num_batches):
    inputs = batch['encoder_input_tokens']
    tokens += inputs.size
    padding += int((inputs == 0).sum())
  wall = time.perf_counter() - wall
  cpu = time.process_time() - cpu
  examples = num_batches * batch_size
  return {
    'examples_per_second': round(examples / wall),
    'cpu_microseconds_per_example': round(1e6 * cpu / examples, 1),
    'padding_share': round(padding / tokens, 4),
  }


def main():
  """Measures both and prints what came out."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--run_dir', type=pathlib.Path, required=True)
  parser.add_argument('--task', help='default: the first of the token cache')
  parser.add_argument('--batch_size', type=int, default=256)
  parser.add_argument('--num_batches', type=int, default=100)
  arguments = parser.parse_args()

  cache = TokenCache.load(arguments.run_dir / 'tokens')
  task = arguments.task or cache.tasks()[0]
  examples = cache.examples(task, 'train')
  buckets = suggest_buckets(examples.inputs.lengths)
  settings = dict(
    batch_size=arguments.batch_size,
    max_input_length=buckets[-1],
    max_target_length=int(examples.targets.lengths.max()),
    bucket_boundaries=buckets,
    seed=0,
  )
  sizes = arguments.num_batches, arguments.batch_size
  results = {'token cache': measure(TrainBatches(examples, **settings), *sizes)}

  from genrec_jax.tasks import registry
  from genrec_jax.tasks.online import TaskBatches

  registry.register_tasks(arguments.run_dir, name='benchmark')
  online = TaskBatches(f'benchmark_{task}', **settings)
  results = {'seqio online': measure(online, *sizes), **results}

  print(f'{"":<14}{"examples/s":>12}{"CPU µs/example":>16}{"padding":>10}')
  for name, row in results.items():
    print(
      f'{name:<14}{row["examples_per_second"]:>12,}'
      f'{row["cpu_microseconds_per_example"]:>16}{row["padding_share"]:>10.1%}'
    )
  facts = {
    'task': task,
    'num_examples': len(examples),
    'batch_size': arguments.batch_size,
    'bucket_boundaries': list(buckets),
    'cores': os.cpu_count(),
    'machine': platform.machine(),
  }
  print(json.dumps({**facts, **results}))


if __name__ == '__main__':
  main()
