"""One level of the trie: from the beams on its nodes to their best children.

A level is of one of these kinds, which the builder chooses by its shape:

  Sparse  the code of every child in a list: a beam gathers its own children
          alone, `width` of them. With a width of 1 (every node has one child)
          there is nothing to choose and the beams stay where they are.
  Dense   a bitmap of the codebook for every node, and ranks: for nodes with
          many children.
  Hybrid  sparse for light nodes, bitmaps for the few heavy ones.

Live beams stand in the order of their nodes, before and after. So candidates
lie in the order of the nodes that they lead to, selection prefers the first of
equals, and ties are broken by the row of the item.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32, UInt16, UInt32

from genrec_jax.decoding import selection
from genrec_jax.decoding.child_ranges import (
  ChildRanges,
  Identity,
  search_sorted,
)
from genrec_jax.decoding.constraints import LevelFilter
from genrec_jax.decoding.level_logits import Alphabet, LevelLogits
from genrec_jax.decoding.selection import CHUNK, take, take_along

BITS = 32  # of a word of a bitmap


class Expansion(NamedTuple):
  """The children that were chosen, K to a request.

  Attributes:
    score: their scores, -inf for none.
    node: their nodes in the next level.
    parent: the beams they come from; None if each beam has one child.
    code: their codes; None if the level has no codes.
  """

  score: Float32[Array, 'B K']
  node: Int32[Array, 'B K']
  parent: Int32[Array, 'B K'] | None
  code: Int32[Array, 'B K'] | None


def _static() -> dataclasses.Field:
  return dataclasses.field(metadata={'static': True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sparse:
  """A level whose beams gather their own children.

  Attributes:
    ranges: where the children of each node start.
    codes: uint8, uint16 or int32 [children + width], the code of every child;
      None for the level from shared leaves to items, which has no codes.
    alphabet: what the codes mean.
    width: the most children that a node has.
  """

  ranges: ChildRanges
  codes: Array | None
  alphabet: Alphabet | None = _static()
  width: int = _static()

  @property
  def bitmaps(self) -> None:
    """A sparse level has none."""
    return None

  def child_code(self, child, parent):
    """Returns the codes of children; None where they have none."""
    del parent
    if self.codes is None:
      return None
    return take(self.codes, child).astype(jnp.int32)

  def candidates(
    self, logits: LevelLogits | None, score, node, level_filter: LevelFilter
  ):
    """Returns score, number and code of each beam's children, [B, M, width]."""
    start_BM = self.ranges.start(node)
    slot_11W = jnp.arange(self.width, dtype=jnp.int32)[None, None, :]
    child_BMW = start_BM[..., None] + slot_11W
    legal_BMW = slot_11W < self.ranges.count(node)[..., None]
    if self.codes is None:
      code_BMW = None
      value_BMW = jnp.broadcast_to(score[..., None], child_BMW.shape)
    else:
      code_BMW = take(self.codes, child_BMW).astype(jnp.int32)
      logit_BMW = logits.of_codes(code_BMW)
      base_BM = logits.base(score)
      if logits.normalizer is None:
        among = jnp.where(legal_BMW, logit_BMW, -jnp.inf)
        base_BM -= jax.nn.logsumexp(among, axis=-1)
      value_BMW = base_BM[..., None] + logit_BMW
    value_BMW = jnp.where(legal_BMW, value_BMW, -jnp.inf)
    value_BMW = level_filter.of_children(
      value_BMW, child_BMW, node, score > -jnp.inf
    )
    return value_BMW, child_BMW, code_BMW

  def expand(
    self,
    logits: LevelLogits | None,
    score: Float32[Array, 'B M'],
    node: Int32[Array, 'B M'],
    num_beams: int,
    level_filter: LevelFilter,
  ) -> Expansion:
    """Returns the best children of each request's beams."""
    value_BMW, child_BMW, code_BMW = self.candidates(
      logits, score, node, level_filter
    )
    batch_size = len(node)

    def flat(x):
      return x.reshape(batch_size, -1)

    if isinstance(self.ranges, Identity):
      code = None if code_BMW is None else flat(code_BMW)
      return Expansion(flat(value_BMW), flat(child_BMW), None, code)
    best_BK = _best(flat(value_BMW), num_beams)
    return Expansion(
      score=take_along(flat(value_BMW), best_BK),
      node=take_along(flat(child_BMW), best_BK),
      parent=best_BK // self.width,
      code=None if code_BMW is None else take_along(flat(code_BMW), best_BK),
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dense:
  """A level with a bitmap of the codes for each node.

  Attributes:
    ranges: where the children of each node start.
    bitmaps: which codes each node has.
    alphabet: what the codes mean.
  """

  ranges: ChildRanges
  bitmaps: Bitmaps
  alphabet: Alphabet = _static()

  @property
  def bitmap_nodes(self) -> Int32[Array, 'rows']:
    """The node of each row of the bitmaps."""
    return jnp.arange(len(self.bitmaps.words), dtype=jnp.int32)

  def child_code(self, child, parent):
    """Returns the codes of children."""
    return self.bitmaps.code(parent, child - self.ranges.start(parent))

  def expand(
    self,
    logits: LevelLogits,
    score: Float32[Array, 'B M'],
    node: Int32[Array, 'B M'],
    num_beams: int,
    level_filter: LevelFilter,
  ) -> Expansion:
    """Returns the best children of each request's beams."""
    logit_BMWb = self.bitmaps.chunk(logits.of_alphabet())
    batch_size, num_parents, num_words, _ = logit_BMWb.shape
    word_BMW = take(self.bitmaps.words, node)
    base_BM = logits.base(score)
    if logits.normalizer is None:
      among = jnp.where(bits(word_BMW), logit_BMWb, -jnp.inf)
      base_BM -= jax.nn.logsumexp(among, axis=(-2, -1))
    word_BMW = level_filter.of_words(word_BMW, node, node, score > -jnp.inf)

    # The best children lie in the K words with the largest maxima.
    num_chunks = num_parents * num_words
    maxima = jnp.where(bits(word_BMW), logit_BMWb, -jnp.inf).max(axis=-1)
    maxima = (maxima + base_BM[..., None]).reshape(batch_size, num_chunks)
    chosen_BC = selection.top_chunks(maxima, num_beams)
    from_BC = chosen_BC // num_words
    value = selection.take_chunks(
      logit_BMWb.reshape(batch_size, num_chunks, BITS), chosen_BC
    )
    value += take_along(base_BM, from_BC)[..., None]
    words = take_along(word_BMW.reshape(batch_size, num_chunks), chosen_BC)
    value = jnp.where(bits(words), value, -jnp.inf).reshape(batch_size, -1)
    best_BK = _best(value, num_beams)

    place_BK = selection.chunk_place(chosen_BC, best_BK)
    code_BK = place_BK % (num_words * BITS)
    parent_BK = place_BK // (num_words * BITS)
    node_BK = take_along(node, parent_BK)
    return Expansion(
      score=take_along(value, best_BK),
      node=self.ranges.start(node_BK) + self.bitmaps.rank(node_BK, code_BK),
      parent=parent_BK,
      code=code_BK,
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Hybrid:
  """A level with a few heavy nodes.

  Attributes:
    light: the level as a sparse one; its width is what light nodes have at
      most, and nodes with more children are heavy.
    heavy: int32 [H], the heavy nodes, sorted, filled up with NO_NODE.
    bitmaps: which codes each heavy node has.
  """

  light: Sparse
  heavy: Int32[Array, 'H']
  bitmaps: Bitmaps

  @property
  def bitmap_nodes(self) -> Int32[Array, 'rows']:
    """The node of each row of the bitmaps."""
    return self.heavy

  @property
  def ranges(self) -> ChildRanges:
    """Where the children of each node start."""
    return self.light.ranges

  @property
  def alphabet(self) -> Alphabet:
    """What the codes mean."""
    return self.light.alphabet

  def child_code(self, child, parent):
    """Returns the codes of children."""
    return self.light.child_code(child, parent)

  def expand(
    self,
    logits: LevelLogits,
    score: Float32[Array, 'B M'],
    node: Int32[Array, 'B M'],
    num_beams: int,
    level_filter: LevelFilter,
  ) -> Expansion:
    """Returns the best children of each request's beams."""
    light, alive_BM = self.light, score > -jnp.inf
    batch_size, num_parents = node.shape
    is_heavy_BM = light.ranges.count(node) > light.width
    light_score = jnp.where(is_heavy_BM, -jnp.inf, score)
    value_BMW, child_BMW, code_BMW = light.candidates(
      logits, light_score, node, level_filter
    )
    # Of light beams, chunks of their children; of heavy ones, words.
    num_light = -(-light.width // CHUNK)
    light_chunks = selection.pad_last(value_BMW, num_light * CHUNK, -jnp.inf)
    light_chunks = light_chunks.reshape(batch_size, -1, num_light, CHUNK)

    row_BM = jnp.minimum(search_sorted(self.heavy, node), len(self.heavy) - 1)
    word_BMW = take(self.bitmaps.words, row_BM)
    word_BMW = jnp.where(is_heavy_BM[..., None], word_BMW, 0)
    logit_BMWb = self.bitmaps.chunk(logits.of_alphabet())
    num_words = word_BMW.shape[-1]
    base_BM = logits.base(score)
    if logits.normalizer is None:
      among = jnp.where(bits(word_BMW), logit_BMWb, -jnp.inf)
      among = jax.nn.logsumexp(among, axis=(-2, -1))
      base_BM -= jnp.where(is_heavy_BM, among, 0.0)
    word_BMW = level_filter.of_words(word_BMW, node, row_BM, alive_BM)
    maxima = jnp.where(bits(word_BMW), logit_BMWb, -jnp.inf).max(axis=-1)
    maxima += base_BM[..., None]

    # A beam has either kind, so its chunks are in the order of its children.
    per_beam = num_words + num_light
    maxima = jnp.concatenate([maxima, light_chunks.max(axis=-1)], axis=-1)
    chosen_BC = selection.top_chunks(maxima.reshape(batch_size, -1), num_beams)
    from_BC, chunk_BC = chosen_BC // per_beam, chosen_BC % per_beam
    in_words_BC = chunk_BC < num_words
    word_index_BC = jnp.where(in_words_BC, chunk_BC, 0)
    light_index_BC = jnp.where(in_words_BC, 0, chunk_BC - num_words)

    flat_word_BC = from_BC * num_words + word_index_BC
    heavy_value = selection.take_chunks(
      logit_BMWb.reshape(batch_size, -1, BITS), flat_word_BC
    )
    heavy_value += take_along(base_BM, from_BC)[..., None]
    words = take_along(word_BMW.reshape(batch_size, -1), flat_word_BC)
    heavy_value = jnp.where(bits(words), heavy_value, -jnp.inf)
    light_value = selection.take_chunks(
      light_chunks.reshape(batch_size, -1, CHUNK),
      from_BC * num_light + light_index_BC,
    )
    value = jnp.where(in_words_BC[..., None], heavy_value, light_value)
    value = value.reshape(batch_size, -1)
    best_BK = _best(value, num_beams)

    chunk_BK, offset_BK = best_BK // CHUNK, best_BK % CHUNK
    parent_BK = take_along(from_BC, chunk_BK)
    is_word_BK = take_along(in_words_BC, chunk_BK)
    heavy_code_BK = take_along(word_index_BC, chunk_BK) * BITS + offset_BK
    slot_BK = take_along(light_index_BC, chunk_BK) * CHUNK + offset_BK
    slot_BK = jnp.minimum(slot_BK, light.width - 1)
    flat_slot_BK = parent_BK * light.width + slot_BK
    rank_BK = self.bitmaps.rank(take_along(row_BM, parent_BK), heavy_code_BK)
    start_BK = take_along(child_BMW[..., 0], parent_BK)
    light_code_BK = take_along(code_BMW.reshape(batch_size, -1), flat_slot_BK)
    return Expansion(
      score=take_along(value, best_BK),
      node=start_BK + jnp.where(is_word_BK, rank_BK, slot_BK),
      parent=parent_BK,
      code=jnp.where(is_word_BK, heavy_code_BK, light_code_BK),
    )


Level = Sparse | Dense | Hybrid


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
    values = selection.pad_last(values, num_words * BITS, 0.0)
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


def _best(value: Float32[Array, 'B C'], k: int) -> Int32[Array, 'B K']:
  """Returns the places of the best, in ascending order; at most C."""
  _, best = selection.top_k(value, min(k, value.shape[-1]))
  return jnp.sort(best, axis=-1)
