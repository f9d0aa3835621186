"""What the encoder's first layers make of blocks, kept between requests.

For models whose first layers see one block at a time (models/blocks.py). The
states of all blocks lie in one table on the device, in pages of as many tokens
as a block of items has; what is in which page is known on the host. A request
is then an array of rows of the table, which the search gathers in place of
running these layers. Where the table is full, blocks that were not asked for
the longest give way.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Int32

from genrec_jax.decoding.examples import PlaceFn
from genrec_jax.decoding.recommend import RecommendFn
from genrec_jax.models.blocks import number_blocks
from genrec_jax.types import EOS_ID, PAD_ID, GenrecError

PyTree = Any
# Blocks are computed in numbers of these, so that few programs are compiled.
BLOCKS_AT_ONCE = (8, 64, 512)


class BlockStates:
  """The states of blocks, computed when they are first asked for.

  Args:
    model: has `encode_blocks`, see models/encoder_decoder.py.
    params: its parameters, on the devices. For others, make another one.
    num_pages: the room, in blocks of items; longer blocks take several.
    place: puts a batch on the devices.
    sharding: of the table; by default where JAX puts it.

  Attributes:
    table: float [R, D], the states of the tokens in all pages.
    asked: tokens that were asked for so far.
    computed: those of them that had to be computed, without padding.

  Raises:
    GenrecError: if the model has no layers that see blocks alone, or there is
      no room.
  """

  table: Float[Array, 'R D']

  def __init__(
    self,
    model,
    params: PyTree,
    *,
    num_pages: int,
    place: PlaceFn = dict,
    sharding: jax.sharding.Sharding | None = None,
  ):
    config = model.module.config
    if not config.num_block_local_layers:
      raise GenrecError(
        'The model has no layers that see blocks alone, so nothing of a block'
        ' can be kept; train one with T5Config.num_block_local_layers'
        ' (gin/serving/block_local.gin).'
      )
    if num_pages < 1:
      raise GenrecError(f'Got num_pages={num_pages}; expected at least 1.')
    self._model, self.params, self._place = model, params, place
    self._ranges = config.item_token_ranges
    self._items_per_block = config.items_per_block
    self._page = len(self._ranges) * config.items_per_block
    self._pages: collections.OrderedDict[bytes, list[int]] = (
      collections.OrderedDict()
    )
    self._free = list(range(num_pages))[::-1]
    self._num_pages = num_pages
    table = np.zeros((num_pages * self._page, config.emb_dim), config.dtype)
    self.table = jax.device_put(table, sharding)
    self.asked = self.computed = 0

  def __len__(self) -> int:
    """How many blocks are kept."""
    return len(self._pages)

  def rows(self, tokens: Int[np.ndarray, 'B S']) -> Int32[np.ndarray, 'B S']:
    """Returns where in the table the state of each token is.

    Blocks that are not there are computed first. Padding may be anywhere.

    Raises:
      GenrecError: if the blocks of this batch have no room together.
    """
    tokens = np.ascontiguousarray(tokens, np.int32)
    row, start, length, keys = self._find_blocks(tokens)
    self._keep(keys)
    pages = [self._pages[key] for key in keys]
    first = np.array([at[0] * self._page for at in pages], np.int32)
    # The place of each token in its block, and so in the table.
    ends = np.cumsum(length)
    place = np.arange(length.sum()) - np.repeat(ends - length, length)
    rows = np.zeros(tokens.shape, np.int32)
    rows[np.repeat(row, length), np.repeat(start, length) + place] = (
      np.repeat(first, length) + place
    )
    for number in np.flatnonzero(length > self._page):
      at = slice(start[number], start[number] + length[number])
      rows[row[number], at] = self._rows_of(pages[number])[: length[number]]
    self.asked += int(length.sum())
    return rows

  def add_items(self, item_tokens: Int[np.ndarray, 'N L']) -> None:
    """Computes the states of items before they are asked for.

    Raises:
      GenrecError: if blocks are of several items, of which there are too many
        to know them all, or there is no room.
    """
    if self._items_per_block > 1:
      raise GenrecError(
        f'Blocks are of {self._items_per_block} items, so those of the'
        ' catalogue are too many to be computed beforehand; they are as they'
        ' are asked for.'
      )
    item_tokens = np.ascontiguousarray(item_tokens, np.int32)
    self._keep([item[item > EOS_ID].tobytes() for item in item_tokens])

  def _find_blocks(self, tokens):
    """Returns row, start and length of each block, and its tokens as bytes."""
    numbers = number_blocks(tokens, self._ranges, self._items_per_block, xp=np)
    row, start = np.nonzero(np.diff(numbers, axis=1, prepend=0) > 0)
    # A block ends where the next one of its row begins.
    end = np.append(start[1:], tokens.shape[1])
    end[:-1][row[1:] != row[:-1]] = tokens.shape[1]
    real = tokens[row, start] != PAD_ID
    row, start, length = row[real], start[real], (end - start)[real]
    content, width = tokens.tobytes(), tokens.shape[1]
    begins = 4 * (row * width + start)
    keys = [
      content[begin:end]
      for begin, end in zip(begins.tolist(), (begins + 4 * length).tolist())
    ]
    return row, start, length, keys

  def _keep(self, keys: Iterable[bytes]) -> None:
    """Sees to it that all these blocks are in the table."""
    missing: dict[bytes, None] = {}
    wanted = dict.fromkeys(keys)
    for key in wanted:
      if key in self._pages:
        self._pages.move_to_end(key)
      else:
        missing[key] = None
    needed = sum(self._count_pages(key) for key in missing)
    while len(self._free) < needed:
      oldest = next(iter(self._pages), None)
      if oldest is None or oldest in wanted:
        raise GenrecError(
          f'The blocks of a batch take {sum(map(self._count_pages, wanted))}'
          f' pages, but the cache of blocks has {self._num_pages}; give it more'
          ' room, or lower the batch size.'
        )
      self._free += self._pages.pop(oldest)
    for key in missing:
      self._pages[key] = [
        self._free.pop() for _ in range(self._count_pages(key))
      ]
    by_width = collections.defaultdict(list)
    for key in missing:
      by_width[self._count_pages(key)].append(key)
    for num_pages, blocks in by_width.items():
      self._compute(num_pages * self._page, blocks)

  def _compute(self, width: int, keys: Sequence[bytes]) -> None:
    """Computes blocks of at most `width` tokens, and stores their states."""
    start = 0
    while start < len(keys):
      left = len(keys) - start
      count = next((n for n in BLOCKS_AT_ONCE if n >= left), BLOCKS_AT_ONCE[-1])
      tokens = np.full((count, width), PAD_ID, np.int32)
      # Rows past the end of the table are dropped.
      rows = np.full((count, width), len(self.table), np.int32)
      for number, key in enumerate(keys[start : start + count]):
        block = np.frombuffer(key, np.int32)
        tokens[number, : len(block)] = block
        rows[number] = self._rows_of(self._pages[key])
        self.computed += len(block)
      self.table = _store(self.params, self.table, tokens, rows, self._model)
      start += count

  def _count_pages(self, key: bytes) -> int:
    return -(-len(key) // (4 * self._page))

  def _rows_of(self, pages: Sequence[int]) -> Int32[np.ndarray, 'T']:
    first = np.asarray(pages, np.int32)[:, None] * self._page
    return (first + np.arange(self._page, dtype=np.int32)).reshape(-1)

  def recommending(self, recommend: RecommendFn) -> RecommendFn:
    """Returns the function that recommends by what is kept.

    Args:
      recommend: from `make_recommend_fn` of the same model.

    Raises:
      GenrecError: at a call, if it is with other parameters.
    """

    def recommend_kept(params, batch, *filters, **named):
      if params is not self.params:
        raise GenrecError(
          'The states of blocks are those of other parameters; make'
          ' BlockStates anew for these.'
        )
      rows = self.rows(np.asarray(batch['encoder_input_tokens']))
      kept = {'block_table': self.table, **self._place({'block_rows': rows})}
      return recommend(params, {**batch, **kept}, *filters, **named)

    return recommend_kept


@functools.partial(
  jax.jit, static_argnames=('model',), donate_argnames=('table',)
)
def _store(params, table, tokens, rows, model):
  states = model.encode_blocks(params, tokens)
  return table.at[rows].set(states.astype(table.dtype), mode='drop')
