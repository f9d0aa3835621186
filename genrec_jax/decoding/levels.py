"""One level of the trie: from the beams on its nodes to their best children.

A level is of one of these kinds, which the builder chooses by its shape:

  Sparse  the code of every child in a list: a beam gathers its own children
          alone. With one child for every node there is nothing to choose and
          the beams stay where they are.
  Dense   a bitmap of the codebook for every node, and ranks: for nodes with
          many children.
  Hybrid  sparse for light nodes, bitmaps for the few heavy ones.

Live beams stand in the order of their nodes, before and after. So candidates
lie in the order of the nodes that they lead to, selection prefers the first of
equals, and ties are broken by the row of the item.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32

from genrec_jax.decoding import selection
from genrec_jax.decoding.bitmaps import BITS, Bitmaps, bits
from genrec_jax.decoding.child_ranges import ChildRanges, search_sorted
from genrec_jax.decoding.constraints import LevelFilter
from genrec_jax.decoding.level_logits import Alphabet, LevelLogits
from genrec_jax.decoding.selection import CHUNK, take, take_along
from genrec_jax.decoding.sparse_level import Expansion, Sparse, best_places


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
  alphabet: Alphabet = dataclasses.field(metadata={'static': True})

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

    num_chunks = num_parents * num_words
    logit_BCb = logit_BMWb.reshape(batch_size, num_chunks, BITS)
    word_BC = word_BMW.reshape(batch_size, num_chunks)
    from_BC = jnp.broadcast_to(
      jnp.arange(num_chunks)[None, :] // num_words, word_BC.shape
    )
    chosen_BC = None
    if selection.is_wide(num_chunks * BITS, num_beams):
      # The best children lie in the K words with the largest maxima.
      maxima = jnp.where(bits(word_BC), logit_BCb, -jnp.inf).max(axis=-1)
      of_word = (batch_size, num_parents, num_words)
      maxima += jnp.broadcast_to(base_BM[..., None], of_word).reshape(
        batch_size, num_chunks
      )
      chosen_BC = selection.top_chunks(maxima, num_beams)
      logit_BCb = selection.take_chunks(logit_BCb, chosen_BC)
      word_BC = take_along(word_BC, chosen_BC)
      from_BC = chosen_BC // num_words
    value = logit_BCb + take_along(base_BM, from_BC)[..., None]
    value = jnp.where(bits(word_BC), value, -jnp.inf).reshape(batch_size, -1)
    best_BK = best_places(value, num_beams)

    place_BK = best_BK
    if chosen_BC is not None:
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
    listed = light.candidates(logits, light_score, node, level_filter, None)
    # Of light beams, chunks of their children; of heavy ones, words.
    num_light = -(-light.width // CHUNK)
    light_chunks = selection.pad_last(
      listed.score.reshape(batch_size, num_parents, light.width),
      num_light * CHUNK,
      -jnp.inf,
    )
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
    best_BK = best_places(value, num_beams)

    chunk_BK, offset_BK = best_BK // CHUNK, best_BK % CHUNK
    parent_BK = take_along(from_BC, chunk_BK)
    is_word_BK = take_along(in_words_BC, chunk_BK)
    heavy_code_BK = take_along(word_index_BC, chunk_BK) * BITS + offset_BK
    slot_BK = take_along(light_index_BC, chunk_BK) * CHUNK + offset_BK
    slot_BK = jnp.minimum(slot_BK, light.width - 1)
    flat_slot_BK = parent_BK * light.width + slot_BK
    rank_BK = self.bitmaps.rank(take_along(row_BM, parent_BK), heavy_code_BK)
    start_BK = take_along(light.ranges.start(node), parent_BK)
    light_code_BK = take_along(listed.code, flat_slot_BK)
    return Expansion(
      score=take_along(value, best_BK),
      node=start_BK + jnp.where(is_word_BK, rank_BK, slot_BK),
      parent=parent_BK,
      code=jnp.where(is_word_BK, heavy_code_BK, light_code_BK),
    )


Level = Sparse | Dense | Hybrid
