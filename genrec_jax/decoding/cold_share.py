"""A share of each list for items that training never saw.

A model gives next to no probability to codes that training never showed below
a prefix, so new items lose to known ones however well their ids were chosen.
TIGER (Rajput et al., "Recommender systems with generative retrieval", 2023,
section 4.3, cold-start recommendation) therefore lets new items into a list of
K by another way than the model's score, at most epsilon * K of them. So does
this, and the way is a second search, in a view of the trie that holds the new
items alone: no beam is lost on a known one, and new items are ranked by what
the model says of them among each other.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Int

from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.decoding.catalogue_views import only_items
from genrec_jax.decoding.recommend import (
  Lists,
  RecommendFn,
  recommend_examples,
)
from genrec_jax.decoding.trie import Trie
from genrec_jax.types import GenrecError


def reserve_places(
  lists: Lists,
  cold_lists: Lists,
  cold_items: Int[np.ndarray, 'C'],
  share: float,
) -> Lists:
  """Returns lists of which a share of the places is for cold items.

  Of the first k entries, for every k, at least floor(share * k) are cold, as
  long as there are cold items to list. One that comes by its own score counts;
  only where it does not is a place given away, so no more than floor(share *
  K) are. With a share of 0.1 these are the places 10, 20, ... at the latest.
  All other entries keep their order and move back. Each entry keeps its own
  score, which in a place that was given away is below those that follow.

  Args:
    lists: of all items, E lists of K.
    cold_lists: of the cold items alone, for the same examples.
    cold_items: the items that training never saw.
    share: of the places, from 0 (`lists` as they are) to 1.

  Raises:
    GenrecError: if the share is no share, or the lists are not of the same
      examples.
  """
  check_share(share)
  if len(lists.items) != len(cold_lists.items):
    raise GenrecError(
      f'Got lists of {len(lists.items)} examples and lists of cold items of'
      f' {len(cold_lists.items)}; expected the same examples.'
    )
  both = [
    np.concatenate([getattr(lists, name), getattr(cold_lists, name)], axis=1)
    for name in ('items', 'scores', 'tokens')
  ]
  num_places = lists.items.shape[1]
  is_cold = np.isin(both[0], cold_items)
  # Where in `both` each entry of the result stands; the last place is none.
  chosen = np.full(lists.items.shape, both[0].shape[1])
  for example, items in enumerate(both[0]):
    ordinary = [p for p in range(num_places) if items[p] >= 0]
    reserved = [p for p in range(num_places, len(items)) if items[p] >= 0]
    listed, num_cold = set(), 0
    for place in range(num_places):
      # So that 0.29 * 100 is 29.
      due = math.floor(share * (place + 1) + 1e-9) > num_cold
      for queue in (reserved, ordinary) if due else (ordinary,):
        while queue and items[queue[0]] in listed:
          queue.pop(0)
        if queue:
          chosen[example, place] = queue.pop(0)
          listed.add(items[chosen[example, place]])
          num_cold += is_cold[example, chosen[example, place]]
          break
  none = (-1, -np.inf, 0)
  padded = [
    np.concatenate([array, np.full_like(array[:, :1], value)], axis=1)
    for array, value in zip(both, none)
  ]
  row = np.arange(len(chosen))[:, None]
  return Lists(*(array[row, chosen] for array in padded))


def recommend_with_share(
  recommend: RecommendFn,
  params: Any,
  examples: TokenExamples,
  *,
  trie: Trie,
  cold_items: Int[np.ndarray, 'C'],
  share: float,
  **settings: Any,
) -> Lists:
  """Returns lists as `recommend_examples`, a share of them cold items.

  Args:
    recommend: from `make_recommend_fn` of the trie.
    params: the model's parameters, on the devices.
    examples: what to recommend for.
    trie: the catalogue, cold items among it.
    cold_items: the items that training never saw.
    share: see `reserve_places`; at 0 nothing is searched a second time.
    **settings: of `recommend_examples`.

  Raises:
    GenrecError: if the share is no share, or there are no cold items.
  """
  check_share(share)
  lists = recommend_examples(recommend, params, examples, **settings)
  if not share:
    return lists
  more = {'trie': trie, 'cold_items': cold_items, **settings}
  cold_lists = recommend_cold(recommend, params, examples, **more)
  return reserve_places(lists, cold_lists, cold_items, share)


def recommend_cold(
  recommend: RecommendFn,
  params: Any,
  examples: TokenExamples,
  *,
  trie: Trie,
  cold_items: Int[np.ndarray, 'C'],
  **settings: Any,
) -> Lists:
  """Returns lists of cold items alone; see `recommend_with_share`.

  Raises:
    GenrecError: if there are none.
  """
  if not len(cold_items):
    raise GenrecError(
      'A cold_share keeps places for items that training never saw, but there'
      ' are none; add some with `genrec add_items` (recommend lists them), hold'
      ' some out with `genrec prepare --cold_items=0.05`, or leave cold_share'
      ' at 0.'
    )
  allowed = np.zeros(1 + max(cold_items), bool)
  allowed[cold_items] = True
  recommend = only_items(recommend, trie, allowed)
  return recommend_examples(recommend, params, examples, **settings)


def check_share(share: float) -> None:
  """Refuses what is no share.

  Raises:
    GenrecError: if it is not from 0 to 1.
  """
  if not 0 <= share <= 1:
    raise GenrecError(
      f'Got cold_share={share}, expected from 0 (no places are kept) to 1 (all'
      ' are); 0.1 keeps one place of ten.'
    )
