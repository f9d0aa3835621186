"""What is written about items: cleaned, blank ones null, explanations joined.

A text is never cut and a row never dropped for its text: emoji, right-to-left
scripts and reviews of ten thousand words stay as they are. Only what no text
has any use for gives way to spaces: control characters other than tab and line
breaks, and U+FFFC, which marks the items that a dialogue mentions. What this
changed is counted in the facts of the data set.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int64

from genrec_jax.types import GenrecError, unknown_name

MENTION = '\ufffc'  # OBJECT REPLACEMENT CHARACTER
EXPLANATIONS = ('feature', 'opinion', 'sentiment', 'explanation')
# Columns of the interactions that hold a text.
TEXTS = ('review', 'summary', 'feature', 'opinion', 'explanation')
_CONTROL = '\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f'


def clean(
  column: pa.ChunkedArray, keep: str = ''
) -> tuple[pa.ChunkedArray, dict[str, int]]:
  """Returns texts without characters of no use; null where none is left.

  Args:
    column: texts.
    keep: MENTION, where it stands for items.

  Returns:
    The column, and how many rows were `blank` (not null, but of spaces at
    most) and how many had characters `replaced`.
  """
  marked = '' if keep == MENTION else MENTION
  cleaned = pc.replace_substring_regex(
    column, pattern=f'[{_CONTROL}{marked}]', replacement=' '
  )
  trimmed = pc.utf8_trim_whitespace(cleaned)
  blank = pc.fill_null(pc.equal(trimmed, ''), False)
  replaced = pc.fill_null(pc.not_equal(cleaned, column), False)
  facts = {'blank': _count(blank), 'replaced': _count(replaced)}
  return pc.if_else(blank, None, trimmed), facts


def one_line(text: str) -> str:
  """Returns a text of one line, cleaned, with single spaces."""
  return ' '.join(re.sub(f'[{_CONTROL}{MENTION}]', ' ', text).split())


def _count(flags: pa.ChunkedArray) -> int:
  return pc.sum(flags).as_py() or 0


def clean_columns(
  table: pa.Table,
) -> tuple[pa.Table, dict[str, dict[str, int]]]:
  """Cleans the text columns of interactions; returns what was mended too."""
  facts = {}
  for name in TEXTS:
    if name in table.column_names:
      column, facts[name] = clean(table[name])
      place = table.column_names.index(name)
      table = table.set_column(place, name, column)
  return table, facts


def join_explanations(
  interactions: pa.Table, explanations: pa.Table
) -> tuple[pa.Table, dict[str, int]]:
  """Gives interactions their explanations, by user and item.

  An interaction has one explanation: the first of its user and item in the
  file. Of several interactions of one user and item the first in the file has
  it, so that it is in one part of the split.

  Args:
    interactions: with the source ids `user` and `item`.
    explanations: the same, and the columns of `EXPLANATIONS`.

  Returns:
    The interactions with those columns, and counts: explanation `rows` are
    those `joined`, those `further` ones of an interaction that has one, and
    those `unmatched`.

  Raises:
    GenrecError: if the interactions have such columns already.
  """
  for name in EXPLANATIONS:
    if name in interactions.column_names:
      raise GenrecError(
        f'The interactions have a column {name!r}, and there is a file of'
        ' explanations: leave out one of the two.'
      )
  pairs = pa.concat_arrays(
    [
      pc.binary_join_element_wise(
        table['user'].cast(pa.string()), table['item'].cast(pa.string()), '\x1f'
      ).combine_chunks()
      for table in (interactions, explanations)
    ]
  )
  pair = pairs.dictionary_encode().indices.to_numpy()
  taken, told = np.split(pair, [interactions.num_rows])
  place = np.full(pair.max(initial=-1) + 1, -1)
  # Backwards, so that the first one stays.
  place[told[::-1]] = np.arange(len(told))[::-1]
  rows = np.full(len(taken), -1)
  pairs_taken, first = np.unique(taken, return_index=True)
  rows[first] = place[pairs_taken]
  matched = np.isin(told, taken).sum()
  joined = (rows >= 0).sum()
  numbers = pa.array(rows, mask=rows < 0)
  for name in EXPLANATIONS:
    interactions = interactions.append_column(
      name, explanations[name].take(numbers)
    )
  return interactions, {
    'rows': len(told),
    'joined': int(joined),
    'further': int(matched - joined),
    'unmatched': int(len(told) - matched),
  }


def text_rows(
  interactions: pa.Table,
  among: Bool[np.ndarray, 'M'],
  columns: Sequence[str],
) -> Int64[np.ndarray, 'E']:
  """Returns the rows that a text task can be asked of.

  Args:
    interactions: of a dataset.
    among: which rows are asked for, such as `split.part == TEST`.
    columns: what the task needs; a row that lacks any of these is left out.

  Raises:
    GenrecError: if the data have no such column.
  """
  for name in columns:
    if name not in interactions.column_names:
      raise unknown_name('column', name, interactions.column_names)
    among = among & interactions[name].is_valid().to_numpy()
  return np.flatnonzero(among)


def learnt_part(answer, max_answer: int):
  """Returns what is learnt of the tokens of an answer, before its eos.

  Args:
    answer: without eos; an array or a tensor [T].
    max_answer: how many tokens are learnt, eos included.
  """
  return answer[: max_answer - 1]
