"""The encoder of the T5: layers that see the whole input, or a block of it."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from flax.linen.partitioning import with_sharding_constraint as constrain
from jaxtyping import Array, Bool, Float, Int

from genrec_jax.models import layers
from genrec_jax.models.config import T5Config
from genrec_jax.models.stacks import apply_stack

# The residual stream. Inputs have a length that may be cut over devices.
ENCODED = ('batch', 'length', 'embed')


class EncoderLayer(nn.Module):
  """Self-attention and MLP, each after a norm and around a residual."""

  config: T5Config
  enable_dropout: bool

  @nn.compact
  def __call__(self, x, mask, bias):
    """Returns the next `x`, and None for the scan."""
    config, enable_dropout = self.config, self.enable_dropout
    dropout = config.dropout()
    y = config.norm('pre_attention_layer_norm')(x)
    y = config.attention(dropout, 'attention')(
      y, mask=mask, bias=bias, enable_dropout=enable_dropout
    )
    x = constrain(x + dropout(y, enable=enable_dropout), ENCODED)
    y = config.norm('pre_mlp_layer_norm')(x)
    y = layers.MLP(
      config.mlp_dim, config.mlp_activations, dropout, config.dtype, name='mlp'
    )(y, enable_dropout=enable_dropout)
    return constrain(x + dropout(y, enable=enable_dropout), ENCODED), None


class Encoder(nn.Module):
  """Embedding, encoder layers and a last norm.

  The first `config.num_block_local_layers` take `block_mask` for a mask.
  """

  config: T5Config
  embedding: layers.Embedding

  @nn.compact
  def __call__(
    self,
    tokens: Int[Array, 'B S'],
    mask: Bool[Array, 'B 1 Q S'],
    block_mask: Bool[Array, 'B 1 S S'] | None = None,
    *,
    enable_dropout: bool,
    block_states: Float[Array, 'B S D'] | None = None,
    only_blocks: bool = False,
  ) -> Float[Array, 'B S D']:
    """Encodes tokens.

    Args:
      tokens: the inputs.
      mask: True where a token may see another.
      block_mask: the same for the first layers.
      enable_dropout: whether there is dropout.
      block_states: what the first layers give, where that is known.
      only_blocks: whether to return what the first layers give.
    """
    config = self.config
    dropout = config.dropout()
    positions = jnp.arange(tokens.shape[1])[None, :]
    bias = config.position_bias(bidirectional=True)(positions, positions)

    def apply_layers(x, mask, first, end):
      return apply_stack(
        EncoderLayer,
        end,
        x,
        mask,
        bias,
        config=config,
        name='encoder',
        first=first,
        enable_dropout=enable_dropout,
      )

    num_local = config.num_block_local_layers
    x = block_states
    if x is None:
      x = constrain(
        dropout(self.embedding(tokens), enable=enable_dropout), ENCODED
      )
      if num_local:
        x = apply_layers(x, block_mask, 0, num_local)
    if only_blocks:
      return x
    x = apply_layers(x, mask, num_local, config.num_encoder_layers)
    return dropout(config.norm('encoder_norm')(x), enable=enable_dropout)
