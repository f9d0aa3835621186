"""Residual k-means: a level quantizes what the levels before it left over."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from genrec_jax.ids.collisions import POLICIES, resolve_collisions
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.ids.kmeans import balanced_kmeans, kmeans, nearest
from genrec_jax.ids.quantizer import Quantizer
from genrec_jax.ids.svd import item_factors
from genrec_jax.ids.vectors import (
  check_levels,
  vector_facts,
  vectors_for_codes,
)
from genrec_jax.types import unknown_name

RESIDUAL_START_SPREAD = 0.5


def residual_codes(
  vectors: Float[np.ndarray, 'N D'],
  *,
  num_levels: int = 3,
  codebook_size: int = 256,
  num_iterations: int = 50,
  balanced: bool = False,
  seed: int = 0,
  mesh: Mesh | None = None,
) -> tuple[Int[np.ndarray, 'N L'], list[Float[np.ndarray, 'K D']], list[float]]:
  """Quantizes vectors by residual k-means.

  Chen, Guan & Wang, "Approximate nearest neighbor search by residual vector
  quantization", 2010.

  Args:
    vectors: [N, D].
    num_levels: L.
    codebook_size: K.
    num_iterations: of k-means, at most.
    balanced: all codes of a level are to be used much the same number of
      times, over the whole level and not below each prefix.
    seed: of the samples and starts of k-means.
    mesh: the devices; the codes do not depend on them.

  Returns:
    codes: int32 [N, num_levels], not necessarily unique.
    codebooks: `num_levels` arrays of centroids, float32 [codebook_size, D].
    unexplained: the share of the vectors' variance that is left after each
      level.
  """
  check_levels(num_levels, codebook_size)
  residuals = vectors.astype(np.float32)
  variance = ((residuals - residuals.mean(axis=0)) ** 2).sum(axis=1).mean()
  codes, codebooks, unexplained = [], [], []
  for level in range(num_levels):
    offsets = None
    arguments = {
      'num_iterations': num_iterations,
      'seed': seed * 1009 + level,
      'mesh': mesh,
    }
    if balanced:
      codebook, offsets = balanced_kmeans(residuals, codebook_size, **arguments)
    else:
      # Vectors may be in clusters, what is left of them is in none.
      spread = RESIDUAL_START_SPREAD if level else 1.0
      codebook = kmeans(
        residuals, codebook_size, start_spread=spread, **arguments
      )
    codebooks.append(codebook)
    codes.append(nearest(residuals, codebook, offsets, mesh=mesh)[0])
    residuals -= codebook[codes[-1]]
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
  balanced: bool = False,
  collisions: str = 'extra_digit',
  seed: int = 0,
  mesh: Mesh | None = None,
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
    balanced: see `residual_codes`.
    collisions: 'extra_digit', 'nearest_free', 'hungarian' or 'sinkhorn'; see
      `collisions.resolve_collisions`.
    seed: of all that is random.
    mesh: the devices for k-means; the ids do not depend on them.

  Raises:
    GenrecError: if the vectors cannot be used, a level has more codes than
      there are items, or there are more items than ids.
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
  codes, codebooks, unexplained = residual_codes(
    vectors,
    num_levels=num_levels,
    codebook_size=codebook_size,
    num_iterations=num_iterations,
    balanced=balanced,
    seed=seed,
    mesh=mesh,
  )
  codes, sizes, facts = resolve_collisions(
    codes, vectors, codebooks, policy=collisions, seed=seed
  )
  return ItemIds(
    codes=codes,
    codebook_sizes=sizes,
    facts={
      'method': 'residual_kmeans',
      'unexplained_variance': [round(share, 4) for share in unexplained],
      'balanced': balanced,
      **vector_facts(vectors),
      **facts,
    },
    vectors=vectors,
    quantizer=Quantizer(np.stack(codebooks)),
  )
