"""Giving different items different codes.

Two ways: one more digit that numbers the items of a code (as TIGER does), or
moving items to codes that are free (ids stay as short as they are), which
ones being a matter of taste: `SHARERS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special
from jaxtyping import Float, Int

from genrec_jax.ids.kmeans import nearest
from genrec_jax.types import GenrecError, unknown_name

HUNGARIAN_LIMIT = 2**21  # entries of a cost matrix: about a second


def collision_rate(codes: Int[np.ndarray, 'N L']) -> float:
  """Returns the share of items whose codes another item has too."""
  _, cell, counts = np.unique(
    codes, axis=0, return_inverse=True, return_counts=True
  )
  return float((counts[cell] > 1).mean())


def resolve_collisions(
  codes: Int[np.ndarray, 'N L'],
  vectors: Float[np.ndarray, 'N D'],
  codebooks: Sequence[Float[np.ndarray, 'K D']],
  *,
  policy: str,
  seed: int = 0,
) -> tuple[Int[np.ndarray, 'N ?'], tuple[int, ...], dict[str, Any]]:
  """Makes codes unique.

  Args:
    codes: what quantization gave, int [N, L].
    vectors: what was quantized.
    codebooks: whose entries add up to the vectors, one codebook a level.
    policy: a name in `POLICIES`: 'extra_digit', or where else items move:
      'nearest_free' (the nearest item keeps a code), 'hungarian' (the least
      error in all, exactly where a cell is small) or 'sinkhorn' (the same,
      nearly, at any size).
    seed: of the order of equal items.

  Returns:
    The unique codes, their codebook sizes, and facts: 'collision_rate' before,
    and where items moved, the share 'moved' and the 'extra_error' in shares of
    the vectors' variance.

  Raises:
    GenrecError: if the policy is unknown, or there are more items than codes.
  """
  if policy not in POLICIES:
    raise unknown_name('way to resolve collisions', policy, POLICIES)
  sizes = tuple(len(codebook) for codebook in codebooks)
  facts: dict[str, Any] = {
    'collisions': policy,
    'collision_rate': collision_rate(codes),
  }
  if policy == 'extra_digit':
    return (*extra_digit(codes, sizes, seed=seed), facts)
  unique = free_codes(
    vectors, codebooks, codes=codes, share_out=SHARERS[policy], seed=seed
  )
  moved = np.flatnonzero((unique != codes).any(axis=1))
  extra = squared_error(vectors[moved], codebooks, unique[moved])
  extra -= squared_error(vectors[moved], codebooks, codes[moved])
  variance = float(vectors.var(axis=0, dtype=np.float64).sum()) * len(vectors)
  facts['moved'] = len(moved) / len(vectors)
  facts['extra_error'] = round(extra / variance, 6) if variance > 0 else 0.0
  return unique, sizes, facts


def squared_error(
  vectors: Float[np.ndarray, 'N D'],
  codebooks: Sequence[Float[np.ndarray, 'K D']],
  codes: Int[np.ndarray, 'N L'],
) -> float:
  """Returns the squared distances, summed, of vectors to what codes stand for.

  Rows go in slabs, so that no copy of a whole catalogue is made.
  """
  total = 0.0
  for start in range(0, len(vectors), 2**16):
    rows = slice(start, start + 2**16)
    left = np.array(vectors[rows], np.float32)
    for codebook, column in zip(codebooks, codes[rows].T, strict=True):
      left -= codebook[column]
    total += float(np.square(left, out=left).sum(dtype=np.float64))
  return total


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

  Of the items that want the same prefix the nearest get it, the others go to
  the next nearest that has room; see `free_codes`.
  """
  return free_codes(vectors, codebooks, share_out=defer, seed=seed)


