"""Readers: each format gives the tables that its file means."""

import datetime
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genrec_jax.data.dataset import build_dataset
from genrec_jax.data.readers import (
  amazon,
  delimited,
  item_attributes,
  json_lines,
  movielens,
  parquet,
  recbole,
  sequences,
)
from genrec_jax.types import GenrecError


def _write(path, text, encoding='utf-8'):
  path.write_bytes(text.encode(encoding))
  return path


def test_sequences(tmp_path):
  path = _write(tmp_path / 'seq.txt', 'u1 3 1 2\n\nu2 1\r\n')
  raw = sequences.read(path)
  assert raw.interactions.to_pydict() == {
    'user': ['u1', 'u1', 'u1', 'u2'],
    'item': ['3', '1', '2', '1'],
  }
  dataset = build_dataset('t', raw)
  assert dataset.facts['clock'] == 'order'
  assert dataset.time.tolist() == [0, 1, 2, 0]


def test_gzip_is_read_as_is_whatever_the_suffix(tmp_path):
  text = b'u1 3 1 2\nu2 1\n'
  plain, packed, members = (
    tmp_path / n for n in ('a.txt', 'b.txt', 'c.txt.gz')
  )
  plain.write_bytes(text)
  packed.write_bytes(gzip.compress(text))
  members.write_bytes(gzip.compress(text[:5]) + gzip.compress(text[5:]))
  tables = [sequences.read(p).interactions for p in (plain, packed, members)]
  assert tables[0].equals(tables[1]) and tables[0].equals(tables[2])
  hashes = [
    list(sequences.read(p).facts['sources'].values()) for p in (plain, members)
  ]
  assert hashes[0] == hashes[1]


COLUMNS = {'user': 'who', 'item': 'what', 'time': 'when', 'rating': 'stars'}


def test_delimited_with_a_header_and_quotes(tmp_path):
  path = _write(
    tmp_path / 'log.csv',
    'when,who,what,stars,text\n'
    '2014-07-01,u,"a, b",4.5,"two\nlines, ""quoted"""\n'
    '2014-07-01 00:01:00,v,c,3,\n',
  )
  raw = delimited.read(
    path,
    columns={**COLUMNS, 'review': 'text'},
    delimiter=',',
    quote='"',
    time_unit='iso8601',
  )
  assert raw.interactions.to_pydict() == {
    'user': ['u', 'v'],
    'item': ['a, b', 'c'],
    'time': [1404172800, 1404172860],
    'rating': [4.5, 3],
    'review': ['two\nlines, "quoted"', ''],
  }


def test_delimited_without_a_header(tmp_path):
  path = _write(tmp_path / 'log.tsv', 'u\tx\t2.5e3\nu\ty\t7\n')
  raw = delimited.read(
    path,
    columns={'user': 'a', 'item': 'b', 'time': 'c'},
    names=['a', 'b', 'c'],
    time_unit='milliseconds',
  )
  assert raw.interactions['time'].to_pylist() == [2, 0]


def test_delimited_keeps_the_position_among_equal_times(tmp_path):
  path = _write(
    tmp_path / 'log.tsv', 'u\ti\tp\tt\n1\tb\t1\t5\n1\ta\t0\t5\n1\tc\t9\t1\n'
  )
  columns = {'user': 'u', 'item': 'i', 'position': 'p', 'time': 't'}
  dataset = build_dataset('t', delimited.read(path, columns=columns))
  assert [dataset.item_names()[i] for i in dataset.item] == ['c', 'a', 'b']


def test_delimited_side_tables(tmp_path):
  path = _write(
    tmp_path / 'items.tsv', 'id\tname\ttags\n1\tOne\ta;b;a\n2\t\t\n'
  )
  raw = delimited.read(
    path,
    table='items',
    columns={'item_id': 'id', 'title': 'name', 'attributes': 'tags'},
    list_separator=';',
  )
  assert raw.items.to_pydict() == {
    'item_id': ['1', '2'],
    'title': ['One', ''],
    'attributes': [['a', 'b'], []],
  }


