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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

from genrec_jax.decoding.constraints import Views
from genrec_jax.decoding.level_logits import NORMALIZATIONS, LevelLogits
from genrec_jax.decoding.selection import pad_last, take_along
from genrec_jax.decoding.sharded_trie import ShardedTrie
from genrec_jax.decoding.trie import Trie
from genrec_jax.types import PAD_ID, GenrecError, unknown_name

Cache = Any
TokensToLogits = Callable[
  [jax.Array, Cache, range | None], tuple[jax.Array, Cache]
]

# Known tails are scored one by one where their logits would be more.
MOST_TAIL_LOGITS = 2**28

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
  trie: Trie | ShardedTrie,
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
  force_tails: bool = True,
) -> BeamResult:
  """Finds the `num_beams` best items of each request.

  With at least as many beams as items the result is exact. Equal scores are
  ordered by the items' rows in the trie, so results are deterministic.

  Args:
    trie: the catalogue, whole or cut over a mesh.
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
    force_tails: whether all that is left may be scored in one call when each
      beam has one item left; for models that take several tokens.

  Raises:
    GenrecError: if the normalisation is unknown, there are no beams, or the
      model's vocabulary does not hold the trie's tokens.
  """
  if normalization not in NORMALIZATIONS:
    raise unknown_name('normalization', normalization, NORMALIZATIONS)
  if num_beams < 1:
    raise GenrecError(f'Got num_beams={num_beams}, expected at least 1.')
  search = _Search(
    trie,
    tokens_to_logits,
    num_beams,
    normalization,
    trie.filters(exclude, views, view),
    cache_offset,
  )
  state = _State(
    score=jnp.zeros((batch_size, 1), jnp.float32),
    node=jnp.zeros((batch_size, 1), jnp.int32),
    path=jnp.zeros((batch_size, 1, 0), jnp.int32),
    token=jnp.full((batch_size, 1), PAD_ID, jnp.int32),
    cache=cache,
  )
  if force_tails and _tails_fit(trie, batch_size * num_beams):
    state = search.steps(state, 0, trie.tail_depth)
    score_BM, row_BM, path_BML = search.finish(state, trie.tail_depth)
  else:
    score_BM, row_BM, path_BML = search.steps(state, 0, len(trie.levels))[:3]

  # Beams stand in the order of their rows, and `top_k` keeps that of equals.
  score_BK, best_BK = jax.lax.top_k(score_BM, score_BM.shape[1])
  row_BK = pad_last(take_along(row_BM, best_BK), num_beams, 0)
  score_BK = pad_last(score_BK, num_beams, -jnp.inf)
  valid_BK = score_BK > -jnp.inf
  path_BKL = jnp.take_along_axis(
    path_BML, pad_last(best_BK, num_beams, 0)[..., None], axis=1
  )
  return BeamResult(
    items=jnp.where(valid_BK, trie.items(row_BK), -1),
    scores=score_BK,
    valid=valid_BK,
    tokens=jnp.where(valid_BK[..., None], path_BKL, PAD_ID),
  )


def _tails_fit(trie: Trie | ShardedTrie, num_rows: int) -> bool:
  if trie.tail_depth is None:
    return False
  length = trie.num_levels - trie.tail_depth
  return num_rows * length * trie.vocab_size <= MOST_TAIL_LOGITS


class _State(NamedTuple):
  """The beams of all requests, in the order of their nodes."""

  score: Float32[Array, 'B M']
  node: Int32[Array, 'B M']
  path: Int32[Array, 'B M depth']
  token: Int32[Array, 'B M']
  cache: Cache


@dataclasses.dataclass(frozen=True)
class _Search:
  """What stays the same during a search."""

  trie: Trie | ShardedTrie
  tokens_to_logits: TokensToLogits
  num_beams: int
  normalization: str
  filters: tuple
  cache_offset: int

  def steps(self, state: _State, first: int, last: int) -> _State:
    """Goes down from depth `first` to depth `last`."""
    for number in range(first, last):
      state = self._step(state, number)
    return state

  def _step(self, state: _State, number: int) -> _State:
    alphabet = self.trie.levels[number].alphabet
    cache, logits = state.cache, None
    if alphabet is not None:
      block = _block(alphabet, self.normalization)
      values, cache = self.tokens_to_logits(
        state.token.reshape(-1, 1), cache, block
      )
      logits = self._level_logits(values, alphabet, state.token.shape[0], block)
    score, node, parent, code = self.trie.expand(
      number,
      logits,
      state.score,
      state.node,
      min(self.num_beams, self.trie.capacities[number + 1]),
      self.filters[number],
    )
    path, token = state.path, state.token
    if parent is not None:
      path = jnp.take_along_axis(path, parent[..., None], axis=1)
      if number < self.trie.num_levels - 1:
        cache = reorder_cache(cache, parent, self.cache_offset)
    if code is not None:
      token = alphabet.token(code)
      path = jnp.concatenate([path, token[..., None]], axis=-1)
    return _State(score, node, path, token, cache)

  def finish(self, state: _State, depth: int):
    """Returns scores, rows and tokens of the beams at the end of their way.

    Where each beam has one item left, what follows is known, and one call of
    the model scores all of it.
    """
    first_BM, end_BM = self.trie.leaf_range(depth, state.node)
    forced_BM = (end_BM - first_BM == 1) | (state.score == -jnp.inf)

    def padded(score, row, path):
      missing = ((0, 0), (0, self.num_beams - score.shape[1]))
      return (
        jnp.pad(score, missing, constant_values=-jnp.inf),
        jnp.pad(row, missing),
        jnp.pad(path, (*missing, (0, 0))),
      )

    def step_on(state):
      return padded(*self.steps(state, depth, len(self.trie.levels))[:3])

    def score_tails(state):
      return padded(*self._tails(state, depth))

    return jax.lax.cond(forced_BM.all(), score_tails, step_on, state)

  def _tails(self, state: _State, depth: int):
    node, codes, tokens = state.node, [], []
    for level in self.trie.levels[depth:]:
      child = level.ranges.start(node)
      if level.alphabet is not None:
        codes.append(level.child_code(child, node))
        tokens.append(level.alphabet.token(codes[-1]))
      node = child
    known_BMT = jnp.stack([state.token, *tokens], axis=-1)
    score = state.score
    if self.normalization != 'children':  # an only child is certain
      values, _ = self.tokens_to_logits(
        known_BMT[..., :-1].reshape(-1, len(tokens)), state.cache, None
      )
      for place, code in enumerate(codes):
        alphabet = self.trie.levels[depth + place].alphabet
        logits = self._level_logits(
          values[:, place : place + 1], alphabet, node.shape[0], None
        )
        score = logits.base(score) + logits.of_codes(code[..., None])[..., 0]
    return score, node, jnp.concatenate([state.path, known_BMT[..., 1:]], -1)

  def _level_logits(self, values, alphabet, batch_size, block) -> LevelLogits:
    _check_logits(values, self.trie, block)
    return LevelLogits.normalized_over(
      self.normalization,
      values.reshape(batch_size, -1, values.shape[-1]),
      alphabet,
      is_block=block is not None,
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
