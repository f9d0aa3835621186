"""Measures what lists, views and changes of a catalogue cost.

  python tools/benchmarks/trie_filters.py [--num_items=1000000] [--out=FILE]

Searches with stored logits: alone, with 64 excluded items a request, in a view
of a tenth of the items, and with both, taking turns in one process. Then
changes: one item in a hundred removed and as many added, with the views made
anew, and how often the search compiled in all. Prints a table and a line of
JSON.
"""

from __future__ import annotations

import argparse
import functools
import json
import pathlib
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from trie_catalogues import generate

from genrec_jax.decoding.beam_search import beam_search
from genrec_jax.decoding.constraints import make_views
from genrec_jax.decoding.live_catalogue import LiveCatalogue


def seconds(function) -> float:
  """Returns the time of one call, its arrays being ready."""
  start = time.perf_counter()
  jax.block_until_ready(function())
  return time.perf_counter() - start


def main() -> None:
  """Measures all and prints what came out."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--num_items', type=int, default=1_000_000)
  parser.add_argument('--levels', type=int, default=4)
  parser.add_argument('--codebook', type=int, default=2048)
  parser.add_argument('--skew', default='uniform', choices=['uniform', 'zipf'])
  parser.add_argument('--batch', type=int, default=32)
  parser.add_argument('--beams', type=int, default=50)
  parser.add_argument('--views', type=int, default=4)
  parser.add_argument('--repeats', type=int, default=7)
  parser.add_argument('--out', type=pathlib.Path)
  arguments = parser.parse_args()
  size, levels, codebook = (
    arguments.num_items,
    arguments.levels,
    arguments.codebook,
  )
  batch_size, num_beams = arguments.batch, arguments.beams
  rng = np.random.default_rng(0)
  changed = size // 100
  codes = generate(size + changed, levels, codebook, arguments.skew)
  codes = rng.permutation(codes)
  capacity = size + changed
  catalogue = LiveCatalogue(
    codes[:size],
    capacity=capacity,
    blocks=[range(codebook)] * levels,
    pad_id=None,
  )
  results = {'arguments': {**vars(arguments), 'out': None}}

  logits = [
    jnp.asarray(
      rng.standard_normal((batch_size * m, 1, codebook)) * 2, jnp.float32
    )
    for m in (1, num_beams)
  ]

  @jax.jit
  def search(trie, logits, filters):
    def tokens_to_logits(tokens, cache, block):
      return logits[tokens.shape[0] > batch_size], cache

    return beam_search(
      trie,
      tokens_to_logits,
      {},
      batch_size,
      num_beams,
      force_tails=False,
      **filters,
    )

  allowed = jnp.asarray(rng.random((arguments.views, capacity)) < 0.1)
  views = make_views(catalogue.trie, allowed)
  listed = {'exclude': rng.integers(0, size, (batch_size, 64))}
  viewed = {'views': views, 'view': np.arange(batch_size) % arguments.views}
  contestants = {
    'alone': {},
    '64 excluded': listed,
    'a view': viewed,
    'both': {**listed, **viewed},
  }
  times = {name: [] for name in contestants}
  for turn in range(arguments.repeats + 1):
    for name, filters in contestants.items():
      run = functools.partial(search, catalogue.trie, logits, filters)
      taken = seconds(run)
      if turn:
        times[name].append(taken * 1e3)
  alone = statistics.median(times['alone'])
  for name, of_name in times.items():
    median = statistics.median(of_name)
    results[name] = {'ms': median, 'ratio': median / alone}
    print(f'{name:24} {median:9.3f} ms a search {median / alone:6.2f}')

  updates, remade = [], []
  held, free = np.arange(size), np.arange(size, capacity)
  for _ in range(arguments.repeats):
    remove = rng.choice(held, changed, replace=False)
    tokens = codes[free]

    def update(free=free, tokens=tokens, remove=remove):
      return catalogue.update(add=free, tokens=tokens, remove=remove)

    updates.append(seconds(update))
    codes[free] = tokens
    held = np.concatenate([np.setdiff1d(held, remove), free])
    free = remove
    remade.append(seconds(lambda: make_views(catalogue.trie, allowed)))
  seconds(lambda: search(catalogue.trie, logits, {}))
  results['update seconds'] = statistics.median(updates)
  results['views seconds'] = statistics.median(remade)
  results['compilations'] = search._cache_size()
  results['view bytes an item'] = (
    sum(array.nbytes for array in jax.tree.leaves(views))
    / arguments.views
    / size
  )
  print(f'{"change of 1 %":24} {results["update seconds"]:9.3f} s')
  print(f'{arguments.views} views made anew{results["views seconds"]:18.3f} s')
  print(f'compiled {results["compilations"]} times for 4 kinds of filters')
  if arguments.out:
    arguments.out.write_text(json.dumps(results) + '\n')
  print(json.dumps(results))


if __name__ == '__main__':
  main()
