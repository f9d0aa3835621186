"""Parquet, by a mapping from our columns to the file's."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from genrec_jax import artifacts
from genrec_jax.data.dataset import RawTables
from genrec_jax.data.readers import columns as columns_lib
from genrec_jax.data.readers.source import BadRows, file_name
from genrec_jax.types import GenrecError, PathLike


def read(
  path: PathLike,
  *,
  columns: Mapping[str, str],
  table: str = 'interactions',
  time_unit: str = 'seconds',
  list_separator: str = '|',
  on_bad_row: str = 'error',
) -> RawTables:
  """Reads one table; the arguments are those of `delimited.read`.

  Numbers, timestamps and dates may be typed or text. Bad rows are told by
  their number, from 1.

  Raises:
    GenrecError: for bad rows, a damaged file or a mapping that does not fit.
  """
  bad = BadRows(path, on_bad_row, unit='row')
  where = os.fspath(path)
  if not pathlib.Path(path).is_file():
    raise GenrecError(f'No file {where}; pass the path of a Parquet file.')
  try:
    with pq.ParquetFile(path) as file:
      names = file.schema_arrow.names
      columns_lib.check_mapping(columns, table, names, where)
      raw = file.read(columns=sorted(set(columns.values())))
  except (pa.ArrowInvalid, OSError) as error:
    raise GenrecError(
      f'{where}: no Parquet file, or a damaged one ({error}); get it again.'
    ) from error
  if not raw.num_rows:
    raise GenrecError(f'{where}: the file has no row; get it again.')
  picked = {name: raw[column] for name, column in columns.items()}
  result, reasons = columns_lib.typed(
    picked, table, time_unit=time_unit, list_separator=list_separator
  )
  for row, reason in reasons.items():
    bad.add(row + 1, reason)
  facts = {
    'sources': {file_name(path): artifacts.file_sha256(path)},
    'skipped_rows': bad.settle(),
  }
  return RawTables(**{table: result}, facts=facts)
