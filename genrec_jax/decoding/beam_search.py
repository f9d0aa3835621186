"""Beam search over the trie, and the exact scores it must agree with.

The model comes in as `tokens_to_logits(token [R, 1], cache) -> (logits [R, V],
cache)`: R is a multiple of the batch, row b * M + m being beam m of request b.
A step scores only the children of the nodes that the beams stand on, so every
beam is a prefix of an item, and log-probabilities of the vocabulary are never
written out: the normaliser is subtracted from the few logits that were
gathered.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int32

from genrec_jax.decoding import constraints
from genrec_jax.decoding.trie import Trie
from genrec_jax.types import PAD_ID, GenrecError, unknown_name

Cache = Any
TokensToLogits = Callable[[jax.Array, Cache], tuple[jax.Array, Cache]]

# What a score is: the log-probability of an item's tokens among
#   vocabulary  all tokens (the model's own log-probability),
#   level       the tokens that items have at this place,
#   children    the tokens that may follow the prefix.
NORMALIZATIONS = ('vocabulary', 'level', 'children')

# Leaves of a cache that have no batch dimension, by T5's and T5X's names.
_WITHOUT_BATCH = {'cache_index', 'cached_bias', 'position_embedder_index'}

# From this width on, chunk maxima beat one `top_k` on a CPU.
_WIDE = 4096
_CHUNK = 32


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
  dead = [None] * trie.num_levels
  if exclude is not None:
    dead = jax.vmap(functools.partial(constraints.dead_nodes, trie))(exclude)

  token_BM = jnp.full((batch_size, 1), PAD_ID, jnp.int32)
  node_BM = jnp.zeros((batch_size, 1), jnp.int32)
  score_BM = jnp.zeros((batch_size, 1), jnp.float32)
  path_BML = jnp.zeros((batch_size, 1, 0), jnp.int32)
  for level in range(trie.num_levels):
    logits, cache = tokens_to_logits(token_BM.reshape(-1, 1), cache)
    if logits.shape[-1] < trie.vocab_size:
      raise GenrecError(
        f'The model has {logits.shape[-1]} tokens, but the ids of the items'
        f' go up to token {trie.vocab_size - 1}; use the ids that the model'
        ' was trained with.'
      )
    step = functools.partial(_step, trie, level, num_beams, normalization)
    score_BM, node_BM, parent_BM, token_BM = jax.vmap(step)(
      logits.reshape(batch_size, -1, logits.shape[-1]),
      score_BM,
      node_BM,
      dead[level],
    )
    path_BML = jnp.concatenate(
      [jax.vmap(_take)(path_BML, parent_BM), token_BM[..., None]], axis=-1
    )
    if level < trie.num_levels - 1:
      cache = reorder_cache(cache, parent_BM, cache_offset)

  missing = num_beams - score_BM.shape[1]
  fill = functools.partial(jnp.pad, pad_width=((0, 0), (0, missing)))
  score_BK = fill(score_BM, constant_values=-jnp.inf)
  valid_BK = score_BK > -jnp.inf
  path_BKL = jnp.pad(path_BML, ((0, 0), (0, missing), (0, 0)))
  return BeamResult(
    items=jnp.where(valid_BK, trie.row_to_item[fill(node_BM)], -1),
    scores=score_BK,
    valid=valid_BK,
    tokens=jnp.where(valid_BK[..., None], path_BKL, PAD_ID),
  )


def _step(
  trie: Trie,
  level: int,
  num_beams: int,
  normalization: str,
  logits_MV: Float[Array, 'M V'],
  score_M: Float32[Array, 'M'],
  node_M: Int32[Array, 'M'],
  dead: constraints.DeadNodes | None,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
  """Follows the beams of one request down one level.

  Live beams stand in the order of their nodes before and after, except that
  those of the last level stand in the order of their scores. So candidates
  lie in the order of their nodes, and `top_k`, which prefers the first of
  equals, breaks ties by row.

  Returns:
    Scores, nodes, parents (numbers of the beams they come from) and tokens of
    the K best children; fewer where the level has fewer nodes. A score of
    -inf marks a beam that holds nothing.
  """
  first_M = trie.first_child[level][node_M]
  count_M = trie.first_child[level][node_M + 1] - first_M
  slot_W = jnp.arange(trie.max_children[level])
  child_MW = first_M[:, None] + slot_W[None, :]
  legal_MW = slot_W[None, :] < count_M[:, None]
  token_MW = trie.token[level].at[child_MW].get(mode='clip')
  gathered_MW = jnp.take_along_axis(
    logits_MV, token_MW, axis=1, mode='clip'
  ).astype(jnp.float32)

  if normalization == 'vocabulary':
    among = logits_MV.astype(jnp.float32)
  elif normalization == 'level':
    among = logits_MV[:, trie.level_tokens[level]].astype(jnp.float32)
  else:
    among = jnp.where(legal_MW, gathered_MW, -jnp.inf)
  normalizer_M = jax.nn.logsumexp(among, axis=-1)
  candidate_MW = score_M[:, None] + (gathered_MW - normalizer_M[:, None])
  if trie.has_padding[level]:
    # What follows the end of an item is certain.
    candidate_MW = jnp.where(token_MW == PAD_ID, score_M[:, None], candidate_MW)
  candidate_MW = jnp.where(legal_MW, candidate_MW, -jnp.inf)
  if dead is not None:
    candidate_MW = constraints.drop_dead(
      candidate_MW, dead, node_M, first_M, score_M > -jnp.inf
    )

  candidate_C = candidate_MW.reshape(-1)
  score_K, best_K = top_k(
    candidate_C, min(num_beams, trie.num_nodes(level + 1))
  )
  if level < trie.num_levels - 1:
    best_K = jnp.sort(best_K)
    score_K = candidate_C[best_K]
  # A beam that holds nothing may point past the last node.
  node_K = jnp.minimum(
    child_MW.reshape(-1)[best_K], trie.num_nodes(level + 1) - 1
  )
  parent_K = best_K // trie.max_children[level]
  return score_K, node_K, parent_K, token_MW.reshape(-1)[best_K]


def top_k(
  values: Float32[Array, 'C'], k: int
) -> tuple[Float32[Array, 'K'], Int32[Array, 'K']]:
  """Returns the k largest values and their places, like `jax.lax.top_k`.

  Wide rows go through chunk maxima: each of the k largest lies in one of the
  k chunks with the largest maxima (of equals, the first), so only those are
  searched.
  """
  num_chunks = -(-len(values) // _CHUNK)
  if len(values) < _WIDE or num_chunks <= 2 * k:
    return jax.lax.top_k(values, k)
  chunks = jnp.pad(
    values,
    (0, num_chunks * _CHUNK - len(values)),
    constant_values=-jnp.inf,
  ).reshape(num_chunks, _CHUNK)
  _, chosen_K = jax.lax.top_k(chunks.max(axis=1), k)
  chosen_K = jnp.sort(chosen_K)
  best, place = jax.lax.top_k(chunks[chosen_K].reshape(-1), k)
  return best, chosen_K[place // _CHUNK] * _CHUNK + place % _CHUNK


def _take(array: jax.Array, index: jax.Array) -> jax.Array:
  return array.at[index].get(mode='clip')


def reorder_cache(
  cache: Cache, parent: Int32[Array, 'B K'], cache_offset: int = 0
) -> Cache:
  """Returns the cache of the beams that `parent` names within each request.

  The B * M rows become B * K, so this also expands the beams after the first
  step. Leaves without a batch dimension, known by name, stay.
  """
  batch_size = parent.shape[0]

  def gather(x):
    beams = x.reshape(batch_size, -1, *x.shape[1:])
    return jax.vmap(_take)(beams, parent).reshape(-1, *x.shape[1:])

  for _ in range(cache_offset):
    gather = jax.vmap(gather)

  def reorder(path, leaf):
    names = {getattr(key, 'key', None) for key in path}
    return leaf if names & _WITHOUT_BATCH else gather(leaf)

  return jax.tree_util.tree_map_with_path(reorder, cache)


def score_catalogue(
  item_tokens: Int32[Array, 'N L'],
  tokens_to_logits: TokensToLogits,
  cache: Cache,
  batch_size: int,
  *,
  chunk_size: int = 256,
  cache_offset: int = 0,
) -> Float32[Array, 'B N']:
  """Returns the model's log-probability of every item, for each request.

  Feeds every item's own tokens, `chunk_size` items at a time: it shares
  nothing with the search but the model, takes no trie and drops nothing, and
  costs B * N * L decoder steps. A reference for small catalogues.

  Args:
    item_tokens: as for `build_trie`; padding after the end costs nothing.
    tokens_to_logits: the model.
    cache: its state with B rows.
    batch_size: B.
    chunk_size: how many items are scored at once.
    cache_offset: the axis of the cache's leaves that holds the rows.
  """
  num_items, num_levels = item_tokens.shape
  chunk_size = min(chunk_size, num_items)
  num_chunks = -(-num_items // chunk_size)
  padding = num_chunks * chunk_size - num_items
  chunks = jnp.pad(item_tokens, ((0, padding), (0, 0))).reshape(
    num_chunks, chunk_size, num_levels
  )
  expanded = reorder_cache(
    cache, jnp.zeros((batch_size, chunk_size), jnp.int32), cache_offset
  )

  def score_chunk(token_CL):
    state = expanded
    previous_C = jnp.full((chunk_size,), PAD_ID, jnp.int32)
    score_BC = jnp.zeros((batch_size, chunk_size), jnp.float32)
    for level in range(num_levels):
      rows = jnp.tile(previous_C, batch_size)[:, None]
      logits, state = tokens_to_logits(rows, state)
      log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
      previous_C = token_CL[:, level]
      token_score = jnp.take_along_axis(
        log_probabilities.reshape(batch_size, chunk_size, -1),
        previous_C[None, :, None],
        axis=2,
      )[..., 0]
      score_BC += jnp.where(previous_C[None] == PAD_ID, 0.0, token_score)
    return score_BC

  scores = jax.lax.map(score_chunk, chunks)
  scores = jnp.moveaxis(scores, 0, 1).reshape(batch_size, -1)
  return scores[:, :num_items]


class DecodingState(NamedTuple):
  """What T5X's `tokens_to_logits` reads of a decoding state."""

  cur_token: Int32[Array, 'R 1']
  cache: Cache


