"""The T5 encoder-decoder, versions 1.0 and 1.1.

1.0 has a relu MLP and a head tied to the embedding (logits scaled by
D ** -0.5); 1.1 has a gated gelu MLP and a head of its own (Raffel et al. 2020,
https://arxiv.org/abs/1910.10683; Shazeer 2020,
https://arxiv.org/abs/2002.05202).

Without scan the parameters are those of T5X's minimal T5, name by name:
`encoder/layers_0/attention/query/kernel` [D, heads * head_dim]. With scan the
layers of a stack lie in one tree, `encoder/encoder/...` and
`decoder/decoder/...`, stacked on axis 0.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.partitioning import with_sharding_constraint as constrain
from jaxtyping import Array, Bool, Float, Int

from genrec_jax.models import layers
from genrec_jax.models.blocks import number_blocks
from genrec_jax.models.config import T5Config
from genrec_jax.models.encoder import Encoder
from genrec_jax.models.stacks import apply_stack
from genrec_jax.types import PAD_ID, GenrecError

# The residual stream. Targets are short, and decoding takes them token by
# token: their length is not cut over devices.
DECODED = ('batch', 'target_length', 'embed')


class DecoderLayer(nn.Module):
  """Self-attention, cross-attention and MLP."""

  config: T5Config
  enable_dropout: bool
  decode: bool

  @nn.compact
  def __call__(self, x, encoded, mask, bias, cross_mask, cache_at):
    """Returns the next `x`, and None for the scan."""
    config, enable_dropout = self.config, self.enable_dropout
    decode = self.decode
    dropout = config.dropout()
    y = config.norm('pre_self_attention_layer_norm')(x)
    y = config.attention(dropout, 'self_attention')(
      y,
      mask=mask,
      bias=bias,
      cache_at=cache_at,
      enable_dropout=enable_dropout,
      decode=decode,
    )
    x = constrain(x + dropout(y, enable=enable_dropout), DECODED)
    y = config.norm('pre_cross_attention_layer_norm')(x)
    y = config.attention(dropout, 'encoder_decoder_attention')(
      y, encoded, mask=cross_mask, enable_dropout=enable_dropout, decode=decode
    )
    x = constrain(x + dropout(y, enable=enable_dropout), DECODED)
    y = config.norm('pre_mlp_layer_norm')(x)
    y = layers.MLP(
      config.mlp_dim, config.mlp_activations, dropout, config.dtype, name='mlp'
    )(y, enable_dropout=enable_dropout)
    return constrain(x + dropout(y, enable=enable_dropout), DECODED), None


class Decoder(nn.Module):
  """Embedding, decoder layers, a last norm and the head."""

  config: T5Config
  embedding: layers.Embedding

  @nn.compact
  def __call__(
    self,
    encoded: Float[Array, 'B S D'],
    tokens: Int[Array, 'R T'],
    cross_mask: Bool[Array, 'B 1 Q S'],
    segment_ids: Int[Array, 'R T'] | None = None,
    *,
    enable_dropout: bool,
    decode: bool,
    block: range | None = None,
  ) -> Float[Array, 'R T V']:
    """Returns the logits of the token after each one, those of `block`."""
    config = self.config
    dropout = config.dropout()
    query_positions, key_positions, cache_at = self._positions(
      *tokens.shape, decode
    )
    mask = key_positions[:, None, :] <= query_positions[:, :, None]
    if segment_ids is not None:
      mask = mask & (segment_ids[:, None, :] == segment_ids[:, :, None])
    bias = config.position_bias(bidirectional=False)(
      query_positions, key_positions
    )
    x = constrain(
      dropout(self.embedding(tokens), enable=enable_dropout), DECODED
    )
    x = apply_stack(
      DecoderLayer,
      config.num_decoder_layers,
      x,
      encoded,
      mask[:, None],
      bias,
      cross_mask,
      cache_at,
      config=config,
      name='decoder',
      enable_dropout=enable_dropout,
      decode=decode,
    )
    x = dropout(config.norm('decoder_norm')(x), enable=enable_dropout)
    if config.logits_via_embedding:
      logits = self.embedding.attend(x, block) * config.emb_dim**-0.5
    else:
      logits = layers.Dense(
        config.vocab_size,
        ('embed', 'vocab'),
        jnp.float32,
        truncated=True,
        columns=block,
        name='logits_dense',
      )(x)
    # A block is small and need not divide: every device has all of it.
    return constrain(
      logits, ('batch', 'target_length', 'vocab' if block is None else None)
    )

  def _positions(self, rows: int, length: int, decode: bool):
    """Returns the positions of queries and keys, and where tokens are kept.

    The last is None unless the cache has a fixed length.
    """
    positions = jnp.arange(length)[None, :]
    if not decode:
      return positions, positions, None
    if self.has_variable('cache', 'filled'):
      # A cache of fixed length; kept a row, so that it follows the rows.
      assert length == 1, 'a cache of fixed length takes one token a step'
      filled = self.get_variable('cache', 'filled')
      query = jnp.sum(filled, axis=1, keepdims=True)
      key = jnp.arange(filled.shape[1])[None, :]
      self.put_variable('cache', 'filled', key <= query)
      return query, key, key == query
    cached = jax.tree.leaves(self.variables.get('cache', {}))
    if not cached and length:
      self.put_variable('cache', 'filled', jnp.zeros((rows, length), bool))
      return positions, positions, None
    # [R, t, H, head_dim], or [R, layers, t, H, head_dim] where scanned.
    past = cached[0].shape[-3] if cached else 0
    return past + positions, jnp.arange(past + length)[None, :], None


class Transformer(nn.Module):
  """An encoder-decoder with the call signatures of T5X's modules.

  `encoder_positions` and `decoder_positions`, which packing also makes, are
  taken and not needed: the bias knows distances alone, and within a segment
  they are the distances between indices.
  """

  config: T5Config

  def setup(self):
    """Makes the parts that `encode` and `decode` share."""
    config = self.config
    self.token_embedder = layers.Embedding(
      config.vocab_size, config.emb_dim, config.dtype
    )
    self.encoder = Encoder(config, self.token_embedder)
    self.decoder = Decoder(config, self.token_embedder)

  def encode(
    self,
    encoder_input_tokens: Int[Array, 'B S'],
    encoder_segment_ids: Int[Array, 'B S'] | None = None,
    enable_dropout: bool = True,
    block_states: Float[Array, 'B S D'] | None = None,
    only_blocks: bool = False,
  ) -> Float[Array, 'B S D']:
    """Encodes the inputs; padding is seen by nobody.

    Args:
      encoder_input_tokens: the inputs.
      encoder_segment_ids: which of them are one example, where rows are packed.
      enable_dropout: whether there is dropout.
      block_states: what the layers that see blocks alone give for these
        inputs, computed before; they are then left out.
      only_blocks: whether to return that, and leave the other layers out.
    """
    config = self.config
    tokens = encoder_input_tokens.astype(jnp.int32)
    mask = (tokens != PAD_ID)[:, None, None, :]
    if encoder_segment_ids is not None:
      mask = mask & _same_segment(encoder_segment_ids, encoder_segment_ids)
    block_mask = None
    if config.num_block_local_layers:
      blocks = number_blocks(
        tokens, config.item_token_ranges, config.items_per_block
      )
      block_mask = mask & _same_segment(blocks, blocks)
    elif block_states is not None or only_blocks:
      raise GenrecError(
        'The model has no layers that see blocks alone, so nothing of a block'
        ' can be kept; train one with T5Config.num_block_local_layers.'
      )
    return self.encoder(
      tokens,
      mask,
      block_mask,
      enable_dropout=enable_dropout,
      block_states=block_states,
      only_blocks=only_blocks,
    )

  def decode(
    self,
    encoded: Float[Array, 'B S D'],
    encoder_input_tokens: Int[Array, 'B S'],
    decoder_input_tokens: Int[Array, 'R T'],
    decoder_target_tokens: Int[Array, 'R T'] | None = None,
    encoder_segment_ids: Int[Array, 'B S'] | None = None,
    decoder_segment_ids: Int[Array, 'R T'] | None = None,
    decoder_positions: Int[Array, 'R T'] | None = None,
    enable_dropout: bool = True,
    decode: bool = False,
    max_decode_length: int | None = None,
    block: range | None = None,
  ) -> Float[Array, 'R T V']:
    """Returns float32 logits, of the tokens of `block` alone if it is given.

    With `decode`, a call without a cache makes an empty one as long as its
    decoder inputs, and a call with one takes the next token of each row. A
    cache that was made of no tokens (T = 0) grows: a call with it takes any
    number of tokens, each of which sees those before it. The decoder rows may
    be K to an encoder row.
    """
    del decoder_target_tokens, decoder_positions, max_decode_length
    if block is not None and (
      block.step != 1
      or not 0 <= block.start < block.stop <= self.config.vocab_size
    ):
      raise GenrecError(
        f'Got {block} as the tokens whose logits are wanted; expected a range'
        f' of step 1 within the {self.config.vocab_size} tokens of the model;'
        ' use the ids that the model was trained with.'
      )
    mask = (encoder_input_tokens != PAD_ID)[:, None, None, :]
    if encoder_segment_ids is not None:
      assert not decode, 'packed examples cannot be decoded step by step'
      mask = mask & _same_segment(decoder_segment_ids, encoder_segment_ids)
    return self.decoder(
      encoded,
      decoder_input_tokens.astype(jnp.int32),
      mask,
      decoder_segment_ids,
      enable_dropout=enable_dropout,
      decode=decode,
      block=block,
    )

  def __call__(
    self,
    encoder_input_tokens: Int[Array, 'B S'],
    decoder_input_tokens: Int[Array, 'B T'],
    decoder_target_tokens: Int[Array, 'B T'],
    encoder_segment_ids: Int[Array, 'B S'] | None = None,
    decoder_segment_ids: Int[Array, 'B T'] | None = None,
    encoder_positions: Int[Array, 'B S'] | None = None,
    decoder_positions: Int[Array, 'B T'] | None = None,
    *,
    enable_dropout: bool = True,
    decode: bool = False,
  ) -> Float[Array, 'B T V']:
    """Returns float32 logits of the targets."""
    del encoder_positions
    encoded = self.encode(
      encoder_input_tokens, encoder_segment_ids, enable_dropout
    )
    return self.decode(
      encoded,
      encoder_input_tokens,
      decoder_input_tokens,
      decoder_target_tokens,
      encoder_segment_ids,
      decoder_segment_ids,
      decoder_positions,
      enable_dropout,
      decode,
    )


def _same_segment(
  query_segments: Int[Array, 'B Q'], key_segments: Int[Array, 'B S']
) -> Bool[Array, 'B 1 Q S']:
  return query_segments[:, None, :, None] == key_segments[:, None, None, :]
