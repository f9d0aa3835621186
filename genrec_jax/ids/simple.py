"""Ids that know nothing: random, atomic, and shuffled ids as a control."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Int

from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.types import GenrecError


def random_ids(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_users: int,
  num_items: int,
  *,
  num_levels: int = 3,
  codebook_size: int = 256,
  seed: int = 0,
) -> ItemIds:
  """Draws unique codes at random; the interactions are not looked at.

  Raises:
    GenrecError: if there are more items than codes.
  """
  del user, item, num_users
  sizes = (codebook_size,) * num_levels
  total = math.prod(sizes)
  if not num_items <= total < 2**63:
    raise GenrecError(
      f'{num_levels} levels of {codebook_size} codes make {total} ids; expected'
      f' at least the {num_items} items and less than 2^63. Change num_levels'
      ' or codebook_size.'
    )
  numbers = np.random.default_rng(seed).choice(total, num_items, replace=False)
  codes = np.stack(np.unravel_index(numbers, sizes), axis=1)
  return ItemIds(
    codes=codes, codebook_sizes=sizes, facts={'method': 'random_ids'}
  )


def atomic_ids(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_users: int,
  num_items: int,
  *,
  seed: int = 0,
) -> ItemIds:
  """Gives each item a token of its own, in a seeded order.

  Row numbers would do, but they follow the source and so know the future.
  """
  del user, item, num_users
  codes = np.random.default_rng(seed).permutation(num_items)
  return ItemIds(
    codes=codes[:, None],
    codebook_sizes=(num_items,),
    facts={'method': 'atomic_ids'},
  )


def shuffle_ids(ids: ItemIds, *, seed: int = 0) -> ItemIds:
  """Deals the same ids out to other items: the shuffled-id control.

  The tree of codes stays as it is, what it says about the items is gone: the
  difference that this makes is what the ids contribute.
  """
  order = np.random.default_rng(seed).permutation(ids.num_items)
  return dataclasses.replace(
    ids, codes=ids.codes[order], facts={**ids.facts, 'shuffled': True}
  )
