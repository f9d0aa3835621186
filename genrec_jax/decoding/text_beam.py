"""Beam search over texts, which end with eos and differ in length.

The search over the catalogue (decoding/beam_search.py) knows how many steps it
takes and which children a node has; here every token may follow, and texts
that have ended compete with those that have not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int, Int32

from genrec_jax.decoding import selection
from genrec_jax.decoding.beam_search import (
  Cache,
  TokensToLogits,
  reorder_cache,
)
from genrec_jax.decoding.sampling import check_sizes
from genrec_jax.decoding.selection import take_along
from genrec_jax.decoding.texts import (
  ANY_TOKENS,
  Grammar,
  Texts,
  legal_tokens,
)
from genrec_jax.types import EOS_ID, PAD_ID, GenrecError


def length_penalty(
  length: Int[Array, '*shape'] | int, alpha: float | Float[Array, '']
) -> Float32[Array, '*shape']:
  """Returns ((5 + length) / 6) ** alpha, what a log-probability is divided by.

  Wu et al. 2016 (https://arxiv.org/abs/1609.08144), equation 14; `length`
  counts eos, as in T5X. With alpha 0, texts are ranked by log-probability.
  """
  return ((5.0 + length) / 6.0) ** alpha


class _Beams(NamedTuple):
  """K texts of each request, best first; -inf where there is none."""

  score: Float32[Array, 'B K']
  log_probability: Float32[Array, 'B K']
  tokens: Int32[Array, 'B K T']

  def best(self, num_beams: int) -> _Beams:
    """Returns those with the best scores."""
    score, place = jax.lax.top_k(self.score, num_beams)
    return _Beams(
      score,
      take_along(self.log_probability, place),
      _take_rows(self.tokens, place),
    )


def _take_rows(array, place):
  return jnp.take_along_axis(array, place[..., None], axis=1)


class _State(NamedTuple):
  step: Int32[Array, '']
  token: Int32[Array, 'R']
  live: _Beams
  ended: _Beams
  grammar: Any
  cache: Cache


def text_beam_search(
  tokens_to_logits: TokensToLogits,
  cache: Cache,
  batch_size: int,
  length: int,
  num_beams: int,
  *,
  alpha: float | Float[Array, ''] = 0.6,
  grammar: Grammar = ANY_TOKENS,
  cache_offset: int = 0,
) -> Texts:
  """Finds likely texts, those with eos first and each kind best first.

  The score of a text is its log-probability over `length_penalty`. The search
  stops when no live beam can come to a better score than the worst of K ended
  ones. Semantics of T5X's `beam_search`, but for texts cut at T tokens: these
  fill up the list, where T5X returns them only if no text has ended.

  Args:
    tokens_to_logits: the model, see decoding/beam_search.py.
    cache: its state with B rows, of fixed shape, with room for T tokens.
    batch_size: the number of requests, B.
    length: the most tokens of a text, eos included, T.
    num_beams: live beams, and texts that are returned, K.
    alpha: of the length penalty, at least 0.
    grammar: which tokens may follow, see decoding/texts.py; any by default.
    cache_offset: the axis of the cache's leaves that holds the rows.
  """

  def step(state: _State) -> _State:
    logits, cache = tokens_to_logits(state.token[:, None], state.cache, None)
    logits = logits[:, 0].astype(jnp.float32)
    vocab_size = logits.shape[1]
    legal = legal_tokens(
      grammar, state.grammar, length - state.step, vocab_size
    )
    base = state.live.log_probability.reshape(-1)
    base -= jax.nn.logsumexp(logits, axis=-1)
    value = jnp.where(legal, logits + base[:, None], -jnp.inf)
    # A beam has one eos: of 2 K candidates, at least K go on.
    value, place = selection.top_k(value.reshape(batch_size, -1), 2 * num_beams)
    parent, token = place // vocab_size, place % vocab_size
    tokens = _take_rows(state.live.tokens, parent)
    tokens = tokens.at[:, :, state.step].set(token)
    ends = token == EOS_ID

    score = value / length_penalty(state.step + 1, alpha)
    score = jnp.where(ends, score, -jnp.inf)
    candidates = _Beams(score, value, tokens)
    both = zip(state.ended, candidates)
    ended = _Beams(*(jnp.concatenate(pair, axis=1) for pair in both))

    value = jnp.where(ends, -jnp.inf, value)
    value, best = jax.lax.top_k(value, num_beams)
    parent = take_along(parent, best)
    token = take_along(token, best).reshape(-1)
    followed = reorder_cache(state.grammar, parent)
    return _State(
      step=state.step + 1,
      token=token,
      live=_Beams(value, value, _take_rows(tokens, best)),
      ended=ended.best(num_beams),
      grammar=grammar.advance(followed, token),
      cache=reorder_cache(cache, parent, cache_offset),
    )

  def can_improve(state: _State):
    most = state.live.score[:, 0] / length_penalty(length, alpha)
    return (state.step < length) & (most > state.ended.score[:, -1]).any()

  none = jnp.full((batch_size, num_beams), -jnp.inf)
  no_tokens = jnp.full((batch_size, num_beams, length), PAD_ID, jnp.int32)
  first = none.at[:, 0].set(0.0)
  num_rows = batch_size * num_beams
  copies = jnp.zeros((batch_size, num_beams), jnp.int32)
  state = jax.lax.while_loop(
    can_improve,
    step,
    _State(
      step=jnp.zeros((), jnp.int32),
      token=jnp.full(num_rows, PAD_ID, jnp.int32),
      live=_Beams(first, first, no_tokens),
      ended=_Beams(none, none, no_tokens),
      grammar=grammar.start(num_rows),
      cache=reorder_cache(cache, copies, cache_offset),
    ),
  )
  # Those that ended, then those that were cut, then none.
  ended = state.ended.score > -jnp.inf
  cut = state.live.score > -jnp.inf
  rank = jnp.concatenate([jnp.where(ended, 0, 2), jnp.where(cut, 1, 2)], axis=1)
  order = jnp.argsort(rank, axis=1, stable=True)[:, :num_beams]
  rank = take_along(rank, order)
  both = zip(state.ended, state.live)
  found = _Beams(*(jnp.concatenate(pair, axis=1) for pair in both))
  return Texts(
    tokens=jnp.where(
      (rank < 2)[..., None], _take_rows(found.tokens, order), PAD_ID
    ),
    log_probabilities=jnp.where(
      rank < 2, take_along(found.log_probability, order), -jnp.inf
    ),
    ended=rank == 0,
  )


def make_text_beam_fn(
  model, *, length: int, num_beams: int
) -> Callable[..., Texts]:
  """Returns the jitted function from a batch to its likeliest texts.

  Args:
    model: has `start_decoding`, see models/encoder_decoder.py.
    length: the most tokens of a text, eos included, T.
    num_beams: texts for each request, K.

  Returns:
    search(params, batch, *, alpha=0.6, grammar), as for `text_beam_search`.
    Another alpha does not compile again.

  Raises:
    GenrecError: if T or K is below 1; later, if alpha is below 0.
  """
  check_sizes(length=length, num_beams=num_beams)

  def search(
    params: Any,
    batch: Mapping[str, Array],
    *,
    alpha: float = 0.6,
    grammar: Grammar = ANY_TOKENS,
  ) -> Texts:
    if alpha < 0:
      raise GenrecError(
        f'Got alpha={alpha}, expected at least 0: 0 ranks by log-probability,'
        ' more favours longer texts.'
      )
    return _search(
      params,
      batch['encoder_input_tokens'],
      alpha,
      grammar,
      model=model,
      length=length,
      num_beams=num_beams,
    )

  return search


@functools.partial(jax.jit, static_argnames=('model', 'length', 'num_beams'))
def _search(
  params, inputs, alpha, grammar, *, model, length, num_beams
) -> Texts:
  tokens_to_logits, cache = model.start_decoding(
    params, {'encoder_input_tokens': inputs}, length=length
  )
  return text_beam_search(
    tokens_to_logits,
    cache,
    len(inputs),
    length,
    num_beams,
    alpha=alpha,
    grammar=grammar,
  )
