"""k-means over a mesh, plain and balanced.

The assignment of points to centroids, which is nearly all of the work, is JAX
in blocks of points cut over the devices; the means are taken on the host in
the order of the points. So codes are the same on any number of devices.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax.sharding import Mesh
from jaxtyping import Float, Int

from genrec_jax import progress
from genrec_jax.ids.row_blocks import RowBlocks, squared_distances


def kmeans(
  points: Float[np.ndarray, 'N D'],
  num_clusters: int,
  *,
  num_iterations: int = 50,
  points_per_cluster: int = 256,
  start_spread: float = 1.0,
  seed: int = 0,
  mesh: Mesh | None = None,
) -> Float[np.ndarray, 'num_clusters D']:
  """Returns k-means centroids: k-means++ start, then Lloyd's iterations.

  Args:
    points: float32 [N, D].
    num_clusters: K. Where there are fewer different points than that, some
      centroids are equal, and only the first of them is ever nearest.
    num_iterations: at most so many; it stops when no point moves.
    points_per_cluster: centroids are fitted to a random sample of at most so
      many points each, so that the time does not grow with the catalogue.
    start_spread: the start is drawn in towards the mean of the points by this
      factor. In many dimensions points without clusters are farther from each
      other than from the mean, so that the few innermost ones, taken as a
      start, win nearly all others and keep them (Radovanović, Nanopoulos &
      Ivanović, "Hubs in space", 2010); less than 1 spares them that.
    seed: of the sample and the start.
    mesh: the devices; the result does not depend on them.
  """
  generator = np.random.default_rng(seed)
  points = sample(points, num_clusters * points_per_cluster, generator)
  start = _spread_start(points, num_clusters, generator)
  if start_spread != 1:
    mean = points.mean(axis=0)
    start = mean + np.float32(start_spread) * (start - mean)
  return lloyd(points, start, num_iterations=num_iterations, mesh=mesh)


def sample(
  points: Float[np.ndarray, 'N D'], size: int, generator: np.random.Generator
) -> Float[np.ndarray, '? D']:
  """Returns all points, or `size` of them where there are more."""
  if len(points) > size:
    points = points[generator.choice(len(points), size, replace=False)]
  return np.ascontiguousarray(points, np.float32)


def lloyd(
  points: Float[np.ndarray, 'N D'],
  centroids: Float[np.ndarray, 'K D'],
  *,
  num_iterations: int,
  mesh: Mesh | None = None,
) -> Float[np.ndarray, 'K D']:
  """Moves centroids to the mean of their points until no point moves.

  An empty cluster starts again from one of the points that are served worst.
  """
  rows = _blocks(points, len(centroids), mesh=mesh, keep=True)
  no_offsets = np.zeros(len(centroids), np.float32)
  previous = None
  for _ in progress.bar(range(num_iterations), 'k-means'):
    codes, distances = rows.map_rows(_nearest, centroids, no_offsets)
    if previous is not None and (codes == previous).all():
      break
    previous = codes
    centroids = _means(points, centroids, codes, distances)
  return centroids


def balanced_kmeans(
  points: Float[np.ndarray, 'N D'],
  num_clusters: int,
  *,
  num_iterations: int = 50,
  points_per_cluster: int = 256,
  seed: int = 0,
  mesh: Mesh | None = None,
) -> tuple[
  Float[np.ndarray, 'num_clusters D'], Float[np.ndarray, 'num_clusters']
]:
  """Returns centroids whose clusters have much the same number of points.

  Points take the centroid of the least squared distance less its offset. The
  offsets are the potentials of entropic optimal transport between the points
  and equally large clusters (Cuturi, "Sinkhorn distances", 2013): each of
  Lloyd's iterations is followed by a few of Sinkhorn's, ever less blurred.
  Equal points stay together, so they may make a cluster larger.

  Returns:
    centroids: float32 [K, D].
    offsets: float32 [K], to be given to `nearest`.
  """
  generator = np.random.default_rng(seed)
  points = sample(points, num_clusters * points_per_cluster, generator)
  centroids = _spread_start(points, num_clusters, generator)
  rows = _blocks(points, num_clusters, mesh=mesh, keep=True)
  offsets = np.zeros(num_clusters, np.float32)
  target = len(points) / num_clusters
  codes, distances = rows.map_rows(_nearest, centroids, offsets)
  centroids = _means(points, centroids, codes, distances)
  scale = float(distances.mean())
  steps = range(num_iterations if scale > 0 else 0)
  for step in progress.bar(steps, 'balanced k-means'):
    # From a third of the error that the start leaves to a hundredth.
    done = step / max(1, num_iterations - 1)
    blur = np.float32(scale * 10 ** (-0.5 - 1.5 * done))
    for _ in range(3):
      shares = rows.map(_soft_counts, centroids, offsets, blur)
      counts = sum(part.sum(axis=0, dtype=np.float64) for part in shares)
      offsets -= blur * np.log(np.maximum(counts, 1e-3) / target)
      offsets = (offsets - offsets.mean()).astype(np.float32)
    codes, distances = rows.map_rows(_nearest, centroids, offsets)
    if step < num_iterations - 1:
      centroids = _means(points, centroids, codes, distances)
  return centroids, offsets


def nearest(
  points: Float[np.ndarray, 'N D'],
  centroids: Float[np.ndarray, 'K D'],
  offsets: Float[np.ndarray, 'K'] | None = None,
  *,
  mesh: Mesh | None = None,
) -> tuple[Int[np.ndarray, 'N'], Float[np.ndarray, 'N']]:
  """Returns the nearest centroid of each point and the squared distance to it.

  Of equally near ones it is the first. Points go in blocks, so that the
  distances in memory stay below 64 MiB a device.

  Args:
    points: [N, D].
    centroids: [K, D].
    offsets: taken off the squared distances to each centroid before they are
      compared; see `balanced_kmeans`.
    mesh: the devices; the result does not depend on them.
  """
  if offsets is None:
    offsets = np.zeros(len(centroids), np.float32)
  rows = _blocks(points, len(centroids), mesh=mesh)
  return rows.map_rows(_nearest, np.asarray(centroids, np.float32), offsets)


def _blocks(points, num_centroids, **kwargs):
  room = max(8, 2**24 // num_centroids)
  block_size = min(2048, 1 << (room.bit_length() - 1))
  return RowBlocks(points, block_size=block_size, **kwargs)


def _nearest(rows, valid, centroids, offsets):
  del valid
  table = squared_distances(rows, centroids)
  wanted = table - offsets[:, None]
  best = wanted.min(axis=0)
  # XLA's own argmin is several times as slow on a CPU.
  number = jnp.arange(len(centroids), dtype=jnp.int32)[:, None]
  codes = jnp.where(wanted == best[None], number, len(centroids) - 1).min(
    axis=0
  )
  distances = best + offsets[codes] + (rows**2).sum(axis=1)
  return codes, jnp.maximum(distances, 0)


def _soft_counts(rows, valid, centroids, offsets, blur):
  """Returns how much of the points each cluster has, blurred, [K]."""
  logits = (offsets[:, None] - squared_distances(rows, centroids)) / blur
  return (jax.nn.softmax(logits, axis=0) * valid[None]).sum(axis=1)


def _means(points, centroids, codes, distances):
  """Returns the mean of each cluster; empty ones go to the worst served."""
  centroids = centroids.copy()
  counts = np.bincount(codes, minlength=len(centroids))
  members = scipy.sparse.csr_array(
    (np.ones_like(distances), (codes, np.arange(len(points)))),
    (len(centroids), len(points)),
  )
  full = counts > 0
  centroids[full] = (members @ points)[full] / counts[full, None]
  if not full.all():
    worst = np.argsort(-distances, kind='stable')[: (~full).sum()]
    worst = worst[distances[worst] > 0]
    centroids[np.flatnonzero(~full)[: len(worst)]] = points[worst]
  return centroids


def _spread_start(points, num_clusters, generator):
  """Picks points far from those picked before them (k-means++).

  Arthur & Vassilvitskii, "k-means++: the advantages of careful seeding", 2007.
  """
  lengths = (points**2).sum(axis=1)
  chosen = [int(generator.integers(len(points)))]
  distances = np.full(len(points), np.inf, np.float32)
  while len(chosen) < num_clusters:
    last = points[chosen[-1:]]
    new = (points @ (-2 * last.T))[:, 0]
    new += (last**2).sum(axis=1)
    new += lengths
    np.minimum(distances, np.maximum(new, 0, out=new), out=distances)
    mass = np.cumsum(distances, dtype=np.float64)
    draw = np.searchsorted(mass, generator.random() * mass[-1], side='right')
    chosen.append(min(int(draw), len(points) - 1))
  return points[chosen]
