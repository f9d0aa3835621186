"""A catalogue whose items come and go while searches run."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from genrec_jax.decoding.item_codes import ItemCodes, encode_items, encode_more
from genrec_jax.decoding.trie import Trie
from genrec_jax.decoding.trie_builder import (
  DEFAULT_THRESHOLDS,
  Thresholds,
  build_host_trie,
)
from genrec_jax.types import PAD_ID, GenrecError


class LiveCatalogue:
  """Makes a new trie for each change, of the same shapes as the one before.

  So a compiled search takes the new trie without compiling again, and whoever
  still searches the old one is undisturbed: a trie is never changed.

  Attributes:
    trie: the catalogue of now, on the default device.
    capacity: how many items there may be; their numbers lie below it.

  Args:
    item_tokens: the tokens of the items 0 to N - 1, see `build_trie`.
    capacity: at least N.
    blocks, pad_id, shared_leaves, thresholds: see `build_trie`. Give the
      blocks of the layout, so that new items may have any of its codes.

  Raises:
    GenrecError: as `build_trie`, or if the capacity is too small.
  """

  def __init__(
    self,
    item_tokens: Int[np.ndarray, 'N L'],
    *,
    capacity: int,
    blocks: Sequence[range] | None = None,
    pad_id: int | None = PAD_ID,
    shared_leaves: bool = False,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
  ):
    if capacity < len(item_tokens):
      raise GenrecError(
        f'Got capacity={capacity} for {len(item_tokens)} items; expected at'
        ' least as many, and room for those to come.'
      )
    self.capacity = capacity
    self._shared_leaves = shared_leaves
    codes = encode_items(item_tokens, blocks=blocks, pad_id=pad_id)
    items = np.arange(len(item_tokens), dtype=np.int32)
    trie, self._plan = build_host_trie(
      codes,
      num_item_numbers=capacity,
      shared_leaves=shared_leaves,
      thresholds=thresholds,
      capacity=capacity,
    )
    self._set(codes, items, trie)

  def update(
    self,
    *,
    add: Int[np.ndarray, 'n'] = (),
    tokens: Int[np.ndarray, 'n L'] = (),
    remove: Int[np.ndarray, 'm'] = (),
  ) -> Trie:
    """Removes and adds items; a failed update changes nothing.

    Args:
      add: numbers for new items, below the capacity and free (those that are
        removed in the same call are).
      tokens: their tokens.
      remove: numbers of items to remove.

    Returns:
      The new trie.

    Raises:
      GenrecError: if an item to be removed is not there, a number is taken or
        too large, tokens are wrong or taken, or the change does not fit into
        the shapes: then build a new LiveCatalogue, which compiles once more.
    """
    add = np.asarray(add, np.int64).reshape(-1)
    remove = np.asarray(remove, np.int64).reshape(-1)
    held = np.zeros(self.capacity, bool)
    held[self._items] = True
    self._check_numbers(remove, 'remove', held)
    held[remove] = False
    self._check_numbers(add, 'add', ~held)
    kept = np.flatnonzero(held[self._items])
    words, items = self._codes.words[:, kept], self._items[kept]
    if len(add) or len(tokens):
      more = encode_more(tokens, self._codes.alphabets)
      if more.num_items != len(add):
        raise GenrecError(
          f'Got the tokens of {more.num_items} items to add, and numbers for'
          f' {len(add)}; expected one number an item.'
        )
      words = np.concatenate([words, more.words], axis=1)
      items = np.concatenate([items, add.astype(np.int32)])
    if not len(items):
      raise GenrecError('The update leaves no items; expected at least one.')
    codes = self._codes.with_words(words)
    trie, _ = build_host_trie(
      codes,
      items=items,
      num_item_numbers=self.capacity,
      shared_leaves=self._shared_leaves,
      plan=self._plan,
    )
    self._set(codes, items, trie)
    return self.trie

  def _set(self, codes: ItemCodes, items: np.ndarray, trie: Trie) -> None:
    self._codes, self._items = codes, items
    self.trie = jax.tree.map(jnp.asarray, trie)

  def _check_numbers(self, numbers, what: str, allowed) -> None:
    outside = (numbers < 0) | (numbers >= self.capacity)
    if outside.any():
      raise GenrecError(
        f'Got item {numbers[outside.argmax()]} to {what}; expected numbers in'
        f' [0, {self.capacity}), the capacity of the catalogue.'
      )
    values, counts = np.unique(numbers, return_counts=True)
    wrong = (counts > 1) | ~allowed[values]
    if wrong.any():
      reason = 'is there already' if what == 'add' else 'is not there'
      if (counts > 1).any():
        wrong, reason = counts > 1, 'is named twice'
      raise GenrecError(
        f'Cannot {what} {wrong.sum()} of {len(numbers)} items: the first, item'
        f' {values[wrong.argmax()]}, {reason}.'
      )
