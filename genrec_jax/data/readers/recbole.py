"""RecBole's atomic files: tab-separated, with `name:type` headers.

The suffix says which table it is: `.inter`, `.item` or `.user`. Types are
`token`, `float`, and `token_seq` and `float_seq` separated by spaces.
"""

from __future__ import annotations

from collections.abc import Mapping

from genrec_jax.data.dataset import RawTables
from genrec_jax.data.readers import columns as columns_lib
from genrec_jax.data.readers import delimited
from genrec_jax.data.readers.source import BadRows, file_name, read_source
from genrec_jax.types import GenrecError, PathLike

# Our names for RecBole's usual ones, by suffix; other fields keep theirs.
FIELDS = {
  'inter': {
    'user': 'user_id',
    'item': 'item_id',
    'time': 'timestamp',
    'rating': 'rating',
    'review': 'review',
    'summary': 'summary',
  },
  'item': {'item_id': 'item_id', 'title': 'title'},
  'user': {'user_id': 'user_id'},
}
_TABLES = {'inter': 'interactions', 'item': 'items', 'user': 'users'}
_TYPES = ('token', 'token_seq', 'float', 'float_seq')


def read(
  path: PathLike,
  *,
  columns: Mapping[str, str] | None = None,
  encoding: str = 'utf-8',
  on_bad_row: str = 'error',
) -> RawTables:
  """Reads one atomic file.

  Args:
    path: ends in `.inter`, `.item` or `.user`, with or without `.gz`.
    columns: our name: the file's field, over the usual ones of `FIELDS`
      (RecBole's USER_ID_FIELD and so on; `movie_title` as `title`).
    encoding: a Python codec's name.
    on_bad_row: 'error' or 'skip'.

  The `token_seq` fields of items that `columns` does not name become
  `attributes` together, in their order.

  Raises:
    GenrecError: for bad rows, another suffix, or headers without types.
  """
  suffix = file_name(path).rsplit('.', 1)[-1]
  if suffix not in _TABLES:
    raise GenrecError(
      f'{path} ends in {suffix!r}, expected an atomic file of RecBole: .inter,'
      ' .item or .user.'
    )
  table = _TABLES[suffix]
  bad = BadRows(path, on_bad_row)
  source = read_source(path, bad, encoding)
  rows = delimited.parse(source, bad, names=None, delimiter='\t')
  types = _types(source.path, rows.table.column_names)
  text = rows.table.rename_columns(list(types))
  mapping = {
    name: field for name, field in FIELDS[suffix].items() if field in types
  }
  mapping |= columns or {}
  columns_lib.check_mapping(mapping, table, list(types), source.path)
  picked = {name: text[field] for name, field in mapping.items()}
  lists = [
    field
    for field, kind in types.items()
    if kind == 'token_seq' and field not in mapping.values()
  ]
  if table == 'items' and lists and 'attributes' not in mapping:
    picked['attributes'] = columns_lib.join([text[f] for f in lists], ' ')
  for field in types:
    if field not in mapping.values():
      picked.setdefault(field, text[field])
  result, reasons = columns_lib.typed(picked, table, list_separator=' ')
  rows.report(reasons)
  return RawTables(**{table: result}, facts=source.facts(bad))


def _types(path: str, header: list[str]) -> dict[str, str]:
  """Returns the type of each field of a typed header."""
  types = {}
  for column in header:
    name, _, kind = column.partition(':')
    if kind not in _TYPES:
      raise GenrecError(
        f'{path}, line 1: got the column {column!r}, expected NAME:TYPE with'
        f' a type of {", ".join(_TYPES)}.'
      )
    types[name] = kind
  return types
