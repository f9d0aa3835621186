"""Sets of codes as bitmaps with ranks."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32, UInt16, UInt32

from genrec_jax.decoding.selection import pad_last, take, take_along

BITS = 32  # of a word


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bitmaps:
  """Sets of codes, and how many codes of a set lie before a word.

  Attributes:
    words: bit c % 32 of word c // 32 of a row says whether it has code c.
    ranks: how many codes a row has before each word.
  """

  words: UInt32[Array, 'rows W']
  ranks: UInt16[Array, 'rows W']

  def chunk(
    self, values: Float32[Array, 'B M V']
  ) -> Float32[Array, 'B M W 32']:
    """Cuts values of codes as the words are cut."""
    num_words = self.words.shape[1]
    values = pad_last(values, num_words * BITS, 0.0)
    return values.reshape(*values.shape[:-1], num_words, BITS)

  def rank(
    self, row: Int32[Array, '*shape'], code: Int32[Array, '*shape']
  ) -> Int32[Array, '*shape']:
    """Returns how many codes a row has before `code`."""
    word = self.words.at[row, code // BITS].get(mode='promise_in_bounds')
    before = self.ranks.at[row, code // BITS].get(mode='promise_in_bounds')
    below = (jnp.uint32(1) << (code % BITS).astype(jnp.uint32)) - 1
    return before.astype(jnp.int32) + jax.lax.population_count(
      word & below
    ).astype(jnp.int32)

  def code(
    self, row: Int32[Array, '*shape'], rank: Int32[Array, '*shape']
  ) -> Int32[Array, '*shape']:
    """Returns the code before which a row has `rank` others."""
    before = take(self.ranks, row).astype(jnp.int32)
    word_index = (before <= rank[..., None]).sum(axis=-1) - 1
    word = take_along(take(self.words, row), word_index[..., None])
    rank -= take_along(before, word_index[..., None])[..., 0]
    seen = jnp.cumsum(bits(word[..., 0]), axis=-1)
    # The first place where more than `rank` bits have been seen.
    bit = jnp.argmax(seen > rank[..., None], axis=-1)
    return (word_index * BITS + bit).astype(jnp.int32)


def bits(words: UInt32[Array, '*shape']) -> Bool[Array, '*shape 32']:
  """Returns the bits of words, the lowest first."""
  words = words[..., None]
  shift = jax.lax.broadcasted_iota(
    jnp.uint32, (*words.shape[:-1], BITS), words.ndim - 1
  )
  return ((words >> shift) & 1).astype(bool)


def pack_bits(values: Bool[Array, '*shape 32']) -> UInt32[Array, '*shape']:
  """Returns the words of bits: the inverse of `bits`."""
  shift = jax.lax.broadcasted_iota(jnp.uint32, values.shape, values.ndim - 1)
  return (values.astype(jnp.uint32) << shift).sum(axis=-1, dtype=jnp.uint32)
