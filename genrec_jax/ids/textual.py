"""Textual ids: an item is named by the first pieces of its title.

The pieces are those of any tokenizer, given as a function; by default they are
words. A level's codebook is the pieces that titles have at that position. So
the tokens of ids are not those of the text vocabulary: a word in a prompt and
the same word in an id are two tokens, as all codes have blocks of their own
(`item_ids.TokenLayout`).
"""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int

from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.types import GenrecError


def words(title: str) -> list[str]:
  """Returns the words of a title, in lower case.

  >>> words("L'Oreal Paris, 2.5 oz")
  ['l', 'oreal', 'paris', '2', '5', 'oz']
  """
  return re.findall(r'\w+', title.lower())


def textual_ids(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_users: int,
  num_items: int,
  *,
  titles: Sequence[str | None],
  pieces: Callable[[str], Sequence[str]] = words,
  num_levels: int = 6,
  num_pieces: int = 4000,
  seed: int = 0,
) -> ItemIds:
  """Makes ids of the first pieces of titles; they differ in length.

  Pieces outside the most frequent are left out: a code that one item alone has
  says nothing of others. Items of the same pieces are told apart by one piece
  more, a number that is dealt out in a seeded order; so are items without any.

  Args:
    user: not looked at, nor are `item` and `num_users`.
    item: as `user`.
    num_users: as `user`.
    num_items: N.
    titles: of each item; empty or None where it has none.
    pieces: what cuts a title; `words`, or the `encode` of a tokenizer.
    num_levels: most pieces of an id, before a number.
    num_pieces: the most frequent of all titles' pieces that are kept.
    seed: of the numbers.

  Raises:
    GenrecError: if there is not one title an item, or none has a piece.
  """
  del user, item, num_users
  if len(titles) != num_items:
    raise GenrecError(
      f'Got {len(titles)} titles for {num_items} items; expected one each, None'
      ' where an item has none.'
    )
  if num_levels < 1 or num_pieces < 1:
    raise GenrecError(
      f'Got num_levels={num_levels} and num_pieces={num_pieces}; expected at'
      ' least 1 of each.'
    )
  cut = [list(pieces(title)) if title else [] for title in titles]
  count = collections.Counter(piece for title in cut for piece in title)
  if not count:
    raise GenrecError(
      f'None of the {num_items} titles has a piece; use another method, or'
      ' another tokenizer (pieces).'
    )
  # By frequency, then by name: the order of items has no say.
  ranked = sorted(count, key=lambda piece: (-count[piece], str(piece)))
  kept = {piece: rank for rank, piece in enumerate(ranked[:num_pieces])}
  codes = np.full((num_items, num_levels + 1), -1, np.int32)
  for row, title in enumerate(cut):
    known = [kept[piece] for piece in title if piece in kept][:num_levels]
    codes[row, : len(known)] = known
  sizes = []
  for level in range(num_levels):
    present = np.unique(codes[codes[:, level] >= 0, level])
    dense = np.searchsorted(present, codes[:, level])
    codes[:, level] = np.where(codes[:, level] >= 0, dense, -1)
    sizes.append(len(present))
  shared = _add_numbers(codes, [*sizes, 0], seed)
  lengths = (codes >= 0).sum(axis=1)
  codes = codes[:, : lengths.max()]
  return ItemIds(
    codes=codes,
    codebook_sizes=tuple((codes.max(axis=0) + 1).tolist()),
    facts={
      'method': 'textual_ids',
      'collision_rate': float(shared.mean()),
      'items_without_text': sum(not title for title in cut),
      'mean_length': round(float(lengths.mean()), 2),
    },
  )


def _add_numbers(codes, sizes, seed):
  """Tells items of the same pieces apart, in place, and says which they are.

  The number comes after the last piece, with codes after those of the pieces
  of that level.
  """
  _, group, counts = np.unique(
    codes, axis=0, return_inverse=True, return_counts=True
  )
  lengths = (codes >= 0).sum(axis=1)
  shared = (counts[group] > 1) | (lengths == 0)
  order = np.lexsort(
    (np.random.default_rng(seed).permutation(len(codes)), group)
  )
  first = np.cumsum(counts) - counts
  number = np.empty(len(codes), np.int64)
  number[order] = np.arange(len(codes)) - first[group[order]]
  rows = np.flatnonzero(shared)
  ends = lengths[rows]
  codes[rows, ends] = np.asarray(sizes)[ends] + number[rows]
  return shared
