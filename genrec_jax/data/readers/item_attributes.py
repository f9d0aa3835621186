"""One JSON object `{item: [attribute, ...]}`, as S3-Rec has it."""

from __future__ import annotations

import json

import pyarrow as pa

from genrec_jax.data.dataset import RawTables
from genrec_jax.data.readers.source import BadRows, read_source
from genrec_jax.types import GenrecError, PathLike


def read(path: PathLike, *, on_bad_row: str = 'error') -> RawTables:
  """Reads the items table: `item_id` and distinct `attributes`.

  The file is one object and not rows: whatever is wrong with it is an error,
  whatever `on_bad_row`.

  Raises:
    GenrecError: if it is not an object of lists.
  """
  bad = BadRows(path, on_bad_row)
  source = read_source(path, bad)
  try:
    values = json.loads(source.data)
  except ValueError as error:
    line = getattr(error, 'lineno', 1)
    raise GenrecError(f'{path}, line {line}: no JSON: {error}.') from error
  if not isinstance(values, dict) or not all(
    isinstance(value, list) for value in values.values()
  ):
    raise GenrecError(
      f'{path}, line 1: expected one object {{item: [attribute, ...]}}.'
    )
  lists = [list(dict.fromkeys(map(str, value))) for value in values.values()]
  items = pa.table(
    {
      'item_id': pa.array(list(values), pa.string()),
      'attributes': pa.array(lists, pa.list_(pa.string())),
    }
  )
  return RawTables(items=items, facts=source.facts(bad))
