"""Ids that need no model: random, atomic, sequential, hybrid, and shuffled."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Int

from genrec_jax.ids.collisions import extra_digit
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.ids.residual_quantization import residual_kmeans
from genrec_jax.ids.vectors import VectorSource, check_vectors, vector_facts
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
  item_vectors: VectorSource | None = None,
  seed: int = 0,
) -> ItemIds:
  """Gives each item a token of its own, in a seeded order.

  Row numbers would do, but they follow the source and so know the future.

  Args:
    user: the user of each train interaction.
    item: its item.
    num_users: U.
    num_items: N.
    item_vectors: kept beside the codes, which do not depend on them: for a
      model that starts from them, and for maps; None for none.
    seed: of the order, and of the vectors.

  Raises:
    GenrecError: if the vectors are not one row of numbers an item.
  """
  facts: dict[str, Any] = {'method': 'atomic_ids'}
  vectors = None
  if item_vectors is not None:
    vectors = item_vectors(user, item, num_users, num_items, seed=seed)
    check_vectors(vectors, num_items)
    facts |= vector_facts(vectors)
  codes = np.random.default_rng(seed).permutation(num_items)
  return ItemIds(
    codes=codes[:, None],
    codebook_sizes=(num_items,),
    facts=facts,
    vectors=vectors,
  )


def sequential_ids(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_users: int,
  num_items: int,
  *,
  codebook_size: int = 256,
  allow_leaky: bool = False,
  seed: int = 0,
) -> ItemIds:
  """Numbers items in the order in which the interactions come; for audits.

  Geng et al., "Recommendation as language processing (P5)", 2022, number items
  user by user, so that consecutive items of a history have consecutive
  numbers. Where the sequences hold the test items, as theirs did, the number
  of a test item can be read off the item before it. Train interactions alone
  do not show that, but items only seen in a test are then all numbered last.
  So these ids are refused, but where their effect is what is asked for.

  Args:
    user: the user of each interaction.
    item: its item, in chronological order within a user.
    num_users: not looked at.
    num_items: N.
    codebook_size: the base in which numbers are written, the first digit first.
    allow_leaky: to have them all the same.
    seed: of the order of the items without an interaction, which come last.

  Raises:
    GenrecError: unless `allow_leaky`.
  """
  del num_users
  if not allow_leaky:
    raise GenrecError(
      'sequential_ids number items along the sequences that are to be'
      ' predicted, and so leak what comes next; expected an audit of that leak.'
      ' Set sequential_ids.allow_leaky = True for one (in a command:'
      ' --gin_file=ids/sequential_ids.gin --gin.ALLOW_LEAKY=True), and use'
      ' atomic_ids or random_ids otherwise.'
    )
  if codebook_size < 2:
    raise GenrecError(
      f'Got codebook_size={codebook_size}; expected a base of at least 2.'
    )
  by_user = item[np.argsort(user, kind='stable')]
  seen, first = np.unique(by_user, return_index=True)
  place = np.full(num_items, len(item))
  place[seen] = first
  chance = np.random.default_rng(seed).permutation(num_items)
  number = np.empty(num_items, np.int64)
  number[np.lexsort((chance, place))] = np.arange(num_items)
  num_levels = 1
  while codebook_size**num_levels < num_items:
    num_levels += 1
  sizes = (codebook_size,) * num_levels
  return ItemIds(
    codes=np.stack(np.unravel_index(number, sizes), axis=1),
    codebook_sizes=sizes,
    facts={'method': 'sequential_ids', 'leaky': True},
  )


def hybrid_ids(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_users: int,
  num_items: int,
  *,
  shared: Callable[..., ItemIds] = residual_kmeans,
  num_shared: int = 2,
  last: Callable[..., ItemIds] | None = atomic_ids,
  seed: int = 0,
) -> ItemIds:
  """Joins the leading codes of one method to the codes of another.

  Hua et al., "How to index item IDs for recommendation foundation models",
  2023: collaborative or semantic codes say what an item is like,
  and a last token that no other item has (CID+IID) makes it unique.

  Args:
    user: the user of each train interaction.
    item: its item.
    num_users: U.
    num_items: N.
    shared: the method of the leading codes.
    num_shared: how many of its codes to take.
    last: the method of the codes after them; None numbers the items that share
      all the leading ones.
    seed: of both.

  Raises:
    GenrecError: if the leading codes are fewer than `num_shared`.
  """
  arguments = (user, item, num_users, num_items)
  leading = shared(*arguments, seed=seed)
  codes = leading.codes[:, :num_shared]
  if not 1 <= num_shared <= leading.num_levels or (codes < 0).any():
    lengths = (leading.codes >= 0).sum(axis=1)
    raise GenrecError(
      f'num_shared={num_shared} codes were asked of ids that have'
      f' {lengths.min()} to {lengths.max()}; expected between 1 and'
      f' {lengths.min()}.'
    )
  sizes = leading.codebook_sizes[:num_shared]
  if last is None:
    codes, sizes = extra_digit(codes, sizes, seed=seed)
    own = {'method': 'extra_digit'}
  else:
    ending = last(*arguments, seed=seed)
    codes = np.concatenate([codes, ending.codes], axis=1)
    sizes = (*sizes, *ending.codebook_sizes)
    own = dict(ending.facts)
  return ItemIds(
    codes=codes,
    codebook_sizes=sizes,
    facts={
      'method': 'hybrid_ids',
      'num_shared': num_shared,
      'shared': dict(leading.facts),
      'last': own,
    },
    vectors=leading.vectors,
  )


def shuffle_ids(ids: ItemIds, *, seed: int = 0) -> ItemIds:
  """Deals the same ids out to other items: the shuffled-id control.

  The tree of codes stays as it is, what it says about the items is gone: the
  difference that this makes is what the ids contribute.
  """
  order = np.random.default_rng(seed).permutation(ids.num_items)
  return dataclasses.replace(
    ids,
    codes=ids.codes[order],
    facts={**ids.facts, 'shuffled': True},
    quantizer=None,
  )
