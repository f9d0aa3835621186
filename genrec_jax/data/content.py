"""The sha256 of the content of tables."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from genrec_jax.types import GenrecError


def tables_sha256(*tables: pa.Table) -> str:
  """Returns the sha256 over names, nulls and values of tables, in order.

  Equal content gives equal hashes, however it is chunked and whether it came
  from memory or from Parquet.
  """
  digest = hashlib.sha256()
  for table in tables:
    digest.update(f'table {table.num_rows} {table.num_columns}'.encode())
    for name, column in zip(table.column_names, table.columns):
      digest.update(f'column {name!r}'.encode())
      _update(digest, column)
  return digest.hexdigest()


def _update(digest, column: pa.ChunkedArray) -> None:
  kind = column.type
  if pa.types.is_dictionary(kind):
    column = column.cast(kind.value_type)
    kind = column.type
  digest.update(np.packbits(pc.is_null(column).to_numpy()))
  if pa.types.is_list(kind) or pa.types.is_large_list(kind):
    digest.update(b'list')
    lengths = pc.list_value_length(column).cast(pa.int64())
    digest.update(lengths.fill_null(0).to_numpy())
    flat = [chunk.flatten() for chunk in column.chunks]
    _update(digest, pa.chunked_array(flat, kind.value_type))
  elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
    digest.update(b'string')
    column = column.cast(pa.large_string()).fill_null('')
    digest.update(pc.binary_length(column).cast(pa.int64()).to_numpy())
    for chunk in column.chunks:
      _, offsets, data = chunk.buffers()
      if data is not None and len(chunk):
        ends = np.frombuffer(offsets, np.int64)
        start, stop = ends[chunk.offset], ends[chunk.offset + len(chunk)]
        digest.update(memoryview(data)[start:stop])
  elif pa.types.is_null(kind):
    digest.update(b'null')
  elif pa.types.is_primitive(kind):
    values = column.fill_null(False if pa.types.is_boolean(kind) else 0)
    values = np.ascontiguousarray(values.to_numpy())
    digest.update(values.dtype.str.encode())
    digest.update(values)
  else:
    raise GenrecError(
      f'A column has the type {kind}, expected numbers, text or lists of them;'
      ' leave it out of the mapping.'
    )
