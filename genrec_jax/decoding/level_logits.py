"""The model's logits as one level of the trie sees them."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int32

from genrec_jax.decoding.selection import take_along
from genrec_jax.types import EOS_ID, PAD_ID

# What a score is: the log-probability of an item's tokens among
#   vocabulary  all tokens (the model's own log-probability),
#   level       the codes of this level (and the end, where items may end),
#   children    the tokens that may follow the prefix.
NORMALIZATIONS = ('vocabulary', 'level', 'children')


@dataclasses.dataclass(frozen=True)
class Alphabet:
  """The codes of a level and the tokens that stand for them.

  Attributes:
    first_token: the token of the first code of the level's block.
    block_size: how many codes the block has.
    num_special: 2 where codes 0 and 1 are PAD_ID and EOS_ID, which lie outside
      the block; else 0.
    may_end: whether items may end here or have ended before: then codes 0 and
      1 are PAD_ID and EOS_ID, in the block or before it.
  """

  first_token: int
  block_size: int
  num_special: int = 0
  may_end: bool = False

  @property
  def size(self) -> int:
    """The number of codes."""
    return self.block_size + self.num_special

  @property
  def tokens(self) -> range:
    """The tokens of the block."""
    return range(self.first_token, self.first_token + self.block_size)

  def token(self, code: Int32[Array, '*shape']) -> Int32[Array, '*shape']:
    """Returns the token of a code."""
    token = code + (self.first_token - self.num_special)
    return jnp.where(code < self.num_special, code, token)


@dataclasses.dataclass(frozen=True)
class LevelLogits:
  """Logits [B, M, W], and what is subtracted from them.

  The normaliser is subtracted from the few logits that are gathered:
  log-probabilities of a whole vocabulary are never written out. What follows
  the end of an item is certain, so padding has the normaliser as its logit.

  Attributes:
    values: logits of the whole vocabulary or of the alphabet's block.
    is_block: which of the two.
    alphabet: the level's.
    normalizer: [B, M]; None for normalisation over children, which the level
      computes itself, with 0 as the logit of padding.
  """

  values: Float[Array, 'B M W']
  is_block: bool
  alphabet: Alphabet
  normalizer: Float32[Array, 'B M'] | None

  @classmethod
  def normalized_over(
    cls,
    normalization: str,
    values: Float[Array, 'B M W'],
    alphabet: Alphabet,
    *,
    is_block: bool,
  ) -> LevelLogits:
    """Returns the logits with their normaliser; see NORMALIZATIONS."""
    plain = cls(values, is_block, alphabet, None)
    if normalization == 'children':
      return plain
    among = values
    if normalization == 'level':
      among = plain.of_alphabet(padding=-jnp.inf)
    normalizer = jax.nn.logsumexp(among.astype(jnp.float32), axis=-1)
    return dataclasses.replace(plain, normalizer=normalizer)

  def base(self, score: Float32[Array, 'B M']) -> Float32[Array, 'B M']:
    """Returns what is added to a logit to make the score of a child."""
    return score if self.normalizer is None else score - self.normalizer

  def of_codes(
    self,
    code: Int32[Array, 'B C c'],
    beam: Int32[Array, 'B C'] | None = None,
  ) -> Float32[Array, 'B C c']:
    """Returns the logits of codes.

    Args:
      code: the codes asked for.
      beam: whose logits; by default each beam's own (C = M).
    """
    column = code
    if not self.is_block:
      column = code + (self.alphabet.first_token - self.alphabet.num_special)
    if self.alphabet.num_special:
      column = jnp.where(code < 2, EOS_ID, column)
    padding = self._padding if self.alphabet.may_end else None
    if beam is None:
      gathered = take_along(self.values, column)
    else:
      flat = self.values.reshape(code.shape[0], -1)
      column += beam[..., None] * self.values.shape[-1]
      gathered = take_along(flat, column.reshape(code.shape[0], -1))
      gathered = gathered.reshape(code.shape)
      padding = None if padding is None else take_along(padding, beam)
    gathered = gathered.astype(jnp.float32)
    if padding is not None:
      gathered = jnp.where(code == PAD_ID, padding[..., None], gathered)
    return gathered

  def of_alphabet(self, padding=None) -> Float32[Array, 'B M size']:
    """Returns the logits of all codes of the level, in order."""
    alphabet, values = self.alphabet, self.values
    if not self.is_block:
      values = jax.lax.slice_in_dim(
        values, alphabet.tokens.start, alphabet.tokens.stop, axis=2
      )
    values = values.astype(jnp.float32)
    if not alphabet.may_end:
      return values
    padding = self._padding if padding is None else padding
    padding = jnp.broadcast_to(padding, values.shape[:2])[..., None]
    if alphabet.num_special:
      end = self.values[..., EOS_ID, None].astype(jnp.float32)
      return jnp.concatenate([padding, end, values], axis=-1)
    is_padding = jnp.arange(alphabet.size)[None, None, :] == PAD_ID
    return jnp.where(is_padding, padding, values)

  @property
  def _padding(self) -> Float32[Array, 'B M']:
    if self.normalizer is None:
      return jnp.zeros(self.values.shape[:2], jnp.float32)
    return self.normalizer
