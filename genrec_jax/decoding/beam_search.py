"""Beam search over the trie.

The model comes in as `tokens_to_logits(tokens [R, T], cache, block) -> (logits
[R, T, W], cache)`: R is a multiple of the batch, row b * M + m being beam m of
request b; T is 1, or more where the next tokens are known; `block` is a range
of tokens whose logits alone are wanted (W of them), or None for all.

A step scores only the children of the nodes that the beams stand on, so every
beam is a prefix of an item, and log-probabilities of the vocabulary are never
written out: the normaliser is subtracted from the few logits that were
gathered.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

from genrec_jax.decoding.constraints import Views, level_filters
from genrec_jax.decoding.level_logits import NORMALIZATIONS, LevelLogits
from genrec_jax.decoding.selection import pad_last, take_along
from genrec_jax.decoding.trie import Trie
from genrec_jax.types import PAD_ID, GenrecError, unknown_name

Cache = Any
TokensToLogits = Callable[
  [jax.Array, Cache, range | None], tuple[jax.Array, Cache]
]

# Leaves of a cache that have no batch dimension, by T5's and T5X's names.
_WITHOUT_BATCH = {'cache_index', 'cached_bias', 'position_embedder_index'}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BeamResult:
  """The best items of each request, best first.

  Where there are fewer items than beams (few items, many excluded) the rest is
  marked: valid False, item -1, score -inf, tokens PAD_ID.
  """

  items: Int32[Array, 'B K']
  scores: Float32[Array, 'B K']
  valid: Bool[Array, 'B K']
  tokens: Int32[Array, 'B K L']


def beam_search(
  trie: Trie,
  tokens_to_logits: TokensToLogits,
  cache: Cache,
  batch_size: int,
  num_beams: int,
  *,
  normalization: str = 'vocabulary',
  exclude: Int32[Array, 'B X'] | None = None,
  views: Views | None = None,
  view: Int32[Array, 'B'] | None = None,
  cache_offset: int = 0,
) -> BeamResult:
  """Finds the `num_beams` best items of each request.

  With at least as many beams as items the result is exact. Equal scores are
  ordered by the items' rows in the trie, so results are deterministic.

  Args:
    trie: the catalogue.
    tokens_to_logits: the model; its rows grow from B to B * K.
    cache: the model's state with B rows; rows are gathered after each step.
    batch_size: the number of requests, B.
    num_beams: K.
    normalization: one of NORMALIZATIONS.
    exclude: items that each request must not get, filled up with -1.
    views: named sets of items, from `constraints.make_views`.
    view: of each request the number of the view it allows, -1 for all items.
    cache_offset: the axis of the cache's leaves that holds the rows (1 where
      layers are scanned).

  Raises:
    GenrecError: if the normalisation is unknown, there are no beams, or the
      model's vocabulary does not hold the trie's tokens.
  """
  if normalization not in NORMALIZATIONS:
    raise unknown_name('normalization', normalization, NORMALIZATIONS)
  if num_beams < 1:
    raise GenrecError(f'Got num_beams={num_beams}, expected at least 1.')
  filters = level_filters(trie, exclude, views, view)

  token_BM = jnp.full((batch_size, 1), PAD_ID, jnp.int32)
  node_BM = jnp.zeros((batch_size, 1), jnp.int32)
  score_BM = jnp.zeros((batch_size, 1), jnp.float32)
  path_BML = jnp.zeros((batch_size, 1, 0), jnp.int32)
  for number, (level, level_filter) in enumerate(zip(trie.levels, filters)):
    logits = None
    if level.alphabet is not None:
      block = _block(level.alphabet, normalization)
      values, cache = tokens_to_logits(token_BM.reshape(-1, 1), cache, block)
      _check_logits(values, trie, block)
      logits = LevelLogits.normalized_over(
        normalization,
        values.reshape(*token_BM.shape, -1),
        level.alphabet,
        is_block=block is not None,
      )
    num_children = min(num_beams, trie.capacities[number + 1])
    score_BM, node_BM, parent_BM, code_BM = level.expand(
      logits, score_BM, node_BM, num_children, level_filter
    )
    if parent_BM is not None:
      path_BML = jnp.take_along_axis(path_BML, parent_BM[..., None], axis=1)
      if number < trie.num_levels - 1:
        cache = reorder_cache(cache, parent_BM, cache_offset)
    if code_BM is not None:
      token_BM = level.alphabet.token(code_BM)
      path_BML = jnp.concatenate([path_BML, token_BM[..., None]], axis=-1)

  # Beams stand in the order of their rows, and `top_k` keeps that of equals.
  score_BK, best_BK = jax.lax.top_k(score_BM, score_BM.shape[1])
  row_BK = pad_last(take_along(node_BM, best_BK), num_beams, 0)
  score_BK = pad_last(score_BK, num_beams, -jnp.inf)
  valid_BK = score_BK > -jnp.inf
  path_BKL = jnp.take_along_axis(
    path_BML, pad_last(best_BK, num_beams, 0)[..., None], axis=1
  )
  item_BK = trie.row_to_item.at[row_BK].get(mode='clip')
  return BeamResult(
    items=jnp.where(valid_BK, item_BK, -1),
    scores=score_BK,
    valid=valid_BK,
    tokens=jnp.where(valid_BK[..., None], path_BKL, PAD_ID),
  )


def _block(alphabet, normalization: str) -> range | None:
  """The tokens whose logits are enough for a level, if that is not all."""
  if normalization == 'vocabulary' or alphabet.num_special:
    return None
  return alphabet.tokens


def _check_logits(values: jax.Array, trie: Trie, block: range | None) -> None:
  size = values.shape[-1]
  if block is None and size < trie.vocab_size:
    raise GenrecError(
      f'The model has {size} tokens, but the ids of the items go up to token'
      f' {trie.vocab_size - 1}; use the ids that the model was trained with.'
    )
  if block is not None and size != len(block):
    raise GenrecError(
      f'tokens_to_logits gave {size} logits for the tokens {block.start} ..'
      f' {block.stop - 1}; expected {len(block)}, one a token.'
    )


def reorder_cache(
  cache: Cache, parent: Int32[Array, 'B K'], cache_offset: int = 0
) -> Cache:
  """Returns the cache of the beams that `parent` names within each request.

  The B * M rows become B * K, so this also expands the beams after the first
  step. Leaves without a batch dimension, known by name, stay.
  """
  batch_size = parent.shape[0]

  def gather(x):
    num_beams = x.shape[0] // batch_size
    row = jnp.arange(batch_size)[:, None] * num_beams + parent
    return x.at[row.reshape(-1)].get(mode='promise_in_bounds')

  for _ in range(cache_offset):
    gather = jax.vmap(gather)

  def reorder(path, leaf):
    names = {getattr(key, 'key', None) for key in path}
    return leaf if names & _WITHOUT_BATCH else gather(leaf)

  return jax.tree_util.tree_map_with_path(reorder, cache)
