"""Which nodes of the trie a request may not follow.

A request excludes items by number (what its user has), and may allow only a
view: a named set of items (a category, what is in stock, a region). A node is
*dead* when no item under it may be recommended: a prefix that is not dead
always leads to an item, so no beam is lost on the way.

Lists and views are arrays of the device: other items, other requests or a
rebuilt view do not recompile the search.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32, UInt32

from genrec_jax.decoding.bitmaps import BITS, bits, pack_bits
from genrec_jax.decoding.child_ranges import NO_NODE
from genrec_jax.decoding.selection import pad_last, take, take_along
from genrec_jax.types import GenrecError

# Rows of bitmaps that are masked at once: bounds the memory of a view.
_ROWS_AT_ONCE = 2048


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DeadNodes:
  """Children of one level that a request must not follow.

  Attributes:
    node: sorted, each once, filled up with NO_NODE.
    parent: the node of each one's parent.
    code: the code of each one.
  """

  node: Int32[Array, 'B X']
  parent: Int32[Array, 'B X']
  code: Int32[Array, 'B X'] | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LevelViews:
  """Of each view, the children of one level that lead to one of its items.

  Attributes:
    alive: a bit for each child.
    ranks: how many children are alive before each word.
    words: the bitmaps of the level's nodes, with the bits of other children
      cleared; None where the level has no bitmaps.
  """

  alive: UInt32[Array, 'views n']
  ranks: Int32[Array, 'views n']
  words: UInt32[Array, 'views rows W'] | None

  def allows(
    self, view: Int32[Array, 'B'], child: Int32[Array, 'B *shape']
  ) -> Bool[Array, 'B *shape']:
    """Returns whether children are alive in the view of their request."""
    view = _broadcast(view, child)
    word = self.alive.at[view, child // BITS].get(mode='clip')
    bit = (word >> (child % BITS).astype(jnp.uint32)) & 1
    return (view < 0) | bit.astype(bool)

  def rank(
    self, view: Int32[Array, 'B'], child: Int32[Array, 'B *shape']
  ) -> Int32[Array, 'B *shape']:
    """Returns how many children before `child` are alive in the view."""
    view = _broadcast(view, child)
    word = self.alive.at[view, child // BITS].get(mode='clip')
    below = (jnp.uint32(1) << (child % BITS).astype(jnp.uint32)) - 1
    before = self.ranks.at[view, child // BITS].get(mode='clip')
    inside = jax.lax.population_count(word & below).astype(jnp.int32)
    return jnp.where(view < 0, child, before + inside)


def _broadcast(view, child):
  return jnp.broadcast_to(
    view.reshape(-1, *[1] * (child.ndim - 1)), child.shape
  )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Views:
  """Named sets of items, a `LevelViews` for each level of the trie."""

  levels: tuple[LevelViews, ...]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LevelFilter:
  """What the requests of a batch may not follow on one level.

  Attributes:
    dead: the dead nodes, from lists and views together; None without lists.
    views: the views; None without.
    view: of each request the number of its view, -1 for all items.
  """

  dead: DeadNodes | None = None
  views: LevelViews | None = None
  view: Int32[Array, 'B'] | None = None

  def of_children(
    self,
    value: Float32[Array, 'B S'],
    child: Int32[Array, 'B S'],
    node: Int32[Array, 'B M'],
    alive: Bool[Array, 'B M'],
    start: Int32[Array, 'B M'],
    count: Int32[Array, 'B M'],
    place: Int32[Array, 'B M'],
  ) -> Float32[Array, 'B S']:
    """Sets the scores of children to -inf that must not be followed.

    Args:
      value: the scores of the children of all beams.
      child: their nodes.
      node: the node of each beam; those of `alive` beams are distinct.
      alive: whether a beam holds a node.
      start: the first child of each beam.
      count: how many children it has.
      place: where among all the first one lies; the others follow.
    """
    if self.views is not None:
      value = jnp.where(self.views.allows(self.view, child), value, -jnp.inf)
    if self.dead is None:
      return value
    request_BX, beam_BX = self._beam_of_dead(node, alive)
    held_BX = jnp.minimum(beam_BX, node.shape[1] - 1)
    slot_BX = self.dead.node - take_along(start, held_BX)
    inside_BX = (beam_BX < node.shape[1]) & (slot_BX >= 0)
    inside_BX &= slot_BX < take_along(count, held_BX)
    place_BX = take_along(place, held_BX) + slot_BX
    place_BX = jnp.where(inside_BX, place_BX, value.shape[1])
    return value.at[request_BX, place_BX].set(-jnp.inf, mode='drop')

  def of_words(
    self,
    words: UInt32[Array, 'B M W'],
    node: Int32[Array, 'B M'],
    row: Int32[Array, 'B M'],
    alive: Bool[Array, 'B M'],
  ) -> UInt32[Array, 'B M W']:
    """Clears the bits of children that must not be followed.

    Args:
      words: the bitmap of each beam's node.
      node: the node of each beam; those of `alive` beams are distinct.
      row: where its bitmap stands.
      alive: whether a beam holds a node.
    """
    if self.views is not None:
      view = _broadcast(self.view, row)
      masked = self.views.words.at[view, row].get(mode='clip')
      words = jnp.where((view < 0)[..., None], words, words & masked)
    if self.dead is None:
      return words
    request_BX, beam_BX = self._beam_of_dead(node, alive)
    bit = jnp.uint32(1) << (self.dead.code % BITS).astype(jnp.uint32)
    # Dead nodes are distinct, so adding bits is setting them.
    cleared = jnp.zeros_like(words)
    cleared = cleared.at[request_BX, beam_BX, self.dead.code // BITS].add(
      bit, mode='drop'
    )
    return words & ~cleared

  def _beam_of_dead(self, node, alive):
    """The beam on the parent of each dead node; past the last if there is none.

    A dead node has one parent, so it is the child of at most one live beam.
    """
    holds_BMX = (
      (self.dead.parent[:, None, :] == node[:, :, None])
      & (self.dead.node < NO_NODE)[:, None, :]
      & alive[:, :, None]
    )
    beam_BX = jnp.where(
      holds_BMX.any(axis=1), jnp.argmax(holds_BMX, axis=1), node.shape[1]
    )
    request_BX = jnp.arange(node.shape[0])[:, None]
    return jnp.broadcast_to(request_BX, beam_BX.shape), beam_BX


def level_filters(
  trie,
  exclude: Int32[Array, 'B X'] | None = None,
  views: Views | None = None,
  view: Int32[Array, 'B'] | None = None,
) -> tuple[LevelFilter, ...]:
  """Returns what the requests may not follow on each level.

  Args:
    trie: the catalogue.
    exclude: items each request must not get, in any order; numbers outside the
      catalogue (-1 by convention) and repetitions are ignored.
    views: from `make_views`.
    view: of each request the number of its view; -1 for all items.

  Raises:
    GenrecError: if one of `views` and `view` is given without the other, or
      the views are of another trie.
  """
  if (views is None) != (view is None):
    raise GenrecError(
      'Got one of views and view; expected both (the views of the catalogue,'
      ' and which one each request allows) or neither.'
    )
  num_levels = len(trie.levels)
  if views is not None and len(views.levels) != num_levels:
    raise GenrecError(
      f'Got views of {len(views.levels)} levels for a trie of {num_levels};'
      ' make the views of this trie with make_views.'
    )
  of_level = [None] * num_levels if views is None else views.levels
  dead = [None] * num_levels
  if exclude is not None:
    dead = _dead_nodes(trie, exclude, of_level, view)
  return tuple(
    LevelFilter(dead[level], of_level[level], view)
    for level in range(num_levels)
  )


def _dead_nodes(trie, exclude, views, view) -> list[DeadNodes]:
  """From the rows of excluded items up: a node dies with its last child."""
  row_BX = jnp.where(
    (exclude >= 0) & (exclude < len(trie.item_to_row)),
    take(trie.item_to_row, jnp.maximum(exclude, 0)),
    -1,
  )
  node_BX = jnp.sort(jnp.where(row_BX < 0, NO_NODE, row_BX), axis=-1)
  node_BX = jnp.where(node_BX == _shifted(node_BX, 1), NO_NODE, node_BX)
  dead = []
  for level, level_views in reversed(list(zip(trie.levels, views))):
    if level_views is not None:
      # What the view does not allow needs no exclusion.
      allowed = level_views.allows(view, jnp.minimum(node_BX, NO_NODE - 1))
      node_BX = jnp.where(allowed, node_BX, NO_NODE)
    node_BX = jnp.sort(node_BX, axis=-1)
    known_BX = node_BX < NO_NODE
    child_BX = jnp.where(known_BX, node_BX, 0)
    parent_BX = level.ranges.parent(child_BX)
    code_BX = level.child_code(child_BX, parent_BX)
    dead.append(DeadNodes(node_BX, parent_BX, code_BX))

    # The list holds all children of the parent that are alive in the view, if
    # and only if the first and the last of them, counted among those alive,
    # stand as far from this one as they would then.
    first_BX = level.ranges.start(parent_BX)
    end_BX = level.ranges.start(parent_BX + 1)
    ordinal_BX = child_BX
    if level_views is not None:
      rank = functools.partial(level_views.rank, view)
      first_BX, end_BX, ordinal_BX = (
        rank(first_BX),
        rank(end_BX),
        rank(child_BX),
      )
    ordinal_BX = jnp.where(known_BX, ordinal_BX, NO_NODE)
    place_1X = jnp.arange(node_BX.shape[1])[None, :]
    at = functools.partial(_at, ordinal_BX)
    all_dead_BX = (
      known_BX
      & (at(place_1X - (ordinal_BX - first_BX)) == first_BX)
      & (at(place_1X + (end_BX - 1 - ordinal_BX)) == end_BX - 1)
    )
    # One child stands for all of them: the first.
    is_first_BX = ordinal_BX == first_BX
    node_BX = jnp.where(all_dead_BX & is_first_BX, parent_BX, NO_NODE)
  return dead[::-1]


def _shifted(array_BX: jax.Array, by: int) -> jax.Array:
  return jnp.pad(array_BX[:, :-by], ((0, 0), (by, 0)), constant_values=-1)


def _at(array_BX: jax.Array, place_BX: jax.Array) -> jax.Array:
  """Reads lists at places, of which those outside hold nothing."""
  size = array_BX.shape[1]
  outside = (place_BX < 0) | (place_BX >= size)
  return jnp.where(
    outside, -1, take_along(array_BX, jnp.clip(place_BX, 0, size - 1))
  )


@jax.jit
def make_views(trie, allowed: Bool[Array, 'views items']) -> Views:
  """Returns the views of these sets of items, computed on the device.

  Args:
    trie: the catalogue.
    allowed: of each view, by item number, whether the item is in it. Items
      past the end of the array are in none.

  Returns:
    About two bits a node and view, and the bitmaps of dense levels once more
    for each view.
  """
  return jax.lax.map(functools.partial(_make_view, trie), allowed)


def _make_view(trie, allowed: Bool[Array, 'items']) -> Views:
  row = jnp.arange(trie.capacities[-1])
  item = take(trie.row_to_item, row)
  alive = (
    (row < trie.num_nodes[-1])
    & (item < len(allowed))
    & take(allowed, jnp.minimum(item, len(allowed) - 1))
  )
  levels = []
  for depth in reversed(range(len(trie.levels))):
    level = trie.levels[depth]
    packed = _pack(alive)
    counts = jax.lax.population_count(packed).astype(jnp.int32)
    ranks = jnp.cumsum(counts) - counts
    views = LevelViews(packed[None], ranks[None], None)
    words = None
    if level.bitmaps is not None:
      words = _mask_bitmaps(level, views)
    levels.append(LevelViews(packed, ranks, words))

    before = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(alive)])
    node = jnp.arange(trie.capacities[depth])
    first, end = level.ranges.start(node), level.ranges.start(node + 1)
    alive = (node < trie.num_nodes[depth]) & (
      take(before, end) > take(before, first)
    )
  return Views(tuple(levels[::-1]))


def _pack(alive: Bool[Array, 'n']) -> UInt32[Array, 'words']:
  alive = pad_last(alive, -(-len(alive) // BITS) * BITS, False)
  return pack_bits(alive.reshape(-1, BITS))


def _mask_bitmaps(level, views: LevelViews) -> UInt32[Array, 'rows W']:
  """Clears the bits of children that are not alive, some rows at a time."""
  bitmaps = level.bitmaps
  num_rows = len(bitmaps.words)
  row_node = level.bitmap_nodes
  no_view = jnp.zeros(1, jnp.int32)

  def mask(row):
    word_W = bitmaps.words[row]
    bit_Wb = bits(word_W).astype(jnp.int32)
    inside_Wb = jnp.cumsum(bit_Wb, axis=-1) - bit_Wb
    first = level.ranges.start(jnp.minimum(row_node[row], NO_NODE - 1))
    child_Wb = first + bitmaps.ranks[row].astype(jnp.int32)[:, None] + inside_Wb
    keep_Wb = views.allows(no_view, child_Wb[None])[0]
    return word_W & pack_bits(keep_Wb)

  return jax.lax.map(
    mask, jnp.arange(num_rows), batch_size=min(num_rows, _ROWS_AT_ONCE)
  )
