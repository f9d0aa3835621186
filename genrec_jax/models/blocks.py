"""Which tokens of an input make a block: its items, and the words between.

The first layers of an encoder may be told to see blocks alone
(`T5Config.num_block_local_layers`). As positions are known to T5 by distances
alone, what such layers make of a block depends on the block and nothing else,
neither on where it stands nor on what is around it. So it can be computed once
for each item of the catalogue and for the words of a prompt, and kept
(decoding/block_states.py): the pre-computed lower layers of PreTTR (MacAvaney
et al. 2020, https://arxiv.org/abs/2004.14255), for histories of items.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int

from genrec_jax.types import PAD_ID


def number_blocks(
  tokens: Int[Array, 'B S'],
  item_token_ranges: Sequence[tuple[int, int]],
  items_per_block: int = 1,
  xp: ModuleType = jnp,
) -> Int[Array, 'B S']:
  """Returns the number of each token's block, ascending along a row.

  A block begins at the first token, at the first level of an item (of every
  `items_per_block`-th of those that follow each other), where items give way
  to other tokens, and where padding begins.

  Args:
    tokens: of inputs.
    item_token_ranges: the first and the one after the last token of each level.
    items_per_block: how many items that follow each other are one block.
    xp: jax.numpy or numpy.

  >>> number_blocks(
  ...   jnp.array([[3, 9, 20, 8, 21, 5, 6, 7, 20, 0, 0]]), [(7, 10), (20, 30)]
  ... ).tolist()
  [[1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]]
  """
  kind = _within(tokens, item_token_ranges).astype(xp.int32)
  is_first = _within(tokens, item_token_ranges[:1])
  # 0 for words, 1 for items, 2 for padding: a change begins a block.
  kind = xp.where(tokens == PAD_ID, 2, kind)
  before = xp.concatenate([xp.full_like(kind[:, :1], -1), kind[:, :-1]], axis=1)
  changes = kind != before
  if items_per_block > 1:
    count = xp.cumsum(is_first, axis=1)
    # Items before the run that a token is in; counts never go down.
    earlier = xp.where(changes, count - is_first, 0)
    if xp is jnp:
      earlier = lax.cummax(earlier, axis=1)
    else:
      earlier = np.maximum.accumulate(earlier, axis=1)
    is_first = is_first & ((count - earlier - 1) % items_per_block == 0)
  return xp.cumsum(changes | is_first, axis=1).astype(xp.int32)


def _within(tokens, ranges):
  inside = tokens < 0
  for start, stop in ranges:
    inside = inside | ((tokens >= start) & (tokens < stop))
  return inside