def test_a_column_that_the_file_has_not_lists_those_it_has(tmp_path):
  path = _write(tmp_path / 'log.tsv', 'user\titem\n1\t2\n')
  with pytest.raises(GenrecError, match="'uid' for user; it has: user, item"):
    delimited.read(path, columns={'user': 'uid', 'item': 'item'})


def test_recbole(tmp_path):
  interactions = _write(
    tmp_path / 'd.inter',
    'user_id:token\titem_id:token\trating:float\ttimestamp:float\tw:float\n'
    'u\tx\t4.0\t1.5e3\t0.5\n',
  )
  items = _write(
    tmp_path / 'd.item',
    'item_id:token\tmovie_title:token_seq\tclass:token_seq\n'
    'x\tThe X\tFun War\n',
  )
  users = _write(tmp_path / 'd.user', 'user_id:token\tage:token\nu\t25\n')
  assert recbole.read(interactions).interactions.to_pydict() == {
    'user': ['u'],
    'item': ['x'],
    'time': [1500],
    'rating': [4],
    'w': ['0.5'],
  }
  columns = {'title': 'movie_title'}
  assert recbole.read(items, columns=columns).items.to_pylist() == [
    {
      'item_id': 'x',
      'title': 'The X',
      'attributes': ['Fun', 'War'],
      'class': 'Fun War',
    }
  ]
  assert recbole.read(users).users.to_pydict() == {
    'user_id': ['u'],
    'age': ['25'],
  }


def test_recbole_needs_typed_headers(tmp_path):
  path = _write(tmp_path / 'd.inter', 'user_id\titem_id:token\nu\tx\n')
  with pytest.raises(GenrecError, match="line 1: got the column 'user_id'"):
    recbole.read(path)


def test_movielens_100k(tmp_path):
  _write(tmp_path / 'u.data', '196\t242\t3\t881250949\n')
  flags = ['|'.join(f) for f in ('101', '000')]
  _write(
    tmp_path / 'u.item',
    f'242|Léon (1994)|01-Jan-1994||url|{flags[0]}\n2|Two|||url|{flags[1]}\n',
    'iso-8859-1',
  )
  (tmp_path / 'u.genre.gz').write_bytes(
    gzip.compress(b'unknown|0\nAction|1\nDrama|2\n\n')
  )
  _write(tmp_path / 'u.user', '196|49|M|writer|55105\n')
  raw = movielens.read(tmp_path / 'u.data')
  assert raw.interactions.to_pylist() == [
    {'user': '196', 'item': '242', 'rating': 3, 'time': 881250949}
  ]
  (tmp_path / 'u.genre.gz').rename(tmp_path / 'u.genre')
  items = movielens.read(tmp_path / 'u.item')
  assert items.items['title'].to_pylist() == ['Léon (1994)', 'Two']
  assert items.items['attributes'].to_pylist() == [['unknown', 'Drama'], []]
  assert set(items.facts['sources']) == {'u.item', 'u.genre'}
  users = movielens.read(tmp_path / 'u.user').users.to_pylist()
  assert users[0]['gender'] == 'M' and users[0]['occupation'] == 'writer'


def test_movielens_1m(tmp_path):
  _write(tmp_path / 'ratings.dat', '1::2::5::978300760\n')
  _write(
    tmp_path / 'movies.dat',
    "2::Léon: The Pro (1994)::Action|Children's\n",
    'iso-8859-1',
  )
  _write(tmp_path / 'users.dat', '1::F::1::10::48067\n')
  ratings = movielens.read(tmp_path / 'ratings.dat').interactions
  assert ratings.to_pylist() == [
    {'user': '1', 'item': '2', 'rating': 5, 'time': 978300760}
  ]
  assert movielens.read(tmp_path / 'movies.dat').items.to_pylist() == [
    {
      'item_id': '2',
      'title': 'Léon: The Pro (1994)',
      'attributes': ['Action', "Children's"],
    }
  ]
  users = movielens.read(tmp_path / 'users.dat').users
  assert users.column_names[:3] == ['user_id', 'gender', 'age']


