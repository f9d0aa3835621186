"""Giving different items different codes.

Two ways: one more digit that numbers the items of a code (as TIGER does), or
moving items to the nearest codes that are free (ids stay as short as they are).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from genrec_jax.types import GenrecError


def collision_rate(codes: Int[np.ndarray, 'N L']) -> float:
  """Returns the share of items whose codes another item has too."""
  _, cell, counts = np.unique(
    codes, axis=0, return_inverse=True, return_counts=True
  )
  return float((counts[cell] > 1).mean())


def extra_digit(
  codes: Int[np.ndarray, 'N L'], codebook_sizes: Sequence[int], *, seed: int = 0
) -> tuple[Int[np.ndarray, 'N ?'], tuple[int, ...]]:
  """Numbers the items that share their codes with one more digit.

  The digits of a code are dealt out in a seeded order, for the order of items
  in the source may say something about them. Where no codes are shared, there
  is nothing to add and the codes stay as they are.

  Returns:
    The codes, int32 [N, L + 1], and their codebook sizes.
  """
  _, cell, counts = np.unique(
    codes, axis=0, return_inverse=True, return_counts=True
  )
  if counts.max() == 1:
    return codes, tuple(codebook_sizes)
  order = np.lexsort(
    (np.random.default_rng(seed).permutation(len(codes)), cell)
  )
  first = np.cumsum(counts) - counts
  digit = np.empty(len(codes), np.int32)
  digit[order] = np.arange(len(codes)) - first[cell[order]]
  return (
    np.column_stack([codes, digit]).astype(np.int32),
    (*codebook_sizes, int(counts.max())),
  )


def nearest_free(
  vectors: Float[np.ndarray, 'N D'],
  codebooks: Sequence[Float[np.ndarray, 'K D']],
  *,
  seed: int = 0,
) -> Int[np.ndarray, 'N L']:
  """Quantizes residuals level by level, no code for more than one item.

  A prefix takes no more items than there are codes below it. Of those that
  want the same prefix the nearest get it, the others go to the next nearest
  that has room (deferred acceptance). Items alone in their code keep the code
  that plain residual quantization gives them, unless they lose it to a nearer
  one. Equal items are told apart by a seeded order.

  Returns:
    int32 [N, L] codes, unique.

  Raises:
    GenrecError: if there are more items than codes.
  """
  sizes = [len(codebook) for codebook in codebooks]
  if len(vectors) > math.prod(sizes):
    raise GenrecError(
      f'{len(vectors)} items do not fit into {math.prod(sizes)} codes of'
      f' codebooks {sizes}; raise num_levels or codebook_size.'
    )
  order = np.random.default_rng(seed).permutation(len(vectors))
  residuals = vectors[order].astype(np.float32)
  prefix = np.zeros(len(vectors), np.int64)
  codes = np.empty((len(vectors), len(codebooks)), np.int32)
  for level, codebook in enumerate(codebooks):
    room = math.prod(sizes[level + 1 :])
    chosen, _ = nearest(residuals, codebook)
    cell = prefix * len(codebook) + chosen
    _, cell, counts = np.unique(cell, return_inverse=True, return_counts=True)
    crowded = np.isin(prefix, prefix[counts[cell] > room])
    rows = np.flatnonzero(crowded)
    rows = rows[np.argsort(prefix[rows], kind='stable')]
    for group in np.split(rows, np.flatnonzero(np.diff(prefix[rows])) + 1):
      chosen[group] = _share_out(residuals[group], codebook, room)
    codes[order, level] = chosen
    residuals -= codebook[chosen]
    prefix = np.unique(prefix * len(codebook) + chosen, return_inverse=True)[1]
  return codes


def nearest(
  points: Float[np.ndarray, 'N D'], centroids: Float[np.ndarray, 'K D']
) -> tuple[Int[np.ndarray, 'N'], Float[np.ndarray, 'N']]:
  """Returns the nearest centroid of each point and the squared distance to it.

  Points go in blocks, so that the distances in memory stay below 64 MiB.
  """
  block = max(1, 2**24 // len(centroids))
  codes = np.empty(len(points), np.int32)
  distances = np.empty(len(points), np.float32)
  for start in range(0, len(points), block):
    rows = slice(start, start + block)
    table = _squared_distances(points[rows], centroids)
    codes[rows] = table.argmin(axis=1)
    distances[rows] = table[np.arange(len(table)), codes[rows]]
  return codes, distances


def _squared_distances(points, centroids):
  table = points @ (-2 * centroids.T)
  table += (centroids**2).sum(axis=1)
  table += (points**2).sum(axis=1, keepdims=True)
  return np.maximum(table, 0, out=table)


def _share_out(points, centroids, room):
  """Returns the cell of each point, no more than `room` in a cell."""
  distances = _squared_distances(points, centroids)
  cells = distances.argmin(axis=1)
  while True:
    counts = np.bincount(cells, minlength=len(centroids))
    if counts.max(initial=0) <= room:
      return cells
    wish = distances[np.arange(len(points)), cells]
    order = np.lexsort((wish, cells))
    place = np.arange(len(points)) - (np.cumsum(counts) - counts)[cells[order]]
    refused = order[place >= room]
    # A cell that refused a point holds nearer ones from then on.
    distances[refused, cells[refused]] = np.inf
    cells[refused] = distances[refused].argmin(axis=1)
