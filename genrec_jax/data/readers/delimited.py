"""TSV, CSV and their like, by a mapping from our columns to the file's."""

from __future__ import annotations

import csv
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv

from genrec_jax.data.dataset import RawTables
from genrec_jax.data.readers import columns as columns_lib
from genrec_jax.data.readers.source import BadRows, Source, read_source
from genrec_jax.types import GenrecError, PathLike

# A delimiter of several characters stands as this one while Arrow parses.
_UNIT_SEPARATOR = '\x1f'
csv.field_size_limit(2**31 - 1)  # a value may be a whole text


def read(
  path: PathLike,
  *,
  columns: Mapping[str, str],
  table: str = 'interactions',
  names: Sequence[str] | None = None,
  delimiter: str = '\t',
  quote: str = '',
  encoding: str = 'utf-8',
  time_unit: str = 'seconds',
  list_separator: str = '|',
  on_bad_row: str = 'error',
) -> RawTables:
  """Reads one table from a delimited file.

  Args:
    path: the file, gzip or not.
    columns: our name: the file's name. Of interactions at least `user` and
      `item`; `time`, `position`, `rating`, `review`, `summary` are known. Of
      items `item_id`, with `title` and `attributes`; of users `user_id`. Any
      other name is carried along as text.
    table: 'interactions', 'items' or 'users'.
    names: the file's column names; None if its first line has them.
    delimiter: one or more characters between columns.
    quote: the character around quoted values, doubled within them; '' for
      none.
    encoding: a Python codec's name.
    time_unit: 'seconds', 'milliseconds' or 'iso8601'.
    list_separator: within `attributes`.
    on_bad_row: 'error' or 'skip'.

  Raises:
    GenrecError: for bad rows, or a mapping that does not fit the file.
  """
  bad = BadRows(path, on_bad_row)
  source = read_source(path, bad, encoding)
  rows = parse(source, bad, names=names, delimiter=delimiter, quote=quote)
  columns_lib.check_mapping(
    columns, table, rows.table.column_names, source.path
  )
  picked = {name: rows.table[column] for name, column in columns.items()}
  result, reasons = columns_lib.typed(
    picked, table, time_unit=time_unit, list_separator=list_separator
  )
  rows.report(reasons)
  return RawTables(**{table: result}, facts=source.facts(bad))


@dataclasses.dataclass(frozen=True)
class Rows:
  """A parsed file: columns of text, and the way back to its lines."""

  table: pa.Table
  bad: BadRows
  find_lines: functools.partial

  def report(self, reasons: Mapping[int, str]) -> None:
    """Reports bad rows by the number of their line."""
    if reasons:
      lines = self.find_lines()
      assert len(lines) == self.table.num_rows
      for row, reason in reasons.items():
        self.bad.add(lines[row], reason)


def parse(
  source: Source,
  bad: BadRows,
  *,
  names: Sequence[str] | None,
  delimiter: str,
  quote: str = '',
) -> Rows:
  """Parses a file into columns of text, reporting rows of another width."""
  data = source.data
  if len(delimiter) > 1:
    data = data.replace(delimiter.encode(), _UNIT_SEPARATOR.encode())
    delimiter = _UNIT_SEPARATOR
  if quote and quote.encode() in data:
    _check_quotes(source, data, delimiter, quote)
  find_lines = functools.partial(_records, source, data, delimiter, quote)
  skip = 0 if names else 1
  if names is None:
    first = data.lstrip(b'\r\n').split(b'\n', 1)[0].decode().rstrip('\r')
    names = next(csv.reader([first], **_dialect(delimiter, quote)))
  names = list(names)
  if len(set(names)) < len(names):
    raise GenrecError(
      f'{source.path}: the column names {names} are not distinct; pass `names`.'
    )
  wrong = []

  def set_aside(row: pa.csv.InvalidRow) -> str:
    wrong.append(row.actual_columns)
    return 'skip'

  try:
    table = pa.csv.read_csv(
      pa.BufferReader(data),
      pa.csv.ReadOptions(
        column_names=names, use_threads=False, block_size=1 << 24
      ),
      pa.csv.ParseOptions(
        delimiter=delimiter,
        quote_char=quote or False,
        newlines_in_values=bool(quote),
        invalid_row_handler=set_aside,
      ),
      pa.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        strings_can_be_null=False,
      ),
    )
  except pa.ArrowInvalid as error:
    raise GenrecError(f'Cannot parse {source.path}: {error}.') from error
  table = table.slice(skip)
  lines = functools.partial(_good_lines, find_lines, len(names), skip)
  if wrong:
    for number, width in zip(*find_lines()):
      if width != len(names):
        plural = 'column' if width == 1 else 'columns'
        bad.add(number, f'got {width} {plural}, expected {len(names)}')
  elif not table.num_rows:
    raise GenrecError(
      f'{source.path}, line 1: there is a header and no row; download it again.'
    )
  return Rows(table, bad, lines)


def _dialect(delimiter: str, quote: str) -> dict:
  if quote:
    return {'delimiter': delimiter, 'quotechar': quote}
  return {'delimiter': delimiter, 'quoting': csv.QUOTE_NONE}


def _numbered_lines(
  source: Source, data: bytes
) -> tuple[Sequence[int], Iterator[str]]:
  """Returns the number of every line, and the lines for csv.reader."""
  split = data.split(b'\n')
  numbers = source.numbers or range(1, len(split) + 1)
  return numbers, (line.decode().rstrip('\r') + '\n' for line in split)


def _check_quotes(source, data: bytes, delimiter: str, quote: str) -> None:
  """Raises if a quote is never closed: the rest would be one value."""
  numbers, lines = _numbered_lines(source, data)
  end = '\x04'  # a last record, which an open quote would swallow
  reader = csv.reader(
    itertools.chain(lines, [end]), **_dialect(delimiter, quote)
  )
  starts, last = [0], []
  for record in reader:
    starts.append(reader.line_num)
    last = record
  if last != [end]:
    raise GenrecError(
      f'{source.path}, line {numbers[starts[-2]]}: a quote is opened and never'
      " closed; mend it, or pass quote='' if the file has none."
    )


def _records(
  source: Source, data: bytes, delimiter: str, quote: str
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the first line and the width of every record, header included."""
  numbers, lines = _numbered_lines(source, data)
  # A blank line is no record; a quoted line break makes one span several.
  reader = csv.reader(lines, **_dialect(delimiter, quote))
  starts, widths = [], []
  start = 0
  for fields in reader:
    if fields:
      starts.append(numbers[start])
      widths.append(len(fields))
    start = reader.line_num
  return np.array(starts), np.array(widths)


def _good_lines(find_lines, width: int, skip: int) -> np.ndarray:
  lines, widths = find_lines()
  return lines[widths == width][skip:]