REVIEW = {
  'reviewerID': 'A1',
  'asin': 'B1',
  'reviewerName': 'Jane Doe',
  'helpful': [1, 2],
  'reviewText': 'Good “stuff”',
  'overall': 4.0,
  'summary': 'Good',
  'unixReviewTime': 1393545600,
}


@pytest.mark.parametrize('slowly', [False, True])
def test_amazon_reviews_of_both_releases(tmp_path, slowly):
  newer = {
    'overall': 5.0,
    'verified': True,
    'style': {'Format:': ' CD'},
    'reviewerID': 'A2',
    'asin': 'B1',
    'unixReviewTime': 1393632000,
  }
  if slowly:  # what Arrow does not take is read line by line
    newer['unixReviewTime'] = 1393632000.0
    newer['overall'] = 5
    newer['asin'] = 'B1'
    newer['note'] = float('nan')
  lines = [json.dumps(row, ensure_ascii=False) for row in (REVIEW, newer)]
  path = _write(tmp_path / 'reviews.json', '\n'.join(lines) + '\n')
  raw = amazon.read_reviews(path)
  assert raw.interactions.to_pylist() == [
    {
      'user': 'A1',
      'item': 'B1',
      'time': 1393545600,
      'rating': 4,
      'review': 'Good “stuff”',
      'summary': 'Good',
    },
    {
      'user': 'A2',
      'item': 'B1',
      'time': 1393632000,
      'rating': 5,
      'review': None,
      'summary': None,
    },
  ]
  assert build_dataset('t', raw).facts['clock'] == 'days'


def test_amazon_metadata_of_both_releases(tmp_path):
  path = _write(
    tmp_path / 'meta.json',
    "{'asin': 'B1', 'title': \"Bob's\", 'brand': 'Bob',"
    " 'categories': [['Home', 'Cups'], ['Home', 'Gifts']]}\n"
    '{"asin": "B2", "category": ["Home", "Lamps"], "price": "$3"}\n',
  )
  assert amazon.read_metadata(path).items.to_pylist() == [
    {
      'item_id': 'B1',
      'title': "Bob's",
      'attributes': ['Bob', 'Home', 'Cups', 'Gifts'],
      'brand': 'Bob',
    },
    {
      'item_id': 'B2',
      'title': None,
      'attributes': ['Home', 'Lamps'],
      'brand': None,
    },
  ]


def test_json_lines_of_items(tmp_path):
  rows = [
    {'item_id': 1, 'name': 'One', 'tags': ['a', 'b', 'a'], 'more': {}},
    {'item_id': 2, 'name': None, 'tags': []},
  ]
  text = ''.join(json.dumps(row) + '\n' for row in rows)
  raw = json_lines.read(
    _write(tmp_path / 'items.jsonl', text),
    table='items',
    columns={'item_id': 'item_id', 'title': 'name', 'attributes': 'tags'},
  )
  assert raw.items.to_pydict() == {
    'item_id': ['1', '2'],
    'title': ['One', None],
    'attributes': [['a', 'b'], []],
  }


def test_item_attributes(tmp_path):
  path = _write(tmp_path / 'a.json', '{"7": [3, 1, 3], "8": []}')
  assert item_attributes.read(path).items.to_pydict() == {
    'item_id': ['7', '8'],
    'attributes': [['3', '1'], []],
  }


def test_parquet_with_typed_columns(tmp_path):
  when = datetime.datetime(2014, 7, 1, 0, 1)
  table = pa.table(
    {
      'u': pa.array([1, 2]),
      'i': pa.array(['x', 'y']).dictionary_encode(),
      't': pa.array([when, when], pa.timestamp('us')),
      'r': pa.array([1.5, 2.0]),
      'unused': [[], []],
    }
  )
  pq.write_table(table, tmp_path / 'log.parquet')
  raw = parquet.read(
    tmp_path / 'log.parquet',
    columns={'user': 'u', 'item': 'i', 'time': 't', 'rating': 'r'},
  )
  assert raw.interactions.to_pydict() == {
    'user': ['1', '2'],
    'item': ['x', 'y'],
    'time': [1404172860] * 2,
    'rating': [1.5, 2],
  }
  assert raw.interactions['rating'].type == pa.float32()
