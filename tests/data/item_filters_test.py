import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genrec_jax.data import catalogue
from genrec_jax.data.dataset import build_dataset
from genrec_jax.data.item_filters import allowed_items, read_prices
from genrec_jax.types import GenrecError

ITEMS = pa.table(
  {
    'attributes': [['Comedy', 'Noir'], ['comedy'], [], None],
    'brand': ['Oakrill', None, 'Quillan', 'Oakrill'],
    'price': ['$1,299.00', '12', None, 'about 9.50 EUR'],
    'cents': pa.array([129900, 1200, None, 950]),
  }
)

CONFIG = """
name = "shop"
[[layouts]]
[[layouts.files]]
file = "log.tsv"
reader = "delimited"
[layouts.files.options]
columns = { user = "user", item = "item" }
[[layouts.files]]
file = "items.parquet"
reader = "parquet"
[layouts.files.options]
table = "items"
columns = { item_id = "item", attributes = "kind", price = "price" }
"""


@pytest.mark.parametrize(
  'conditions, expected',
  [
    (dict(only=['attributes=Comedy']), [0, 1]),
    (dict(only=['attributes=comedy', 'brand=oakrill']), [0]),
    (dict(cheaper_than=20.0), [1, 3]),
    (dict(cheaper_than=12.0), [3]),
    (dict(cheaper_than=1000.0, price_column='cents'), [3]),
    (dict(only=['brand=Oakrill'], cheaper_than=20.0), [3]),
    ({}, [0, 1, 2, 3]),
  ],
)
def test_items_meet_all_conditions(conditions, expected):
  assert np.flatnonzero(allowed_items(ITEMS, **conditions)).tolist() == expected


@pytest.mark.parametrize(
  'conditions, complaint',
  [
    (dict(only=['Comedy']), 'expected COLUMN=VALUE'),
    (dict(only=['genre=Comedy']), "no column 'genre'; .* attributes, brand"),
    (dict(only=['brand=Oakril']), 'such as: oakrill'),
    (dict(cheaper_than=5.0), 'None of the 4 items meets price < 5'),
    (dict(cheaper_than=5.0, price_column='cost'), "no column 'cost'"),
    (dict(cheaper_than=5.0, price_column='brand'), 'is a number'),
    (dict(cheaper_than=5.0, price_column='attributes'), 'expected numbers'),
    (
      dict(only=['brand=Quillan'], cheaper_than=20.0),
      'brand=Quillan and price < 20',
    ),
  ],
)
def test_a_wrong_condition_says_what_is_right(conditions, complaint):
  with pytest.raises(GenrecError, match=complaint):
    allowed_items(ITEMS, **conditions)


def test_prices_come_with_the_data_of_a_user(tmp_path):
  (tmp_path / 'shop.toml').write_text(CONFIG)
  (tmp_path / 'log.tsv').write_text('user\titem\na\tx\na\ty\nb\tz\nb\tx\n')
  pq.write_table(
    pa.table(
      {
        'item': ['z', 'y', 'x'],
        'kind': ['tea', 'tea|sale', 'mug'],
        'price': [3.5, 20.0, 7.0],
      }
    ),
    tmp_path / 'items.parquet',
  )
  description = catalogue.describe(str(tmp_path / 'shop.toml'))
  items = build_dataset('shop', catalogue.read_raw(description)).items
  assert items['item_id'].to_pylist() == ['x', 'y', 'z']
  assert read_prices(items).tolist() == [7.0, 20.0, 3.5]
  allowed = allowed_items(items, only=['attributes=tea'], cheaper_than=10)
  assert allowed.tolist() == [False, False, True]
