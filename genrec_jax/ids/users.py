"""User codes: a few tokens that say who is asking, shared by like users."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.ids.residual_quantization import (
  residual_codes,
  residual_kmeans,
)
from genrec_jax.ids.svd import item_factors
from genrec_jax.types import GenrecError


def hashed_users(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_users: int,
  num_items: int,
  *,
  num_codes: int = 2000,
  seed: int = 0,
) -> tuple[Int[np.ndarray, 'U 1'], tuple[int, ...]]:
  """Hashes users into buckets, as TIGER does; nothing is known about them.

  The hash (splitmix64 of user number and seed) does not depend on how many
  users there are, so that users who come later do not move the others.

  Returns:
    codes: int32 [U, 1].
    sizes: (num_codes,).

  Raises:
    GenrecError: if there is no bucket.
  """
  if num_codes < 1:
    raise GenrecError(
      f'Got num_codes={num_codes} buckets for {num_users} users; expected at'
      ' least 1.'
    )
  del user, item, num_items
  step = np.uint64(0x9E3779B97F4A7C15)
  mixed = np.arange(1, num_users + 1, dtype=np.uint64)
  mixed = (mixed + (np.uint64(seed) << np.uint64(32))) * step
  for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
    mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
  mixed ^= mixed >> np.uint64(31)
  codes = (mixed % np.uint64(num_codes)).astype(np.int32)
  return codes[:, None], (num_codes,)


def svd_users(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_users: int,
  num_items: int,
  *,
  item_vectors: Callable[..., Float[np.ndarray, 'N D']] = item_factors,
  num_levels: int = 1,
  codebook_size: int = 256,
  seed: int = 0,
) -> tuple[Int[np.ndarray, 'U L'], tuple[int, ...]]:
  """Quantizes users by residual k-means over the mean of their items' factors.

  Users without a train interaction have the zero vector.

  Returns:
    codes: int32 [U, num_levels].
    sizes: `num_levels` times `codebook_size`.
  """
  vectors = item_vectors(user, item, num_users, num_items, seed=seed)
  counts = np.bincount(user, minlength=num_users)
  weights = (1 / counts[user]).astype(np.float32)
  mean = scipy.sparse.csr_array((weights, (user, item)), (num_users, num_items))
  codes, _, _ = residual_codes(
    mean @ vectors,
    num_levels=num_levels,
    codebook_size=codebook_size,
    seed=seed,
  )
  return codes, (codebook_size,) * num_levels


def users_as_items(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_users: int,
  num_items: int,
  *,
  method: Callable[..., ItemIds] = residual_kmeans,
  num_levels: int | None = None,
  seed: int = 0,
) -> tuple[Int[np.ndarray, 'U L'], tuple[int, ...]]:
  """Makes user codes by a method for items, users and items changing places.

  An "item" is then a user and its "history" the users who took one item, in
  the order of the rows and not of time: methods that look at the order of a
  history, as a co-occurrence window does, are of no use here.

  Args:
    user: the user of each train interaction.
    item: its item.
    num_users: U.
    num_items: N.
    method: what makes ids of items; called with `item` as the users.
    num_levels: how many of its codes to keep; users may share them. None
      keeps all, by which no two users are the same.
    seed: of the method.

  Returns:
    codes: int32 [U, L].
    sizes: of the codebooks.

  Raises:
    GenrecError: if the codes that are kept differ in number between users.
  """
  ids = method(item, user, num_items, num_users, seed=seed)
  codes = ids.codes[:, :num_levels]
  lengths = (ids.codes >= 0).sum(axis=1)
  kept = ids.num_levels if num_levels is None else num_levels
  if not 1 <= kept <= lengths.min():
    raise GenrecError(
      f'{kept} codes a user were asked of ids that have {lengths.min()} to'
      f' {lengths.max()}; set num_levels between 1 and {lengths.min()}.'
    )
  return codes, ids.codebook_sizes[:num_levels]
