"""IDs that do not exist: whether a path is an item, and where it leaves.

Without the trie a model writes what it likes. `ItemPaths` follows what it
wrote through the catalogue, token by token, and says of what is no item which
token was the first that no item goes on with, and what was wrong with it.
Plain NumPy over the table of items: it shares nothing with the trie that it
may be asked to check.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Int8, Int32, Integer

from genrec_jax.evaluation.outputs import NO_ITEM
from genrec_jax.evaluation.significance import ratio_bootstrap
from genrec_jax.ids.item_ids import TokenLayout
from genrec_jax.types import EOS_ID, GenrecError

# What may be wrong with the first token that no item goes on with.
KINDS = {
  'unknown_path': 'a code of the right level, but no item goes on so',
  'wrong_level': 'a code of another level',
  'text': 'a piece of text where a code belongs',
  'too_short': 'the end, where no item ends',
  'too_long': 'something more, where items end',
  'no_token': 'padding, a code of a user, or a token without a meaning',
}


@dataclasses.dataclass(frozen=True, eq=False)
class Followed:
  """What M sequences of tokens are.

  Attributes:
    item: the item; NO_ITEM if there is none.
    level: the place of the first token that no item goes on with; -1 of items.
    kind: what is wrong with it, a place in KINDS; -1 of items.
  """

  item: Int32[np.ndarray, '*shape']
  level: Int32[np.ndarray, '*shape']
  kind: Int8[np.ndarray, '*shape']


class ItemPaths:
  """Follows sequences of tokens through a catalogue.

  Args:
    layout: which token stands for what.
    item_tokens: of the N items, as `TokenLayout.item_tokens` gives them.

  Raises:
    GenrecError: if the items do not fit the layout, or two have the same
      tokens.
  """

  def __init__(self, layout: TokenLayout, item_tokens: Int[np.ndarray, 'N L']):
    tokens = np.asarray(item_tokens, np.int64)
    if tokens.shape[1:] != (layout.tokens_per_item,) or not len(tokens):
      raise GenrecError(
        f'Got item tokens of shape {tokens.shape}, expected a row an item of'
        f' {layout.tokens_per_item} tokens; make them with'
        ' TokenLayout.item_tokens.'
      )
    self._layout = layout
    self._size = layout.vocab_size
    # Of each level the known (node, token), as one number, in order.
    self._steps, self._only_ends = [], []
    node = np.zeros(len(tokens), np.int64)
    for column in tokens.T:
      steps, first, child = np.unique(
        node * self._size + column, return_index=True, return_inverse=True
      )
      self._steps.append(steps)
      self._only_ends.append(_only_ends(steps, self._size))
      node = child
    if len(first) < len(tokens):
      raise GenrecError(
        f'{len(tokens) - len(first)} items share their tokens with another;'
        ' resolve collisions first (see genrec_jax/ids/collisions.py).'
      )
    self._item = first.astype(np.int32)

  def follow(self, tokens: Integer[np.ndarray, '*shape L']) -> Followed:
    """Returns what sequences are; after eos there is padding."""
    tokens = np.asarray(tokens, np.int64)
    if tokens.shape[-1] != len(self._steps):
      raise GenrecError(
        f'Got sequences of {tokens.shape[-1]} tokens, expected'
        f' {len(self._steps)}, as items have.'
      )
    shape, flat = tokens.shape[:-1], tokens.reshape(-1, len(self._steps))
    node = np.zeros(len(flat), np.int64)
    level = np.full(len(flat), -1, np.int32)
    kind = np.full(len(flat), -1, np.int8)
    for place, (steps, column) in enumerate(zip(self._steps, flat.T)):
      key = node * self._size + column
      child = np.minimum(np.searchsorted(steps, key), len(steps) - 1)
      leaves = (level < 0) & (steps[child] != key)
      kind[leaves] = self._kinds(place, column[leaves], node[leaves])
      level[leaves] = place
      node = np.where(level < 0, child, 0)
    item = np.where(level < 0, self._item[node], NO_ITEM)
    return Followed(
      item.astype(np.int32).reshape(shape),
      level.reshape(shape),
      kind.reshape(shape),
    )

  def _kinds(
    self, place: int, token: Int[np.ndarray, 'm'], node: Int[np.ndarray, 'm']
  ) -> Int8[np.ndarray, 'm']:
    layout, number = self._layout, {name: n for n, name in enumerate(KINDS)}
    first = layout.num_text_tokens
    is_code = (token >= first) & (token < first + sum(layout.codebook_sizes))
    kind = np.full(len(token), number['no_token'], np.int8)
    kind[(token > EOS_ID) & (token < first)] = number['text']
    kind[is_code] = number['wrong_level']
    if place < layout.num_levels:
      block = layout.item_blocks[place]
      here = (token >= block.start) & (token < block.stop)
      kind[here] = number['unknown_path']
    kind[np.isin(node, self._only_ends[place])] = number['too_long']
    kind[token == EOS_ID] = number['too_short']
    return kind


def _only_ends(
  steps: Int[np.ndarray, 'steps'], size: int
) -> Int[np.ndarray, 'nodes']:
  """Returns the nodes after which nothing but eos comes."""
  node, count = np.unique(steps // size, return_counts=True)
  ends = steps[steps % size == EOS_ID] // size
  return np.intersect1d(ends, node[count == 1])


def invented_shares(
  found: Followed,
  written: Bool[np.ndarray, 'E K'],
  user: Integer[np.ndarray, 'E'],
  *,
  top_k: int = 10,
  num_levels: int,
) -> dict[str, Any]:
  """Returns how much of what was written is no item.

  Args:
    found: K sequences for each of E examples, the likeliest first.
    written: where there is a sequence.
    user: of each example; intervals are over users.
    top_k: places at the head of a list.
    num_levels: L, how many tokens an item has.

  Returns:
    `no_item`, the share of sequences that are none, and `any_no_item`, the
    share of examples with such a one among the first `top_k`, each {n, mean,
    low, high}; `outputs`, how many sequences there are; `kinds`, by name, and
    `levels`, by place, the share of sequences that leave the catalogue so and
    there.
  """
  wrong = written & (found.item == NO_ITEM)
  total = max(1, int(written.sum()))
  head = wrong[:, :top_k].any(axis=1)
  return {
    'no_item': ratio_bootstrap(wrong.sum(1), written.sum(1), user),
    'any_no_item': ratio_bootstrap(head, np.ones(len(head)), user),
    'outputs': int(written.sum()),
    'kinds': {
      name: int((wrong & (found.kind == number)).sum()) / total
      for number, name in enumerate(KINDS)
    },
    'levels': [
      int((wrong & (found.level == level)).sum()) / total
      for level in range(num_levels)
    ],
  }


def keep_items(
  items: Int32[np.ndarray, 'E K'],
  scores: Float[np.ndarray, 'E K'],
  width: int,
) -> Int32[np.ndarray, 'E width']:
  """Returns the items among what was written, each once, best first.

  Args:
    items: NO_ITEM where there is none, or none that may be listed.
    scores: of each.
    width: the length of lists, filled up with NO_ITEM.
  """
  lists = np.full((len(items), width), NO_ITEM, np.int32)
  order = np.argsort(-scores, axis=1, kind='stable')
  for row, found in zip(lists, np.take_along_axis(items, order, axis=1)):
    kept = list(dict.fromkeys(found[found != NO_ITEM].tolist()))[:width]
    row[: len(kept)] = kept
  return lists


def mass_shares(
  mass: Float[np.ndarray, 'E L'], user: Integer[np.ndarray, 'E']
) -> Mapping[str, Any]:
  """Returns the probability that the model puts outside of the catalogue.

  Args:
    mass: that of the beginnings of items, see
      `decoding.catalogue_scores.catalogue_mass`.
    user: of each example.

  Returns:
    `outside`, {n, mean, low, high}; and `levels`, how much of it is lost at
    each level, which is `outside` in all.
  """
  inside = np.concatenate([np.ones((len(mass), 1)), mass], axis=1)
  # Sums of rounded numbers may be a little above 1.
  inside = np.minimum.accumulate(np.clip(inside, 0, 1), axis=1)
  return {
    'outside': ratio_bootstrap(1 - inside[:, -1], np.ones(len(mass)), user),
    'levels': (inside[:, :-1] - inside[:, 1:]).mean(axis=0).tolist(),
  }
