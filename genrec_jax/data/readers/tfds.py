"""Any TensorFlow Datasets data set, by a mapping from our columns to fields.

The only reader that needs TensorFlow; it is imported when `read` is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from genrec_jax.data import protocol
from genrec_jax.data.dataset import RawTables
from genrec_jax.data.readers import columns as columns_lib
from genrec_jax.data.readers.source import BadRows
from genrec_jax.types import GenrecError, PathLike, unknown_name

_BATCH = 8192
# Ready-made mappings: the table, our column, the field ('/' goes into nested
# features).
MAPPINGS: dict[str, dict[str, Any]] = {
  'movielens': {
    'interactions': {
      'user': 'user_id',
      'item': 'movie_id',
      'time': 'timestamp',
      'rating': 'user_rating',
    },
    'items': {
      'item_id': 'movie_id',
      'title': 'movie_title',
      'attributes': 'movie_genres',
    },
  },
  'amazon_us_reviews': {
    'interactions': {
      'user': 'data/customer_id',
      'item': 'data/product_id',
      'time': 'data/review_date',
      'rating': 'data/star_rating',
      'review': 'data/review_body',
      'summary': 'data/review_headline',
    },
    'items': {
      'item_id': 'data/product_id',
      'title': 'data/product_title',
      'category': 'data/product_category',
    },
    'time_unit': 'iso8601',
  },
}
# The movielens configurations of these two sizes have demographics too.
_MOVIELENS_USERS = {
  'user_id': 'user_id',
  'gender': 'user_gender',
  'age': 'bucketized_user_age',
  'occupation': 'user_occupation_text',
  'zip_code': 'user_zip_code',
}
for _size in ('100k', '1m'):
  MAPPINGS[f'movielens/{_size}-ratings'] = {
    **MAPPINGS['movielens'],
    'users': _MOVIELENS_USERS,
  }


def read(
  name: str,
  *,
  mapping: Mapping[str, Any] | None = None,
  split: str = 'train',
  data_dir: PathLike | None = None,
  download: bool = True,
  on_bad_row: str = 'error',
) -> RawTables:
  """Reads a data set that `tfds.load` knows.

  Args:
    name: for example 'movielens/100k-ratings'.
    mapping: for each of `interactions`, `items` and `users`, our column: the
      field; and `time_unit` ('seconds', 'milliseconds' or 'iso8601').
      None takes the ready-made one of `MAPPINGS`. Items and users may be read
      off the interactions' rows: the first row of an id counts.
    split: of TFDS.
    data_dir: where TFDS keeps its files; None for its default.
    download: whether it may fetch what is not there.
    on_bad_row: 'error' or 'skip'.

  Raises:
    GenrecError: for bad rows, or a data set without a mapping, or fields that
      it has not.
  """
  import tensorflow_datasets as tfds

  mapping = dict(mapping or _ready_made(name))
  time_unit = mapping.pop('time_unit', 'seconds')
  for table, columns in mapping.items():
    columns_lib.check_mapping(columns, table, None, name)
  try:
    builder = tfds.builder(name, data_dir=data_dir)
  except tfds.core.DatasetNotFoundError as error:
    raise GenrecError(
      f'TensorFlow Datasets knows no {name!r}; see tensorflow.org/datasets, or'
      ' pass the data_dir where it lies.'
    ) from error
  if download:
    builder.download_and_prepare()
  fields = {
    f: _feature(builder, f) for c in mapping.values() for f in c.values()
  }
  # One file after another: the order of rows is that of the source.
  dataset = builder.as_dataset(
    split=split,
    shuffle_files=False,
    read_config=tfds.ReadConfig(interleave_cycle_length=1),
  )
  raw = _collect(dataset, fields)

  bad = BadRows(name, on_bad_row, unit='row')
  tables = {}
  for table, columns in mapping.items():
    picked = pa.table({ours: raw[field] for ours, field in columns.items()})
    if table != 'interactions':
      ids = picked[columns_lib.TABLES[table][0]]
      codes, _ = protocol.encode(pa.chunked_array([ids.combine_chunks()]))
      _, first = np.unique(codes, return_index=True)
      picked = picked.take(first)
    tables[table], reasons = columns_lib.typed(
      dict(zip(picked.column_names, picked.columns)),
      table,
      time_unit=time_unit,
    )
    for row, reason in reasons.items():
      bad.add(row + 1, f'{table}: {reason}')
  facts = {
    'tfds': f'{builder.info.full_name}, split {split}',
    'sources': {},
    'skipped_rows': bad.settle(),
  }
  return RawTables(**tables, facts=facts)


def _ready_made(name: str) -> Mapping[str, Any]:
  for known in (name, name.split('/')[0].split(':')[0]):
    if known in MAPPINGS:
      return MAPPINGS[known]
  raise unknown_name('TFDS mapping', name, MAPPINGS)


def _feature(builder: Any, path: str) -> Any:
  """Returns the feature at a path of nested features."""
  feature = builder.info.features
  for part in path.split('/'):
    if part not in feature:
      raise GenrecError(
        f'{builder.info.full_name} has no field {path!r}; at that level it has:'
        f' {", ".join(feature)}.'
      )
    feature = feature[part]
  return feature


def _collect(dataset: Any, fields: Mapping[str, Any]) -> dict[str, pa.Array]:
  """Reads the fields of all rows, in order, as columns."""

  def pick(record):
    picked = {}
    for path in fields:
      value = record
      for part in path.split('/'):
        value = value[part]
      picked[path] = value
    return picked

  parts: dict[str, list[pa.Array]] = {path: [] for path in fields}
  for batch in dataset.map(pick).ragged_batch(_BATCH):
    for path, value in batch.items():
      parts[path].append(_array(value, fields[path]))
  if not any(parts.values()):
    raise GenrecError('The data set has no row; choose another split.')
  return {path: pa.chunked_array(arrays) for path, arrays in parts.items()}


def _array(tensor: Any, feature: Any) -> pa.Array:
  """Returns one batch of a field; class labels become their names."""
  if hasattr(tensor, 'row_splits'):
    values = _array(tensor.values, getattr(feature, 'feature', feature))
    offsets = tensor.row_splits.numpy().astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)
  values = tensor.numpy()
  if hasattr(feature, 'int2str'):
    known = np.array([*feature.names, None], dtype=object)
    return pa.array(known[values], pa.string())  # -1 is no label
  if values.dtype == object:
    return pa.array(values, pa.binary())
  return pa.array(values)
