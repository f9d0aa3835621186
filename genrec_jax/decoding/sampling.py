"""Texts drawn from the model: greedy, by temperature, top-k and nucleus.

One jitted loop over a cache of fixed shape, which stops when every text has
ended. How tokens are drawn is data, so other values do not compile again.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int, Int32, Key, UInt32

from genrec_jax.decoding.beam_search import (
  Cache,
  TokensToLogits,
  reorder_cache,
)
from genrec_jax.decoding.selection import pad_last
from genrec_jax.decoding.texts import (
  ANY_TOKENS,
  Grammar,
  Texts,
  legal_tokens,
)
from genrec_jax.types import EOS_ID, PAD_ID, GenrecError

# A token is drawn in two draws: of a chunk of so many, and within it.
_CHUNK = 128


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sampling:
  """How tokens are drawn; where several are given they apply in this order.

  Numbers may change from call to call and nothing compiles again; only between
  a number and None it does.

  Attributes:
    temperature: what logits are divided by.
    top_k: draw from the k likeliest tokens (Fan et al. 2018); those as likely
      as the k-th are kept too.
    top_p: draw from the nucleus, the fewest of the likeliest tokens that
      together have this probability (Holtzman et al. 2020,
      https://arxiv.org/abs/1904.09751), among those that top_k has left.
  """

  temperature: float | Float[Array, ''] | None = None
  top_k: int | Int[Array, ''] | None = None
  top_p: float | Float[Array, ''] | None = None

  def logits(self, logits: Float32[Array, 'R V']) -> Float32[Array, 'R V']:
    """Returns the logits of what is drawn, -inf for what is not."""
    if self.temperature is not None:
      logits = logits / self.temperature
    if self.top_k is not None:
      logits = _from_threshold(
        logits, lambda kept: kept.sum(axis=-1) >= self.top_k
      )
    if self.top_p is not None:
      probabilities = jax.nn.softmax(logits)

      def hold_enough(kept):
        mass = jnp.where(kept, probabilities, 0.0).sum(axis=-1)
        # Of all, although rounding may say that fewer have all the mass.
        return (mass >= self.top_p) & (self.top_p < 1.0)

      logits = _from_threshold(logits, hold_enough)
    return logits

  def check(self) -> None:
    """Raises GenrecError if a number is out of its range."""
    for name, value, fits, expected in (
      ('temperature', self.temperature, lambda t: t > 0, 'above 0'),
      ('top_k', self.top_k, lambda k: k >= 1, 'of at least 1'),
      ('top_p', self.top_p, lambda p: 0 < p <= 1, 'above 0 and at most 1'),
    ):
      if value is not None and not fits(value):
        raise GenrecError(
          f'Got {name}={value}, expected a number {expected}; for the likeliest'
          ' token at each step pass sampling=None.'
        )


def _from_threshold(
  logits: Float32[Array, 'R V'],
  hold_enough: Callable[[Bool[Array, 'R V']], Bool[Array, 'R']],
) -> Float32[Array, 'R V']:
  """Keeps the largest logits of each row, as few as hold enough.

  The threshold is found bit by bit, as T5X does: in 32 passes, where sorting
  takes 10 to 60 times as long on a CPU. Floats with their sign bit flipped,
  and the others too if it was set, are in the order of unsigned integers.
  """
  bits = jax.lax.bitcast_convert_type(logits, jnp.uint32)
  sign = jnp.uint32(1 << 31)
  ordered = jnp.where(bits & sign, ~bits, bits | sign)

  def set_bit(number, threshold: UInt32[Array, 'R 1']):
    higher = threshold | (sign >> number.astype(jnp.uint32))
    enough = hold_enough(ordered >= higher)
    return jnp.where(enough[:, None], higher, threshold)

  threshold = jnp.zeros((len(logits), 1), jnp.uint32)
  threshold = jax.lax.fori_loop(0, 32, set_bit, threshold)
  return jnp.where(ordered >= threshold, logits, -jnp.inf)


def _draw(key: Key[Array, ''], logits: Float32[Array, 'V']) -> Int32[Array, '']:
  """Draws a token: a chunk by its mass, then one of the chunk.

  As exact as one draw over the vocabulary, with a fraction of its noise.
  """
  num_chunks = -(-len(logits) // _CHUNK)
  chunks = pad_last(logits, num_chunks * _CHUNK, -jnp.inf)
  chunks = chunks.reshape(num_chunks, _CHUNK)
  of_chunk, within = jax.random.split(key)
  chunk = jax.random.categorical(of_chunk, jax.nn.logsumexp(chunks, axis=-1))
  return chunk * _CHUNK + jax.random.categorical(within, chunks[chunk])


def request_keys(
  key: Key[Array, ''], numbers: Int[Array, 'B']
) -> Key[Array, 'B']:
  """Returns the key of each request, by its number.

  What is drawn for a request then depends on `key` and its number, and neither
  on what else is in the batch nor on its place there.
  """
  return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.asarray(numbers))


class _State(NamedTuple):
  """R texts on their way."""

  step: Int32[Array, '']
  token: Int32[Array, 'R']
  tokens: Int32[Array, 'R T']
  log_probability: Float32[Array, 'R']
  ended: Bool[Array, 'R']
  grammar: Any
  cache: Cache


def generate(
  tokens_to_logits: TokensToLogits,
  cache: Cache,
  batch_size: int,
  length: int,
  *,
  keys: Key[Array, 'B'] | None = None,
  sampling: Sampling | None = None,
  num_samples: int = 1,
  grammar: Grammar = ANY_TOKENS,
  cache_offset: int = 0,
) -> Texts:
  """Generates texts token by token.

  Args:
    tokens_to_logits: the model, see decoding/beam_search.py.
    cache: its state with B rows, of fixed shape, with room for T tokens.
    batch_size: the number of requests, B.
    length: the most tokens of a text, eos included, T.
    keys: of each request, from `request_keys`; where tokens are drawn.
    sampling: how tokens are drawn; by default the likeliest are taken.
    num_samples: texts for each request, K. The first of many are the same as
      of few.
    grammar: which tokens may follow, see decoding/texts.py; any by default.
    cache_offset: the axis of the cache's leaves that holds the rows.
  """
  num_rows = batch_size * num_samples
  if sampling is not None:
    sample = jnp.tile(jnp.arange(num_samples), batch_size)
    keys = jnp.repeat(keys, num_samples, axis=0)
    keys = jax.vmap(jax.random.fold_in)(keys, sample)

  def step(state: _State) -> _State:
    logits, cache = tokens_to_logits(state.token[:, None], state.cache, None)
    logits = logits[:, 0].astype(jnp.float32)
    legal = legal_tokens(
      grammar, state.grammar, length - state.step, logits.shape[1]
    )
    masked = jnp.where(legal, logits, -jnp.inf)
    if sampling is None:
      token = jnp.argmax(masked, axis=-1)
    else:
      step_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, state.step)
      token = jax.vmap(_draw)(step_keys, sampling.logits(masked))
    token = jnp.where(state.ended, PAD_ID, token.astype(jnp.int32))
    gained = jnp.take_along_axis(logits, token[:, None], axis=1)[:, 0]
    gained -= jax.nn.logsumexp(logits, axis=-1)
    return _State(
      step=state.step + 1,
      token=token,
      tokens=state.tokens.at[:, state.step].set(token),
      log_probability=state.log_probability
      + jnp.where(state.ended, 0.0, gained),
      ended=state.ended | (token == EOS_ID),
      grammar=grammar.advance(state.grammar, token),
      cache=cache,
    )

  copies = jnp.zeros((batch_size, num_samples), jnp.int32)
  state = jax.lax.while_loop(
    lambda state: (state.step < length) & ~state.ended.all(),
    step,
    _State(
      step=jnp.zeros((), jnp.int32),
      token=jnp.full(num_rows, PAD_ID, jnp.int32),
      tokens=jnp.full((num_rows, length), PAD_ID, jnp.int32),
      log_probability=jnp.zeros(num_rows, jnp.float32),
      ended=jnp.zeros(num_rows, bool),
      grammar=grammar.start(num_rows),
      cache=reorder_cache(cache, copies, cache_offset),
    ),
  )
  shape = (batch_size, num_samples)
  return Texts(
    tokens=state.tokens.reshape(*shape, length),
    log_probabilities=state.log_probability.reshape(shape),
    ended=state.ended.reshape(shape),
  )


def make_generate_fn(
  model, *, length: int, num_samples: int = 1
) -> Callable[..., Texts]:
  """Returns the jitted function from a batch to texts.

  It compiles once a shape of inputs; see `Sampling` for what else does.

  Args:
    model: has `start_decoding`, see models/encoder_decoder.py.
    length: the most tokens of a text, eos included, T.
    num_samples: texts for each request, K.

  Returns:
    generate(params, batch, *, keys, sampling, grammar), the last three as for
    the function of this name.

  Raises:
    GenrecError: if T or K is below 1; later, if there are no keys to draw
      with, or a number of `sampling` is out of its range.
  """
  check_sizes(length=length, num_samples=num_samples)

  def generate_texts(
    params: Any,
    batch: Mapping[str, Array],
    *,
    keys: Key[Array, 'B'] | None = None,
    sampling: Sampling | None = None,
    grammar: Grammar = ANY_TOKENS,
  ) -> Texts:
    if sampling is not None:
      sampling.check()
      if keys is None:
        raise GenrecError(
          'Got a sampling without keys; pass request_keys(key, numbers), with'
          ' the numbers of the requests.'
        )
    return _generate(
      params,
      batch['encoder_input_tokens'],
      keys,
      sampling,
      grammar,
      model=model,
      length=length,
      num_samples=num_samples,
    )

  return generate_texts


def check_sizes(**sizes: int) -> None:
  """Raises GenrecError if a size is below 1."""
  for name, size in sizes.items():
    if size < 1:
      raise GenrecError(f'Got {name}={size}, expected at least 1.')


@functools.partial(jax.jit, static_argnames=('model', 'length', 'num_samples'))
def _generate(
  params, inputs, keys, sampling, grammar, *, model, length, num_samples
) -> Texts:
  tokens_to_logits, cache = model.start_decoding(
    params, {'encoder_input_tokens': inputs}, length=length
  )
  return generate(
    tokens_to_logits,
    cache,
    len(inputs),
    length,
    keys=keys,
    sampling=sampling,
    num_samples=num_samples,
    grammar=grammar,
  )
