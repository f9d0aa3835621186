"""A catalogue that is too large for one device: a trie cut by items.

The sorted items are cut into ranges of rows, one for each device of a mesh
axis, between two nodes of depth c. So a prefix of c tokens or more belongs to
one shard, and its children and rows lie there too. The few nodes down to depth
c are a trie of their own that every device holds.

A step above depth c is that of the replicated trie. Below, each device expands
the beams it holds, and its best children go to all devices, which choose the
best of all: one collective a step. Shards stand in the order of their rows and
nodes have the numbers that the uncut trie gives them, so candidates lie in the
order of their nodes, and results equal those of the uncut trie. docs/
sharded_trie.md has the arithmetic.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32

from genrec_jax.decoding import selection
from genrec_jax.decoding.child_ranges import NO_NODE
from genrec_jax.decoding.constraints import LevelFilter, level_filters
from genrec_jax.decoding.level_logits import LevelLogits
from genrec_jax.decoding.levels import Expansion, Level
from genrec_jax.decoding.selection import take, take_along
from genrec_jax.decoding.trie import Trie
from genrec_jax.types import GenrecError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ShardedTrie:
  """The shards of a catalogue; `build_sharded_trie`
  (sharded_trie_builder.py) makes it.

  `beam_search` takes it as it takes a `Trie`. Requests are cut over the other
  axes of the mesh where their number can be divided by them.

  Attributes:
    top: the nodes down to depth c, on every device. Its items are the nodes of
      depth c.
    shards: the trie of each shard's items, all of one shape, stacked on a
      leading axis. `row_to_item` has the catalogue's item numbers;
      `item_to_row` is cut by item number, not by row, and has the rows of the
      uncut trie.
    first_nodes: int32 [shards + 1, depths], the number in the uncut trie of
      each shard's first node of each depth, from depth c on.
    capacities: of each depth, how many nodes there are in all shards.
    mesh: the devices.
    axis: the axis of the mesh that the items are cut over.
  """

  top: Trie
  shards: Trie
  first_nodes: Int32[Array, 'shards+1 depths']
  capacities: tuple[int, ...] = dataclasses.field(metadata={'static': True})
  mesh: jax.sharding.Mesh = dataclasses.field(metadata={'static': True})
  axis: str = dataclasses.field(metadata={'static': True})

  @property
  def num_top_levels(self) -> int:
    """The depth c, from which on a node belongs to one shard."""
    return self.top.num_levels

  @property
  def num_levels(self) -> int:
    """The number of tokens of an item, L."""
    return self.shards.num_levels

  @property
  def tail_depth(self) -> None:
    """Beams of several devices go on step by step."""
    return None

  @property
  def num_items(self) -> int:
    """The number of items, N."""
    return self.capacities[-1]

  @property
  def levels(self) -> tuple[Level, ...]:
    """The levels of all shards, stacked: for their alphabets."""
    return self.shards.levels

  @property
  def vocab_size(self) -> int:
    """One more than the largest token that an item may have."""
    return self.shards.vocab_size

  @property
  def device_bytes(self) -> int:
    """Bytes of the arrays that each device holds."""
    num_shards = self.mesh.shape[self.axis]
    return self.top.nbytes + self.shards.nbytes // num_shards

  def filters(
    self, exclude: Int32[Array, 'B X'] | None = None, views=None, view=None
  ) -> tuple[LevelFilter, ...]:
    """Returns what requests may not follow; see `constraints.level_filters`.

    The dead nodes of the shards' levels have a leading axis of shards.

    Raises:
      GenrecError: if views are given.
    """
    if views is not None or view is not None:
      raise GenrecError(
        'Got views for a sharded trie, which knows lists of excluded items'
        ' alone; expected views=None. Build a trie of the items of each view.'
      )
    if exclude is None:
      return (LevelFilter(),) * self.num_levels
    batch = self._batch_axes(len(exclude))
    of_top, of_shards = self._map(
      self._dead_nodes,
      in_specs=(jax.P(), jax.P(self.axis), jax.P(), jax.P(batch)),
      out_specs=(jax.P(batch), jax.P(self.axis, batch)),
    )(self.top, self.shards, self.first_nodes, exclude)
    return tuple(LevelFilter(dead) for dead in (*of_top, *of_shards))

  def _dead_nodes(self, top: Trie, shards: Trie, first_nodes, exclude_BX):
    """On a device: the dead nodes of the top levels, and of its own."""
    shard, trie = jax.lax.axis_index(self.axis), _own(shards)
    row_BX = self._look_up(trie.item_to_row, exclude_BX)
    first, end = first_nodes[shard, -1], first_nodes[shard + 1, -1]
    is_own_BX = (first <= row_BX) & (row_BX < end)
    row_BX = jnp.where(is_own_BX, row_BX - first, -1)
    # `level_filters` looks up the rows of numbers: here, of places in the list.
    trie = dataclasses.replace(trie, item_to_row=row_BX.reshape(-1))
    place_BX = jnp.arange(row_BX.size, dtype=jnp.int32).reshape(row_BX.shape)
    dead = [of_level.dead for of_level in level_filters(trie, place_BX)]

    # A prefix is dead where its shard says so; a shorter one, which may have
    # items in several shards, where all its prefixes of depth c are.
    depth = self.num_top_levels
    node_BX = dead[depth - 1].node
    node_BX = jnp.where(
      node_BX < NO_NODE, node_BX + first_nodes[shard, depth], NO_NODE
    )
    node_BX = jax.lax.all_gather(node_BX, self.axis, axis=1, tiled=True)
    # There are no more dead prefixes than excluded items.
    node_BX = jnp.sort(node_BX, axis=-1)[:, : exclude_BX.shape[1]]
    of_top = [of_level.dead for of_level in level_filters(top, node_BX)]
    return of_top, jax.tree.map(lambda x: x[None], dead[depth:])

  def expand(
    self,
    number: int,
    logits: LevelLogits,
    score: Float32[Array, 'B M'],
    node: Int32[Array, 'B M'],
    num_beams: int,
    level_filter: LevelFilter,
  ) -> Expansion:
    """Returns the best children of each request's beams, over all shards.

    Args:
      number: the level.
      logits: the model's, for this level.
      score: of the beams.
      node: of the beams, numbered as in the uncut trie.
      num_beams: how many children are wanted.
      level_filter: of the level, from `filters`.
    """
    is_top = number < self.num_top_levels
    batch = self._batch_axes(len(score))

    def step(level, first_nodes, arrays, score, node, dead):
      values, normalizer = arrays
      own_logits = dataclasses.replace(
        logits, values=values, normalizer=normalizer
      )
      if is_top:
        return level.expand(
          own_logits, score, node, num_beams, LevelFilter(dead)
        )
      return self._expand_own(
        number,
        _own(level),
        first_nodes,
        own_logits,
        score,
        node,
        num_beams,
        LevelFilter(_own(dead)),
      )

    cut = () if is_top else (self.axis,)
    of_batch = jax.P(batch)
    return self._map(
      step,
      in_specs=(
        *(jax.P(*cut), jax.P(), of_batch, of_batch, of_batch),
        jax.P(*cut, batch),
      ),
      out_specs=of_batch,
    )(
      (self.top if is_top else self.shards).levels[number],
      self.first_nodes,
      (logits.values, logits.normalizer),
      score,
      node,
      level_filter.dead,
    )

  def _expand_own(
    self,
    number,
    level,
    first_nodes,
    logits,
    score_BM,
    node_BM,
    num_beams,
    level_filter,
  ) -> Expansion:
    """On a device: expands its own beams, and chooses among those of all."""
    shard = jax.lax.axis_index(self.axis)
    first, end = first_nodes[shard, number], first_nodes[shard + 1, number]
    is_own_BM = (first <= node_BM) & (node_BM < end)
    found = level.expand(
      logits,
      jnp.where(is_own_BM, score_BM, -jnp.inf),
      jnp.where(is_own_BM, node_BM - first, 0),
      num_beams,
      level_filter,
    )
    node = found.node + first_nodes[shard, number + 1]
    score = jax.lax.bitcast_convert_type(found.score, jnp.int32)
    if found.parent is None:
      # Each beam has one child, which its shard alone knows.
      known = jnp.stack([score, node, found.code])
      known = jnp.where(is_own_BM[None], known, 0)
      score, node, code = jax.lax.psum(known, self.axis)
      score = jax.lax.bitcast_convert_type(score, jnp.float32)
      score = jnp.where(score_BM > -jnp.inf, score, -jnp.inf)
      return Expansion(score, node, None, code)
    # As one array of integers: one collective, in the order of shards.
    known = jnp.stack([score, node, found.parent, found.code])
    known = jax.lax.all_gather(known, self.axis, axis=2, tiled=True)
    score = jax.lax.bitcast_convert_type(known[0], jnp.float32)
    _, best_BK = selection.top_k(score, min(num_beams, score.shape[1]))
    best_BK = jnp.sort(best_BK, axis=-1)
    return Expansion(*(take_along(x, best_BK) for x in (score, *known[1:])))

  def items(self, row: Int32[Array, 'B K']) -> Int32[Array, 'B K']:
    """Returns the items of rows, which some device holds."""

    def look_up(row_to_item, first_nodes, row):
      first = first_nodes[jax.lax.axis_index(self.axis), -1]
      return self._look_up(_own(row_to_item), row, first)

    batch = self._batch_axes(len(row))
    return self._map(
      look_up,
      in_specs=(jax.P(self.axis), jax.P(), jax.P(batch)),
      out_specs=jax.P(batch),
    )(self.shards.row_to_item, self.first_nodes, row)

  def _look_up(self, array, index, first=None):
    """On a device: reads an array cut over the devices; -1 past its ends.

    Args:
      array: the part of this device.
      index: what to read from the whole.
      first: where this part starts; by default parts have one length.
    """
    if first is None:
      first = jax.lax.axis_index(self.axis) * len(array)
    index = index - first
    is_own = (index >= 0) & (index < len(array))
    # Parts may overlap where they are filled up, with -1: that adds nothing.
    found = jnp.where(is_own, take(array, jnp.where(is_own, index, 0)) + 1, 0)
    return jax.lax.psum(found, self.axis) - 1

  def _batch_axes(self, batch_size: int) -> tuple[str, ...]:
    """The axes of the mesh that requests are cut over."""
    axes = tuple(name for name in self.mesh.axis_names if name != self.axis)
    num_parts = int(np.prod([self.mesh.shape[name] for name in axes]))
    return axes if batch_size % num_parts == 0 else ()

  def _map(self, function, in_specs, out_specs):
    # What all devices choose from the same candidates is the same, which the
    # types of shard_map do not know.
    return jax.shard_map(
      function,
      mesh=self.mesh,
      in_specs=in_specs,
      out_specs=out_specs,
      check_vma=False,
    )


def _own(stacked):
  """Returns a device's part of what is stacked over the shards."""
  return jax.tree.map(lambda x: x[0], stacked)
