"""Builds the level arrays from a table of tokens, with NumPy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from genrec_jax.decoding import child_ranges
from genrec_jax.decoding.bitmaps import BITS, Bitmaps
from genrec_jax.decoding.child_ranges import NO_NODE, Identity
from genrec_jax.decoding.item_codes import ItemCodes, encode_items
from genrec_jax.decoding.level_logits import Alphabet
from genrec_jax.decoding.levels import Dense, Hybrid, Level
from genrec_jax.decoding.sparse_level import (
  MOST_BEAMS,
  Sparse,
  chunk_bounds,
  largest_counts,
)
from genrec_jax.decoding.trie import Trie
from genrec_jax.types import PAD_ID, GenrecError


@dataclasses.dataclass(frozen=True)
class Thresholds:
  """When a level is of which kind; they change speed and size, not results.

  Attributes:
    child_cost: what gathering a child costs, in bits of a bitmap: a level has
      bitmaps where they are cheaper than the children of the largest nodes,
    num_beams: of which as many are taken as a request has beams.
    dense_bytes: it is dense where its bitmaps take at most so many bytes,
    dense_bytes_per_child: or so many a child; else it is hybrid.
    light_width: children of a light node at most, in a hybrid level.
    exception_share: child starts are a list of exceptions where fewer nodes
      than this share have more than one child.
    alone_share: searches look for known tails from where this share of the
      items is alone under its prefix.
  """

  child_cost: float = 5.0
  num_beams: int = 50
  dense_bytes: float = 2**21
  dense_bytes_per_child: float = 6.0
  light_width: int = 32
  exception_share: float = 1 / 64
  alone_share: float = 0.99


DEFAULT_THRESHOLDS = Thresholds()


def build_trie(
  item_tokens: Int[np.ndarray, 'N L'],
  *,
  blocks: Sequence[range] | None = None,
  pad_id: int | None = PAD_ID,
  shared_leaves: bool = False,
  thresholds: Thresholds = DEFAULT_THRESHOLDS,
) -> Trie:
  """Builds the trie of a catalogue on the default device.

  Args:
    item_tokens: the tokens of each item, in the model's vocabulary, in any
      order. A shorter item ends with EOS_ID (an ordinary token, which the
      model scores) and is filled up with PAD_ID (which costs nothing).
    blocks: the tokens that each level's codes may be, EOS_ID and PAD_ID apart;
      by default from the smallest to the largest token found there.
    pad_id: PAD_ID; or None, for items of one length in whose tables 0 and 1
      are tokens like all others.
    shared_leaves: whether items may have the same tokens. They then have the
      same score and come in the order of their numbers.
    thresholds: when a level is of which kind.

  Raises:
    GenrecError: if there are no items, a token is outside its block, an item
      ends without EOS_ID, or two items have the same tokens and must not.
  """
  codes = encode_items(item_tokens, blocks=blocks, pad_id=pad_id)
  trie, _ = build_host_trie(
    codes, shared_leaves=shared_leaves, thresholds=thresholds
  )
  return jax.tree.map(jnp.asarray, trie)


@dataclasses.dataclass(frozen=True)
class LevelPlan:
  """What of a level is static: tries of one plan share compiled searches.

  Attributes:
    kind: 'sparse', 'dense' or 'hybrid'.
    ranges: 'offsets', 'exceptions' or 'identity'.
    node_capacity: how many nodes it may lead from,
    child_capacity: and to.
    width: the most children of a node; of a hybrid, of a light one.
    chunk_bounds: see `sparse_level.chunk_bounds`.
    num_heavy: how many heavy nodes there may be.
    num_exceptions: how many exceptions.
    leads_to_one: whether almost all items are alone under its children.
  """

  kind: str
  ranges: str
  node_capacity: int
  child_capacity: int
  width: int = 0
  chunk_bounds: tuple[int, ...] = ()
  num_heavy: int = 0
  num_exceptions: int = 0
  leads_to_one: bool = False


def build_host_trie(
  codes: ItemCodes,
  *,
  items: Int[np.ndarray, 'N'] | None = None,
  num_item_numbers: int | None = None,
  shared_leaves: bool = False,
  thresholds: Thresholds = DEFAULT_THRESHOLDS,
  capacity: int | None = None,
  plan: Sequence[LevelPlan] | None = None,
) -> tuple[Trie, tuple[LevelPlan, ...]]:
  """Builds a trie of NumPy arrays; see `build_trie`.

  Args:
    codes: the codes of the items.
    items: the number of each item; by default that of its row in `codes`.
    num_item_numbers: how many item numbers there may be; N by default.
    shared_leaves: whether items may have the same codes.
    thresholds: when a level is of which kind.
    capacity: room for so many items, for a catalogue that lives; by default
      the arrays just fit.
    plan: build arrays of this plan, instead of planning.

  Returns:
    The trie and its plan.

  Raises:
    GenrecError: as `build_trie`, or if the items do not fit into the plan.
  """
  order = codes.sorted_order(stable=shared_leaves)
  codes, num_rows = codes.with_words(codes.words[:, order]), len(order)
  planner = _Planner(thresholds, capacity, plan)
  opens = np.zeros(num_rows, bool)
  opens[0] = True
  starts = np.zeros(1, np.int64)  # the first row of each node of a depth
  levels, num_nodes = [], [1]
  for number, alphabet in enumerate(codes.alphabets):
    opens[1:] |= codes.differs(number)
    node_of_row = np.cumsum(opens, dtype=np.int32)
    next_starts = np.flatnonzero(opens)
    first = node_of_row[starts] - 1
    counts = np.diff(first, append=np.int32(len(next_starts)))
    starts = next_starts
    alone = np.diff(next_starts, append=num_rows) == 1
    level_plan = planner.next(counts, alphabet, alone.sum() / num_rows)
    column = codes.column(number, starts)
    levels.append(_build_level(level_plan, counts, column, alphabet))
    num_nodes.append(len(starts))
  if shared_leaves:
    counts = np.diff(starts, append=num_rows)
    level_plan = planner.next(counts, None)
    levels.append(_build_level(level_plan, counts, None, None))
    num_nodes.append(num_rows)
  elif len(starts) != num_rows:
    _raise_duplicates(codes, order, opens)

  row_to_item = np.full(planner.plan[-1].child_capacity, -1, np.int32)
  row_to_item[:num_rows] = order if items is None else items[order]
  item_to_row = np.full(num_item_numbers or num_rows, -1, np.int32)
  item_to_row[row_to_item[:num_rows]] = np.arange(num_rows, dtype=np.int32)
  trie = Trie(
    levels=tuple(levels),
    num_nodes=np.asarray(num_nodes, np.int32),
    row_to_item=row_to_item,
    item_to_row=item_to_row,
    capacities=(1, *(level.child_capacity for level in planner.plan)),
    num_levels=len(codes.alphabets),
    tail_depth=_tail_depth(planner.plan, len(codes.alphabets)),
  )
  return trie, tuple(planner.plan)


def _tail_depth(plan: Sequence[LevelPlan], num_levels: int) -> int | None:
  for number, level in enumerate(plan[: num_levels - 2]):
    if level.leads_to_one:
      return number + 1
  return None


class _Planner:
  """Plans level after level, or checks that levels fit into a plan."""

  def __init__(self, thresholds, capacity, given):
    self.plan: list[LevelPlan] = []
    self._thresholds = thresholds
    self._capacity = capacity
    self._given = given

  def next(
    self, counts: np.ndarray, alphabet: Alphabet | None, alone: float = 0.0
  ) -> LevelPlan:
    """Returns the plan of a level.

    Args:
      counts: how many children its nodes have.
      alphabet: what their codes mean.
      alone: the share of items that are alone under a child.
    """
    if self._given is None:
      plan = self._make(counts, alphabet)
      if alone >= self._thresholds.alone_share:
        plan = dataclasses.replace(plan, leads_to_one=True)
    else:
      plan = self._given[len(self.plan)]
      _check_fits(plan, counts, len(self.plan))
    self.plan.append(plan)
    return plan

  def _make(self, counts, alphabet) -> LevelPlan:
    thresholds, grows = self._thresholds, self._capacity is not None
    node_capacity = self.plan[-1].child_capacity if self.plan else 1
    child_capacity = int(counts.sum())
    if grows:
      child_capacity = self._capacity
      if alphabet is not None:
        child_capacity = min(child_capacity, node_capacity * alphabet.size)
    common = dict(node_capacity=node_capacity, child_capacity=child_capacity)
    largest = largest_counts(counts)
    widest = int(largest[0])
    if grows:
      largest = _with_room(largest)
    lists = dict(
      **common, width=int(largest[0]), chunk_bounds=chunk_bounds(largest)
    )
    if alphabet is None:
      return LevelPlan('sparse', 'offsets', **lists)

    num_codes = alphabet.size
    beams = min(thresholds.num_beams, len(largest))
    gathered = largest[:beams].sum()
    bitmap_bytes = node_capacity * -(-num_codes // BITS) * 6
    small = bitmap_bytes <= max(
      thresholds.dense_bytes, thresholds.dense_bytes_per_child * child_capacity
    )
    many = gathered * thresholds.child_cost > beams * num_codes
    if not self.plan or (many and small):
      return LevelPlan('dense', 'offsets', **common)
    light = thresholds.light_width
    if many and widest > 2 * light:
      heavy = int((counts > light).sum())
      heavy = 2 * heavy + 64 if grows else heavy
      return LevelPlan(
        'hybrid', 'offsets', **common, width=light, num_heavy=heavy
      )
    if widest == 1 and not grows:
      return LevelPlan('sparse', 'identity', **lists)
    exceptions = int((counts > 1).sum())
    if grows:
      exceptions = 2 * exceptions + 64
    if exceptions < thresholds.exception_share * node_capacity:
      return LevelPlan(
        'sparse', 'exceptions', **lists, num_exceptions=exceptions
      )
    return LevelPlan('sparse', 'offsets', **lists)


def _with_room(largest: Int[np.ndarray, 'some']) -> Int[np.ndarray, 'more']:
  """Lets the largest nodes grow by a half, at least by four, and be more."""
  largest = largest + np.maximum(4, largest // 2)
  return np.pad(largest, (0, MOST_BEAMS - len(largest)), mode='edge')


def _check_fits(plan: LevelPlan, counts: np.ndarray, level: int) -> None:
  exceptions, widest = int((counts > 1).sum()), int(counts.max())
  bounds = chunk_bounds(largest_counts(counts))
  for what, got, room in (
    ('nodes', len(counts), plan.node_capacity),
    ('children', int(counts.sum()), plan.child_capacity),
    (
      'children of one node',
      widest,
      plan.width if plan.kind == 'sparse' else math.inf,
    ),
    *(
      ('children of the largest nodes, in chunks', got, room)
      for got, room in zip(bounds, plan.chunk_bounds)
    ),
    (
      'heavy nodes',
      int((counts > plan.width).sum()),
      plan.num_heavy if plan.kind == 'hybrid' else math.inf,
    ),
    (
      'nodes with several children',
      exceptions,
      plan.num_exceptions if plan.ranges == 'exceptions' else math.inf,
    ),
  ):
    if got > room:
      raise GenrecError(
        f'The changed catalogue has {got} {what} on level {level}, and there is'
        f' room for {room}; build it anew, with more capacity if the items are'
        ' many (searches compile once more).'
      )


def _build_level(
  plan: LevelPlan,
  counts: Int[np.ndarray, 'nodes'],
  codes: np.ndarray | None,
  alphabet: Alphabet | None,
) -> Level:
  if plan.ranges == 'identity':
    ranges = Identity()
  elif plan.ranges == 'exceptions':
    ranges = child_ranges.exceptions(counts, plan.num_exceptions)
  else:
    ranges = child_ranges.offsets(counts, plan.node_capacity)
  if plan.kind == 'dense':
    rows = np.arange(len(counts))
    bitmaps = _bitmaps(rows, plan.node_capacity, counts, codes, alphabet.size)
    return Dense(ranges, bitmaps, alphabet)
  listed = None
  if codes is not None:
    dtype = np.min_scalar_type(alphabet.size - 1)
    dtype = dtype if dtype.itemsize <= 2 else np.int32
    # The last node reads past its children, as all nodes do.
    listed = np.zeros(plan.child_capacity + plan.width, dtype)
    listed[: len(codes)] = codes
  sparse = Sparse(ranges, listed, alphabet, plan.width, plan.chunk_bounds)
  if plan.kind == 'sparse':
    return sparse
  heavy = np.full(plan.num_heavy, NO_NODE, np.int32)
  found = np.flatnonzero(counts > plan.width)
  heavy[: len(found)] = found
  return Hybrid(
    sparse,
    heavy,
    _bitmaps(found, plan.num_heavy, counts, codes, alphabet.size),
  )


def _bitmaps(
  nodes: Int[np.ndarray, 'n'],
  num_rows: int,
  counts: Int[np.ndarray, 'nodes'],
  codes: np.ndarray,
  num_codes: int,
) -> Bitmaps:
  """Returns the bitmaps of these nodes, filled up with empty rows."""
  num_words = -(-num_codes // BITS)
  row_of_node = np.full(len(counts), -1, np.int64)
  row_of_node[nodes] = np.arange(len(nodes))
  row = np.repeat(row_of_node, counts)
  codes = codes[row >= 0].astype(np.int64)
  word = row[row >= 0] * num_words + codes // BITS
  bit = np.uint32(1) << (codes % BITS).astype(np.uint32)
  words = np.zeros((num_rows, num_words), np.uint32)
  # Codes ascend, so the bits of a word lie side by side.
  opens = np.flatnonzero(np.diff(word, prepend=-1))
  if len(opens):
    words.reshape(-1)[word[opens]] = np.bitwise_or.reduceat(bit, opens)
  held = np.bitwise_count(words)
  ranks = np.cumsum(held, axis=1, dtype=np.uint32) - held
  dtype = np.uint16 if num_codes <= np.iinfo(np.uint16).max else np.uint32
  return Bitmaps(words, ranks.astype(dtype))


def _raise_duplicates(codes, order, opens) -> None:
  row = int((~opens).argmax())
  same = order[row - 1 : row + 1].tolist()
  raise GenrecError(
    f'{(~opens).sum()} of {len(order)} items have the tokens of another item,'
    f' for example items {same[0]} and {same[1]}, both {codes.tokens(row)};'
    ' build ids whose collisions are resolved, or allow them with'
    ' shared_leaves.'
  )
