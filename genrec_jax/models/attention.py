"""Multi-head attention with packing, a KV cache and queries grouped by beams.

Two collections of variables hold state while decoding step by step:
  'cache'            `cached_key`, `cached_value` [R, t, H, head_dim]: what
                     self-attention has seen. Rows lead in every leaf, so a
                     beam search expands and reorders them with `x[rows]`.
                     It grows by the tokens of each call, or, where a loop
                     wants one shape, has room for L and is written in place.
  'cross_attention'  `key`, `value` [B, S, H, head_dim] of the encoder output:
                     computed once, shared by the beams, never reordered.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen import partitioning
from jaxtyping import Array, Bool, Float

from genrec_jax.models.layers import Dense, Dropout

# Finite, so that a row without any key gives a uniform average, not NaN.
MASKED_LOGIT = -1e9


def attend(
  query: Float[Array, 'B Q H d'],
  key: Float[Array, 'B S H d'],
  value: Float[Array, 'B S H d'],
  mask: Bool[Array, 'B_or_1 1 Q_or_1 S'] | None = None,
  bias: Float[Array, 'B_or_1 H Q S'] | None = None,
  weights_dropout=lambda weights: weights,
) -> Float[Array, 'B Q H d']:
  """Averages values by the softmax of unscaled query-key products.

  Logits and softmax are float32; the result has the dtype of `value`.
  """
  logits = jnp.einsum(
    'bqhd,bshd->bhqs', query, key, preferred_element_type=jnp.float32
  )
  if bias is not None:
    logits = logits + bias
  if mask is not None:
    logits = jnp.where(mask, logits, MASKED_LOGIT)
  weights = weights_dropout(jax.nn.softmax(logits).astype(value.dtype))
  return jnp.einsum('bhqs,bshd->bqhd', weights, value)


class Attention(nn.Module):
  """Multi-head attention of T5.

  Attributes:
    num_heads: number of heads.
    head_dim: width of a head.
    dropout: applied to the attention weights.
    dtype: of the computation.
  """

  num_heads: int
  head_dim: int
  dropout: Dropout
  dtype: Any = jnp.float32

  def _project(self, name: str, x: Array, scale: float = 1.0) -> Array:
    x = Dense(
      self.num_heads * self.head_dim,
      ('embed', 'joined_kv'),
      self.dtype,
      scale=scale,
      name=name,
    )(x)
    x = x.reshape(*x.shape[:-1], self.num_heads, self.head_dim)
    return partitioning.with_sharding_constraint(
      x, ('batch', 'length', 'heads', 'kv')
    )

  def _update_cache(self, key: Array, value: Array, at: Array | None):
    """Adds keys and values to the cache, or makes it as long as they are.

    They are appended, or, if `at` is given, written where it is True.
    """
    is_step = self.has_variable('cache', 'cached_key')
    updated = []
    for name, new in (('cached_key', key), ('cached_value', value)):
      if is_step:
        cached = self.get_variable('cache', name)
        if at is None:
          new = jnp.concatenate([cached, new], axis=1)
        else:
          new = jnp.where(at[:, :, None, None], new, cached)
      self.put_variable('cache', name, new if is_step else jnp.zeros_like(new))
      updated.append(new)
    return updated

  def _cross_keys_and_values(self, encoded: Array, keep: bool):
    """Projects the encoder output, or takes the projections that were kept."""
    names = ('key', 'value')
    if keep and self.has_variable('cross_attention', 'key'):
      return [self.get_variable('cross_attention', name) for name in names]
    projected = [self._project(name, encoded) for name in names]
    if keep and self.is_mutable_collection('cross_attention'):
      for name, value in zip(names, projected):
        self.put_variable('cross_attention', name, value)
    return projected

  def _output(self, x: Array, features: int) -> Array:
    return Dense(features, ('joined_kv', 'embed'), self.dtype, name='out')(
      x.reshape(*x.shape[:-2], self.num_heads * self.head_dim)
    )

  @nn.compact
  def __call__(
    self,
    x: Float[Array, 'R Q D'],
    encoded: Float[Array, 'B S D'] | None = None,
    *,
    mask: Bool[Array, '...'] | None = None,
    bias: Float[Array, '...'] | None = None,
    cache_at: Bool[Array, 'R L'] | None = None,
    enable_dropout: bool,
    decode: bool = False,
  ) -> Float[Array, 'R Q D']:
    """Attends to `x` itself, or to `encoded` if given.

    Args:
      x: what asks.
      encoded: what is asked, in cross-attention; R may be a multiple K of its
        B rows, with the K rows of one input side by side.
      mask: True where a query may see a key.
      bias: added to the logits.
      cache_at: True where a cache of fixed length takes the one token of each
        row; without it the cache grows by all Q.
      enable_dropout: whether attention weights are dropped out.
      decode: whether to keep state in the collections of this module.
    """
    # T5 folds the scaling of the logits into the initial queries.
    query = self._project('query', x, scale=self.head_dim**-0.5)
    rows = query.shape
    if encoded is None:
      key, value = self._project('key', x), self._project('value', x)
      if decode:
        key, value = self._update_cache(key, value, cache_at)
    else:
      key, value = self._cross_keys_and_values(encoded, keep=decode)
      # Beams of one input are to its keys what more query positions are, as
      # cross-attention has no position bias: nothing is tiled.
      query = query.reshape(key.shape[0], -1, *rows[2:])
    x_out = attend(
      query,
      key,
      value,
      mask,
      bias,
      lambda weights: self.dropout(weights, enable=enable_dropout),
    )
    return self._output(x_out.reshape(rows), x.shape[-1])
