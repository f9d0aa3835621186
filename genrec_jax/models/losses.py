"""Losses of token logits, with T5X's label smoothing, z-loss and weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from genrec_jax.types import PAD_ID, unknown_name

# What a loss can be divided by, besides a number.
NORMALIZING_FACTORS = (
  'NUM_REAL_TARGET_TOKENS',
  'NUM_TOTAL_TARGET_TOKENS',
  'AVERAGE_PER_SEQUENCE',
)


def target_log_probabilities(
  logits: Float[Array, 'B T V'], targets: Int[Array, 'B T']
) -> tuple[Float[Array, 'B T'], Float[Array, 'B T'], Float[Array, 'B T']]:
  """Returns log p(target), the log of softmax's sum, and 1 where target wins.

  The target's logit is picked by a comparison, which fuses into the passes
  over the logits and shards over V, where a gather's gradient is a scatter.
  A target wins if no logit is higher: cheaper than an argmax.
  """
  vocabulary = lax.broadcasted_iota(jnp.int32, logits.shape, 2)
  picked = jnp.where(vocabulary == targets[..., None], logits, 0.0)
  target_logits = jnp.sum(picked, axis=-1)
  highest = lax.stop_gradient(jnp.max(logits, axis=-1))
  shifted = logits - highest[..., None]
  log_z = highest + jnp.log(jnp.sum(jnp.exp(shifted), axis=-1))
  wins = (target_logits >= highest).astype(jnp.float32)
  return target_logits - log_z, log_z, wins


def smoothed_cross_entropy(
  logits: Float[Array, 'B T V'],
  log_probabilities: Float[Array, 'B T'],
  log_z: Float[Array, 'B T'],
  label_smoothing: float,
) -> Float[Array, 'B T']:
  """Returns the divergence from targets of probability 1 - label_smoothing.

  The rest is spread over the other tokens (Szegedy et al. 2016). As in T5X,
  the entropy of the targets is subtracted, so that 0 is perfect.
  """
  if label_smoothing == 0.0:
    return -log_probabilities
  others = logits.shape[-1] - 1
  high, low = 1.0 - label_smoothing, label_smoothing / others
  entropy = -(high * math.log(high) + others * low * math.log(low + 1e-20))
  sum_log_probabilities = jnp.sum(logits, axis=-1) - (others + 1) * log_z
  return (
    -(high - low) * log_probabilities - low * sum_log_probabilities - entropy
  )


def weights_and_normalizer(
  batch: Mapping[str, Array], loss_normalizing_factor: float | str | None
) -> tuple[Float[Array, 'B T'], float | Float[Array, '']]:
  """Returns the weight of each target token, and what divides their sum.

  Args:
    batch: features; without `decoder_loss_weights`, all but padding weighs 1.
    loss_normalizing_factor: a number; None for 1; or one of
      NUM_REAL_TARGET_TOKENS (sum of weights), NUM_TOTAL_TARGET_TOKENS (padding
      too), AVERAGE_PER_SEQUENCE (each sequence weighs the same, the segments
      of packed rows too).
  """
  targets = batch['decoder_target_tokens']
  weights = batch.get('decoder_loss_weights', targets != PAD_ID)
  weights = weights.astype(jnp.float32)
  if loss_normalizing_factor is None:
    return weights, 1.0
  if not isinstance(loss_normalizing_factor, str):
    return weights, float(loss_normalizing_factor)
  if loss_normalizing_factor == 'NUM_TOTAL_TARGET_TOKENS':
    return weights, float(targets.size)
  if loss_normalizing_factor == 'AVERAGE_PER_SEQUENCE':
    segments = batch.get('decoder_segment_ids')
    if segments is None:
      segments = jnp.ones_like(targets)
    is_same = segments[:, :, None] == segments[:, None, :]
    of_sequence = jnp.einsum('bts,bs->bt', is_same.astype(jnp.float32), weights)
    weights = weights / jnp.where(of_sequence > 0.0, of_sequence, 1.0)
  elif loss_normalizing_factor != 'NUM_REAL_TARGET_TOKENS':
    raise unknown_name(
      'loss_normalizing_factor', loss_normalizing_factor, NORMALIZING_FACTORS
    )
  total = jnp.sum(weights)
  # A batch of padding alone has loss 0, not NaN.
  return weights, jnp.where(total > 0.0, total, 1.0)
