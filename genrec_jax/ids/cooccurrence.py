"""Which items are taken together: counted in chunks, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from genrec_jax import progress
from genrec_jax.types import GenrecError

MAX_PAIRS = 2**33  # some minutes of counting; beyond, a window is wanted
EXACT_WINDOW = 20  # up to here weights are whole numbers of one small unit


def count_cooccurrences(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_items: int,
  *,
  window: int | None = None,
  min_count: float = 0.0,
  pairs_per_chunk: int = 2**24,
) -> scipy.sparse.csr_array:
  """Counts how often two items were taken by one user.

  The result is counted in chunks of rows with bounded numbers of pairs, each in
  one pass over the interactions: pairs below `min_count` go before the next
  chunk is counted, and nothing is ever merged.

  Args:
    user: the user of each train interaction.
    item: its item; the rows of one user are in chronological order.
    num_items: N.
    window: None counts the users who have both items, anywhere in their
      histories; a number counts pairs at most so many steps apart, one at
      distance d as 1/d.
    min_count: pairs that count less are left out. Most pairs of a large
      catalogue are seen once: this is what makes the result fit.
    pairs_per_chunk: bounds the memory beyond that of the result, at some 40
      bytes a pair. The counts do not depend on it.

  Returns:
    float32 [N, N], symmetric, with an empty diagonal. Sums of weights are exact
    for windows up to `EXACT_WINDOW` before they are rounded.

  Raises:
    GenrecError: if histories are so long that there are more pairs than can
      be counted.
  """
  check_window(window)
  if (user[1:] < user[:-1]).any():
    order = np.argsort(user, kind='stable')
    user, item = user[order], item[order]
  starts = np.flatnonzero(np.diff(user, prepend=-1, append=-1))
  lengths = np.diff(starts)
  pairs = lengths.astype(np.int64) * (window or lengths)
  if pairs.sum() > MAX_PAIRS:
    raise GenrecError(
      f'The histories make {pairs.sum()} pairs of items, the longest of them'
      f' {pairs.max()}; expected at most {MAX_PAIRS}. Set window (5, say), so'
      ' that only items close in time count.'
    )
  if window is None:
    rows, pairs = _rows_of_histories(user, item, num_items)
  else:
    rows, pairs = _rows_of_windows(user, item, num_items, window)
  parts = []
  ranges = list(_ranges(pairs, pairs_per_chunk))
  for first, end in progress.bar(ranges, 'counting pairs'):
    row, other, count = rows(first, end)
    kept = (row != other) & (count >= min_count)
    parts.append(
      (
        np.bincount(row[kept] - first, minlength=end - first),
        other[kept].astype(np.int32),
        count[kept].astype(np.float32),
      )
    )
  return _stacked(parts, num_items)


def check_window(window: int | None) -> None:
  """Refuses a window of no steps."""
  if window is not None and window < 1:
    raise GenrecError(
      f'Got window={window}; expected at least 1, or None for whole histories.'
    )


def distance_weights(
  window: int | None,
) -> tuple[float, Float[np.ndarray, 'W']]:
  """Returns 1, and what pairs at distance 1, 2, ... count, in one small unit.

  1/d is no float32, but a multiple of 1/lcm(1, 2, ..., window): sums of such
  multiples are exact in double precision, in whatever order they are made.
  """
  steps = range(1, (window or 1) + 1)
  one = float(math.lcm(*steps[:EXACT_WINDOW]))
  return one, one / np.asarray(steps)


def normalized_cut(
  graph: scipy.sparse.csr_array, clusters: Int[np.ndarray, 'N']
) -> float:
  """Returns what spectral clustering minimises: the normalised cut.

  It is the sum over clusters of the share of their nodes' edge weight that
  leaves the cluster: 0 where none does, and less than the number of clusters.
  Shi & Malik, "Normalized cuts and image segmentation", 2000.
  """
  _, clusters = np.unique(clusters, return_inverse=True)
  rows = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
  weights = graph.data.astype(np.float64)
  volume = np.bincount(clusters[rows], weights=weights)
  leaves = clusters[rows] != clusters[graph.indices]
  cut = np.bincount(
    clusters[rows[leaves]], weights=weights[leaves], minlength=len(volume)
  )
  return float((cut[volume > 0] / volume[volume > 0]).sum())


def _rows_of_windows(user, item, num_items, window):
  """Returns what counts some rows, and how many pairs a row has at most."""
  one, weights = distance_weights(window)
  bits = window.bit_length()  # of a key, for the distance

  def rows(first, end):
    at = np.flatnonzero((item >= first) & (item < end))
    keys = []
    for distance in range(1, window + 1):
      for step in (-distance, distance):
        here = at[(at + step >= 0) & (at + step < len(item))]
        here = here[user[here] == user[here + step]]
        pair = (item[here].astype(np.int64) - first) * num_items
        pair += item[here + step]
        keys.append((pair << bits) + (distance - 1))
    keys = np.concatenate(keys)
    keys.sort()
    pairs = keys >> bits
    starts = np.flatnonzero(np.diff(pairs, prepend=-1))
    pairs, sums = pairs[starts], np.zeros(0)
    if len(starts):
      keys &= (1 << bits) - 1
      sums = np.add.reduceat(weights[keys], starts) / one
    return pairs // num_items + first, pairs % num_items, sums

  return rows, 2 * window * _uses(item, num_items)


def _rows_of_histories(user, item, num_items):
  """The same for pairs at any distance, each counted once a user."""
  shape = (int(user[-1]) + 1 if len(user) else 0, num_items)
  taken = scipy.sparse.csr_array(
    (np.ones(len(item), np.float32), (user, item)), shape
  )
  taken.data[:] = 1  # an item taken twice by a user is still one user's
  takers = taken.T.tocsr()

  def rows(first, end):
    part = takers[first:end] @ taken
    part.sort_indices()
    row = np.repeat(np.arange(first, end), np.diff(part.indptr))
    return row, part.indices, part.data

  return rows, (takers @ np.diff(taken.indptr)).astype(np.int64)


def _uses(item, num_items):
  """Returns how often each item comes; slabs, or bincount copies them all."""
  total = np.zeros(num_items, np.int64)
  for start in range(0, len(item), 2**22):
    total += np.bincount(item[start : start + 2**22], minlength=num_items)
  return total


def _ranges(
  pairs: Int[np.ndarray, 'N'], pairs_per_chunk: int
) -> Iterator[tuple[int, int]]:
  """Yields ranges of rows with so many pairs, but at least one row."""
  total = np.cumsum(pairs)
  first = 0
  while first < len(pairs):
    done = total[first - 1] if first else 0
    end = int(np.searchsorted(total, done + pairs_per_chunk, side='right'))
    end = max(end, first + 1)
    yield first, end
    first = end


def _stacked(parts, num_items):
  """Returns the parts as one matrix, letting go of them column by column."""
  lengths, others, counts = map(list, zip(*parts, strict=True))
  parts.clear()
  pointers = np.zeros(num_items + 1, np.int64)
  np.cumsum(np.concatenate(lengths), out=pointers[1:])
  others = np.concatenate(others)
  counts = np.concatenate(counts)
  return scipy.sparse.csr_array(
    (counts, others, pointers), (num_items, num_items)
  )
