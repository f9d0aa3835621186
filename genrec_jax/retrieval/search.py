"""The nearest documents: of all, or of a pool for each query; exact."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Int

from genrec_jax.data.token_cache import Ragged

ROWS_AT_ONCE = 256  # queries whose scores for all documents are held
PAIRS_AT_ONCE = 1 << 17


class Index(Protocol):
  """What scores documents for queries: `BM25`, `InnerProducts`."""

  floor: float

  def __len__(self) -> int:
    """Returns N, the number of documents."""

  def scores(self, queries: Any) -> Float[np.ndarray, 'Q N']:
    """Returns the score of every document for every query."""

  def pair_scores(
    self,
    queries: Any,
    query: Int[np.ndarray, 'P'],
    document: Int[np.ndarray, 'P'],
  ) -> Float[np.ndarray, 'P']:
    """Returns the scores of pairs, by number."""


def search(
  index: Index,
  queries: Any,
  num_results: int,
  *,
  excluded: Ragged | None = None,
  seed: int = 0,
  rows_at_once: int = ROWS_AT_ONCE,
) -> Ragged:
  """Returns the numbers of the nearest documents of each query, best first.

  Fewer than `num_results` where fewer score above the index's floor. Equal
  scores come in an order drawn with the seed: a document's number must tell
  nothing (see `data.dataset.Dataset`).

  Args:
    index: of N documents.
    queries: Q rows, as the index takes them.
    num_results: how many a query gets at most.
    excluded: the documents that each query must not get.
    seed: of ties.
    rows_at_once: bounds the memory: so many times N scores are held.
  """
  num_queries = queries.shape[0]
  priority = np.random.default_rng(seed).permutation(len(index))
  found, lengths = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
  for start in range(0, num_queries, rows_at_once):
    scores = index.scores(queries[start : start + rows_at_once])
    stop = start + len(scores)
    if excluded is not None:
      row = np.repeat(np.arange(len(scores)), excluded.lengths[start:stop])
      places = slice(excluded.offsets[start], excluded.offsets[stop])
      scores[row, excluded.values[places]] = -np.inf
    row, document = _candidates(scores, num_results, index.floor)
    best = _rank(row, scores[row, document], priority[document], num_results)
    found.append(document[best].astype(np.int32))
    lengths.append(np.bincount(row[best], minlength=len(scores)))
  return _ragged(found, lengths)


def search_pools(
  index: Index,
  queries: Any,
  pools: Ragged,
  num_results: int,
  *,
  seed: int = 0,
  pairs_at_once: int = PAIRS_AT_ONCE,
) -> Ragged:
  """Returns the nearest documents of the pool of each query, best first.

  All of a pool belong to the query, also those without a word in common.

  Args:
    index: of N documents.
    queries: Q rows, as the index takes them.
    pools: the numbers of the documents that each query may get.
    num_results: how many it gets at most.
    seed: of ties, as for `search`.
    pairs_at_once: bounds the memory.
  """
  priority = np.random.default_rng(seed).permutation(len(index))
  found, lengths = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
  start = 0
  while start < len(pools):
    stop = np.searchsorted(
      pools.offsets, pools.offsets[start] + pairs_at_once, side='right'
    )
    stop = min(max(stop - 1, start + 1), len(pools))
    row = np.repeat(np.arange(stop - start), pools.lengths[start:stop])
    document = pools.values[pools.offsets[start] : pools.offsets[stop]]
    scores = index.pair_scores(queries, start + row, document)
    best = _rank(row, scores, priority[document], num_results)
    found.append(document[best].astype(np.int32))
    lengths.append(np.bincount(row[best], minlength=stop - start))
    start = stop
  return _ragged(found, lengths)


def _candidates(scores, num_results: int, floor: float):
  """Returns rows and documents that can be among the best, ties included."""
  if num_results < scores.shape[1]:
    place = scores.shape[1] - num_results
    least = np.partition(scores, place, axis=1)[:, place, None]
  else:
    least = -np.inf
  return np.nonzero((scores > floor) & (scores >= least))


def _rank(row, scores, priority, num_results: int) -> Int[np.ndarray, 'best']:
  """Returns which pairs are the best of their row, best first."""
  order = np.lexsort((priority, -scores, row))
  of_row = np.bincount(row) if len(row) else np.zeros(0, np.int64)
  first = np.repeat(np.cumsum(of_row) - of_row, of_row)
  return order[np.arange(len(order)) - first < num_results]


def _ragged(found, lengths) -> Ragged:
  ends = np.cumsum(np.concatenate(lengths))
  return Ragged(np.concatenate(found), np.concatenate([[0], ends]))
