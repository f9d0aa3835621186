"""Amazon reviews and metadata, the releases of 2014 and 2018.

Reviews: McAuley et al. 2015 (arXiv:1506.04757), Ni et al. 2019
(D19-1018). Both releases name their fields alike; 2014's metadata is lines of
Python literals, 2018's of JSON.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from genrec_jax.data.dataset import RawTables
from genrec_jax.data.readers import json_lines
from genrec_jax.data.readers.source import BadRows, read_source
from genrec_jax.types import PathLike

# `reviewerName` is left behind: no model here may learn names of people.
REVIEW = {
  'user': 'reviewerID',
  'item': 'asin',
  'time': 'unixReviewTime',
  'rating': 'overall',
  'review': 'reviewText',
  'summary': 'summary',
}


def read_reviews(path: PathLike, *, on_bad_row: str = 'error') -> RawTables:
  """Reads `reviews_NAME.json.gz` (2014) or `NAME.json.gz` (2018).

  Raises:
    GenrecError: for bad rows.
  """
  return json_lines.read(path, columns=REVIEW, on_bad_row=on_bad_row)


def read_metadata(path: PathLike, *, on_bad_row: str = 'error') -> RawTables:
  """Reads `meta_NAME.json.gz` of either release.

  The attributes of an item are its brand and its categories, each once.

  Raises:
    GenrecError: for bad rows.
  """
  bad = BadRows(path, on_bad_row)
  source = read_source(path, bad)
  rows = []
  for number, record in json_lines.records(*source.lines(), bad, literals=True):
    if isinstance(record.get('asin'), str):
      rows.append(_item(record))
    else:
      bad.add(number, f'asin is {record.get("asin")!r}, expected text')
  schema = pa.schema(
    [
      ('item_id', pa.string()),
      ('title', pa.string()),
      ('attributes', pa.list_(pa.string())),
      ('brand', pa.string()),
    ]
  )
  items = pa.Table.from_pylist(rows, schema)
  return RawTables(items=items, facts=source.facts(bad))


def _item(record: dict[str, Any]) -> dict[str, Any]:
  brand = record.get('brand') or None
  # 2014: `categories`, a list of paths; 2018: `category`, one path.
  paths = record.get('categories') or [record.get('category') or []]
  names = [brand or '', *(name for path in paths for name in path)]
  return {
    'item_id': record['asin'],
    'title': record.get('title') or None,
    'attributes': [name for name in dict.fromkeys(names) if name],
    'brand': brand,
  }
