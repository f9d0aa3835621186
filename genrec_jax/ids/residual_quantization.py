"""Residual k-means: a level quantizes what the levels before it left over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from genrec_jax.ids.collisions import (
  collision_rate,
  extra_digit,
  nearest,
  nearest_free,
)
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.ids.svd import item_factors
from genrec_jax.types import GenrecError, unknown_name

COLLISIONS = ('extra_digit', 'nearest_free')


def kmeans(
  points: Float[np.ndarray, 'N D'],
  num_clusters: int,
  *,
  num_iterations: int = 50,
  points_per_cluster: int = 256,
  seed: int = 0,
) -> Float[np.ndarray, 'num_clusters D']:
  """Returns k-means centroids: k-means++ start, then Lloyd's iterations.

  Args:
    points: float32 [N, D].
    num_clusters: K. Where there are fewer different points than that, some
      centroids are equal, and only the first of them is ever nearest.
    num_iterations: at most so many; it stops when no point moves.
    points_per_cluster: centroids are fitted to a random sample of at most so
      many points each, so that the time does not grow with the catalogue.
    seed: of the sample and the start.
  """
  generator = np.random.default_rng(seed)
  if len(points) > num_clusters * points_per_cluster:
    size = num_clusters * points_per_cluster
    points = points[generator.choice(len(points), size, replace=False)]
  points = np.ascontiguousarray(points, np.float32)
  start = _spread_start(points, num_clusters, generator)
  return lloyd(points, start, num_iterations=num_iterations)


def lloyd(
  points: Float[np.ndarray, 'N D'],
  centroids: Float[np.ndarray, 'K D'],
  *,
  num_iterations: int,
) -> Float[np.ndarray, 'K D']:
  """Moves centroids to the mean of their points until no point moves.

  An empty cluster starts again from one of the points that are served worst.
  """
  centroids = centroids.copy()
  num_clusters = len(centroids)
  previous = None
  for _ in range(num_iterations):
    codes, distances = nearest(points, centroids)
    if previous is not None and (codes == previous).all():
      break
    previous = codes
    counts = np.bincount(codes, minlength=num_clusters)
    members = scipy.sparse.csr_array(
      (np.ones_like(distances), (codes, np.arange(len(points)))),
      (num_clusters, len(points)),
    )
    full = counts > 0
    centroids[full] = (members @ points)[full] / counts[full, None]
    worst = np.argsort(-distances, kind='stable')[: (~full).sum()]
    worst = worst[distances[worst] > 0]
    centroids[np.flatnonzero(~full)[: len(worst)]] = points[worst]
  return centroids


def residual_codes(
  vectors: Float[np.ndarray, 'N D'],
  *,
  num_levels: int = 3,
  codebook_size: int = 256,
  num_iterations: int = 50,
  seed: int = 0,
) -> tuple[Int[np.ndarray, 'N L'], list[Float[np.ndarray, 'K D']], list[float]]:
  """Quantizes vectors by residual k-means.

  Returns:
    codes: int32 [N, num_levels], not necessarily unique.
    codebooks: `num_levels` arrays of centroids, float32 [codebook_size, D].
    unexplained: the share of the vectors' variance that is left after each
      level.
  """
  if num_levels < 1 or codebook_size < 1:
    raise GenrecError(
      f'Got num_levels={num_levels} and codebook_size={codebook_size};'
      ' expected at least 1 of each.'
    )
  residuals = vectors.astype(np.float32)
  variance = ((residuals - residuals.mean(axis=0)) ** 2).sum(axis=1).mean()
  codes, codebooks, unexplained = [], [], []
  for level in range(num_levels):
    codebooks.append(
      kmeans(
        residuals,
        codebook_size,
        num_iterations=num_iterations,
        seed=seed * 1009 + level,
      )
    )
    codes.append(nearest(residuals, codebooks[-1])[0])
    residuals -= codebooks[-1][codes[-1]]
    left = (residuals**2).sum(axis=1).mean()
    unexplained.append(float(left / variance) if variance > 0 else 0.0)
  return np.stack(codes, axis=1), codebooks, unexplained


def residual_kmeans(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_users: int,
  num_items: int,
  *,
  item_vectors: Callable[..., Float[np.ndarray, 'N D']] = item_factors,
  num_levels: int = 3,
  codebook_size: int = 256,
  num_iterations: int = 50,
  collisions: str = 'extra_digit',
  seed: int = 0,
) -> ItemIds:
  """Makes ids by residual k-means over item vectors.

  Args:
    user: the user of each train interaction.
    item: its item.
    num_users: U.
    num_items: N.
    item_vectors: what makes the vectors; called with the four arguments before
      it and `seed`.
    num_levels: codes an item, before a digit that parts colliding items.
    codebook_size: codes a level.
    num_iterations: of k-means, at most.
    collisions: 'extra_digit' or 'nearest_free'; see `collisions.py`.
    seed: of all that is random.
  """
  if collisions not in COLLISIONS:
    raise unknown_name('way to resolve collisions', collisions, COLLISIONS)
  vectors = item_vectors(user, item, num_users, num_items, seed=seed)
  codes, codebooks, unexplained = residual_codes(
    vectors,
    num_levels=num_levels,
    codebook_size=codebook_size,
    num_iterations=num_iterations,
    seed=seed,
  )
  sizes = (codebook_size,) * num_levels
  facts: dict[str, Any] = {
    'method': 'residual_kmeans',
    'unexplained_variance': [round(share, 4) for share in unexplained],
    'collisions': collisions,
    'collision_rate': collision_rate(codes),
  }
  if collisions == 'extra_digit':
    codes, sizes = extra_digit(codes, sizes, seed=seed)
  else:
    free = nearest_free(vectors, codebooks, seed=seed)
    facts['moved'] = float((free != codes).any(axis=1).mean())
    codes = free
  return ItemIds(
    codes=codes, codebook_sizes=sizes, facts=facts, vectors=vectors
  )


def _spread_start(points, num_clusters, generator):
  """Picks points far from those picked before them (k-means++).

  Arthur & Vassilvitskii, "k-means++: the advantages of careful seeding", 2007.
  """
  chosen = [int(generator.integers(len(points)))]
  distances = np.full(len(points), np.inf, np.float32)
  while len(chosen) < num_clusters:
    _, new = nearest(points, points[chosen[-1:]])
    distances = np.minimum(distances, new)
    mass = np.cumsum(distances, dtype=np.float64)
    draw = np.searchsorted(mass, generator.random() * mass[-1], side='right')
    chosen.append(min(int(draw), len(points) - 1))
  return points[chosen]
