"""From columns as a file has them to columns of the right type.

Whole columns are converted at once; only where that fails are the rows told
apart, so that a clean file costs nothing and a bad row is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from genrec_jax.types import GenrecError, unknown_name

TABLES = {
  'interactions': ('user', 'item'),
  'items': ('item_id',),
  'users': ('user_id',),
}
TIME_UNITS = ('seconds', 'milliseconds', 'iso8601')
_LATEST = 2**53  # where floats stop telling seconds apart
_NUMBER = r'^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$'

Columns = Mapping[str, pa.ChunkedArray]


def check_mapping(
  mapping: Mapping[str, str], table: str, known, where: str
) -> None:
  """Checks a mapping from our column names to a file's.

  Args:
    mapping: our name: the file's name.
    table: 'interactions', 'items' or 'users'.
    known: the names that the file has, or None if that shows only later.
    where: the file, for the error.
  """
  if table not in TABLES:
    raise unknown_name('table', table, TABLES)
  missing = [name for name in TABLES[table] if name not in mapping]
  if missing:
    raise GenrecError(
      f'{where}: the mapping names {", ".join(mapping) or "no columns"},'
      f' expected {" and ".join(missing)} of the {table} among them.'
    )
  for name, source in mapping.items():
    if known is not None and source not in known:
      raise GenrecError(
        f'{where} has no column {source!r} for {name}; it has:'
        f' {", ".join(known)}.'
      )


def typed(
  columns: Columns,
  table: str,
  *,
  time_unit: str = 'seconds',
  list_separator: str = '|',
) -> tuple[pa.Table, dict[int, str]]:
  """Converts columns to the types of RawTables.

  Args:
    columns: by our names: text, numbers, timestamps or lists.
    table: 'interactions', 'items' or 'users'.
    time_unit: of `time`: 'seconds' or 'milliseconds' since 1970, or
      'iso8601' text (UTC).
    list_separator: between `attributes` given as text.

  Returns:
    The table of the good rows, and why each bad row (by number) is bad.
  """
  if time_unit not in TIME_UNITS:
    raise unknown_name('time_unit', time_unit, TIME_UNITS)
  reasons: dict[int, str] = {}
  converted = {}
  for name, values in columns.items():
    if isinstance(values, pa.Array):
      values = pa.chunked_array([values])
    if pa.types.is_binary(values.type):
      values = _decoded(values, pa.string(), reasons)
    elif values.type == pa.list_(pa.binary()):
      values = _decoded(values, pa.list_(pa.string()), reasons)
    if name in TABLES[table]:
      values = values.cast(pa.string())
      _note(reasons, pc.equal(values, ''), values, f'{name} is empty')
    elif table == 'interactions' and name == 'time':
      values = _times(values, time_unit, reasons)
    elif table == 'interactions' and name in ('rating', 'position'):
      values = _numbers(values, name, reasons)
      values = values.cast(pa.float32() if name == 'rating' else pa.int64())
    elif table == 'items' and name == 'attributes':
      values = _lists(values, list_separator)
    elif not pa.types.is_nested(values.type):
      values = values.cast(pa.string())
    converted[name] = values
  result = pa.table(converted)
  if reasons:
    keep = np.ones(result.num_rows, bool)
    keep[list(reasons)] = False
    result = result.filter(pa.array(keep))
  return result, reasons


def _note(reasons: dict[int, str], wrong, values, reason: str) -> None:
  """Notes the rows where `wrong` is true or null; `{}` becomes the value."""
  rows = np.flatnonzero(pc.fill_null(wrong, True).to_numpy())
  for row in rows.tolist():
    value = values[row].as_py()
    text = reason.format('(none)' if value is None else repr(value))
    reasons.setdefault(row, text)


def _decoded(values, kind: pa.DataType, reasons) -> pa.ChunkedArray:
  """Returns bytes as text, noting what is not UTF-8."""
  try:
    return values.cast(kind)
  except pa.ArrowInvalid:
    # take, not slice: casting a slice casts what lies around it too.
    rows = [values.take([row]) for row in range(len(values))]
    decoded = []
    for number, row in enumerate(rows):
      try:
        decoded += row.cast(kind).chunks
      except pa.ArrowInvalid:
        reasons.setdefault(number, 'it has bytes that are not utf-8')
        decoded.append(pa.nulls(1, kind))
    return pa.chunked_array(decoded, kind)


def _numbers(values, name: str, reasons) -> pa.ChunkedArray:
  """Returns integers or finite floats, noting what is neither."""
  given = values
  if not pa.types.is_integer(values.type):
    if not pa.types.is_floating(values.type):
      text = values.cast(pa.string())
      try:
        values = text.cast(pa.int64())
      except pa.ArrowInvalid:
        matched = pc.match_substring_regex(text, _NUMBER)
        values = pc.if_else(matched, text, None).cast(pa.float64())
  finite = pc.fill_null(pc.is_finite(values), False)
  _note(reasons, pc.invert(finite), given, f'{name} {{}} is no finite number')
  return pc.if_else(finite, values, 0)


def _times(values, unit: str, reasons) -> pa.ChunkedArray:
  """Returns int64 seconds since 1970, noting what is no time or negative."""
  given = values
  if pa.types.is_date(values.type) or pa.types.is_timestamp(values.type):
    values = values.cast(pa.timestamp('s'), safe=False).cast(pa.int64())
    unit = 'seconds'
  elif unit == 'iso8601':
    values = _dates(values.cast(pa.string()), reasons)
  values = _numbers(values, 'time', reasons)
  _note(reasons, pc.less(values, 0), given, 'time {} is negative')
  _note(reasons, pc.greater(values, _LATEST), given, 'time {} is too large')
  if pa.types.is_floating(values.type):
    values = pc.floor(values).cast(pa.int64(), safe=False)
  values = values.cast(pa.int64())
  return pc.divide(values, 1000) if unit == 'milliseconds' else values


def _dates(text: pa.ChunkedArray, reasons) -> pa.ChunkedArray:
  """Reads '2014-07-01' or '2014-07-01 12:30:00' as UTC."""
  try:
    return text.cast(pa.timestamp('s')).cast(pa.int64())
  except pa.ArrowInvalid:
    seconds = []
    for row, value in enumerate(text.to_pylist()):
      try:
        time = pa.scalar(value).cast(pa.timestamp('s'))
        seconds.append(time.cast(pa.int64()).as_py())
      except pa.ArrowInvalid:
        reasons.setdefault(row, f'time {value!r} is not an ISO 8601 date')
        seconds.append(0)
    return pa.chunked_array([pa.array(seconds, pa.int64())])


def _lists(values, separator: str) -> pa.ChunkedArray:
  """Returns lists of distinct strings, from lists or from separated text."""
  if not pa.types.is_list(values.type):
    values = pc.split_pattern(values.cast(pa.string()), separator)
  lists = [
    [value for value in dict.fromkeys(map(str, row or ())) if value]
    for row in values.to_pylist()
  ]
  return pa.chunked_array([pa.array(lists, pa.list_(pa.string()))])


def join(texts: Sequence[pa.ChunkedArray], separator: str) -> pa.ChunkedArray:
  """Returns the texts of several columns, row by row in one."""
  return pc.binary_join_element_wise(*texts, separator)
