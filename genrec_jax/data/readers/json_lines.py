"""JSON lines, one object a row, by a mapping from our columns to its fields."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.json

from genrec_jax.data.dataset import RawTables
from genrec_jax.data.readers import columns as columns_lib
from genrec_jax.data.readers.source import BadRows, Source, read_source
from genrec_jax.types import PathLike

_BLOCK = 1 << 26  # a row must fit into a block of Arrow's parser


def read(
  path: PathLike,
  *,
  columns: Mapping[str, str],
  table: str = 'interactions',
  encoding: str = 'utf-8',
  time_unit: str = 'seconds',
  on_bad_row: str = 'error',
) -> RawTables:
  """Reads one table; columns and the rest as in `delimited.read`.

  `attributes` is a list in the file. A field that a row lacks is null, which
  is an error for ids, times and ratings alone.

  Raises:
    GenrecError: for bad rows, or a mapping without the ids.
  """
  bad = BadRows(path, on_bad_row)
  columns_lib.check_mapping(columns, table, None, str(path))
  source = read_source(path, bad, encoding)
  numbers, fields = parse(source, bad, columns, time_unit)
  result, reasons = columns_lib.typed(fields, table, time_unit=time_unit)
  for row, reason in reasons.items():
    bad.add(numbers[row], reason)
  return RawTables(**{table: result}, facts=source.facts(bad))


def parse(
  source: Source, bad: BadRows, columns: Mapping[str, str], time_unit: str
) -> tuple[list[int], dict[str, pa.ChunkedArray]]:
  """Returns line numbers, and the columns by our names.

  Arrow reads a clean file; one that it does not take (a bad row, a number
  where most rows have text) is read line by line.
  """
  numbers, lines = source.lines()
  kinds = {name: _kind(name, time_unit) for name in columns}
  schema = pa.schema([(columns[name], kinds[name]) for name in columns])
  try:
    table = pa.json.read_json(
      pa.BufferReader(source.data),
      pa.json.ReadOptions(block_size=_BLOCK),
      pa.json.ParseOptions(
        explicit_schema=schema, unexpected_field_behavior='ignore'
      ),
    )
    if table.num_rows == len(lines):
      return numbers, {name: table[columns[name]] for name in columns}
  except pa.ArrowInvalid:
    pass  # which line it was, and whether it is bad, the slow way shows
  good, values = [], {name: [] for name in columns}
  for number, record in records(numbers, lines, bad):
    try:
      row = {
        name: _value(record.get(field), kinds[name], field)
        for name, field in columns.items()
      }
    except TypeError as error:
      bad.add(number, str(error))
      continue
    good.append(number)
    for name, value in row.items():
      values[name].append(value)
  arrays = {name: pa.array(values[name], kinds[name]) for name in columns}
  return good, {name: pa.chunked_array([a]) for name, a in arrays.items()}


def records(
  numbers: Iterable[int],
  lines: Iterable[bytes],
  bad: BadRows,
  literals: bool = False,
) -> Iterator[tuple[int, dict[str, Any]]]:
  """Yields (line number, object), reporting the lines that hold none.

  Args:
    numbers: the number of each line.
    lines: in UTF-8.
    bad: gets what is not an object.
    literals: whether a line may be a Python literal instead, as in the
      metadata of Amazon 2014.
  """
  for number, line in zip(numbers, lines):
    try:
      record = _object(line.decode(), literals)
    except (ValueError, SyntaxError) as error:
      bad.add(number, f'no JSON object: {error}')
      continue
    if isinstance(record, dict):
      yield number, record
    else:
      bad.add(number, f'got a {type(record).__name__}, expected an object')


def _object(line: str, literals: bool) -> Any:
  try:
    value = json.loads(line)
  except ValueError:
    if not literals:
      raise
    return ast.literal_eval(line.strip())
  if r'\u' in line:
    # Half of a surrogate pair is legal in JSON, and in no text.
    json.dumps(value, ensure_ascii=False).encode()
  return value


def _kind(name: str, time_unit: str) -> pa.DataType:
  if name == 'attributes':
    return pa.list_(pa.string())
  if name == 'rating' or (name == 'time' and time_unit != 'iso8601'):
    return pa.float64()
  return pa.int64() if name == 'position' else pa.string()


def _value(value: Any, kind: pa.DataType, field: str) -> Any:
  """Returns a field's value as what its column holds.

  Raises:
    TypeError: if it is of another type.
  """
  number = isinstance(value, int | float) and not isinstance(value, bool)
  if value is None:
    return None
  if pa.types.is_list(kind) and isinstance(value, list):
    return [str(element) for element in value]
  if pa.types.is_floating(kind) and number:
    return float(value)
  if pa.types.is_integer(kind) and isinstance(value, int) and number:
    return value
  if pa.types.is_string(kind) and (isinstance(value, str | int)):
    return str(value)
  raise TypeError(f'{field} is {value!r:.60}, expected a {kind}')
