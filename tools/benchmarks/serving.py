"""Measures what grouping requests by length and keeping blocks saves.

  python tools/benchmarks/serving.py --run_dir=runs/NAME [--model=tiger]
    [--batch_size=32] [--num_beams=20] [--history=20] [--out=FILE]

The run must have been tokenized; weights are random, so that a model of every
number of local layers is measured on the same ones.

Widths: histories of test users, in batches of like length, padded to one of
some widths; compared with all padded to the longest.

Kept blocks: histories of `--history` items drawn from the catalogue, by how
many of the encoder's layers see blocks alone; compared with the same model
that computes all its layers, whose lists must be the same.

Sides take turns. Operations are the compiler's count; times are worth what the
machine is left alone. CPU time at best is the least disturbed of them.
"""

import argparse
import dataclasses
import json
import pathlib
import platform
import time

import gin
import jax
import numpy as np

from genrec_jax import train
from genrec_jax.answering.run import Run, load_tokens
from genrec_jax.answering.serving import choose_widths, make_block_states
from genrec_jax.data.batch_plans import plan_batches
from genrec_jax.data.token_cache import Ragged, TokenExamples
from genrec_jax.decoding.recommend import (
  make_recommend_fn,
  take_examples,
  trie_of_tokens,
)
from genrec_jax.evaluation.results import describe_code
from genrec_jax.measuring import cost
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import Transformer
from genrec_jax.training import partitioning
from genrec_jax.types import GenrecError

HERE = pathlib.Path(__file__).resolve().parent


def make_run(run_dir: pathlib.Path, name: str) -> Run:
  """Returns a run with random weights of a model of gin/models."""
  gin.parse_config_files_and_bindings(
    [str(HERE.parents[1] / 'gin' / 'models' / f'{name}.gin')],
    [f'VOCAB_SIZE = {train.vocab_size(run_dir=run_dir)}'],
  )
  model = gin.query_parameter('%MODEL').scoped_configurable_fn()
  cache = load_tokens(run_dir)
  shapes = {f'{side}_input_tokens': (1, 8) for side in ('encoder', 'decoder')}
  params = jax.jit(
    lambda key: model.get_initial_variables(key, shapes)['params']
  )(jax.random.key(0))
  return Run(
    run_dir, cache, model, params, 0, mesh=None, trie=trie_of_tokens(cache)
  )


def measure_widths(run, examples, batch_size, num_beams, rounds):
  """Returns a row for each number of widths, and the lengths of requests."""
  task = run.cache.item_task()
  contenders, rows, plan = {}, {}, None
  for num_widths in (1, 2, 4, 8):
    widths = choose_widths(run.cache, task, num_widths)
    name = f'widths: {", ".join(map(str, widths))}'
    plan = cost.full_batches(examples, batch_size, widths)
    contenders[name] = cost.model_contender(
      run, examples, plan, num_beams=num_beams
    )
    index = np.concatenate([batch.index for batch in plan])
    rows[name] = {
      'tokens asked': float(examples.inputs.lengths[index].mean()),
      'tokens computed': sum(b.num_tokens for b in plan) / len(index),
    }
  costs = cost.measure(contenders, plan, rounds=rounds)
  return {name: rows[name] | costs[name] for name in rows}


def draw_histories(run, count: int, length: int) -> TokenExamples:
  """Returns requests of so many items each, in the prompt of the run."""
  rng = np.random.default_rng(0)
  tokens = np.asarray(run.cache.item_tokens)
  histories = rng.integers(0, len(tokens), (count, length))
  nothing = np.full(count, -1, np.int32)
  return TokenExamples(
    inputs=Ragged.from_rows(tokens[histories].reshape(count, -1)),
    targets=Ragged.from_rows([[]] * count),
    user=nothing,
    target=nothing,
    tied=np.zeros(count, bool),
    history=Ragged.from_rows(histories),
  )


def with_local_layers(run: Run, count: int) -> Run:
  """Returns the run with so many layers that see blocks alone."""
  config = dataclasses.replace(
    run.model.module.config,
    num_block_local_layers=count,
    item_token_ranges=train.item_token_ranges(run_dir=run.directory),
  )
  return dataclasses.replace(run, model=EncoderDecoder(Transformer(config)))


