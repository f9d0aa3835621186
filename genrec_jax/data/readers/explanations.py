"""Explanations of interactions: features, opinions and sentences as JSON lines.

The form of Sentires' output as NETE and PETER use it (Li et al. 2020, 2021): a
sentence of the review, the feature that it speaks of, and what it says of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from genrec_jax.data.dataset import RawTables
from genrec_jax.data.readers import json_lines
from genrec_jax.data.readers.source import BadRows, read_source
from genrec_jax.types import PathLike

FIELDS = {
  'user': 'user',
  'item': 'item',
  'feature': 'feature',
  'opinion': 'opinion',
  'sentiment': 'sentiment',
  'explanation': 'sentence',
}
_SCHEMA = pa.schema(
  [(name, pa.int8() if name == 'sentiment' else pa.string()) for name in FIELDS]
)


def read(
  path: PathLike,
  *,
  columns: Mapping[str, str] | None = None,
  on_bad_row: str = 'error',
) -> RawTables:
  """Reads explanations, which `build_dataset` joins by user and item.

  Args:
    path: the file.
    columns: our name: the file's field, where it is not the one of `FIELDS`.
    on_bad_row: 'error' or 'skip'.

  Raises:
    GenrecError: for bad rows: a text that is none or blank, a sentiment that
      is not -1, 0 or 1.
  """
  bad = BadRows(path, on_bad_row)
  source = read_source(path, bad)
  fields = FIELDS | dict(columns or {})
  rows = []
  for number, record in json_lines.records(*source.lines(), bad):
    row = {name: record.get(field) for name, field in fields.items()}
    for name, field in fields.items():
      value = row[name]
      if name == 'sentiment':
        right, expected = value in (-1, 0, 1), '-1, 0 or 1'
      else:
        right, expected = isinstance(value, str) and value.strip(), 'text'
      if not right:
        bad.add(number, f'{field} is {value!r:.60}, expected {expected}')
        break
    else:
      rows.append(row)
  return RawTables(
    explanations=pa.Table.from_pylist(rows, _SCHEMA), facts=source.facts(bad)
  )
