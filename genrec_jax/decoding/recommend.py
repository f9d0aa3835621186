"""Model and trie together: from token examples to ranked lists."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, Int32

from genrec_jax.data.token_cache import Ragged, TokenCache, TokenExamples
from genrec_jax.decoding.beam_search import BeamResult, beam_search
from genrec_jax.decoding.examples import PlaceFn, map_examples
from genrec_jax.decoding.trie import Trie
from genrec_jax.decoding.trie_builder import build_trie
from genrec_jax.ids.item_ids import TokenLayout

# What a search reads of a batch; the last two are of decoding/block_states.py.
INPUTS = ('encoder_input_tokens', 'block_table', 'block_rows')
# (params, batch, exclude [B, X], views, view [B]) -> BeamResult; the last three
# may be left out.
RecommendFn = Callable[..., BeamResult]


@dataclasses.dataclass(frozen=True, eq=False)
class Lists:
  """The ranked items of E examples, best first.

  As in `BeamResult`: where there is no item, -1, -inf and PAD_ID.
  """

  items: Int32[np.ndarray, 'E K']
  scores: Float32[np.ndarray, 'E K']
  tokens: Int32[np.ndarray, 'E K L']


def make_recommend_fn(
  model,
  trie: Trie,
  *,
  num_beams: int,
  normalization: str = 'vocabulary',
) -> RecommendFn:
  """Returns the jitted function from a batch to its best items.

  It compiles once a shape of inputs: other parameters, histories, excluded
  items or views do not recompile it, nor does asking for it again with the same
  model, nor another trie of the same shapes (decoding/live_catalogue.py).

  Args:
    model: has `start_decoding`, see models/encoder_decoder.py.
    trie: the catalogue.
    num_beams: the number of items that are returned, K.
    normalization: what a score is, see decoding/level_logits.py.

  Returns:
    recommend(params, batch, exclude=None, views=None, view=None), the last
    three as for `beam_search`.
  """

  search = functools.partial(
    _search, model=model, num_beams=num_beams, normalization=normalization
  )

  def recommend(params, batch, exclude=None, views=None, view=None):
    filters = {'exclude': exclude, 'views': views, 'view': view}
    inputs = {name: batch[name] for name in INPUTS if name in batch}
    return search(params, trie, inputs, filters)

  return recommend


@functools.partial(
  jax.jit, static_argnames=('model', 'num_beams', 'normalization')
)
def _search(
  params,
  trie,
  inputs,
  filters,
  *,
  model,
  num_beams,
  normalization,
) -> BeamResult:
  features = {'encoder_input_tokens': inputs['encoder_input_tokens']}
  if 'block_table' in inputs:
    features['block_states'] = inputs['block_table'][inputs['block_rows']]
  tokens_to_logits, cache = model.start_decoding(params, features)
  return beam_search(
    trie,
    tokens_to_logits,
    cache,
    inputs['encoder_input_tokens'].shape[0],
    num_beams,
    normalization=normalization,
    **filters,
  )


def lower_search(
  model,
  params,
  trie: Trie,
  inputs: Mapping[str, Any],
  *,
  exclude=None,
  num_beams: int,
  normalization: str = 'vocabulary',
) -> jax.stages.Lowered:
  """Returns the program of `make_recommend_fn`'s function, to be looked at.

  Args:
    model: the model class.
    params: its parameters, or their shapes.
    trie: the catalogue.
    inputs: of INPUTS, arrays or their shapes.
    exclude: int32 [B, X], or its shape.
    num_beams: K.
    normalization: what a score is.
  """
  filters = {'exclude': exclude, 'views': None, 'view': None}
  return _search.lower(
    params,
    trie,
    inputs,
    filters,
    model=model,
    num_beams=num_beams,
    normalization=normalization,
  )


def recommend_examples(
  recommend: RecommendFn,
  params: Any,
  examples: TokenExamples,
  *,
  batch_size: int,
  exclude_seen: bool = True,
  num_buckets: int = 5,
  place: PlaceFn = dict,
) -> Lists:
  """Returns the lists of all examples, decoded in buckets of like length.

  With several processes each feeds its share of the rows and gets all lists.

  Args:
    recommend: from `make_recommend_fn`.
    params: the model's parameters, on the devices.
    examples: what to recommend for, E of them.
    batch_size: rows of a batch over all processes, B.
    exclude_seen: whether the items of a history are excluded.
    num_buckets: the most input lengths that are compiled.
    place: puts a batch on the devices; by default where JAX puts it.

  Raises:
    GenrecError: if there are no examples.
  """

  def search(features):
    features = dict(features)
    return recommend(params, features, features.pop('exclude', None))

  def seen(index):
    if not exclude_seen:
      return {}
    return {'exclude': seen_items(examples.history, index)}

  result = map_examples(
    search,
    examples,
    batch_size=batch_size,
    more=seen,
    num_buckets=num_buckets,
    place=place,
  )
  return Lists(result.items, result.scores, result.tokens)


def trie_of_tokens(cache: TokenCache) -> Trie:
  """Returns the trie of the items of a token cache."""
  layout = TokenLayout.from_dict(cache.layout)
  return build_trie(cache.item_tokens, blocks=layout.item_blocks)


def take_examples(
  examples: TokenExamples, rows: Sequence[int]
) -> TokenExamples:
  """Returns the examples of these numbers, in this order."""

  def take(array):
    if isinstance(array, Ragged):
      return Ragged.from_rows([array[row] for row in rows])
    return array[np.asarray(rows, np.int64)]

  return TokenExamples(
    **{
      field.name: take(getattr(examples, field.name))
      for field in dataclasses.fields(examples)
    }
  )


def seen_items(
  history: Ragged, rows: Sequence[int], *, least: int = 8
) -> Int32[np.ndarray, 'B X']:
  """Returns the items of histories, filled up with -1; row -1 has none.

  The width is that of the longest history of all, rounded up to a power of
  two, and at least `least`: one compilation for all batches, and for most
  other data.
  """
  rows = np.asarray(rows)
  longest = max(least, int(history.lengths.max(initial=1)))
  items = history.padded(rows, 1 << (longest - 1).bit_length())
  lengths = np.where(rows < 0, 0, history.lengths[rows])
  items[np.arange(items.shape[1]) >= lengths[:, None]] = -1
  return items
