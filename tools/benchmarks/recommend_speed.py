"""Measures recommending end to end, beside Hugging Face's `generate`.

  python tools/benchmarks/recommend_speed.py --run_dir=runs/NAME
    [--model=tiger] [--checkpoint=best] [--hf_python=PATH] [--out=FILE]

The run must have been tokenized; weights are random without --checkpoint. Both
sides get the same weights, the same histories of test users in the same padded
batches, float32 and the same number of threads, a batch at a time, and take
turns. A request counts from NumPy tokens to NumPy items. That both found the
same items with the same scores is checked before the clock runs.

--hf_python is an interpreter that has `torch` and `transformers`, which this
package does not need; without it those rows are left out:

  python -m venv .venv-hf && .venv-hf/bin/pip install torch transformers

On Linux set GLIBC_TUNABLES=glibc.malloc.hugetlb=1, as tools/quickstart.sh does.
"""

import argparse
import functools
import itertools
import json
import os
import pathlib
import platform
import tempfile
import time

import flax.core
import gin
import jax
import jax.numpy as jnp
import numpy as np
from hugging_face import HuggingFace

from genrec_jax import train
from genrec_jax.answering.run import load_params, load_tokens
from genrec_jax.data.batches import suggest_buckets
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.decoding.beam_search import beam_search, reorder_cache
from genrec_jax.decoding.recommend import make_recommend_fn
from genrec_jax.decoding.trie_builder import build_trie
from genrec_jax.evaluation.results import describe_code
from genrec_jax.measuring.timing import take_turns, time_calls
from genrec_jax.training import partitioning
from genrec_jax.types import GenrecError

HERE = pathlib.Path(__file__).resolve().parent
NUM_THREADS = len(os.sched_getaffinity(0))
# Of a sum of log-probabilities in float32.
TOLERANCE = 1e-4


def make_batches(
  examples: TokenExamples, batch_size: int, num_batches: int
) -> list[np.ndarray]:
  """Returns full batches that stand for all examples.

  Examples are sorted by length, as bucketing does; batches lie around evenly
  spaced places of that order and are padded to their bucket.
  """
  lengths = examples.inputs.lengths
  boundaries = np.array(suggest_buckets(lengths))
  order = np.argsort(lengths, kind='stable')
  batches = []
  for place in (np.arange(num_batches) + 0.5) / num_batches:
    start = int(place * len(order)) - batch_size // 2
    start = min(max(start, 0), len(order) - batch_size)
    rows = order[start : start + batch_size]
    width = boundaries[np.searchsorted(boundaries, lengths[rows].max())]
    batches.append(examples.inputs.padded(rows, int(width)))
  return batches


def run_ours(recommend, params, batches) -> list[tuple[float, float]]:
  """Returns the seconds of each batch, on the clock and of CPU time."""

  def answer(tokens):
    found = recommend(params, {'encoder_input_tokens': tokens})
    np.asarray(found.items), np.asarray(found.scores)

  return time_calls([functools.partial(answer, batch) for batch in batches])


def compare(items, scores, other_items, other_scores) -> tuple[float, float]:
  """Returns the share of requests that agree, and the largest difference.

  Lists agree if their scores do, place by place, and no item is in one alone
  but those that tie with the last.
  """
  difference = np.abs(scores - other_scores).max(axis=1)
  agree = []
  for row in range(len(items)):
    last = scores[row, -1] + 2 * TOLERANCE
    sure = set(items[row, scores[row] > last])
    other_sure = set(other_items[row, other_scores[row] > last])
    agree.append(
      difference[row] <= TOLERANCE
      and sure <= set(other_items[row])
      and other_sure <= set(items[row])
    )
  return float(np.mean(agree)), float(difference[agree].max(initial=0.0))


