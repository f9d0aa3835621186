"""The catalogue as a prefix trie of level arrays.

Items are sorted by their tokens and the nodes of every level are numbered in
that order. So the children of a node are one contiguous range of the next
level, no next-state is stored, and a node of the last level is a *row* of the
sorted catalogue, which is an item.

Level 0 is the root; the nodes of level l are the distinct prefixes of l
tokens; the nodes of level L are the rows.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Int32

from genrec_jax.types import EOS_ID, PAD_ID, GenrecError


def _static() -> dataclasses.Field:
  return dataclasses.field(metadata={'static': True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Trie:
  """The level arrays, a pytree; `build_trie` makes it.

  Attributes:
    first_child: of each level l < L, int32 [n_l + 1]. The children of node i
      are the nodes first_child[l][i] .. first_child[l][i + 1] - 1 of level
      l + 1.
    first_leaf: of each level l <= L, int32 [n_l + 1]. The items under node i
      are the rows first_leaf[l][i] .. first_leaf[l][i + 1] - 1.
    token: of each level l < L, int32 [n_{l+1}]: the last token of each node
      of level l + 1. Among the children of one node tokens ascend.
    level_tokens: of each level l < L, the distinct tokens in `token[l]`,
      PAD_ID apart: what normalisation over a level means.
    row_to_item: int32 [N], the item of each row.
    item_to_row: int32 [N], its inverse.
    vocab_size: one more than the largest token.
    max_children: of each level l < L, the most children that a node has.
    has_padding: of each level l < L, whether some items have ended before it.
  """

  first_child: tuple[Int32[Array, ' _'], ...]
  first_leaf: tuple[Int32[Array, ' _'], ...]
  token: tuple[Int32[Array, ' _'], ...]
  level_tokens: tuple[Int32[Array, ' _'], ...]
  row_to_item: Int32[Array, ' N']
  item_to_row: Int32[Array, ' N']
  vocab_size: int = _static()
  max_children: tuple[int, ...] = _static()
  has_padding: tuple[bool, ...] = _static()

  @property
  def num_levels(self) -> int:
    """The number of tokens of an item, L."""
    return len(self.token)

  @property
  def num_items(self) -> int:
    """The number of items, N."""
    return self.row_to_item.shape[0]

  def num_nodes(self, level: int) -> int:
    """Returns the number of distinct prefixes of `level` tokens."""
    return self.first_leaf[level].shape[0] - 1

  def ancestor(
    self, level: int, row: Int32[Array, '*shape']
  ) -> Int32[Array, '*shape']:
    """Returns the node of `level` that each row lies under."""
    above = jnp.searchsorted(self.first_leaf[level], row, side='right') - 1
    return above.astype(jnp.int32)

  def prefix_sizes(
    self, item: Int32[Array, '*shape']
  ) -> Int32[Array, '*shape L']:
    """Returns how many items share each item's first 1, 2, ..., L tokens."""
    row = self.item_to_row[item]
    sizes = []
    for level in range(1, self.num_levels + 1):
      node = self.ancestor(level, row)
      leaves = self.first_leaf[level]
      sizes.append(leaves[node + 1] - leaves[node])
    return jnp.stack(sizes, axis=-1)


def build_trie(item_tokens: Int[np.ndarray, 'N L']) -> Trie:
  """Builds the trie of a catalogue.

  Args:
    item_tokens: the tokens of each item, in the model's vocabulary, in any
      order. A shorter item ends with EOS_ID (an ordinary token, which the
      model scores) and is filled up with PAD_ID (which costs nothing).

  Raises:
    GenrecError: if there are no items, a token is negative, an item ends
      without EOS_ID, or two items have the same tokens.
  """
  item_tokens = np.asarray(item_tokens)
  _check_item_tokens(item_tokens)
  num_items, num_levels = item_tokens.shape
  row_to_item = np.lexsort(item_tokens.T[::-1]).astype(np.int32)
  rows = item_tokens[row_to_item].astype(np.int32)
  item_to_row = np.empty_like(row_to_item)
  item_to_row[row_to_item] = np.arange(num_items, dtype=np.int32)

  # A row opens a new node of level l + 1 where it differs from the row above
  # in one of its first l + 1 tokens.
  opens = np.zeros(num_items, bool)
  opens[0] = True
  leaves = np.array([0, num_items], np.int32)
  first_child, first_leaf, token, level_tokens = [], [leaves], [], []
  for level in range(num_levels):
    opens[1:] |= rows[1:, level] != rows[:-1, level]
    row_to_node = np.cumsum(opens, dtype=np.int32) - 1
    starts = np.flatnonzero(opens).astype(np.int32)
    first_child.append(
      np.append(row_to_node[leaves[:-1]], np.int32(len(starts)))
    )
    leaves = np.append(starts, np.int32(num_items))
    first_leaf.append(leaves)
    token.append(rows[starts, level])
    used = np.unique(token[-1])
    level_tokens.append(used[used != PAD_ID])
  if len(starts) != num_items:
    _raise_duplicates(rows, row_to_item, opens)

  def on_device(arrays):
    return tuple(jnp.asarray(array, jnp.int32) for array in arrays)

  return Trie(
    first_child=on_device(first_child),
    first_leaf=on_device(first_leaf),
    token=on_device(token),
    level_tokens=on_device(level_tokens),
    row_to_item=jnp.asarray(row_to_item),
    item_to_row=jnp.asarray(item_to_row),
    vocab_size=int(rows.max()) + 1,
    max_children=tuple(int(np.diff(first).max()) for first in first_child),
    has_padding=tuple(bool((last == PAD_ID).any()) for last in token),
  )


def _check_item_tokens(item_tokens: np.ndarray) -> None:
  if item_tokens.ndim != 2 or 0 in item_tokens.shape:
    raise GenrecError(
      f'Got item tokens of shape {item_tokens.shape}, expected [items, tokens]'
      ' with at least one of each; build the ids of a catalogue first.'
    )
  if not np.issubdtype(item_tokens.dtype, np.integer):
    raise GenrecError(
      f'Got item tokens of type {item_tokens.dtype}, expected integers.'
    )
  top = np.iinfo(np.int32).max
  outside = ((item_tokens < 0) | (item_tokens >= top)).any(axis=1)
  if outside.any():
    item = int(outside.argmax())
    raise GenrecError(
      f'{outside.sum()} items have tokens outside [0, {top}), the first item'
      f' {item} with {item_tokens[item].tolist()}; map codes to tokens with'
      ' TokenLayout.item_tokens, which pads with 0.'
    )
  # An item ends by its length or by EOS_ID, so no item is a prefix of another
  # and the children of a node share one distribution.
  ended = np.isin(item_tokens[:, :-1], (EOS_ID, PAD_ID))
  wrong = ((item_tokens[:, 1:] == PAD_ID) != ended).any(axis=1)
  wrong |= item_tokens[:, 0] == PAD_ID
  if wrong.any():
    item = int(wrong.argmax())
    raise GenrecError(
      f'{wrong.sum()} items do not end as they should, the first item {item}'
      f' with {item_tokens[item].tolist()}: expected {PAD_ID} (padding) after'
      f' {EOS_ID} (end) and nowhere else.'
    )


def _raise_duplicates(rows, row_to_item, opens) -> None:
  row = int((~opens).argmax())
  same = row_to_item[row - 1 : row + 1].tolist()
  raise GenrecError(
    f'{(~opens).sum()} of {len(rows)} items have the tokens of another item,'
    f' for example items {same[0]} and {same[1]}, both'
    f' {rows[row].tolist()}; build ids whose collisions are resolved.'
  )