def free_codes(
  vectors: Float[np.ndarray, 'N D'],
  codebooks: Sequence[Float[np.ndarray, 'K D']],
  *,
  share_out: Callable[..., Int[np.ndarray, 'n']],
  codes: Int[np.ndarray, 'N L'] | None = None,
  seed: int = 0,
) -> Int[np.ndarray, 'N L']:
  """Quantizes residuals level by level, no code for more than one item.

  A prefix takes no more items than there are codes below it. Where too many
  want a prefix, the items of its parent are shared out anew among all of the
  parent's children; all others keep the code they have. Equal items are told
  apart by a seeded order.

  Args:
    vectors: [N, D].
    codebooks: one a level, whose entries add up to the vectors.
    share_out: of squared distances [n, K] and the room in a cell: the cell of
      each of n points, no more than `room` in a cell; one of `SHARERS`.
    codes: where the items would like to be; by default the nearest codes.
    seed: of the order of equal items.

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
  free = np.empty((len(vectors), len(codebooks)), np.int32)
  strayed = np.full(len(vectors), codes is None)
  for level, codebook in enumerate(codebooks):
    room = math.prod(sizes[level + 1 :])
    wish = np.empty(len(vectors), np.int32)
    if codes is not None:
      wish[:] = codes[order, level]
    if strayed.any():  # what they wished for was below another prefix
      wish[strayed] = nearest(residuals[strayed], codebook)[0]
    chosen = wish.copy()
    cell = prefix * len(codebook) + chosen
    _, cell, counts = np.unique(cell, return_inverse=True, return_counts=True)
    crowded = np.isin(prefix, prefix[counts[cell] > room])
    rows = np.flatnonzero(crowded)
    rows = rows[np.argsort(prefix[rows], kind='stable')]
    starts = np.flatnonzero(np.diff(prefix[rows])) + 1
    for group in np.split(rows, starts) if len(rows) else ():
      table = _squared_distances(residuals[group], codebook)
      chosen[group] = share_out(table, room)
    strayed |= chosen != wish
    free[order, level] = chosen
    residuals -= codebook[chosen]
    prefix = np.unique(prefix * len(codebook) + chosen, return_inverse=True)[1]
  return free


def defer(distances: Float[np.ndarray, 'n K'], room: int):
  """Gives the nearest what they want (deferred acceptance).

  Each point asks the nearest cell that has not refused it; a full cell keeps
  the nearest of those who ask. Gale & Shapley, "College admissions and the
  stability of marriage", 1962.
  """
  distances = distances.copy()
  cells = distances.argmin(axis=1)
  while True:
    counts = np.bincount(cells, minlength=distances.shape[1])
    if counts.max(initial=0) <= room:
      return cells
    wish = distances[np.arange(len(cells)), cells]
    order = np.lexsort((wish, cells))
    place = np.arange(len(cells)) - (np.cumsum(counts) - counts)[cells[order]]
    refused = order[place >= room]
    # A cell that refused a point holds nearer ones from then on.
    distances[refused, cells[refused]] = np.inf
    cells[refused] = distances[refused].argmin(axis=1)


def hungarian(distances: Float[np.ndarray, 'n K'], room: int):
  """Makes the sum of the distances as small as it can be.

  Solves the linear assignment problem, each cell standing for as many places
  as it has room; groups of more than `HUNGARIAN_LIMIT` entries go to
  `sinkhorn`, for the time grows with the cube.
  """
  places = min(room, len(distances))
  if distances.size * places > HUNGARIAN_LIMIT:
    return sinkhorn(distances, room)
  # In doubles: SciPy would copy anyhow, and ties are then told apart.
  costs = np.repeat(distances.astype(np.float64), places, axis=1)
  _, column = scipy.optimize.linear_sum_assignment(costs)
  return column // places


def sinkhorn(
  distances: Float[np.ndarray, 'n K'], room: int, num_iterations: int = 100
):
  """Makes the sum of the distances nearly as small as it can be.

  Entropic optimal transport in which a cell may stay empty but not overflow
  finds what each cell charges those who want it (Cuturi, "Sinkhorn distances",
  2013); the blur shrinks as it goes. `defer` then shares out by distance plus
  charge, which settles the last conflicts.
  """
  charge = np.zeros(distances.shape[1], np.float32)
  scale = float(distances.mean() - distances.min(axis=1).mean())
  for step in range(num_iterations if scale > 0 else 0):
    blur = scale * 10 ** (-0.5 - 2 * step / max(1, num_iterations - 1))
    shares = scipy.special.softmax(-(distances + charge) / blur, axis=1)
    counts = np.maximum(shares.sum(axis=0), 1e-6)
    charge = np.maximum(charge + blur * np.log(counts / room), 0)
    charge = charge.astype(np.float32)
  return defer(distances + charge, room)


SHARERS = {'nearest_free': defer, 'hungarian': hungarian, 'sinkhorn': sinkhorn}
POLICIES = ('extra_digit', *SHARERS)


def _squared_distances(points, centroids):
  table = points @ (-2 * centroids.T)
  table += (centroids**2).sum(axis=1)
  table += (points**2).sum(axis=1, keepdims=True)
  return np.maximum(table, 0, out=table)