def check_same(recommend, params, batches, item_tokens, tokens, scores):
  """Compares what we find with tokens and scores; raises if they differ."""
  found = [recommend(params, {'encoder_input_tokens': b}) for b in batches]
  item_of = {tuple(t): item for item, t in enumerate(item_tokens.tolist())}
  agree, difference = compare(
    np.concatenate([f.items for f in found]),
    np.concatenate([f.scores for f in found]),
    np.array([[item_of.get(tuple(t), -1) for t in r] for r in tokens.tolist()]),
    scores,
  )
  # Rounding may turn a close choice between two prefixes, now and then.
  if agree < 0.98:
    raise GenrecError(
      f'Only {agree:.1%} of the requests got the same items from both sides;'
      ' a comparison of speeds would mean nothing.'
    )
  return {'same items': agree, 'largest score difference': difference}


def median_seconds(function, *args, repeats: int = 30) -> float:
  """Returns the median time of a call."""
  jax.block_until_ready(function(*args))
  seconds = []
  for _ in range(repeats):
    start = time.perf_counter()
    jax.block_until_ready(function(*args))
    seconds.append(time.perf_counter() - start)
  return float(np.median(seconds))


def time_pieces(model, trie, item_tokens, params, tokens, num_beams):
  """Returns the milliseconds of one batch's search and of its pieces.

  A piece is a part run alone, or what leaving a part out saves.
  """
  batch = {'encoder_input_tokens': jnp.asarray(tokens)}
  batch_size, vocab_size = len(tokens), model.module.config.vocab_size
  # A catalogue of the first tokens alone: one decoder step, of B rows.
  one_level = build_trie(np.unique(item_tokens[:, :1], axis=0))
  logits = jax.random.normal(
    jax.random.key(0), (batch_size * num_beams, vocab_size)
  )

  @jax.jit
  def encode(params, tokens):
    return model.module.apply(
      {'params': params},
      tokens,
      enable_dropout=False,
      method=model.module.encode,
    )

  @jax.jit
  def search(trie, logits):
    def stored_logits(tokens, cache, block):
      assert block is None  # Scores are over the vocabulary.
      return logits[: len(tokens), None], cache

    return beam_search(trie, stored_logits, {}, batch_size, num_beams)

  @jax.jit
  def make_cache(params, batch):
    tokens_to_logits, cache = model.start_decoding(params, batch)
    start = jnp.zeros((batch_size, 1), jnp.int32)
    return tokens_to_logits(start, cache, None)[1]

  cache = make_cache(params, batch)
  parent = jnp.zeros((batch_size, num_beams), jnp.int32)

  def whole(trie):
    recommend = make_recommend_fn(model, trie, num_beams=num_beams)
    return median_seconds(lambda: recommend(params, batch))

  pieces = {
    'whole search': whole(trie),
    'encoder': median_seconds(encode, params, batch['encoder_input_tokens']),
    'encoder + first step': whole(one_level),
    'trie steps, stored logits': median_seconds(search, trie, logits),
    'one reordering of the cache': median_seconds(
      jax.jit(reorder_cache), cache, parent
    ),
  }
  pieces['later steps'] = (
    pieces['whole search'] - pieces['encoder + first step']
  )
  return {name: 1e3 * seconds for name, seconds in pieces.items()}


def measure(recommend, params, batches, num_beams, rounds, hugging_face):
  """Returns rates and latencies of both sides, which take turns.

  A rate is the median over rounds, a ratio the median of the rounds' ratios;
  what "at best" and CPU time are, `Timing` says.
  """
  sides = {'ours': lambda: run_ours(recommend, params, batches)}
  if hugging_face is not None:
    paths = hugging_face.put(batches)
    sides['HF'] = lambda: hugging_face.run(paths, num_beams)
    sides['HF without callback'] = lambda: hugging_face.run(
      paths, num_beams, constrained=False
    )
  found = take_turns(sides, requests=len(batches[0]), rounds=rounds)
  result = {}
  for name, timing in found.items():
    told = timing.describe()
    result |= {
      f'{name}, requests/s': told['requests_per_second'],
      f'{name}, at best': told['requests_per_second_at_best'],
      f'{name}, CPU ms a request': told['cpu_ms_per_request'],
      f'{name}, p50 ms': told['p50_ms'],
      f'{name}, p95 ms': told['p95_ms'],
    }
  ours = found['ours']
  for name in [*sides][1:]:
    other = found[name]
    result[f'ours / {name}'] = float(np.median(ours.rates / other.rates))
    result[f'ours / {name}, at best'] = ours.best_rate / other.best_rate
    result[f'ours / {name}, of CPU time'] = other.cpu_ms / ours.cpu_ms
  return result


