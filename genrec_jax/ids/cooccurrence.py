"""Which items are taken together: counted in chunks, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse
from jaxtyping import Int

from genrec_jax.types import GenrecError

MAX_PAIRS = 2**33  # some minutes of counting; beyond, a window is wanted


def count_cooccurrences(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_items: int,
  *,
  window: int | None = None,
  pairs_per_chunk: int = 2**24,
) -> scipy.sparse.csr_array:
  """Counts how often two items were taken by one user.

  Users go in chunks of bounded numbers of pairs, and the counts of chunks are
  merged when they have grown to much the same size, so that each is copied a
  few times only.

  Args:
    user: the user of each train interaction.
    item: its item; the rows of one user are in chronological order.
    num_items: N.
    window: None counts the users who have both items, anywhere in their
      histories; a number counts pairs at most so many steps apart, one at
      distance d as 1/d.
    pairs_per_chunk: bounds the memory beyond that of the result.

  Returns:
    float32 [N, N], symmetric, with an empty diagonal.

  Raises:
    GenrecError: if histories are so long that there are more pairs than can
      be counted.
  """
  if window is not None and window < 1:
    raise GenrecError(
      f'Got window={window}; expected at least 1, or None for whole histories.'
    )
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
  if num_items**2 <= pairs_per_chunk:
    pairs_per_chunk = MAX_PAIRS  # however many pairs, the counts are no more
  merged: list[scipy.sparse.csr_array] = []
  for first, end in _chunks(pairs, pairs_per_chunk):
    rows = slice(starts[first], starts[end])
    count = _count_near if window else _count_in_histories
    merged.append(count(user[rows], item[rows], num_items, window))
    while len(merged) > 1 and 2 * merged[-1].nnz >= merged[-2].nnz:
      merged.append(merged.pop() + merged.pop())
  total = scipy.sparse.csr_array((num_items, num_items), dtype=np.float32)
  while merged:
    total = total + merged.pop()
  return total


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


def _chunks(
  pairs: Int[np.ndarray, 'H'], pairs_per_chunk: int
) -> Iterator[tuple[int, int]]:
  """Yields ranges of histories with so many pairs, but at least one history."""
  total = np.cumsum(pairs)
  first = 0
  while first < len(pairs):
    done = total[first - 1] if first else 0
    end = int(np.searchsorted(total, done + pairs_per_chunk, side='right'))
    end = max(end, first + 1)
    yield first, end
    first = end


def _count_in_histories(user, item, num_items, window):
  del window
  shape = (int(user[-1] - user[0]) + 1, num_items)
  taken = scipy.sparse.csr_array(
    (np.ones(len(item), np.float32), (user - user[0], item)), shape
  )
  taken.data[:] = 1  # an item taken twice by a user is still one user's
  return _without_diagonal((taken.T @ taken).tocsr())


def _count_near(user, item, num_items, window):
  total = scipy.sparse.csr_array((num_items, num_items), dtype=np.float32)
  for distance in range(1, window + 1):
    same = user[distance:] == user[:-distance]
    earlier, later = item[:-distance][same], item[distance:][same]
    weights = np.full(len(earlier), 1 / distance, np.float32)
    total += scipy.sparse.csr_array((weights, (earlier, later)), total.shape)
  return _without_diagonal((total + total.T).tocsr())


def _without_diagonal(counts):
  rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
  counts.data[rows == counts.indices] = 0
  counts.eliminate_zeros()
  counts.sort_indices()
  return counts
