"""Items that come later and their first interactions, by a file's suffix."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from genrec_jax.data.readers import delimited, json_lines, parquet
from genrec_jax.data.readers.source import BadRows, read_source
from genrec_jax.types import GenrecError, PathLike

# The names in the file: our names.
ITEM_COLUMNS = {
  'item_id': 'item_id',
  'title': 'title',
  'attributes': 'attributes',
}
INTERACTION_COLUMNS = {'user_id': 'user', 'item_id': 'item', 'time': 'time'}
# How values are delimited and quoted.
_DELIMITED = {
  '.tsv': {'delimiter': '\t', 'quote': ''},
  '.csv': {'delimiter': ',', 'quote': '"'},
}
_JSON_LINES = ('.jsonl', '.json')
SUFFIXES = (*_JSON_LINES, '.parquet', *_DELIMITED)


def read_new_items(path: PathLike, *, on_bad_row: str = 'error') -> pa.Table:
  """Reads new items: `item_id` and, where the file has them, text.

  Args:
    path: Parquet, or JSON Lines, TSV or CSV, gzip or not. Attributes are a
      list, or text with '|' between them.
    on_bad_row: 'error' or 'skip'.

  Returns:
    item_id and title, string, and attributes, list<string>; nulls and empty
    lists where the file says nothing.

  Raises:
    GenrecError: if the file cannot be read, lacks `item_id`, has a column that
      is none of these, or has an id twice.
  """
  table = _read(path, 'items', ITEM_COLUMNS, ('item_id',), on_bad_row)
  ids = table['item_id'].to_pylist()
  seen = set()
  for item_id in ids:
    if item_id in seen:
      raise GenrecError(
        f'{os.fspath(path)} has the item {item_id!r} more than once; expected'
        ' one row an item.'
      )
    seen.add(item_id)
  columns = {
    'item_id': table['item_id'],
    'title': pa.nulls(len(ids), pa.string()),
    'attributes': pa.array([[]] * len(ids), pa.list_(pa.string())),
  }
  return pa.table({**columns, **dict(zip(table.column_names, table.columns))})


def read_first_interactions(
  path: PathLike, *, on_bad_row: str = 'error'
) -> pa.Table:
  """Reads who took which item: `user_id`, `item_id` and, if there, `time`.

  Returns:
    user and item, string, in the order of the file; the time is not kept.

  Raises:
    GenrecError: as `read_new_items`.
  """
  table = _read(
    path,
    'interactions',
    INTERACTION_COLUMNS,
    ('user_id', 'item_id'),
    on_bad_row,
  )
  return table.select(['user', 'item'])


def _read(
  path: PathLike,
  table: str,
  known: Mapping[str, str],
  needed: tuple[str, ...],
  on_bad_row: str,
) -> pa.Table:
  suffix = pathlib.Path(os.fspath(path).removesuffix('.gz')).suffix.lower()
  if suffix not in SUFFIXES:
    raise GenrecError(
      f'{os.fspath(path)} has the suffix {suffix!r}, which says no format;'
      f' expected one of {", ".join(SUFFIXES)}.'
    )
  names = _column_names(path, suffix)
  unknown = [name for name in names if name not in known]
  missing = [name for name in needed if name not in names]
  if unknown or missing:
    fault = (
      f'an unknown column {unknown[0]!r}' if unknown else f'no {missing[0]!r}'
    )
    raise GenrecError(
      f'{os.fspath(path)} has {fault} (its columns: {", ".join(names)});'
      f' expected {" and ".join(needed)}, and of {", ".join(known)} what there'
      ' is. Rename the columns, or leave the others out.'
    )
  columns = {known[name]: name for name in names}
  settings = {'columns': columns, 'table': table, 'on_bad_row': on_bad_row}
  if suffix == '.parquet':
    raw = parquet.read(path, **settings)
  elif suffix in _DELIMITED:
    raw = delimited.read(path, **settings, **_DELIMITED[suffix])
  else:
    raw = json_lines.read(path, **settings)
  return getattr(raw, table)


def _column_names(path: PathLike, suffix: str) -> list[str]:
  """Returns the names of the columns of a file, of JSON of any of its rows."""
  if suffix == '.parquet':
    try:
      return pq.read_schema(path).names
    except (pa.ArrowInvalid, OSError) as error:
      raise GenrecError(
        f'Cannot read {os.fspath(path)} as Parquet: {error}.'
      ) from error
  bad = BadRows(path, 'skip')
  numbers, lines = read_source(path, bad).lines()
  if suffix in _DELIMITED:
    settings = _DELIMITED[suffix]
    header = lines[0].decode().strip('\r').split(settings['delimiter'])
    return [name.strip(settings['quote'] or None) for name in header]
  names: dict[str, None] = {}
  for _, record in json_lines.records(numbers, lines, bad):
    names.update(dict.fromkeys(record))
  return list(names)
