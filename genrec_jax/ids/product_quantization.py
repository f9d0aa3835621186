"""Product quantization: each level quantizes a sub-space of its own.

Jégou, Douze & Schmid, "Product quantization for nearest neighbor search",
2011. A learnt rotation shares the variance out among the sub-spaces first: Ge,
He, Ke & Sun, "Optimized product quantization", 2013.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from genrec_jax.ids.collisions import POLICIES, resolve_collisions
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.ids.kmeans import kmeans, lloyd, nearest, sample
from genrec_jax.ids.quantizer import Quantizer
from genrec_jax.ids.svd import item_factors
from genrec_jax.ids.vectors import check_levels, vector_facts, vectors_for_codes
from genrec_jax.types import GenrecError, unknown_name

ROTATIONS = ('none', 'learnt')


@dataclasses.dataclass(frozen=True, eq=False)
class ProductCodes:
  """What product quantization gives.

  Attributes:
    codes: int32 [N, L], not necessarily unique.
    codebooks: one float32 [K, D] a level, zeros outside its sub-space: those
      of an item's codes add up to its rotated vector, as in residual
      quantization. So they can be used in the same ways.
    rotation: float32 [D, D], orthogonal; vectors @ rotation is quantized.
    unexplained: the share of the vectors' variance that is left after each
      level. The sub-space that explains most comes first.
  """

  codes: Int[np.ndarray, 'N L']
  codebooks: list[Float[np.ndarray, 'K D']]
  rotation: Float[np.ndarray, 'D D']
  unexplained: list[float]


def product_codes(
  vectors: Float[np.ndarray, 'N D'],
  *,
  num_levels: int = 4,
  codebook_size: int = 256,
  rotation: str = 'none',
  num_iterations: int = 50,
  num_rotations: int = 20,
  points_per_cluster: int = 256,
  seed: int = 0,
  mesh: Mesh | None = None,
) -> ProductCodes:
  """Quantizes vectors sub-space by sub-space.

  Args:
    vectors: [N, D]; they are centred first.
    num_levels: L sub-spaces, of as equal a width as can be.
    codebook_size: K codes each.
    rotation: 'none', or 'learnt': see `learn_rotation`.
    num_iterations: of k-means, at most.
    num_rotations: for 'learnt' alone; how often the rotation is improved.
    points_per_cluster: codebooks and rotation are fitted to a random sample of
      at most so many vectors a code.
    seed: of the sample and of the starts of k-means.
    mesh: the devices; the codes do not depend on them.

  Raises:
    GenrecError: if there are fewer dimensions than levels.
  """
  check_levels(num_levels, codebook_size)
  if rotation not in ROTATIONS:
    raise unknown_name('rotation', rotation, ROTATIONS)
  dimensions = vectors.shape[1]
  if dimensions < num_levels:
    raise GenrecError(
      f'{num_levels} levels of product quantization need as many dimensions,'
      f' but the vectors have {dimensions}; raise the rank of the item vectors,'
      ' or lower num_levels.'
    )
  mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
  generator = np.random.default_rng(seed)
  points = sample(vectors, codebook_size * points_per_cluster, generator) - mean
  edges = np.linspace(0, dimensions, num_levels + 1).astype(int)
  blocks = [slice(*ends) for ends in zip(edges[:-1], edges[1:])]
  arguments = {
    'codebook_size': codebook_size,
    'num_iterations': num_iterations,
    'seed': seed,
    'mesh': mesh,
  }
  matrix = np.eye(dimensions, dtype=np.float32)
  books = _fit(points, blocks, **arguments)
  if rotation == 'learnt':
    matrix, books = learn_rotation(
      points, blocks, books, num_rotations=num_rotations, **arguments
    )
  turned = (vectors - mean) @ matrix
  variance = float(np.square(turned).sum(dtype=np.float64))
  turned += mean @ matrix
  codes, gains = [], []
  for block, book in zip(blocks, books):
    centre = (mean @ matrix)[block]
    part = np.ascontiguousarray(turned[:, block])
    column, distances = nearest(part, book + centre, mesh=mesh)
    spread = np.square(part - centre).sum(dtype=np.float64)
    gains.append(float(spread - distances.sum(dtype=np.float64)))
    codes.append(column)
  order = np.argsort(gains, kind='stable')[::-1]
  codebooks = []
  for level in order:
    book = np.zeros((codebook_size, dimensions), np.float32)
    block = blocks[level]
    book[:, block] = books[level] + (mean @ matrix)[block]
    codebooks.append(book)
  explained = np.cumsum([gains[level] for level in order])
  return ProductCodes(
    codes=np.stack([codes[level] for level in order], axis=1),
    codebooks=codebooks,
    rotation=matrix,
    unexplained=[
      float(1 - gain / variance) if variance > 0 else 0.0 for gain in explained
    ],
  )


def learn_rotation(
  points: Float[np.ndarray, 'n D'],
  blocks: list[slice],
  books: list[Float[np.ndarray, 'K ?']],
  *,
  num_rotations: int,
  codebook_size: int,
  num_iterations: int,
  seed: int,
  mesh: Mesh | None = None,
) -> tuple[Float[np.ndarray, 'D D'], list[Float[np.ndarray, 'K ?']]]:
  """Finds a rotation under which product quantization loses less.

  Starts from no rotation, or from the principal axes dealt out so that the
  sub-spaces have equal products of variances (eigenvalue allocation, section
  3.2 of the paper), whichever is better; then quantizes and rotates in turn,
  each step the best for the other's outcome (section 3.1; the rotation is that
  of the orthogonal Procrustes problem, Schönemann 1966). So on these points
  the error is never above that without rotation.

  Args:
    points: what to fit to, centred.
    blocks: the sub-spaces.
    books: their codebooks without a rotation.
    num_rotations: how often.
    codebook_size: K.
    num_iterations: of k-means at the start and at the end, at most.
    seed: of the starts of k-means.
    mesh: the devices.

  Returns:
    The rotation and the codebooks under it.
  """
  matrix = np.eye(points.shape[1], dtype=np.float32)
  other = _eigenvalue_allocation(points, blocks)
  others = _fit(
    points @ other,
    blocks,
    codebook_size=codebook_size,
    num_iterations=num_iterations,
    seed=seed,
    mesh=mesh,
  )
  errors = [
    np.square(turned - _rebuilt(turned, blocks, some, mesh)).sum()
    for turned, some in ((points, books), (points @ other, others))
  ]
  if errors[1] < errors[0]:
    matrix, books = other, others
  for _ in range(num_rotations):
    rebuilt = _rebuilt(points @ matrix, blocks, books, mesh)
    left, _, right = np.linalg.svd((points.T @ rebuilt).astype(np.float64))
    matrix = (left @ right).astype(np.float32)
    books = _refit(points @ matrix, blocks, books, 2, mesh)
  return matrix, _refit(points @ matrix, blocks, books, num_iterations, mesh)


def product_quantization(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_users: int,
  num_items: int,
  *,
  item_vectors: Callable[..., Float[np.ndarray, 'N D']] = item_factors,
  num_levels: int = 4,
  codebook_size: int = 256,
  rotation: str = 'none',
  num_iterations: int = 50,
  num_rotations: int = 20,
  collisions: str = 'extra_digit',
  seed: int = 0,
  mesh: Mesh | None = None,
) -> ItemIds:
  """Makes ids by product quantization of item vectors.

  Args:
    user: the user of each train interaction.
    item: its item.
    num_users: U.
    num_items: N.
    item_vectors: what makes the vectors; called with the four arguments before
      it and `seed`.
    num_levels: sub-spaces, a code each, before a digit that parts colliding
      items.
    codebook_size: codes a level.
    rotation: 'none' or 'learnt' (optimised product quantization).
    num_iterations: of k-means, at most.
    num_rotations: how often a learnt rotation is improved.
    collisions: see `collisions.resolve_collisions`.
    seed: of all that is random.
    mesh: the devices for k-means; the ids do not depend on them.

  Raises:
    GenrecError: if the vectors cannot be used or have fewer dimensions than
      there are levels, a level has more codes than there are items, or there
      are more items than ids.
  """
  if collisions not in POLICIES:
    raise unknown_name('way to resolve collisions', collisions, POLICIES)
  vectors = vectors_for_codes(
    item_vectors,
    user,
    item,
    num_users,
    num_items,
    num_levels=num_levels,
    codebook_size=codebook_size,
    seed=seed,
  )
  quantized = product_codes(
    vectors,
    num_levels=num_levels,
    codebook_size=codebook_size,
    rotation=rotation,
    num_iterations=num_iterations,
    num_rotations=num_rotations,
    seed=seed,
    mesh=mesh,
  )
  codes, sizes, facts = resolve_collisions(
    quantized.codes,
    vectors @ quantized.rotation,
    quantized.codebooks,
    policy=collisions,
    seed=seed,
  )
  return ItemIds(
    codes=codes,
    codebook_sizes=sizes,
    facts={
      'method': 'product_quantization',
      'rotation': rotation,
      'unexplained_variance': [round(x, 4) for x in quantized.unexplained],
      **vector_facts(vectors),
      **facts,
    },
    vectors=vectors,
    quantizer=Quantizer(
      np.stack(quantized.codebooks),
      [(quantized.rotation, np.zeros(vectors.shape[1], np.float32))],
    ),
  )


def _fit(points, blocks, *, codebook_size, num_iterations, seed, mesh):
  return [
    kmeans(
      points[:, block],
      codebook_size,
      num_iterations=num_iterations,
      seed=seed * 1009 + level,
      mesh=mesh,
    )
    for level, block in enumerate(blocks)
  ]


def _refit(points, blocks, books, num_iterations, mesh):
  return [
    lloyd(
      np.ascontiguousarray(points[:, block]),
      book,
      num_iterations=num_iterations,
      mesh=mesh,
    )
    for block, book in zip(blocks, books)
  ]


def _rebuilt(points, blocks, books, mesh):
  parts = []
  for block, book in zip(blocks, books):
    codes, _ = nearest(np.ascontiguousarray(points[:, block]), book, mesh=mesh)
    parts.append(book[codes])
  return np.concatenate(parts, axis=1)


def _eigenvalue_allocation(points, blocks):
  """Returns principal axes [D, D], dealt out to blocks of equal products.

  The largest axis left goes to the block whose product of variances is the
  smallest and that has room.
  """
  covariance = points.T.astype(np.float64) @ points / len(points)
  values, axes = np.linalg.eigh(covariance)
  values = np.log(np.maximum(values, max(values[-1] * 1e-10, 1e-300)))
  values -= values.min()  # so that a product grows with every axis
  room = [block.stop - block.start for block in blocks]
  columns = [[] for _ in blocks]
  product = np.zeros(len(blocks))
  for axis in np.argsort(-values, kind='stable'):
    taker = min(
      (n for n in range(len(blocks)) if len(columns[n]) < room[n]),
      key=lambda n: (product[n], n),
    )
    columns[taker].append(axis)
    product[taker] += values[axis]
  return axes[:, np.concatenate(columns).astype(int)].astype(np.float32)