def check_same(run, blocks, examples, plan, num_beams) -> float:
  """Returns the largest difference of scores; raises if lists differ."""
  search = make_recommend_fn(run.model, run.trie, num_beams=num_beams)
  largest = 0.0
  for batch in plan:
    tokens = examples.inputs.padded(batch.index, batch.width)
    found, kept = (
      one(run.params, {'encoder_input_tokens': tokens})
      for one in (search, blocks.recommending(search))
    )
    differences = np.abs(np.asarray(found.scores) - np.asarray(kept.scores))
    same = np.asarray(found.items) == np.asarray(kept.items)
    # Rounding may make items change places whose scores are the same.
    if differences.max() > 1e-4 or same.mean() < 0.99:
      raise GenrecError('The lists of kept blocks are others.')
    largest = max(largest, float(differences.max()))
  return largest


def measure_blocks(run, batch_size, num_beams, rounds, history):
  """Returns a row for each number of local layers, computed and kept."""
  examples = draw_histories(run, max(2 * batch_size, 16), history)
  width = int(examples.inputs.lengths.max())
  plan = plan_batches(examples.inputs.lengths, (width,), (batch_size,))
  contenders, rows = {}, {}
  for count in range(1, run.model.module.config.num_encoder_layers + 1):
    local = with_local_layers(run, count)
    blocks = make_block_states(local)
    start = time.perf_counter()
    blocks.add_items(np.asarray(run.cache.item_tokens))
    jax.block_until_ready(blocks.table)
    seconds = time.perf_counter() - start
    name = f'{count} local layers, kept'
    rows[name] = {
      'score difference': check_same(local, blocks, examples, plan, num_beams),
      'seconds to compute the catalogue': seconds,
      'MiB of the table': blocks.table.nbytes / 2**20,
    }
    contenders[name] = cost.model_contender(
      local, examples, plan, num_beams=num_beams, blocks=blocks
    )
  whole = {
    'no local layers': cost.model_contender(
      run, examples, plan, num_beams=num_beams
    )
  }
  costs = cost.measure(whole | contenders, plan, rounds=rounds)
  return {name: rows.get(name, {}) | found for name, found in costs.items()}


def print_table(title: str, rows: dict[str, dict[str, float]]) -> None:
  """Prints rows, and their operations and times over those of the first."""
  print(f'\n{title}')
  first = next(iter(rows.values()))
  names = [name for row in rows.values() for name in row]
  for name in dict.fromkeys(names):
    print(f'  {name}')
    for row, found in rows.items():
      if name in found:
        share = ''
        if name in first and first[name] and 'bytes' not in name:
          share = f'  {found[name] / first[name]:7.3f} of the first'
        print(f'    {row:<36}{found[name]:>16,.4g}{share}')


def main():
  """Measures both and prints what came out."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--run_dir', type=pathlib.Path, required=True)
  parser.add_argument('--model', default='tiger', help='a file of gin/models')
  parser.add_argument('--batch_size', type=int, default=32)
  parser.add_argument('--num_beams', type=int, default=20)
  parser.add_argument('--history', type=int, default=20)
  parser.add_argument('--requests', type=int, default=256)
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--out', type=pathlib.Path, help='for the line of JSON')
  arguments = parser.parse_args()
  partitioning.use_compilation_cache()
  run = make_run(arguments.run_dir, arguments.model)
  examples = run.cache.examples(run.cache.item_task(), 'test')
  rng = np.random.default_rng(0)
  count = min(arguments.requests, len(examples))
  examples = take_examples(
    examples, np.sort(rng.permutation(len(examples))[:count])
  )
  settings = arguments.batch_size, arguments.num_beams, arguments.rounds
  found = {
    'requests of several lengths': measure_widths(run, examples, *settings),
    f'histories of {arguments.history} items': measure_blocks(
      run, *settings, arguments.history
    ),
  }
  for title, rows in found.items():
    print_table(title, rows)
  facts = {
    'model': arguments.model,
    'batch_size': arguments.batch_size,
    'num_beams': arguments.num_beams,
    'items': len(run.cache.item_tokens),
    'rounds': arguments.rounds,
    'results': found,
    'code': describe_code(),
    'device': jax.devices()[0].device_kind,
    'machine': f'{platform.machine()}, {platform.python_version()}',
    'jax': jax.__version__,
  }
  line = json.dumps(facts)
  print(line)
  if arguments.out is not None:
    arguments.out.write_text(line + '\n', encoding='utf-8')


if __name__ == '__main__':
  main()
