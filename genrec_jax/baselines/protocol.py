"""What a baseline is, and how its scores become lists.

Baselines see the train interactions and, for each example, its history. Equal
scores are common here (most items never followed the last one), so their
order is part of the method: the more popular item first, and a seeded order
among equally popular ones. Item numbers, which follow the source file and so
know the future, never decide.
"""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int, Int32

from genrec_jax.data.token_cache import Ragged
from genrec_jax.types import GenrecError

# Scores in memory at a time; few enough to stay in a CPU's cache.
SCORES_AT_A_TIME = 2**20


class Baseline(Protocol):
  """A method that scores all items for a history.

  Attributes:
    name: what to call it in tables.
    item_rank: [N], the place of each item among items of equal score; set by
      `fit`, see `rank_by_popularity`.
  """

  name: str
  item_rank: Int[np.ndarray, 'N']

  def fit(
    self,
    user: Int[np.ndarray, 'R'],
    item: Int[np.ndarray, 'R'],
    num_items: int,
  ) -> Self:
    """Learns from train interactions, chronological within each user."""

  def scores(
    self, histories: Int32[np.ndarray, 'B T']
  ) -> Float[np.ndarray, 'B N']:
    """Scores all items; histories are padded with -1 on the left."""


def rank_by_popularity(
  item: Int[np.ndarray, 'R'], num_items: int, *, seed: int
) -> Int[np.ndarray, 'N']:
  """Returns each item's place by train count; equal counts in seeded order."""
  counts = np.bincount(item, minlength=num_items)
  random = np.random.default_rng(seed).permutation(num_items)
  rank = np.empty(num_items, np.int64)
  rank[np.lexsort((random, -counts))] = np.arange(num_items)
  return rank


def used_by(
  user: Int[np.ndarray, 'R'], item: Int[np.ndarray, 'R'], num_items: int
) -> scipy.sparse.csr_array:
  """Returns who used what, [U, N] of 0 and 1; how often does not matter."""
  used = scipy.sparse.csr_array(
    (np.ones(len(user), np.float32), (user, item)),
    (int(user.max(initial=-1)) + 1, num_items),
  )
  used.data[:] = 1
  return used


def history_weights(
  histories: Int32[np.ndarray, 'B T'], num_items: int, recency: float
) -> scipy.sparse.csr_array:
  """Returns the weights of the histories' items, sparse [B, N].

  The last item weighs 1, and each one `recency` times the one after it; an
  item that occurs again weighs the sum.
  """
  example, place = np.nonzero(histories >= 0)
  age = histories.shape[1] - 1 - place
  return scipy.sparse.csr_array(
    ((recency**age).astype(np.float32), (example, histories[example, place])),
    (len(histories), num_items),
  )


def candidate_scores(
  baseline: Baseline,
  histories: Int32[np.ndarray, 'B T'],
  candidates: Int32[np.ndarray, 'B C'],
) -> Float[np.ndarray, 'B C']:
  """Returns the scores of some items a history; of -1, anything.

  By the method `candidate_scores(histories, candidates)` of a baseline that
  has one because it need not score the others, else out of all scores.
  """
  candidates = np.maximum(candidates, 0)
  if hasattr(baseline, 'candidate_scores'):
    return baseline.candidate_scores(histories, candidates)
  return np.take_along_axis(baseline.scores(histories), candidates, axis=1)


def recommend(
  baseline: Baseline,
  histories: Ragged,
  *,
  top_k: int,
  exclude_seen: bool = True,
) -> Int32[np.ndarray, 'E top_k']:
  """Returns the best items for each history, best first.

  Args:
    baseline: a fitted baseline.
    histories: all earlier items of each of the E examples
      (`Examples.ragged_histories()`, or `TokenExamples.history`).
    top_k: how many.
    exclude_seen: leave out the items of the history.

  Returns:
    int32 [E, top_k]; -1 where there are fewer items than that.
  """
  num_items = len(baseline.item_rank)
  if top_k < 1:
    raise GenrecError(f'top_k={top_k} asks for no items; expected at least 1.')
  lists = np.full((len(histories), top_k), -1, np.int32)
  block = max(1, SCORES_AT_A_TIME // num_items)
  for start in range(0, len(histories), block):
    rows = slice(start, min(start + block, len(histories)))
    padded = _pad(histories, rows)
    scores = np.array(baseline.scores(padded), np.float32)
    if exclude_seen:
      example, place = np.nonzero(padded >= 0)
      scores[example, padded[example, place]] = -np.inf
    best = top_items(scores, baseline.item_rank, top_k)
    lists[rows, : best.shape[1]] = best
  return lists


def top_items(
  scores: Float[np.ndarray, 'B N'],
  item_rank: Int[np.ndarray, 'N'],
  top_k: int,
) -> Int32[np.ndarray, 'B K']:
  """Returns the items with the highest scores; among equals, of lowest rank.

  Exact and independent of the order of columns: score and rank are packed into
  one integer each. -1 stands for items of score -inf.
  """
  # Bits of a float are in the order of its values if it is positive, and in
  # the opposite order if it is negative; adding 0 makes -0 a 0.
  bits = (np.asarray(scores, np.float32) + np.float32(0)).view(np.int32)
  bits ^= (bits >> 31) & np.int32(0x7FFFFFFF)
  keys = bits.astype(np.int64)
  keys <<= 32
  keys -= item_rank
  top_k = min(top_k, scores.shape[1])
  best = np.argpartition(keys, -top_k, axis=1)[:, -top_k:]
  order = np.argsort(np.take_along_axis(keys, best, axis=1), axis=1)[:, ::-1]
  best = np.take_along_axis(best, order, axis=1)
  none = np.take_along_axis(scores, best, axis=1) == -np.inf
  return np.where(none, -1, best).astype(np.int32)


def _pad(histories: Ragged, rows: slice) -> Int32[np.ndarray, 'B T']:
  starts = np.asarray(histories.offsets[rows.start : rows.stop])
  ends = np.asarray(histories.offsets[rows.start + 1 : rows.stop + 1])
  longest = max(1, int((ends - starts).max(initial=0)))
  places = ends[:, None] - np.arange(longest, 0, -1)
  inside = places >= starts[:, None]
  if not inside.any():
    return np.full(places.shape, -1, np.int32)
  items = histories.values[np.where(inside, places, 0)]
  return np.where(inside, items, -1).astype(np.int32)
