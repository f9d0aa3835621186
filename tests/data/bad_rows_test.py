"""Bad rows are told by file, line and reason, or skipped and counted."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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

HEADER = 'user\titem\trating\ttime\n'
COLUMNS = {name: name for name in ('user', 'item', 'rating', 'time')}


def _delimited(path, **options):
  return delimited.read(path, columns=COLUMNS, **options)


def _log(bad, encoding='utf-8'):
  """A good row, a blank line, the bad one (line 4), and a good row."""
  return f'{HEADER}u\tx\t1\t5\n\n{bad}\nv\ty\t2\t6\n'.encode(encoding)


BAD_ROWS = {
  'too few columns': ('u\tx\t1', 'got 3 columns, expected 4'),
  'too many columns': ('u\tx\t1\t5\t9', 'got 5 columns, expected 4'),
  'one column': ('u', 'got 1 column, expected 4'),
  'no user': ('\tx\t1\t5', 'user is empty'),
  'no item': ('u\t\t1\t5', 'item is empty'),
  'NaN rating': ('u\tx\tnan\t5', "rating 'nan' is no finite number"),
  'infinite rating': ('u\tx\t1e999\t5', "rating '1e999' is no finite number"),
  'word for a rating': ('u\tx\tgood\t5', "rating 'good' is no finite number"),
  'no rating': ('u\tx\t\t5', "rating '' is no finite number"),
  'negative time': ('u\tx\t1\t-5', "time '-5' is negative"),
  'date for a time': ('u\tx\t1\t2014-07', "time '2014-07' is no finite number"),
  'time beyond all clocks': ('u\tx\t1\t1e30', "time '1e30' is too large"),
}


@pytest.mark.parametrize('bad, reason', BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_is_named_or_skipped(tmp_path, bad, reason):
  path = tmp_path / 'log.tsv.gz'
  path.write_bytes(gzip.compress(_log(bad)))
  with pytest.raises(GenrecError) as error:
    _delimited(path)
  assert f'{path}, line 4: {reason}. Mend' in str(error.value)
  raw = _delimited(path, on_bad_row='skip')
  assert raw.interactions['user'].to_pylist() == ['u', 'v']
  assert raw.facts['skipped_rows'] == {
    'log.tsv': {'count': 1, 'examples': [f'line 4: {reason}']}
  }


def test_bytes_of_another_encoding(tmp_path):
  path = tmp_path / 'log.tsv'
  path.write_bytes(_log('u\té\t1\t5', 'iso-8859-1'))
  reason = 'byte 0xe9 at 3 is not utf-8'
  with pytest.raises(GenrecError, match=f'line 4: {reason}'):
    _delimited(path)
  raw = _delimited(path, on_bad_row='skip')
  assert raw.facts['skipped_rows']['log.tsv']['count'] == 1
  raw = _delimited(path, encoding='iso-8859-1')
  assert raw.interactions['item'].to_pylist() == ['x', 'é', 'y']


def test_lines_are_still_right_after_undecodable_ones(tmp_path):
  path = tmp_path / 'log.tsv'
  path.write_bytes(_log('u\té\t1\t5', 'iso-8859-1') + b'u\tx\tnan\t5\n')
  raw = _delimited(path, on_bad_row='skip')
  assert raw.facts['skipped_rows']['log.tsv']['examples'] == [
    'line 4: byte 0xe9 at 3 is not utf-8',
    "line 6: rating 'nan' is no finite number",
  ]


def test_the_first_of_many_is_named_with_their_number(tmp_path):
  path = tmp_path / 'log.tsv'
  rows = ['u\tx\t1\t-5', 'u\tx\t1', 'u\tx\tnan\t5']
  path.write_text(HEADER + '\n'.join(rows) + '\n')
  with pytest.raises(GenrecError, match=r"line 2: time '-5'.*3 such rows in"):
    _delimited(path)


def test_a_quoted_line_break_counts_as_the_lines_it_spans(tmp_path):
  path = tmp_path / 'log.csv'
  path.write_text('user,item,review\nu,x,"a\nb"\nu,,c\n')
  columns = {'user': 'user', 'item': 'item', 'review': 'review'}
  with pytest.raises(GenrecError, match='line 4: item is empty'):
    delimited.read(path, columns=columns, delimiter=',', quote='"')


READ = {
  'sequences': sequences.read,
  'delimited': _delimited,
  'json_lines': amazon.read_reviews,
  'metadata': amazon.read_metadata,
  'item_attributes': item_attributes.read,
}


@pytest.mark.parametrize('on_bad_row', ['error', 'skip'])
@pytest.mark.parametrize('read', READ.values(), ids=READ)
def test_an_empty_file_is_always_an_error(tmp_path, read, on_bad_row):
  path = tmp_path / 'raw.gz'
  for content in (b'', gzip.compress(b''), b'\n\n'):
    path.write_bytes(content)
    with pytest.raises(GenrecError, match=f'{path}, line 1: the file is empty'):
      read(path, on_bad_row=on_bad_row)


@pytest.mark.parametrize('on_bad_row', ['error', 'skip'])
def test_a_truncated_gzip_is_always_an_error(tmp_path, on_bad_row):
  path = tmp_path / 'raw.gz'
  text = ''.join(f'u{n} {n * n} {n + 1}\n' for n in range(5_000)).encode()
  packed = gzip.compress(text)
  path.write_bytes(packed[:-5])
  lines = text.count(b'\n')
  with pytest.raises(GenrecError, match='truncated') as error:
    sequences.read(path, on_bad_row=on_bad_row)
  line = int(str(error.value).split('line ')[1].split(':')[0])
  assert 0.5 * lines < line <= lines + 1


def test_a_damaged_gzip_is_an_error(tmp_path):
  path = tmp_path / 'raw.gz'
  packed = bytearray(gzip.compress(b'u1 1 2 3\n' * 50))
  packed[-6] ^= 0xFF  # the checksum
  path.write_bytes(packed)
  with pytest.raises(GenrecError, match='damaged.*download it again'):
    sequences.read(path)


def test_an_unknown_encoding_or_policy_and_a_missing_file(tmp_path):
  path = tmp_path / 'log.tsv'
  path.write_text(HEADER + 'u\tx\t1\t5\n')
  with pytest.raises(GenrecError, match="unknown encoding 'klingon'"):
    _delimited(path, encoding='klingon')
  with pytest.raises(GenrecError, match="'ignore'; expected one of: error, sk"):
    _delimited(path, on_bad_row='ignore')
  with pytest.raises(GenrecError, match='no such file'):
    _delimited(tmp_path / 'none.tsv')


def test_a_header_alone_is_an_error(tmp_path):
  path = tmp_path / 'log.tsv'
  path.write_text(HEADER)
  with pytest.raises(GenrecError, match='a header and no row'):
    _delimited(path, on_bad_row='skip')


def test_sequences(tmp_path):
  path = tmp_path / 'seq.txt'
  path.write_text('u1 1 2\nu2\nu1 3\n')
  with pytest.raises(GenrecError, match='line 2: expected `user item item'):
    sequences.read(path)
  raw = sequences.read(path, on_bad_row='skip')
  assert raw.interactions['item'].to_pylist() == ['1', '2']
  assert raw.facts['skipped_rows']['seq.txt']['examples'] == [
    'line 2: expected `user item item ...`, got 1 column',
    "line 3: user 'u1' has line 1 already",
  ]


GOOD = {
  'reviewerID': 'A1',
  'asin': 'B1',
  'overall': 4.0,
  'unixReviewTime': 1393545600,
}


@pytest.mark.parametrize(
  'line, reason',
  [
    ('{"reviewerID": "A1", "asin', 'no JSON object: Unterminated string'),
    ('[1, 2]', 'got a list, expected an object'),
    (json.dumps(GOOD | {'overall': float('nan')}), 'rating nan is no finite'),
    (json.dumps(GOOD | {'overall': '5'}), "overall is '5', expected a double"),
    (json.dumps(GOOD | {'asin': None}), 'item is empty'),
    (json.dumps(GOOD | {'unixReviewTime': -1}), 'time -1.* is negative'),
    (json.dumps({'asin': 'B1', 'reviewerID': 'A1'}), 'time .none. is no fin'),
    (json.dumps(GOOD) + json.dumps(GOOD), 'no JSON object: Extra data'),
  ],
)
def test_json_lines(tmp_path, line, reason):
  path = tmp_path / 'r.json'
  good = json.dumps(GOOD)
  path.write_text(f'{good}\n\n{line}\n{good}\n')
  with pytest.raises(GenrecError, match=f'{path}, line 3: {reason}'):
    amazon.read_reviews(path)
  raw = amazon.read_reviews(path, on_bad_row='skip')
  assert raw.interactions['time'].to_pylist() == [1393545600] * 2
  assert raw.facts['skipped_rows']['r.json']['count'] == 1


def test_metadata_and_attributes(tmp_path):
  path = tmp_path / 'm.json'
  path.write_text(
    "{'asin': 'B1'}\n{'title': 'nameless'}\n{'asin': open('x')}\n"
  )
  raw = amazon.read_metadata(path, on_bad_row='skip')
  assert raw.items['item_id'].to_pylist() == ['B1']
  assert raw.facts['skipped_rows']['m.json']['count'] == 2
  path.write_text('{"1": [2],\n "2" 3}')
  with pytest.raises(GenrecError, match='line 2: no JSON'):
    item_attributes.read(path)
  path.write_text('{"1": 2}')
  with pytest.raises(GenrecError, match='expected one object'):
    item_attributes.read(path)


def test_parquet(tmp_path):
  path = tmp_path / 'log.parquet'
  table = pa.table(
    {'u': ['a', None, 'c'], 'i': ['x', 'y', 'z'], 't': [1, 2, -3]}
  )
  pq.write_table(table, path)
  columns = {'user': 'u', 'item': 'i', 'time': 't'}
  with pytest.raises(GenrecError, match='row 2: user is empty'):
    parquet.read(path, columns=columns)
  raw = parquet.read(path, columns=columns, on_bad_row='skip')
  assert raw.interactions['item'].to_pylist() == ['x']
  assert raw.facts['skipped_rows']['log.parquet']['examples'] == [
    'row 2: user is empty',
    'row 3: time -3 is negative',
  ]
  path.write_bytes(path.read_bytes()[:-20])
  with pytest.raises(GenrecError, match='damaged'):
    parquet.read(path, columns=columns)


def test_parquet_bytes_that_are_not_text(tmp_path):
  path = tmp_path / 'items.parquet'
  tags = pa.array([[b'a'], [b'\xff'], None], pa.list_(pa.binary()))
  pq.write_table(pa.table({'i': [b'x', b'y', b'\xfe'], 't': tags}), path)
  columns = {'item_id': 'i', 'attributes': 't'}
  raw = parquet.read(path, table='items', columns=columns, on_bad_row='skip')
  assert raw.items.to_pylist() == [{'item_id': 'x', 'attributes': ['a']}]
  assert raw.facts['skipped_rows']['items.parquet']['examples'] == [
    'row 2: it has bytes that are not utf-8',
    'row 3: it has bytes that are not utf-8',
  ]


def test_formats_built_on_delimited_report_too(tmp_path):
  path = tmp_path / 'ratings.dat'
  path.write_text('1::2::5::97\n1::3::x::98\n')
  with pytest.raises(GenrecError, match="ratings.dat, line 2: rating 'x'"):
    movielens.read(path)
  path = tmp_path / 'd.inter'
  path.write_text('user_id:token\titem_id:token\nu\tx\nu\n')
  with pytest.raises(GenrecError, match='d.inter, line 3: got 1 column'):
    recbole.read(path)


def test_a_quote_that_is_never_closed_is_an_error(tmp_path):
  path = tmp_path / 'log.csv'
  path.write_text('u,i\nu,5" pipe\nu,"x\nu,y\nu,z "\nu,"w\n')
  columns = {'user': 'u', 'item': 'i'}
  with pytest.raises(GenrecError, match='line 6: a quote is opened and never'):
    delimited.read(
      path, columns=columns, delimiter=',', quote='"', on_bad_row='skip'
    )
  path.write_text('u,i\nu,5" pipe\n')
  raw = delimited.read(path, columns=columns, delimiter=',', quote='"')
  assert raw.interactions['item'].to_pylist() == ['5" pipe']


def test_json_lines_iso_times(tmp_path):
  path = tmp_path / 'log.jsonl'
  rows = [
    {'u': 'a', 'i': 'x', 't': '2014-07-01'},
    {'u': 'a', 'i': 'y', 't': 'yesterday'},
  ]
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  columns = {'user': 'u', 'item': 'i', 'time': 't'}
  options = {'columns': columns, 'time_unit': 'iso8601'}
  with pytest.raises(GenrecError, match="line 2: time 'yesterday' is not an"):
    json_lines.read(path, **options)
  raw = json_lines.read(path, **options, on_bad_row='skip')
  assert raw.interactions['time'].to_pylist() == [1404172800]
