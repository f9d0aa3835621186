"""Dialogues: a row a turn, each mention of an item marked in the text."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int32, Int64

from genrec_jax.data import texts
from genrec_jax.data.texts import MENTION
from genrec_jax.data.token_cache import Ragged
from genrec_jax.types import GenrecError

SEEKER, RECOMMENDER = ROLES = ('seeker', 'recommender')
# The columns of the dialogues table. Rows of a dialogue are contiguous, its
# turns 0, 1, 2, ...; `text` has a MENTION where it names an item, and nothing
# of its title; `items` has the item of each MENTION, in order. A source may
# add columns: lists with a value for each of `items`, or of any other type.
DIALOGUES = pa.schema(
  [
    ('dialogue_id', pa.string()),
    ('turn', pa.int32()),
    ('role', pa.string()),  # one of ROLES
    ('text', pa.string()),
    ('items', pa.list_(pa.int32())),  # rows of the items table
  ]
)
# As readers yield it: `items` are source ids.
RAW_DIALOGUES = DIALOGUES.set(4, pa.field('items', pa.list_(pa.string())))


def dialogue_offsets(table: pa.Table) -> Int64[np.ndarray, 'D+1']:
  """Returns where each dialogue starts, and where the last one ends."""
  starts = np.flatnonzero(table['turn'].to_numpy() == 0)
  return np.append(starts, table.num_rows)


def mentions(table: pa.Table) -> Ragged:
  """Returns the items that each turn mentions, in order."""
  lists = table['items'].combine_chunks()
  lengths = pc.list_value_length(lists).to_numpy()
  offsets = np.concatenate([[0], np.cumsum(lengths)])
  return Ragged(lists.flatten().to_numpy(), offsets)


def mention_pairs(
  table: pa.Table,
) -> tuple[Int32[np.ndarray, 'm'], Int32[np.ndarray, 'm']]:
  """Returns the number of the dialogue and the item of each mention."""
  named = mentions(table)
  dialogue = np.cumsum(table['turn'].to_numpy() == 0, dtype=np.int32) - 1
  return np.repeat(dialogue, named.lengths), named.values


def without_repeated(raw: pa.Table) -> tuple[pa.Table, int]:
  """Returns the first dialogue of each id, and how many turns others had.

  Raises:
    GenrecError: for a turn that is not the one after the row before it, a role
      that is none, or a text with more or fewer MENTIONs than items.
  """
  _check(raw)
  offsets = dialogue_offsets(raw)
  ids = raw['dialogue_id'].take(offsets[:-1]).combine_chunks()
  _, first = np.unique(
    ids.dictionary_encode().indices.to_numpy(), return_index=True
  )
  keep = np.zeros(len(ids), bool)
  keep[first] = True
  kept = raw.filter(pa.array(np.repeat(keep, np.diff(offsets))))
  return kept, raw.num_rows - kept.num_rows


def number_items(
  raw: pa.Table, item_ids: pa.Array
) -> tuple[pa.Table, dict[str, int]]:
  """Returns the dialogues with rows of items for source ids.

  Args:
    raw: from `without_repeated`.
    item_ids: of all items, those that dialogues mention among them.

  Returns:
    The table, and what was mended in its texts (see `texts.clean`).
  """
  lists = raw['items'].combine_chunks()
  rows = pc.index_in(lists.flatten().cast(pa.string()), value_set=item_ids)
  lengths = pc.list_value_length(lists).fill_null(0).to_numpy()
  offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
  numbers = pa.ListArray.from_arrays(pa.array(offsets), rows)
  known = [raw[name] for name in DIALOGUES.names[:-1]] + [numbers]
  table = pa.table(known, DIALOGUES.names).cast(DIALOGUES)
  cleaned, facts = texts.clean(table['text'], keep=MENTION)
  # A turn says something or nothing; there is none that is not there.
  table = table.set_column(3, 'text', cleaned.fill_null(''))
  for name in raw.column_names:
    if name not in DIALOGUES.names:
      table = table.append_column(name, raw[name])
  return table.combine_chunks(), facts


def _check(raw: pa.Table) -> None:
  ids = raw['dialogue_id'].combine_chunks().dictionary_encode().indices
  turn = raw['turn'].to_numpy()
  new = np.diff(ids.to_numpy(), prepend=-1) != 0
  follows = turn == np.where(new, 0, np.append(-1, turn[:-1]) + 1)
  named = pc.list_value_length(raw['items']).fill_null(0).to_numpy()
  marks = pc.count_substring(raw['text'].fill_null(''), MENTION).to_numpy()
  for wrong, expected in (
    (~follows, 'its turns one after the other, numbered 0, 1, 2, ...'),
    (
      pc.invert(pc.is_in(raw['role'], pa.array(ROLES))).to_numpy(),
      f'a role of {" or ".join(ROLES)}',
    ),
    (marks != named, 'one U+FFFC in the text for each of its items'),
  ):
    if wrong.any():
      row = raw.slice(int(wrong.argmax()), 1).to_pylist()[0]
      raise GenrecError(
        f'{wrong.sum()} turns of dialogues are not as they must be, such as'
        f' turn {row["turn"]} of dialogue {row["dialogue_id"]!r} ({row});'
        f' expected {expected}.'
      )