def print_table(rows: list[dict]) -> None:
  """Prints what was measured, a configuration a column."""
  names = dict.fromkeys(name for row in rows for name in row)
  for name in names:
    cells = (
      f'{row[name]:>12,.4g}' if name in row else f'{"":>12}' for row in rows
    )
    print(f'{name:<40}{"".join(cells)}')


def main():
  """Measures all and prints what came out."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--run_dir', type=pathlib.Path, required=True)
  parser.add_argument('--model', default='tiger', help='a file of gin/models')
  parser.add_argument('--checkpoint', help='best, last or a step')
  parser.add_argument('--hf_python', help='interpreter with transformers')
  parser.add_argument('--beams', type=int, nargs='+', default=[20, 50])
  parser.add_argument('--batch_sizes', type=int, nargs='+', default=[1, 32])
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--num_batches', type=int, help='4 to 24 by default')
  parser.add_argument('--out', type=pathlib.Path, help='for the line of JSON')
  arguments = parser.parse_args()
  partitioning.use_compilation_cache()

  gin.parse_config_files_and_bindings(
    [str(HERE.parents[1] / 'gin' / 'models' / f'{arguments.model}.gin')],
    [f'VOCAB_SIZE = {train.vocab_size(run_dir=arguments.run_dir)}'],
  )
  model = gin.query_parameter('%MODEL').scoped_configurable_fn()
  cache = load_tokens(arguments.run_dir)
  examples = cache.examples(cache.item_task(), 'test')
  item_tokens = np.asarray(cache.item_tokens)
  trie = build_trie(item_tokens)
  if arguments.checkpoint is None:
    shapes = {f'{side}_input_tokens': (1, 8) for side in ('encoder', 'decoder')}
    params = model.get_initial_variables(jax.random.key(0), shapes)['params']
  else:
    _, params = load_params(
      arguments.run_dir,
      model,
      cache,
      arguments.checkpoint,
      partitioning.make_mesh(),
    )
  params = jax.device_put(jax.device_get(flax.core.unfreeze(params)))

  rows, hugging_face = [], None
  with tempfile.TemporaryDirectory() as directory:
    if arguments.hf_python is None:
      print('No --hf_python: the rows of Hugging Face are left out.')
    else:
      hugging_face = HuggingFace(
        arguments.hf_python,
        pathlib.Path(directory),
        model=model,
        params=params,
        item_tokens=item_tokens,
        num_threads=NUM_THREADS,
      )
    for num_beams, batch_size in itertools.product(
      arguments.beams, arguments.batch_sizes
    ):
      num_batches = arguments.num_batches or max(4, 24 // batch_size)
      batches = make_batches(examples, batch_size, num_batches)
      recommend = make_recommend_fn(model, trie, num_beams=num_beams)
      row = {'beams': num_beams, 'batch size': batch_size}
      if hugging_face is not None:
        found = hugging_face.generate(hugging_face.put(batches), num_beams)
        row |= check_same(recommend, params, batches, item_tokens, *found)
      row |= measure(
        recommend, params, batches, num_beams, arguments.rounds, hugging_face
      )
      pieces = time_pieces(
        model, trie, item_tokens, params, batches[len(batches) // 2], num_beams
      )
      rows.append({**row, **{f'{k}, ms': v for k, v in pieces.items()}})
    if hugging_face is not None:
      hugging_face.close()

  print_table(rows)
  facts = {
    'model': arguments.model,
    'checkpoint': arguments.checkpoint,
    'items': len(item_tokens),
    'rounds': arguments.rounds,
    'results': rows,
    'hugging_face': hugging_face and hugging_face.facts,
    'code': describe_code(),
    'device': jax.devices()[0].device_kind,
    'machine': f'{platform.machine()}, {os.cpu_count()} CPUs',
    'threads': NUM_THREADS,
    'jax': jax.__version__,
  }
  line = json.dumps(facts)
  print(line)
  if arguments.out is not None:
    arguments.out.write_text(line + '\n', encoding='utf-8')


if __name__ == '__main__':
  main()
