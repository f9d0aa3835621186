"""Which nodes of the trie a request may not follow.

A request excludes items by number. A node is *dead* when every item under it
is excluded: a prefix that is not dead always leads to an item that may be
recommended, so no beam is lost on the way.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

from genrec_jax.decoding.trie import Trie


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DeadNodes:
  """The dead nodes of one level, one entry an excluded item.

  Attributes:
    node: the item's ancestor in this level where that is dead, else -1.
    parent: the parent of that node, else -1.
  """

  node: Int32[Array, '*batch X']
  parent: Int32[Array, '*batch X']


def dead_nodes(trie: Trie, exclude: Int32[Array, 'X']) -> tuple[DeadNodes, ...]:
  """Returns the dead nodes of levels 1 to L for one request.

  Args:
    trie: the catalogue.
    exclude: item numbers, in any order; numbers outside the catalogue (-1 by
      convention) and repetitions are ignored.
  """
  known = (exclude >= 0) & (exclude < trie.num_items)
  none = trie.num_items  # sorts behind every row
  row_X = jnp.sort(
    jnp.where(known, trie.item_to_row[jnp.where(known, exclude, 0)], none)
  )
  repeated_X = jnp.concatenate([jnp.zeros(1, bool), row_X[1:] == row_X[:-1]])
  row_X = jnp.sort(jnp.where(repeated_X, none, row_X))

  place_X = jnp.arange(len(row_X))
  levels = []
  parent_X = jnp.zeros_like(row_X)
  for level in range(1, trie.num_levels + 1):
    node_X = trie.ancestor(level, jnp.minimum(row_X, none - 1))
    first_X = trie.first_leaf[level][node_X]
    last_X = trie.first_leaf[level][node_X + 1] - 1
    # The list is sorted without repetitions: it holds all of first .. last
    # if and only if these two stand as far away as they would then.
    dead_X = (
      (row_X < none)
      & (_at(row_X, place_X - (row_X - first_X)) == first_X)
      & (_at(row_X, place_X + (last_X - row_X)) == last_X)
    )
    levels.append(
      DeadNodes(
        node=jnp.where(dead_X, node_X, -1),
        parent=jnp.where(dead_X, parent_X, -1),
      )
    )
    parent_X = node_X
  return tuple(levels)


def _at(row_X: jax.Array, place_X: jax.Array) -> jax.Array:
  """Reads the list at places, of which those outside hold no row."""
  outside = (place_X < 0) | (place_X >= len(row_X))
  return jnp.where(outside, -1, row_X.at[place_X].get(mode='clip'))


def drop_dead(
  candidates: Float32[Array, 'M W'],
  dead: DeadNodes,
  nodes: Int32[Array, 'M'],
  first_child: Int32[Array, 'M'],
  alive: Bool[Array, 'M'],
) -> Float32[Array, 'M W']:
  """Sets the scores of dead children to -inf, for one request.

  Args:
    candidates: the scores of the children of each beam, in order.
    dead: the dead nodes of the children's level.
    nodes: the node of each beam; those of `alive` beams are distinct.
    first_child: the first child of each beam's node.
    alive: whether a beam holds a node.
  """
  # A dead node has one parent, so it is the child of at most one live beam.
  holds_MX = (dead.parent[None, :] == nodes[:, None]) & alive[:, None]
  beam_X = jnp.argmax(holds_MX, axis=0)
  slot_X = dead.node - first_child[beam_X]
  outside = candidates.shape[1]
  slot_X = jnp.where(holds_MX.any(axis=0), slot_X, outside)
  return candidates.at[beam_X, slot_X].set(-jnp.inf, mode='drop')
