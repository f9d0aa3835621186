"""What users are: the columns of the users table that prompts may show.

A prompt says them in words, `gender F age 25`. What is not known is said, too:
`gender unknown`, which is also how an attribute is hidden. So the values of a
user are numbers, one a column, that can be changed, hidden and written anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Int32, Integer

from genrec_jax.data.token_cache import Ragged
from genrec_jax.types import GenrecError

UNKNOWN = 'unknown'
NO_VALUE = -1
MAX_VALUES = 25  # more would name users rather than describe them


@dataclasses.dataclass(frozen=True, eq=False)
class UserAttributes:
  """C attributes of U users.

  Attributes:
    columns: of the users table.
    values: the values that each column has, as texts.
    of_user: which of them each user has, NO_VALUE for none.
  """

  columns: tuple[str, ...]
  values: tuple[tuple[str, ...], ...]
  of_user: Int32[np.ndarray, 'U C']

  def of(self, user: Integer[np.ndarray, 'E']) -> Int32[np.ndarray, 'E C']:
    """Returns the values of users; those of nobody (-1) are unknown."""
    user = np.asarray(user)
    found = self.of_user[user]
    found[user < 0] = NO_VALUE
    return found

  def ragged(self, user: Integer[np.ndarray, 'E']) -> Ragged:
    """Returns the same as rows of C numbers."""
    found = self.of(user)
    return Ragged(found.reshape(-1), np.arange(len(found) + 1) * found.shape[1])

  def phrases(self) -> list[list[str]]:
    """Returns how each value is said, by column; the unknown one first.

    A blank stands before each, as phrases follow each other.
    """
    return [
      [f' {column.replace("_", " ")} {value}' for value in (UNKNOWN, *values)]
      for column, values in zip(self.columns, self.values)
    ]

  def name(self, column: int, value: int) -> str:
    """Returns a value of a column as a text."""
    return UNKNOWN if value == NO_VALUE else self.values[column][value]


def read_user_attributes(
  users: pa.Table, columns: Sequence[str]
) -> UserAttributes:
  """Reads columns of the users.

  Args:
    users: the users table of a dataset.
    columns: of texts, numbers or truths, each with at most MAX_VALUES values.

  Raises:
    GenrecError: if a column is missing or named twice, has other values, one
      value alone, or too many.
  """
  if len(set(columns)) < len(columns) or not columns:
    raise GenrecError(
      f'Got the user attributes {", ".join(columns) or "(none)"}; expected'
      f' columns of the users table, each once: {_usable(users)}.'
    )
  values, numbers = [], []
  for column in columns:
    if column not in users.column_names or column == 'user_id':
      raise GenrecError(
        f'The users table has no attribute {column!r}; expected some of:'
        f' {_usable(users)}.'
      )
    texts = _texts(users[column])
    known = _in_order({text for text in texts if text is not None})
    if not 2 <= len(known) <= MAX_VALUES:
      raise GenrecError(
        f'The column {column!r} of the users has {len(known)} values, expected'
        f' from 2 to {MAX_VALUES}; put them into so few groups in the users'
        f' table, or take some of: {_usable(users)}.'
      )
    place = {text: number for number, text in enumerate(known)}
    values.append(tuple(known))
    numbers.append([NO_VALUE if t is None else place[t] for t in texts])
  of_user = np.array(numbers, np.int32).T.copy()
  return UserAttributes(tuple(columns), tuple(values), of_user)


def _texts(column: pa.ChunkedArray) -> list[str | None]:
  """Returns values as texts; None of what says nothing.

  Raises:
    GenrecError: if a value is no text, number or truth.
  """
  texts = []
  for value in column.to_pylist():
    if isinstance(value, float):
      value = f'{value:g}' if np.isfinite(value) else None
    if not isinstance(value, str | int | None):
      raise GenrecError(
        f'A user attribute has the value {value!r}; expected a text, a number'
        ' or a truth.'
      )
    text = '' if value is None else ' '.join(str(value).split())
    texts.append(text if text and text != UNKNOWN else None)
  return texts


def _in_order(texts: set[str]) -> list[str]:
  """Returns numbers in their order, and other texts in theirs."""
  try:
    return sorted(texts, key=lambda text: (float(text), text))
  except ValueError:
    return sorted(texts)


def _usable(users: pa.Table) -> str:
  """Returns the names of the columns that are attributes."""
  found = []
  for column in users.column_names:
    try:
      known = {*_texts(users[column])} - {None}
    except GenrecError:
      continue
    if column != 'user_id' and 2 <= len(known) <= MAX_VALUES:
      found.append(column)
  return ', '.join(found) or 'none of them makes groups'
