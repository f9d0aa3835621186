"""Sets of items by what the items table says: only a category, cheaper than."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float64

from genrec_jax.types import GenrecError

SHOWN = 8  # values that an error lists


def allowed_items(
  items: pa.Table,
  *,
  only: Sequence[str] = (),
  cheaper_than: float | None = None,
  price_column: str = 'price',
) -> Bool[np.ndarray, 'N']:
  """Returns which items meet all conditions.

  Args:
    items: the items table of a dataset.
    only: conditions 'COLUMN=VALUE', such as 'attributes=Comedy': the column
      has that value, or has it in its list; case does not matter.
    cheaper_than: the price must be below; items without one are left out.
    price_column: a column of numbers, or of texts such as '$1,299.00'.

  Raises:
    GenrecError: if a condition does not parse, a column or value is unknown, or
      no item meets them all.
  """
  allowed = np.ones(items.num_rows, bool)
  for condition in only:
    allowed &= _items_with(items, condition)
  if cheaper_than is not None:
    allowed &= read_prices(items, price_column) < cheaper_than
  if not allowed.any():
    asked = describe(
      only=only, cheaper_than=cheaper_than, price_column=price_column
    )
    raise GenrecError(
      f'None of the {items.num_rows} items meets {asked}; leave out a'
      ' condition.'
    )
  return allowed


def describe(
  *, only: Sequence[str], cheaper_than: float | None, price_column: str
) -> str:
  """Returns conditions in words, '' where there is none.

  >>> describe(only=['kind=tea'], cheaper_than=9, price_column='price')
  'kind=tea and price < 9'
  """
  asked = list(only)
  if cheaper_than is not None:
    asked.append(f'{price_column} < {cheaper_than:g}')
  return ' and '.join(asked)


def read_prices(
  items: pa.Table, column: str = 'price'
) -> Float64[np.ndarray, 'N']:
  """Returns a column of numbers; NaN where an item has none.

  Raises:
    GenrecError: if there is no such column, or nothing in it is a number.
  """
  values = _column(items, column)
  if isinstance(values, pa.ChunkedArray) and not pa.types.is_string(
    values.type
  ):
    if not (
      pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
    ):
      raise GenrecError(
        f'The column {column!r} of the items has the type {values.type};'
        ' expected numbers, or texts with a number.'
      )
    numbers = values.cast(pa.float64()).fill_null(np.nan).to_numpy()
  else:
    numbers = np.array([_number(text) for text in values.to_pylist()])
  if np.isnan(numbers).all():
    shown = pc.drop_null(values).slice(0, 3).to_pylist()
    raise GenrecError(
      f'No entry of the column {column!r} of the items is a number; it has'
      f' {shown or "nothing but nulls"}. Name the column of prices.'
    )
  return numbers


def _number(text: str | None) -> float:
  found = re.fullmatch(r'\D*?(-?\d[\d,]*(?:\.\d+)?)\D*', text or '')
  return float(found.group(1).replace(',', '')) if found else np.nan


def _column(items: pa.Table, name: str) -> pa.ChunkedArray:
  if name not in items.column_names:
    raise GenrecError(
      f'The items table has no column {name!r}; expected one of:'
      f' {", ".join(items.column_names)}.'
    )
  return items[name]


def _items_with(items: pa.Table, condition: str) -> Bool[np.ndarray, 'N']:
  column, equals, value = condition.partition('=')
  if not (column and equals and value):
    raise GenrecError(
      f'Got the condition {condition!r}, expected COLUMN=VALUE, such as'
      ' attributes=Comedy.'
    )
  wanted = value.strip().casefold()
  entries = [
    [str(entry).casefold() for entry in _as_list(row)]
    for row in _column(items, column.strip()).to_pylist()
  ]
  has = np.array([wanted in row for row in entries], bool)
  if not has.any():
    known = sorted({entry for row in entries for entry in row})
    near = difflib.get_close_matches(wanted, known, SHOWN) or known[:SHOWN]
    raise GenrecError(
      f'No item has {value!r} in its {column!r}; {len(known)} values are known'
      f' there, such as: {", ".join(near) or "none"}.'
    )
  return has


def _as_list(value) -> list:
  if value is None:
    return []
  return value if isinstance(value, list) else [value]
