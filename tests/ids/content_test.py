"""Tests of item vectors from files and from text."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genrec_jax.ids.content import file_vectors, read_items, text_vectors
from genrec_jax.types import GenrecError

NOTHING = np.zeros(0, int)
ITEMS = pa.table({'item_id': ['a', 'b', 'c', 'd']})
VECTORS = np.arange(8, dtype=np.float32).reshape(4, 2)


def read(path, **kwargs):
  return file_vectors(NOTHING, NOTHING, 0, 4, path=path, **kwargs)


def parquet(tmp_path, ids=('d', 'c', 'b', 'a'), vectors=VECTORS, **columns):
  path = tmp_path / 'vectors.parquet'
  lists = pa.array(vectors.tolist(), pa.list_(pa.float64()))
  pq.write_table(pa.table({'item_id': list(ids), 'x': lists, **columns}), path)
  return path


def test_an_array_has_a_row_an_item(tmp_path):
  np.save(tmp_path / 'x.npy', VECTORS)
  np.testing.assert_array_equal(read(tmp_path / 'x.npy'), VECTORS)


def test_an_array_with_ids_is_put_in_the_order_of_the_items(tmp_path):
  np.save(tmp_path / 'x.npy', VECTORS)
  (tmp_path / 'x.ids.txt').write_text('d\nc\nb\na\n')
  found = read(tmp_path / 'x.npy', items=ITEMS)
  np.testing.assert_array_equal(found, VECTORS[::-1])


def test_parquet_is_put_in_the_order_of_the_items(tmp_path):
  path = parquet(tmp_path, y=[0.5, 1.5, 2.5, 3.5])
  found = read(path, items=lambda: ITEMS)
  np.testing.assert_array_equal(
    found, np.column_stack([VECTORS, [0.5, 1.5, 2.5, 3.5]])[::-1]
  )
  np.testing.assert_array_equal(
    read(path, items=ITEMS, vector_columns=['y']), found[:, 2:]
  )


def test_missing_items_are_named_or_zero(tmp_path):
  path = parquet(tmp_path, ids=['a', 'c'], vectors=VECTORS[:2])
  with pytest.raises(GenrecError, match="lacks 2 of the 4 items: b, d.*'zero'"):
    read(path, items=ITEMS)
  found = read(path, items=ITEMS, missing='zero')
  np.testing.assert_array_equal(found, [[0, 1], [0, 0], [2, 3], [0, 0]])


def test_unknown_ids_are_named_or_ignored(tmp_path):
  path = parquet(tmp_path, [*'abcdz'], np.vstack([VECTORS, [[9, 9]]]))
  with pytest.raises(GenrecError, match='1 of the 5 ids .*: z. .*unknown='):
    read(path, items=ITEMS)
  found = read(path, items=ITEMS, unknown='ignore')
  np.testing.assert_array_equal(found, VECTORS)
  other = pa.table({'item_id': [*'wxyv']})
  with pytest.raises(GenrecError, match='5 of the 5 ids'):
    read(path, items=other, unknown='ignore', missing='zero')


def test_an_id_that_is_there_twice_is_named(tmp_path):
  with pytest.raises(GenrecError, match="more than once, the first being 'b'"):
    read(parquet(tmp_path, ids='abbd'), items=ITEMS)


@pytest.mark.parametrize(
  'vectors, error',
  [
    (VECTORS[:3], r'the shape \[3, 2\]; expected \[4, D\]'),
    (VECTORS[0], r'the shape \[2\]'),
    (np.where(VECTORS == 5, np.nan, VECTORS), 'NaN .* 1 of 4 .* row 2'),
    (np.ones((4, 2)), 'zero variance'),
    (np.array([{}] * 4), 'Cannot read'),
  ],
)
def test_vectors_that_cannot_be_used_are_refused(tmp_path, vectors, error):
  np.save(tmp_path / 'x.npy', vectors)
  with pytest.raises(GenrecError, match=error):
    read(tmp_path / 'x.npy')


def test_files_that_cannot_be_used_are_refused(tmp_path):
  with pytest.raises(GenrecError, match='Cannot read item vectors'):
    read(tmp_path / 'absent.npy')
  with pytest.raises(GenrecError, match='unknown format'):
    read(tmp_path / 'x.csv')
  path = parquet(tmp_path, text=['a'] * 4)
  with pytest.raises(GenrecError, match="'text' .* the type string"):
    read(path, items=ITEMS)
  with pytest.raises(GenrecError, match="'asin'.* is missing"):
    read(path, items=ITEMS, id_column='asin')
  with pytest.raises(GenrecError, match='was not given the items'):
    read(path, vector_columns=['x'])


def shop():
  """Twenty items of two kinds, one of them without text."""
  titles = [
    f'{"Garden hose" if n % 2 else "Coffee cup"} no{n}' for n in range(20)
  ]
  attributes = [['Bosch' if n % 4 == 1 else 'Ikea'] for n in range(20)]
  titles[19], attributes[19] = None, []
  return pa.table({'title': titles, 'attributes': attributes})


def words(**kwargs):
  return text_vectors(NOTHING, NOTHING, 0, 20, items=shop(), **kwargs)


def test_items_of_like_text_lie_close():
  vectors = words(rank=3)
  np.testing.assert_array_equal(vectors, words(rank=3))
  cosine = vectors @ vectors.T
  assert cosine[1, 5] > 0.99 > cosine[1, 3] > cosine[1, 2] + 0.3
  assert not vectors[19].any()


def test_text_has_as_many_dimensions_as_it_has_to_say():
  assert words(rank=64).shape[1] < 10


def test_text_that_says_nothing_is_refused():
  with pytest.raises(GenrecError, match='No term is left of .* min_count=21'):
    words(min_count=21)
  with pytest.raises(GenrecError, match="no column 'brand'.*title, attributes"):
    words(columns=['brand'])
  with pytest.raises(GenrecError, match='20 rows; expected the 9 items'):
    text_vectors(NOTHING, NOTHING, 0, 9, items=shop())


def test_a_run_without_items_is_refused(tmp_path):
  with pytest.raises(GenrecError, match='genrec prepare'):
    read_items(tmp_path)