def make_decode_fn(trie: Trie, *, normalization: str = 'vocabulary'):
  """Returns the search as a `decode_fn` in T5X's calling convention.

  T5X's models have tiled the encoder's output, so they want B * K rows from
  the first step on.

  Returns:
    decode_fn(inputs, cache, tokens_to_logits, ...) -> decodes [B, K, T], T the
    length of `inputs`, padded with PAD_ID; scores [B, K]. Both in ascending
    order, the best beam last.
  """

  def decode_fn(
    inputs: Int32[Array, 'B T'],
    cache: Cache,
    tokens_to_logits: Callable[[DecodingState], tuple[jax.Array, Cache]],
    eos_id: int | None = None,
    num_decodes: int = 4,
    decode_rng: jax.Array | None = None,
    cache_offset: int = 0,
  ) -> tuple[Int32[Array, 'B K T'], Float32[Array, 'B K']]:
    # The trie knows where items end, and the search draws nothing.
    del eos_id, decode_rng
    batch_size, length = inputs.shape
    if length < trie.num_levels:
      raise GenrecError(
        f'Got decoder inputs of length {length}, expected at least'
        f' {trie.num_levels}, the tokens of an item; raise the targets length'
        ' of the task.'
      )

    def with_all_beams(token, cache):
      """Fills the rows up to B * K with copies, for the model's sake."""
      num_rows = token.shape[0] // batch_size
      if num_rows == num_decodes:
        return tokens_to_logits(DecodingState(token, cache))
      filled = jnp.minimum(jnp.arange(num_decodes), num_rows - 1)
      filled = jnp.broadcast_to(filled, (batch_size, num_decodes))
      logits, cache = tokens_to_logits(
        DecodingState(
          reorder_cache(token, filled),
          reorder_cache(cache, filled, cache_offset),
        )
      )
      kept = filled[:, :num_rows]
      return reorder_cache(logits, kept), reorder_cache(
        cache, kept, cache_offset
      )

    result = beam_search(
      trie,
      with_all_beams,
      cache,
      batch_size,
      num_decodes,
      normalization=normalization,
      cache_offset=cache_offset,
    )
    decodes = jnp.pad(
      result.tokens, ((0, 0), (0, 0), (0, length - trie.num_levels))
    )
    return jnp.flip(decodes, axis=1), jnp.flip(result.scores, axis=1)

  return decode_fn
