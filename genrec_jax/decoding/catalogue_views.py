"""Lists of a part of the catalogue: one view for all requests, or one each.

Other items are never followed in the trie, so that a list is full as long as
the part has items enough: nothing is ranked first and thrown away after.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Integer

from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.decoding.constraints import make_views
from genrec_jax.decoding.examples import PlaceFn, map_examples
from genrec_jax.decoding.recommend import Lists, RecommendFn, seen_items
from genrec_jax.decoding.trie import Trie
from genrec_jax.types import GenrecError

VIEWS_AT_ONCE = 64  # bounds their memory: two bits a node and view, or more


def only_items(
  recommend: RecommendFn, trie: Trie, allowed: Bool[np.ndarray, 'N']
) -> RecommendFn:
  """Returns the function that recommends none but these items.

  Args:
    recommend: from `make_recommend_fn`, for this trie.
    trie: the catalogue.
    allowed: of each item; those past its end are not.

  Raises:
    GenrecError: at a call, if it comes with views of its own.
  """
  own = make_views(trie, allowed[None])

  def recommend_allowed(params, batch, exclude=None, views=None, view=None):
    if views is not None or view is not None:
      raise GenrecError(
        'Lists are of one view of the catalogue at a time: leave out the filter'
        ' (only, cheaper_than) or cold_share.'
      )
    first = np.zeros(len(batch['encoder_input_tokens']), np.int32)
    return recommend(params, batch, exclude, own, first)

  return recommend_allowed


def recommend_wished(
  recommend: RecommendFn,
  params: Any,
  examples: TokenExamples,
  *,
  trie: Trie,
  has: Bool[np.ndarray, 'A N'],
  wish: Integer[np.ndarray, 'E'],
  batch_size: int,
  exclude_seen: bool = True,
  num_buckets: int = 5,
  place: PlaceFn = dict,
) -> Lists:
  """Returns lists in which each example gets what it wishes for alone.

  Args:
    recommend: from `make_recommend_fn`, for this trie.
    params: the model's parameters, on the devices.
    examples: E of them.
    trie: the catalogue.
    has: of each of A wishes, which items meet it; A is up to VIEWS_AT_ONCE.
    wish: of each example, a row of `has`; -1 for all items.
    batch_size: rows of a batch.
    exclude_seen: whether the items of a history are excluded.
    num_buckets: the most input lengths that are compiled.
    place: puts a batch on the devices.

  Raises:
    GenrecError: if there are no examples, or too many wishes at once.
  """
  if len(has) > VIEWS_AT_ONCE:
    raise GenrecError(
      f'Got {len(has)} views of the catalogue, expected {VIEWS_AT_ONCE} at'
      ' most; take the examples in several parts.'
    )
  views = make_views(trie, has)

  def search(features):
    return recommend(
      params,
      features,
      features.get('exclude'),
      views,
      features['view'],
    )

  def more(index):
    features = {'view': np.where(index < 0, -1, wish[index]).astype(np.int32)}
    if exclude_seen:
      features['exclude'] = seen_items(examples.history, index)
    return features

  found = map_examples(
    search,
    examples,
    batch_size=batch_size,
    more=more,
    num_buckets=num_buckets,
    place=place,
  )
  return Lists(found.items, found.scores, found.tokens)
