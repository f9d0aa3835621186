"""Numbers and choices, read off the probabilities of a few answers.

A rating is what a model expects, not what it would say: the mean of 1 .. 5 by
the probability of each, where generation gives the likeliest alone (P5, Geng
et al. 2022, generates). The probability of 'yes' against 'no' is the same, with
1 and 0 as their values.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from genrec_jax.decoding.beam_search import reorder_cache
from genrec_jax.models.losses import target_log_probabilities
from genrec_jax.types import PAD_ID, GenrecError


def score_candidates(
  model,
  params: Any,
  batch: Mapping[str, Array],
  candidates: Int[np.ndarray, 'C T'],
) -> Float32[Array, 'B C']:
  """Returns the log-probability of each answer after each input.

  What the candidates have in common is computed once a request, the rest in
  one call; where they differ in their first token and end there, all of them
  cost one decoder step. Compiles once a shape of inputs and of candidates.

  Args:
    model: has `start_decoding`, see models/encoder_decoder.py.
    params: its parameters.
    batch: of which `encoder_input_tokens` [B, S] is used.
    candidates: the tokens of each answer, filled up with PAD_ID. With eos the
      score is that of the whole answer, without it that of all answers which
      begin so: of '1' and '10' one wants eos.

  Raises:
    GenrecError: if there are no candidates, or one has no tokens or padding
      between them.
  """
  candidates = _check_candidates(candidates)
  differ = (candidates != candidates[:1]).any(axis=0)
  shared = int(differ.argmax()) if differ.any() else candidates.shape[1] - 1
  return _score(
    params,
    batch['encoder_input_tokens'],
    candidates,
    model=model,
    shared=shared,
  )


def expected_value(
  log_probabilities: Float[Array, 'B C'], values: Sequence[float]
) -> Float32[Array, 'B']:
  """Returns the mean of the candidates' values by their probabilities.

  Probabilities are those among the candidates; they, if wanted themselves, are
  `jax.nn.softmax(log_probabilities)`.

  >>> scores = jnp.log(jnp.array([[0.1, 0.3], [0.2, 0.0]]))
  >>> expected_value(scores, [1.0, 5.0]).round(3).tolist()
  [4.0, 1.0]
  """
  values = jnp.asarray(values, jnp.float32)
  if values.shape != log_probabilities.shape[1:]:
    raise GenrecError(
      f'Got {values.size} values for {log_probabilities.shape[1]} candidates;'
      ' expected one each.'
    )
  return jax.nn.softmax(log_probabilities) @ values


def pad_candidates(
  candidates: Sequence[Sequence[int]],
) -> Int[np.ndarray, 'C T']:
  """Returns answers of different lengths as one array.

  >>> pad_candidates([[7, 1], [7, 8, 1]]).tolist()
  [[7, 1, 0], [7, 8, 1]]
  """
  length = max(map(len, candidates), default=0)
  padded = np.full((len(candidates), length), PAD_ID, np.int32)
  for row, tokens in zip(padded, candidates):
    row[: len(tokens)] = tokens
  return padded


def _check_candidates(candidates) -> Int[np.ndarray, 'C T']:
  candidates = np.asarray(candidates, np.int32)
  if candidates.ndim != 2 or 0 in candidates.shape:
    raise GenrecError(
      f'Got candidates of shape {candidates.shape}, expected [candidates,'
      ' tokens] with at least one of each.'
    )
  real = candidates != PAD_ID
  wrong = ~real[:, 0] | (real[:, 1:] & ~real[:, :-1]).any(axis=1)
  if wrong.any():
    number = int(wrong.argmax())
    raise GenrecError(
      f'Candidate {number} is {candidates[number].tolist()}; expected at least'
      f' one token, and padding ({PAD_ID}) only after the last.'
    )
  return candidates


@functools.partial(jax.jit, static_argnames=('model', 'shared'))
def _score(params, inputs, candidates, *, model, shared):
  """The first `shared` tokens are the same in all candidates."""
  step, cache = model.start_decoding(params, {'encoder_input_tokens': inputs})
  batch_size, (num_candidates, length) = len(inputs), candidates.shape
  rows = (batch_size, num_candidates)
  targets = jnp.broadcast_to(candidates[None], (*rows, length))
  fed = jnp.pad(targets[..., :-1], ((0, 0), (0, 0), (1, 0)))

  # Up to the first token in which they differ, a row a request.
  logits, cache = step(fed[:, 0, : shared + 1], cache, None)
  log_probabilities = jax.nn.log_softmax(logits)
  scores = jnp.take_along_axis(
    log_probabilities, targets[..., : shared + 1].swapaxes(1, 2), axis=2
  ).swapaxes(1, 2)
  if shared + 1 < length:
    copies = jnp.zeros(rows, jnp.int32)
    logits, _ = step(
      fed[..., shared + 1 :].reshape(batch_size * num_candidates, -1),
      reorder_cache(cache, copies),
      None,
    )
    rest, _, _ = target_log_probabilities(
      logits, targets[..., shared + 1 :].reshape(logits.shape[:2])
    )
    scores = jnp.concatenate([scores, rest.reshape(*rows, -1)], axis=-1)
  return jnp.where(targets == PAD_ID, 0.0, scores).sum(axis=-1)
