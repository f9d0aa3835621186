"""Which nodes of the next level are the children of a node.

Nodes are numbered in the order of their prefixes, so children are a contiguous
range, and all one has to know is where it starts. Three ways to say so, from
the largest to none at all:

  Offsets     a start for every node,
  Exceptions  every node has one child but those in a list,
  Identity    every node has one child: a node is its child.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Int32

from genrec_jax.decoding.selection import take

# Stands behind every node in a sorted list that is filled up.
NO_NODE = np.iinfo(np.int32).max


def search_sorted(
  array: Int32[Array, 'n'], value: Int32[Array, '*shape'], side: str = 'left'
) -> Int32[Array, '*shape']:
  """As `jnp.searchsorted`, by the way that is quick for the length."""
  method = 'compare_all' if len(array) <= 16 else 'scan_unrolled'
  found = jnp.searchsorted(array, value, side=side, method=method)
  return found.astype(jnp.int32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Offsets:
  """A start for every node, int32 [nodes + 1]."""

  first: Int32[Array, 'nodes+1']

  def start(self, node: Int32[Array, '*shape']) -> Int32[Array, '*shape']:
    """Returns the first child; of the node past the end, the number of all."""
    return take(self.first, node)

  def count(self, node: Int32[Array, '*shape']) -> Int32[Array, '*shape']:
    """Returns the number of children."""
    return take(self.first, node + 1) - take(self.first, node)

  def parent(self, child: Int32[Array, '*shape']) -> Int32[Array, '*shape']:
    """Returns the node that a child belongs to."""
    return search_sorted(self.first, child, 'right') - 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Exceptions:
  """Nodes with more than one child, and their surplus.

  Attributes:
    node: int32 [E], sorted, filled up with NO_NODE.
    surplus: int32 [E + 1], how many children more than one each the nodes
      before the e-th exception have.
  """

  node: Int32[Array, 'E']
  surplus: Int32[Array, 'E+1']

  def start(self, node: Int32[Array, '*shape']) -> Int32[Array, '*shape']:
    """Returns the first child; of the node past the end, the number of all."""
    return node + take(self.surplus, search_sorted(self.node, node))

  def count(self, node: Int32[Array, '*shape']) -> Int32[Array, '*shape']:
    """Returns the number of children."""
    place = jnp.minimum(search_sorted(self.node, node), len(self.node) - 1)
    surplus = take(self.surplus, place + 1) - take(self.surplus, place)
    return jnp.where(take(self.node, place) == node, 1 + surplus, 1)

  def parent(self, child: Int32[Array, '*shape']) -> Int32[Array, '*shape']:
    """Returns the node that a child belongs to."""
    known = self.node < NO_NODE
    starts = jnp.where(known, self.node + self.surplus[:-1], NO_NODE)
    # The last exception that starts at or before the child.
    place = search_sorted(starts, child, 'right') - 1
    inside = jnp.maximum(place, 0)
    last = take(starts, inside) + (
      take(self.surplus, inside + 1) - take(self.surplus, inside)
    )
    return jnp.where(
      place < 0,
      child,
      jnp.where(
        child <= last,
        take(self.node, inside),
        child - take(self.surplus, inside + 1),
      ),
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Identity:
  """Every node has one child, and it has its number."""

  def start(self, node: Int32[Array, '*shape']) -> Int32[Array, '*shape']:
    """Returns the child."""
    return node

  def count(self, node: Int32[Array, '*shape']) -> Int32[Array, '*shape']:
    """Returns 1."""
    return jnp.ones_like(node)

  def parent(self, child: Int32[Array, '*shape']) -> Int32[Array, '*shape']:
    """Returns the node."""
    return child


ChildRanges = Offsets | Exceptions | Identity


def offsets(counts: Int[np.ndarray, 'nodes'], capacity: int) -> Offsets:
  """Returns the offsets of nodes with these numbers of children."""
  first = np.zeros(capacity + 1, np.int32)
  np.cumsum(counts, out=first[1 : len(counts) + 1])
  first[len(counts) + 1 :] = first[len(counts)]
  return Offsets(first)


def exceptions(counts: Int[np.ndarray, 'nodes'], capacity: int) -> Exceptions:
  """Returns the list of the nodes that have more than one child."""
  more = np.flatnonzero(counts > 1)
  node = np.full(capacity, NO_NODE, np.int32)
  node[: len(more)] = more
  surplus = np.zeros(capacity + 1, np.int32)
  np.cumsum(counts[more] - 1, out=surplus[1 : len(more) + 1])
  surplus[len(more) + 1 :] = surplus[len(more)]
  return Exceptions(node, surplus)
