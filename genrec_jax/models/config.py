"""T5Config: the sizes and choices of a T5, and the layers made from them."""

from __future__ import annotations

import dataclasses

import jax

from genrec_jax.models import layers
from genrec_jax.models.attention import Attention
from genrec_jax.types import GenrecError, unknown_name

REMAT_POLICIES = {
  'none': None,
  # Keep the results of matrix products with parameters, recompute the rest.
  'minimal': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
  'full': jax.checkpoint_policies.nothing_saveable,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class T5Config:
  """Sizes and choices of a T5.

  Attributes:
    vocab_size: number of tokens, padded as the vocabulary pads it.
    dtype: of activations, 'float32' or 'bfloat16'. Parameters, norms,
      softmax and logits are float32 always.
    emb_dim: width of the residual stream.
    num_heads: attention heads.
    head_dim: width of a head.
    mlp_dim: width of the MLP.
    num_encoder_layers: layers of the encoder.
    num_decoder_layers: layers of the decoder.
    mlp_activations: ('relu',) for T5 1.0, ('gelu', 'linear') for 1.1.
    logits_via_embedding: whether the head is the embedding: True for T5 1.0.
    dropout_rate: of embeddings, sublayers, MLPs and attention weights.
    dropout_along_length: True draws a mask for each position; False shares
      it along the length, as T5's first implementation did.
    relative_attention_num_buckets: buckets of relative distance.
    relative_attention_max_distance: distances from here on share a bucket.
    scan_layers: whether a stack is one scanned layer: compiles once however
      many layers there are.
    remat_policy: 'none', 'minimal' or 'full': what the backward pass
      computes again instead of storing.
    num_block_local_layers: the first layers of the encoder, in which a token
      sees its block alone (models/blocks.py): what they make of a block can be
      kept from request to request. 0 for T5's own encoder.
    item_token_ranges: the first and the one after the last token of each level
      of the items' ids, which says where blocks are; needed where there are
      such layers (`train.item_token_ranges`).
    items_per_block: how many items that follow each other are one block.
  """

  vocab_size: int
  dtype: str = 'float32'
  emb_dim: int = 512
  num_heads: int = 8
  head_dim: int = 64
  mlp_dim: int = 2048
  num_encoder_layers: int = 6
  num_decoder_layers: int = 6
  mlp_activations: tuple[str, ...] = ('relu',)
  logits_via_embedding: bool = True
  dropout_rate: float = 0.1
  dropout_along_length: bool = True
  relative_attention_num_buckets: int = 32
  relative_attention_max_distance: int = 128
  scan_layers: bool = False
  remat_policy: str = 'none'
  num_block_local_layers: int = 0
  item_token_ranges: tuple[tuple[int, int], ...] = ()
  items_per_block: int = 1

  def __post_init__(self):
    # A list (gin, JSON) must not make the module unhashable.
    object.__setattr__(self, 'mlp_activations', tuple(self.mlp_activations))
    ranges = tuple(tuple(levels) for levels in self.item_token_ranges)
    object.__setattr__(self, 'item_token_ranges', ranges)
    for activation in self.mlp_activations:
      if activation not in layers.ACTIVATIONS:
        raise unknown_name('activation', activation, layers.ACTIVATIONS)
    if self.remat_policy not in REMAT_POLICIES:
      raise unknown_name('remat_policy', self.remat_policy, REMAT_POLICIES)
    if self.dtype not in ('float32', 'bfloat16'):
      raise unknown_name('dtype', self.dtype, ('float32', 'bfloat16'))
    if not 0.0 <= self.dropout_rate < 1.0:
      raise GenrecError(
        f'dropout_rate={self.dropout_rate} is not a probability below 1; set'
        ' T5Config.dropout_rate to, for example, 0.1.'
      )
    if self.num_block_local_layers:
      self._check_blocks()

  def _check_blocks(self):
    if not 0 < self.num_block_local_layers <= self.num_encoder_layers:
      raise GenrecError(
        f'Got num_block_local_layers={self.num_block_local_layers}; expected'
        f' from 0 to the {self.num_encoder_layers} layers of the encoder.'
      )
    if not self.item_token_ranges or self.items_per_block < 1:
      raise GenrecError(
        f'Got item_token_ranges={self.item_token_ranges} and items_per_block='
        f'{self.items_per_block}; layers that see blocks alone need the tokens'
        ' of the ids (T5Config.item_token_ranges ='
        ' @train.item_token_ranges()) and at least one item a block.'
      )
    if self.scan_layers:
      raise GenrecError(
        f'Got scan_layers with num_block_local_layers='
        f'{self.num_block_local_layers}; layers that see different tokens are'
        ' not one scanned layer: set T5Config.scan_layers = False.'
      )

  def dropout(self) -> layers.Dropout:
    """Returns the dropout of every place in the model."""
    axes = () if self.dropout_along_length else (-2,)
    return layers.Dropout(self.dropout_rate, axes, name='dropout')

  def attention(self, dropout: layers.Dropout, name: str) -> Attention:
    """Returns an attention layer of these sizes."""
    return Attention(
      self.num_heads, self.head_dim, dropout, self.dtype, name=name
    )

  def norm(self, name: str) -> layers.RMSNorm:
    """Returns a norm."""
    return layers.RMSNorm(self.dtype, name=name)

  def position_bias(self, bidirectional: bool) -> layers.RelativePositionBias:
    """Returns the position bias that the layers of a stack share."""
    return layers.RelativePositionBias(
      self.num_heads,
      self.relative_attention_num_buckets,
      self.relative_attention_max_distance,
      bidirectional,
      name='relpos_bias',
    )
