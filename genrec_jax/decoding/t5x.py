"""The search as T5X's models call it; imports nothing of T5X."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32

from genrec_jax.decoding.beam_search import Cache, beam_search, reorder_cache
from genrec_jax.decoding.trie import Trie
from genrec_jax.types import GenrecError


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

    def with_all_beams(tokens, cache, block):
      """Fills the rows up to B * K with copies, for the model's sake."""
      num_rows = tokens.shape[0] // batch_size
      filled = jnp.minimum(jnp.arange(num_decodes), num_rows - 1)
      filled = jnp.broadcast_to(filled, (batch_size, num_decodes))
      kept = filled[:, :num_rows]
      if num_rows < num_decodes:
        tokens = reorder_cache(tokens, filled)
        cache = reorder_cache(cache, filled, cache_offset)
      logits, cache = tokens_to_logits(DecodingState(tokens, cache))
      if num_rows < num_decodes:
        logits = reorder_cache(logits, kept)
        cache = reorder_cache(cache, kept, cache_offset)
      if block is not None:
        logits = logits[:, block.start : block.stop]
      return logits[:, None], cache

    result = beam_search(
      trie,
      with_all_beams,
      cache,
      batch_size,
      num_decodes,
      normalization=normalization,
      cache_offset=cache_offset,
      force_tails=False,
    )
    decodes = jnp.pad(
      result.tokens, ((0, 0), (0, 0), (0, length - trie.num_levels))
    )
    return jnp.flip(decodes, axis=1), jnp.flip(result.scores, axis=1)

  return decode_fn
