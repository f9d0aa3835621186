"""Exact scores of all items, without beams: the reference for a search.

Level by level: the decoder reads each distinct prefix once, teacher forced in
one call, and every child takes its parent's score and its own token's. That is
as many decoder rows as the trie has inner nodes, whatever the beams; for a
small catalogue, and for knowing what a beam loses.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32

from genrec_jax.decoding.beam_search import (
  Cache,
  TokensToLogits,
  reorder_cache,
)
from genrec_jax.decoding.level_logits import NORMALIZATIONS, LevelLogits
from genrec_jax.decoding.selection import take_along
from genrec_jax.decoding.trie import Trie
from genrec_jax.types import PAD_ID, unknown_name


def score_catalogue(
  trie: Trie,
  tokens_to_logits: TokensToLogits,
  cache: Cache,
  batch_size: int,
  *,
  normalization: str = 'vocabulary',
  chunk_size: int = 256,
  cache_offset: int = 0,
) -> Float32[Array, 'B items']:
  """Returns the model's log-probability of every item, for each request.

  Args:
    trie: the catalogue.
    tokens_to_logits: the model, see beam_search.py; takes several tokens.
    cache: its state with B rows, before the first token.
    batch_size: B.
    normalization: one of NORMALIZATIONS.
    chunk_size: how many children are scored at once; memory grows with it.
    cache_offset: the axis of the cache's leaves that holds the rows.

  Returns:
    Scores by item number; -inf for a number without an item.

  Raises:
    GenrecError: if the normalisation is unknown.
  """
  if normalization not in NORMALIZATIONS:
    raise unknown_name('normalization', normalization, NORMALIZATIONS)
  scores = _prefix_scores(
    trie,
    tokens_to_logits,
    cache,
    batch_size,
    normalization,
    chunk_size,
    cache_offset,
  )
  *_, score_BN = scores
  known = trie.item_to_row >= 0
  row = jnp.where(known, trie.item_to_row, 0)
  return jnp.where(known, score_BN[:, row], -jnp.inf)


def catalogue_mass(
  trie: Trie,
  tokens_to_logits: TokensToLogits,
  cache: Cache,
  batch_size: int,
  *,
  chunk_size: int = 256,
  cache_offset: int = 0,
) -> Float32[Array, 'B L']:
  """Returns the probability that the model stays within the catalogue.

  Summed exactly, without drawing anything, over all sequences of tokens that
  the model may write: `mass[:, l]` is the probability that the first l + 1 of
  them are the beginning of an item. The last is that of all items together;
  what is missing to 1 is what a model without the trie invents.

  Args:
    trie: the catalogue; no two items share their tokens.
    tokens_to_logits: the model, see beam_search.py; takes several tokens.
    cache: its state with B rows, before the first token.
    batch_size: B.
    chunk_size: how many children are scored at once.
    cache_offset: the axis of the cache's leaves that holds the rows.
  """
  scores = _prefix_scores(
    trie,
    tokens_to_logits,
    cache,
    batch_size,
    'vocabulary',
    chunk_size,
    cache_offset,
  )
  masses = []
  for depth, score_BN in enumerate(scores, start=1):
    exists = jnp.arange(score_BN.shape[1]) < trie.num_nodes[depth]
    score_BN = jnp.where(exists[None], score_BN, -jnp.inf)
    masses.append(jnp.exp(jax.nn.logsumexp(score_BN, axis=1)))
  return jnp.stack(masses[: trie.num_levels], axis=1)


def make_mass_fn(model, trie: Trie, *, chunk_size: int = 256) -> Callable:
  """Returns the jitted function from (params, batch) to `catalogue_mass`.

  Args:
    model: has `start_decoding`, see models/encoder_decoder.py.
    trie: the catalogue.
    chunk_size: how many children are scored at once.
  """
  mass = functools.partial(_mass, model=model, chunk_size=chunk_size)
  return lambda params, batch: mass(params, trie, batch['encoder_input_tokens'])


def make_scores_fn(
  model,
  trie: Trie,
  *,
  normalization: str = 'vocabulary',
  chunk_size: int = 256,
) -> Callable:
  """Returns the jitted function from (params, batch) to `score_catalogue`.

  Args:
    model: has `start_decoding`, see models/encoder_decoder.py.
    trie: the catalogue.
    normalization: one of NORMALIZATIONS.
    chunk_size: how many children are scored at once.
  """
  scores = functools.partial(
    _scores, model=model, normalization=normalization, chunk_size=chunk_size
  )
  return lambda params, batch: scores(
    params, trie, batch['encoder_input_tokens']
  )


@functools.partial(
  jax.jit, static_argnames=('model', 'normalization', 'chunk_size')
)
def _scores(params, trie, inputs, *, model, normalization, chunk_size):
  tokens_to_logits, cache = model.start_decoding(
    params, {'encoder_input_tokens': inputs}
  )
  return score_catalogue(
    trie,
    tokens_to_logits,
    cache,
    len(inputs),
    normalization=normalization,
    chunk_size=chunk_size,
  )


@functools.partial(jax.jit, static_argnames=('model', 'chunk_size'))
def _mass(params, trie, inputs, *, model, chunk_size):
  tokens_to_logits, cache = model.start_decoding(
    params, {'encoder_input_tokens': inputs}
  )
  return catalogue_mass(
    trie, tokens_to_logits, cache, len(inputs), chunk_size=chunk_size
  )


def _prefix_scores(
  trie: Trie,
  tokens_to_logits: TokensToLogits,
  cache: Cache,
  batch_size: int,
  normalization: str,
  chunk_size: int,
  cache_offset: int,
) -> Iterator[Float32[Array, 'B nodes']]:
  """Yields the log-probability of all prefixes, depth by depth from 1."""
  score_BN = jnp.zeros((batch_size, 1), jnp.float32)
  for depth, level in enumerate(trie.levels):
    parent_N = level.ranges.parent(jnp.arange(trie.capacities[depth + 1]))
    above_BN = score_BN[:, parent_N]
    if level.alphabet is None:
      score_BN = above_BN
      yield score_BN
      continue

    def logits_of(node_C, depth=depth, level=level):
      """The logits after the prefixes of some nodes."""
      _, prefix = trie.path(depth, node_C)
      tokens = jnp.pad(prefix, ((0, 0), (1, 0)), constant_values=PAD_ID)
      rows = jnp.tile(tokens, (batch_size, 1))
      copies = jnp.zeros((batch_size, len(node_C)), jnp.int32)
      state = reorder_cache(cache, copies, cache_offset)
      values, _ = tokens_to_logits(rows, state, None)
      values = values[:, -1].reshape(batch_size, len(node_C), -1)
      return LevelLogits.normalized_over(
        normalization, values, level.alphabet, is_block=False
      )

    token_BN = _token_scores(
      trie, depth, logits_of, batch_size, min(chunk_size, len(parent_N))
    )
    if normalization == 'children':
      token_BN -= _over_siblings(token_BN, parent_N, trie.capacities[depth])
    score_BN = above_BN + token_BN
    yield score_BN


def _token_scores(
  trie: Trie,
  depth: int,
  logits_of: Callable[[Array], LevelLogits],
  batch_size: int,
  chunk_size: int,
) -> Float32[Array, 'B children']:
  """Returns the normalised logits of all children of a depth's nodes."""
  level = trie.levels[depth]
  num_nodes, num_children = trie.capacities[depth : depth + 2]
  slot_C = jnp.arange(chunk_size)

  def of_nodes(first_node, found):
    node_C = jnp.minimum(first_node + slot_C, num_nodes - 1)
    logits = logits_of(node_C)
    zero_BC = jnp.zeros((batch_size, chunk_size), jnp.float32)
    base_BC = logits.base(zero_BC)
    # The children of these nodes are one range, of any length.
    first = level.ranges.start(first_node)
    end = level.ranges.start(jnp.minimum(first_node + chunk_size, num_nodes))

    def of_children(number, found):
      child_C = first + number * chunk_size + slot_C
      parent_C = level.ranges.parent(child_C)
      code_C = level.child_code(child_C, parent_C)
      from_BC = jnp.broadcast_to(
        jnp.clip(parent_C - first_node, 0, chunk_size - 1), zero_BC.shape
      )
      code_BC = jnp.broadcast_to(code_C, zero_BC.shape)
      value_BC = logits.of_codes(code_BC[..., None], from_BC)[..., 0]
      value_BC += take_along(base_BC, from_BC)
      child_C = jnp.where(child_C < end, child_C, num_children)
      return found.at[:, child_C].set(value_BC, mode='drop')

    num_blocks = -(-(end - first) // chunk_size)
    return jax.lax.fori_loop(0, num_blocks, of_children, found)

  return jax.lax.fori_loop(
    0,
    -(-num_nodes // chunk_size),
    lambda number, found: of_nodes(number * chunk_size, found),
    jnp.full((batch_size, num_children), -jnp.inf),
  )


def _over_siblings(
  value_BN: Float32[Array, 'B children'],
  parent_N: Int32[Array, 'children'],
  num_nodes: int,
) -> Float32[Array, 'B children']:
  """Returns logsumexp over the children of each child's parent."""

  def of_request(value_N):
    highest = jax.ops.segment_max(value_N, parent_N, num_nodes)
    shifted = jnp.exp(value_N - highest[parent_N])
    total = jax.ops.segment_sum(shifted, parent_N, num_nodes)
    return (highest + jnp.log(total))[parent_N]

  return jax.vmap(of_request)(value_BN)
