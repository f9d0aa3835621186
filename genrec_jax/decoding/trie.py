"""The catalogue as a prefix trie of level arrays.

Items are sorted by their tokens and the nodes of every level are numbered in
that order. So the children of a node are one contiguous range of the next
level, no next-state is stored, and a node of the last level is a *row* of the
sorted catalogue, which is an item.

Depth 0 is the root; the nodes of depth d are the distinct prefixes of d
tokens; `levels[l]` leads from the nodes of depth l to their children. Where
items may share their tokens, one more level without tokens leads from each
last prefix to its items.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32

from genrec_jax.decoding.constraints import LevelFilter, level_filters
from genrec_jax.decoding.level_logits import Alphabet, LevelLogits
from genrec_jax.decoding.levels import Expansion, Level
from genrec_jax.decoding.selection import take


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Trie:
  """The level arrays, a pytree; `build_trie` (trie_builder.py) makes it.

  Another catalogue with the same static parts (a new state of one that lives,
  see decoding/live_catalogue.py) does not recompile what takes the trie.

  Attributes:
    levels: from each depth to the next, see decoding/levels.py.
    num_nodes: int32 [depths], how many nodes of each depth there are.
    row_to_item: int32 [rows], the item of each row; -1 past the last.
    item_to_row: int32 [items], its inverse; -1 for a number without an item.
    capacities: of each depth, how many nodes there may be.
    num_levels: the number of tokens of an item, L.
    tail_depth: from where on almost every prefix has one item and at least two
      tokens follow; None if there is no such depth.
  """

  levels: tuple[Level, ...]
  num_nodes: Int32[Array, 'depths']
  row_to_item: Int32[Array, 'rows']
  item_to_row: Int32[Array, 'items']
  capacities: tuple[int, ...] = dataclasses.field(metadata={'static': True})
  num_levels: int = dataclasses.field(metadata={'static': True})
  tail_depth: int | None = dataclasses.field(
    default=None, metadata={'static': True}
  )

  @property
  def num_items(self) -> int:
    """The number of items, N; for use outside of jit."""
    return int(self.num_nodes[-1])

  @property
  def alphabets(self) -> tuple[Alphabet, ...]:
    """What the codes of each level mean."""
    return tuple(level.alphabet for level in self.levels[: self.num_levels])

  @property
  def vocab_size(self) -> int:
    """One more than the largest token that an item may have."""
    return max(alphabet.tokens.stop for alphabet in self.alphabets)

  @property
  def navigation_bytes(self) -> int:
    """Bytes of the levels: what a search reads to find its way."""
    return sum(array.nbytes for array in jax.tree.leaves(self.levels))

  @property
  def nbytes(self) -> int:
    """Bytes of all arrays."""
    return sum(array.nbytes for array in jax.tree.leaves(self))

  def filters(
    self, exclude=None, views=None, view=None
  ) -> tuple[LevelFilter, ...]:
    """Returns what requests may not follow; see `level_filters`."""
    return level_filters(self, exclude, views, view)

  def expand(
    self,
    number: int,
    logits: LevelLogits | None,
    score: Float32[Array, 'B M'],
    node: Int32[Array, 'B M'],
    num_beams: int,
    level_filter: LevelFilter,
  ) -> Expansion:
    """Returns the best children of each request's beams on a level."""
    return self.levels[number].expand(
      logits, score, node, num_beams, level_filter
    )

  def items(self, row: Int32[Array, '*shape']) -> Int32[Array, '*shape']:
    """Returns the items of rows."""
    return self.row_to_item.at[row].get(mode='clip')

  def leaf_range(
    self, depth: int, node: Int32[Array, '*shape']
  ) -> tuple[Int32[Array, '*shape'], Int32[Array, '*shape']]:
    """Returns the first row under each node, and the first behind it."""
    first, end = node, node + 1
    for level in self.levels[depth:]:
      first, end = level.ranges.start(first), level.ranges.start(end)
    return first, end

  def path(
    self, depth: int, node: Int32[Array, '*shape']
  ) -> tuple[Int32[Array, '*shape depth+1'], Int32[Array, '*shape depth']]:
    """Returns the nodes from the root to each node, and the tokens between."""
    nodes, tokens = [node], []
    for level in reversed(self.levels[:depth]):
      parent = level.ranges.parent(node)
      if level.alphabet is not None:
        code = level.child_code(node, parent)
        tokens.append(level.alphabet.token(code))
      node = parent
      nodes.append(node)
    no_tokens = jnp.zeros((*node.shape, 0), jnp.int32)
    tokens = jnp.stack(tokens[::-1], axis=-1) if tokens else no_tokens
    return jnp.stack(nodes[::-1], axis=-1), tokens

  @jax.jit
  def tokens(self, item: Int32[Array, '*shape']) -> Int32[Array, '*shape L']:
    """Returns the tokens of items."""
    return self.path(len(self.levels), take(self.item_to_row, item))[1]

  @jax.jit
  def prefix_sizes(
    self, item: Int32[Array, '*shape']
  ) -> Int32[Array, '*shape L']:
    """Returns how many items share each item's first 1, 2, ..., L tokens."""
    nodes, _ = self.path(len(self.levels), take(self.item_to_row, item))
    sizes = []
    for depth in range(1, self.num_levels + 1):
      first, end = self.leaf_range(depth, nodes[..., depth])
      sizes.append(end - first)
    return jnp.stack(sizes, axis=-1)
