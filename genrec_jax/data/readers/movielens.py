"""MovieLens 100K (`u.data`, ...) and 1M/10M (`ratings.dat`, ...).

The name of the file says which table it is and how it is laid out (Harper and
Konstan 2015, doi:10.1145/2827872, and the README of each release).
"""

from __future__ import annotations

import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from genrec_jax.data.dataset import RawTables
from genrec_jax.data.readers import columns as columns_lib
from genrec_jax.data.readers import delimited
from genrec_jax.data.readers.source import BadRows, file_name, read_source
from genrec_jax.types import PathLike, unknown_name

_RATINGS = ('user', 'item', 'rating', 'time')
_ITEM_100K = ('item_id', 'title', 'release_date', 'video_date', 'url')
# File name: table, delimiter, columns. Genres of u.item follow as flags.
LAYOUTS = {
  'u.data': ('interactions', '\t', _RATINGS),
  'u.item': ('items', '|', _ITEM_100K),
  'u.user': (
    'users',
    '|',
    ('user_id', 'age', 'gender', 'occupation', 'zip_code'),
  ),
  'ratings.dat': ('interactions', '::', _RATINGS),
  'movies.dat': ('items', '::', ('item_id', 'title', 'attributes')),
  'users.dat': (
    'users',
    '::',
    ('user_id', 'gender', 'age', 'occupation', 'zip_code'),
  ),
}


def read(
  path: PathLike, *, encoding: str = 'iso-8859-1', on_bad_row: str = 'error'
) -> RawTables:
  """Reads one MovieLens file, known by its name (`.gz` or not).

  `u.item` needs `u.genre` beside it, which names its flags. The codes of
  `users.dat` (age bucket, occupation) stay as they are. The 10M release is in
  UTF-8: pass its encoding.

  Raises:
    GenrecError: for bad rows or a file of another name.
  """
  name = file_name(path)
  if name not in LAYOUTS:
    raise unknown_name('MovieLens file', name, LAYOUTS)
  table, delimiter, names = LAYOUTS[name]
  bad = BadRows(path, on_bad_row)
  source = read_source(path, bad, encoding)
  facts = {'sources': {}}
  genres = []
  if name == 'u.item':
    genres, facts = _genres(path, encoding)
  rows = delimited.parse(
    source, bad, names=[*names, *genres], delimiter=delimiter
  )
  picked = {column: rows.table[column] for column in names}
  if genres:
    picked['attributes'] = _flagged(rows.table.select(genres))
  result, reasons = columns_lib.typed(picked, table)
  rows.report(reasons)
  own = source.facts(bad)
  own['sources'] |= facts['sources']
  return RawTables(**{table: result}, facts=own)


def _genres(path: PathLike, encoding: str) -> tuple[list[str], dict]:
  """Returns the names of the flags of `u.item`, from `u.genre` beside it."""
  path = pathlib.Path(path)
  beside = path.with_name(path.name.replace('u.item', 'u.genre'))
  bad = BadRows(beside)
  source = read_source(beside, bad, encoding)
  rows = delimited.parse(source, bad, names=['genre', 'number'], delimiter='|')
  return rows.table['genre'].to_pylist(), source.facts(bad)


def _flagged(flags: pa.Table) -> pa.Array:
  """Returns the names of the columns that hold '1', row by row."""
  matrix = np.stack(
    [pc.equal(column, '1').to_numpy() for column in flags.columns], axis=1
  )
  names = np.array(flags.column_names, dtype=object)
  return pa.array([list(names[row]) for row in matrix], pa.list_(pa.string()))
