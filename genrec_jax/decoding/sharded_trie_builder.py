"""Cuts the items of a catalogue over a mesh and builds a trie of each part."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Int

from genrec_jax.decoding.item_codes import ItemCodes, encode_items
from genrec_jax.decoding.sharded_trie import ShardedTrie
from genrec_jax.decoding.trie_builder import (
  DEFAULT_THRESHOLDS,
  LevelPlan,
  Thresholds,
  build_host_trie,
)
from genrec_jax.types import PAD_ID, GenrecError

# The largest shard may be so many times as large as their mean.
_MOST_UNEVEN = 1.25


def build_sharded_trie(
  item_tokens: Int[np.ndarray, 'N L'],
  mesh: jax.sharding.Mesh,
  axis: str,
  *,
  blocks: Sequence[range] | None = None,
  pad_id: int | None = PAD_ID,
  num_top_levels: int | None = None,
  thresholds: Thresholds = DEFAULT_THRESHOLDS,
) -> ShardedTrie:
  """Builds the trie of a catalogue, cut over an axis of a mesh.

  Args:
    item_tokens: as `build_trie` takes them; no two items may be equal.
    mesh: the devices.
    axis: the axis of the mesh that the items are cut over.
    blocks: as for `build_trie`.
    pad_id: as for `build_trie`.
    num_top_levels: c, how many levels every device holds; by default the
      fewest that can be dealt out evenly (no shard has more than 1.25 times
      the mean).
    thresholds: when a level is of which kind.

  Raises:
    GenrecError: as `build_trie`; or if the mesh has no such axis, there is no
      such level, or a shard would be left without items.
  """
  if axis not in mesh.axis_names:
    raise GenrecError(
      f'Got axis {axis!r}, expected one of the mesh: {mesh.axis_names}.'
    )
  codes = encode_items(item_tokens, blocks=blocks, pad_id=pad_id)
  order = codes.sorted_order()
  codes = codes.with_words(codes.words[:, order])
  _check_distinct(codes, order)
  num_shards = mesh.shape[axis]
  num_top_levels, starts, cuts = _cut(codes, num_shards, num_top_levels)
  parts = [
    codes.with_words(codes.words[:, first:end])
    for first, end in zip(cuts[:-1], cuts[1:])
  ]
  plan = _common_plan(parts, thresholds)
  shards = [build_host_trie(part, plan=plan)[0] for part in parts]

  top_codes = ItemCodes(
    codes.words[:, starts],
    codes.places[:num_top_levels],
    codes.alphabets[:num_top_levels],
  )
  top, _ = build_host_trie(top_codes, thresholds=thresholds)
  num_nodes = np.stack([shard.num_nodes for shard in shards])
  # Shorter prefixes may lie in several shards; the top trie has those.
  num_nodes[:, :num_top_levels] = 0
  first_nodes = np.pad(np.cumsum(num_nodes, axis=0), ((1, 0), (0, 0)))
  capacities = top.capacities[:-1] + tuple(
    int(count) for count in first_nodes[-1, num_top_levels:]
  )

  items_a_shard = -(-len(order) // num_shards)
  item_to_row = np.full(num_shards * items_a_shard, -1, np.int32)
  item_to_row[order] = np.arange(len(order), dtype=np.int32)
  for shard, (first, end) in enumerate(zip(cuts[:-1], cuts[1:])):
    row_to_item = shards[shard].row_to_item
    row_to_item[: end - first] = order[first:end]
    first_item = shard * items_a_shard
    shards[shard] = dataclasses.replace(
      shards[shard],
      item_to_row=item_to_row[first_item : first_item + items_a_shard],
    )
  everywhere = jax.sharding.NamedSharding(mesh, jax.P())
  over_shards = jax.sharding.NamedSharding(mesh, jax.P(axis))
  stacked = jax.tree.map(lambda *arrays: np.stack(arrays), *shards)
  return ShardedTrie(
    top=jax.device_put(top, everywhere),
    shards=jax.device_put(stacked, over_shards),
    first_nodes=jax.device_put(first_nodes.astype(np.int32), everywhere),
    capacities=capacities,
    mesh=mesh,
    axis=axis,
  )


def _check_distinct(codes: ItemCodes, order: Int[np.ndarray, 'N']) -> None:
  equal = (codes.words[:, 1:] == codes.words[:, :-1]).all(axis=0)
  if equal.any():
    row = int(equal.argmax())
    raise GenrecError(
      f'{equal.sum()} of {len(order)} items have the tokens of another item,'
      f' for example items {order[row]} and {order[row + 1]}, both'
      f' {codes.tokens(row)}; build ids whose collisions are resolved.'
    )


def _cut(
  codes: ItemCodes, num_shards: int, num_top_levels: int | None
) -> tuple[int, Int[np.ndarray, 'nodes'], Int[np.ndarray, 'shards+1']]:
  """Returns c, the first row of each node of depth c, and of each shard.

  Args:
    codes: of the items, sorted.
    num_shards: into how many parts they are cut.
    num_top_levels: c; None for the least that cuts them evenly.
  """
  num_items, num_levels = codes.num_items, len(codes.alphabets)
  if num_items < num_shards:
    raise GenrecError(
      f'Got {num_items} items for {num_shards} shards; expected at least one'
      ' item a shard. Use build_trie, or a smaller axis of the mesh.'
    )
  if num_top_levels is not None and not 1 <= num_top_levels <= num_levels:
    raise GenrecError(
      f'Got num_top_levels={num_top_levels}, expected 1 to {num_levels}, the'
      ' number of tokens of an item.'
    )
  ideal = np.arange(1, num_shards) * num_items / num_shards
  opens = np.zeros(num_items, bool)
  opens[0] = True
  for depth in range(1, num_levels + 1):
    opens[1:] |= codes.differs(depth - 1)
    if num_top_levels not in (None, depth):
      continue
    starts = np.flatnonzero(opens)
    # The node that starts nearest to where even shards would.
    middles = (starts[1:] + starts[:-1]) / 2
    inner = starts[np.searchsorted(middles, ideal)]
    cuts = np.concatenate([[0], inner, [num_items]])
    sizes = np.diff(cuts)
    if num_top_levels is None:
      even = sizes.max() * num_shards <= _MOST_UNEVEN * num_items
      if depth < num_levels and not (even and sizes.min()):
        continue
    if not sizes.min():
      break
    return depth, starts, cuts
  raise GenrecError(
    f'The {len(starts)} prefixes of {num_top_levels} tokens cannot be dealt out'
    f' to {num_shards} shards without leaving one empty; raise num_top_levels,'
    ' or leave it out.'
  )


def _common_plan(
  parts: Sequence[ItemCodes], thresholds: Thresholds
) -> list[LevelPlan]:
  """Returns a plan that the items of every part fit into."""

  def plans_by_level(thresholds):
    plans = [build_host_trie(part, thresholds=thresholds)[1] for part in parts]
    return list(zip(*plans))

  levels = plans_by_level(thresholds)
  if any(len({plan.kind for plan in plans}) > 1 for plans in levels):
    # Bitmaps for all nodes, right for one part, may be huge for another.
    without = dataclasses.replace(
      thresholds, dense_bytes=0, dense_bytes_per_child=0
    )
    levels = [
      plans if len({plan.kind for plan in plans}) == 1 else others
      for plans, others in zip(levels, plans_by_level(without))
    ]
  return [_common_level(plans) for plans in levels]


def _common_level(plans: Sequence[LevelPlan]) -> LevelPlan:
  """Returns a plan of a level with the room of all of these.

  They are of one kind, or some are sparse and some hybrid. Then all are
  hybrid, and light is what is not wider than the widest sparse level.
  """
  kinds = {plan.kind for plan in plans}
  ranges = {plan.ranges for plan in plans}
  room = {}
  for field in dataclasses.fields(LevelPlan):
    values = [getattr(plan, field.name) for plan in plans]
    if isinstance(values[0], int):
      room[field.name] = max(values)
    elif isinstance(values[0], tuple):
      room[field.name] = tuple(max(of_all) for of_all in zip(*values))
  return LevelPlan(
    **room,
    kind='hybrid' if len(kinds) > 1 else min(kinds),
    ranges=_common_ranges(ranges),
  )


def _common_ranges(ranges: set[str]) -> str:
  """Returns the ranges that hold what any of these hold."""
  for name in ('offsets', 'exceptions'):
    if name in ranges:
      return name
  return 'identity'
