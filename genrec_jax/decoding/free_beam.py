"""Beam search over IDs without the trie: what the model itself would write.

The same beams and the same scores as decoding/beam_search.py, but every token
of the vocabulary may follow at every place. What comes of it may be no item;
it is how often the trie is needed, not a way to recommend.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from genrec_jax.decoding import selection
from genrec_jax.decoding.beam_search import (
  Cache,
  TokensToLogits,
  reorder_cache,
)
from genrec_jax.decoding.sampling import check_sizes
from genrec_jax.decoding.selection import pad_last
from genrec_jax.decoding.texts import Texts
from genrec_jax.types import EOS_ID, PAD_ID


def free_beam_search(
  tokens_to_logits: TokensToLogits,
  cache: Cache,
  batch_size: int,
  length: int,
  num_beams: int,
  *,
  cache_offset: int = 0,
) -> Texts:
  """Finds the likeliest sequences of up to `length` tokens, best first.

  A sequence ends with eos, or where it is as long as it may be; both kinds
  compete by their log-probability, as items of different length do under the
  trie. With at least as many beams as there are prefixes it is exact.

  Args:
    tokens_to_logits: the model, see decoding/beam_search.py.
    cache: its state with B rows.
    batch_size: the number of requests, B.
    length: the tokens of an item, T (`TokenLayout.tokens_per_item`).
    num_beams: sequences of each request, K; -inf where there are fewer.
    cache_offset: the axis of the cache's leaves that holds the rows.
  """
  score = jnp.zeros((batch_size, 1), jnp.float32)
  tokens = jnp.zeros((batch_size, 1, 0), jnp.int32)
  ended = jnp.zeros((batch_size, 1), bool)
  last = jnp.full((batch_size, 1), PAD_ID, jnp.int32)
  for step in range(length):
    values, cache = tokens_to_logits(last.reshape(-1, 1), cache, None)
    values = jax.nn.log_softmax(values[:, 0].astype(jnp.float32))
    vocab_size = values.shape[-1]
    values = values.reshape(*score.shape, vocab_size)
    # After eos there is padding, for certain.
    after_end = jnp.where(jnp.arange(vocab_size) == PAD_ID, 0.0, -jnp.inf)
    values = jnp.where(ended[..., None], after_end[None, None], values)
    values = (score[..., None] + values).reshape(batch_size, -1)
    score, place = selection.top_k(values, min(num_beams, values.shape[1]))
    parent, last = place // vocab_size, place % vocab_size
    tokens = jnp.take_along_axis(tokens, parent[..., None], axis=1)
    tokens = jnp.concatenate([tokens, last[..., None]], axis=-1)
    ended = jnp.take_along_axis(ended, parent, axis=1) | (last == EOS_ID)
    if step < length - 1:
      cache = reorder_cache(cache, parent, cache_offset)
  missing = ((0, 0), (0, num_beams - score.shape[1]), (0, 0))
  score = pad_last(score, num_beams, -jnp.inf)
  found = score > -jnp.inf
  return Texts(
    tokens=jnp.where(found[..., None], jnp.pad(tokens, missing), PAD_ID),
    log_probabilities=score,
    ended=pad_last(ended, num_beams, False) & found,
  )


def make_free_beam_fn(
  model, *, length: int, num_beams: int
) -> Callable[[Any, Mapping[str, Array]], Texts]:
  """Returns the jitted function from (params, batch) to sequences.

  Args:
    model: has `start_decoding`, see models/encoder_decoder.py.
    length: the tokens of an item, T.
    num_beams: sequences of each request, K.

  Raises:
    GenrecError: if T or K is below 1.
  """
  check_sizes(length=length, num_beams=num_beams)
  search = functools.partial(
    _search, model=model, length=length, num_beams=num_beams
  )
  return lambda params, batch: search(params, batch['encoder_input_tokens'])


@functools.partial(jax.jit, static_argnames=('model', 'length', 'num_beams'))
def _search(params, inputs, *, model, length, num_beams) -> Texts:
  tokens_to_logits, cache = model.start_decoding(
    params, {'encoder_input_tokens': inputs}
  )
  return free_beam_search(
    tokens_to_logits, cache, len(inputs), length, num_beams
  )
