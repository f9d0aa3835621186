"""Dataset: order, numbering, filters, and a round trip through the disk."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genrec_jax.data.dataset import Dataset, RawTables, build_dataset
from genrec_jax.data.dialogues import DIALOGUES
from genrec_jax.types import GenrecError


def _raw(rows, names=('user', 'item', 'time'), **tables):
  columns = dict(zip(names, map(list, zip(*rows))))
  return RawTables(interactions=pa.table(columns), **tables)


def _rows(dataset):
  users = dataset.users['user_id'].to_pylist()
  items = dataset.items['item_id'].to_pylist()
  return [(users[u], items[i]) for u, i in zip(dataset.user, dataset.item)]


@pytest.fixture
def full():
  rows = [
    ('b', 'x', 90, 1.0, 'fine'),
    ('a', 'y', 20, 2.0, None),
    ('b', 'z', 30, 3.0, ''),
    ('a', 'x', 10, 4.0, 'naïve'),
  ]
  return _raw(
    rows,
    ('user', 'item', 'time', 'rating', 'review'),
    items=pa.table(
      {
        'item_id': ['z', 'unseen', 'x'],
        'title': ['Zed', 'Unseen', None],
        'attributes': [['p', 'q'], ['p'], None],
        'brand': ['k', 'l', 'm'],
      }
    ),
    users=pa.table({'user_id': ['a', 'b'], 'gender': ['F', 'M']}),
    dialogues=pa.table(
      {
        'dialogue_id': ['d', 'd'],
        'turn': [0, 1],
        'role': ['seeker', 'recommender'],
        'text': ['hi', 'try \ufffc and \ufffc'],
        'items': [[], ['z', 'told']],
      }
    ),
  )


def test_rows_are_the_chronology_of_each_user(full):
  dataset = build_dataset('t', full)
  assert _rows(dataset) == [('b', 'z'), ('b', 'x'), ('a', 'x'), ('a', 'y')]
  assert dataset.time.tolist() == [30, 90, 10, 20]
  assert dataset.interactions['rating'].to_pylist() == [3, 1, 4, 2]
  assert dataset.user_offsets.tolist() == [0, 2, 4]


def test_numbers_follow_the_first_appearance_in_the_file(full):
  dataset = build_dataset('t', full)
  assert dataset.users['user_id'].to_pylist() == ['b', 'a']
  assert dataset.items['item_id'].to_pylist() == ['x', 'y', 'z', 'told']


def test_side_tables_are_joined_by_source_id(full):
  dataset = build_dataset('t', full)
  assert dataset.item_names() == ['x', 'y', 'Zed', 'told']
  assert dataset.items['attributes'].to_pylist() == [[], [], ['p', 'q'], []]
  assert dataset.items['brand'].to_pylist() == ['m', None, 'k', None]
  assert dataset.users['gender'].to_pylist() == ['M', 'F']


def test_dialogues_speak_of_item_rows(full):
  dataset = build_dataset('t', full)
  assert dataset.dialogues.schema == DIALOGUES
  assert dataset.dialogues['items'].to_pylist() == [[], [2, 3]]
  alone = build_dataset('t', RawTables(interactions=full.interactions))
  assert alone.dialogues.schema == DIALOGUES
  assert alone.dialogues.num_rows == 0


def test_what_is_saved_is_what_is_loaded(full, tmp_path):
  dataset = build_dataset('t', full)
  dataset.save(tmp_path / 'dataset')
  loaded = Dataset.load(tmp_path / 'dataset')
  for name in ('interactions', 'items', 'users', 'dialogues'):
    assert getattr(loaded, name).equals(getattr(dataset, name))
  assert loaded.facts == dataset.facts
  manifest = json.loads((tmp_path / 'dataset' / 'manifest.json').read_text())
  assert manifest['counts'] == {
    'users': 2,
    'items': 4,
    'interactions': 4,
    'dialogues': 1,
    'dialogue_turns': 2,
  }


@pytest.mark.parametrize(
  'table, column', [('items', 'title'), ('users', 'gender')]
)
def test_a_table_changed_on_disk_is_refused(full, tmp_path, table, column):
  build_dataset('t', full).save(tmp_path / 'dataset')
  path = tmp_path / 'dataset' / f'{table}.parquet'
  changed = pq.read_table(path)
  values = changed[column].to_pylist()[::-1]
  index = changed.column_names.index(column)
  pq.write_table(
    changed.set_column(index, column, pa.array(values, pa.string())), path
  )
  with pytest.raises(GenrecError, match='changed after they were written'):
    Dataset.load(tmp_path / 'dataset')


def test_a_broken_table_is_refused(full, tmp_path):
  build_dataset('t', full).save(tmp_path / 'dataset')
  path = tmp_path / 'dataset' / 'items.parquet'
  path.write_bytes(path.read_bytes()[:40])
  with pytest.raises(GenrecError, match='items.parquet.*genrec prepare'):
    Dataset.load(tmp_path / 'dataset')


def test_fingerprint_is_of_content_and_not_of_chunks(full):
  dataset = build_dataset('t', full)
  table = full.interactions
  chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
  again = build_dataset(
    't',
    RawTables(chunked, full.items, full.users, full.dialogues),
  )
  assert again.fingerprint == dataset.fingerprint
  sliced = Dataset(
    't',
    pa.concat_tables([dataset.interactions] * 2).slice(4),
    dataset.items,
    dataset.users,
    dataset.dialogues,
    {},
  )
  assert sliced.fingerprint == dataset.fingerprint


def test_fingerprint_tells_null_from_empty_and_where_strings_end():
  fingerprints = [
    build_dataset(
      't',
      _raw(
        [('u', 'i', 0, a), ('u', 'j', 1, b)], ('user', 'item', 'time', 'note')
      ),
    ).fingerprint
    for a, b in [('ab', 'c'), ('a', 'bc'), ('abc', ''), ('abc', None)]
  ]
  assert len(set(fingerprints)) == 4


def test_ties_source_keeps_the_file_order_or_the_position():
  rows = [('u', 'c', 5), ('u', 'a', 5), ('u', 'b', 1)]
  assert _rows(build_dataset('t', _raw(rows))) == [
    ('u', 'b'),
    ('u', 'c'),
    ('u', 'a'),
  ]
  placed = [('u', 'c', 5, 2), ('u', 'a', 5, 1), ('u', 'b', 1, 9)]
  names = ('user', 'item', 'time', 'position')
  dataset = build_dataset('t', _raw(placed, names))
  assert _rows(dataset) == [('u', 'b'), ('u', 'a'), ('u', 'c')]
  assert 'position' not in dataset.interactions.column_names


def test_ties_item_orders_numbers_as_numbers():
  rows = [('u', '10', 5), ('u', '9', 5)]
  dataset = build_dataset('t', _raw(rows), ties='item')
  assert _rows(dataset) == [('u', '9'), ('u', '10')]
  rows = [('u', 'b10', 5), ('u', 'b9', 5)]
  dataset = build_dataset('t', _raw(rows), ties='item')
  assert _rows(dataset) == [('u', 'b10'), ('u', 'b9')]


def test_ties_random_is_seeded_and_only_moves_ties():
  rows = [('u', f'i{n}', n // 20) for n in range(40)]
  orders = [
    _rows(build_dataset('t', _raw(rows), ties='random', seed=seed))
    for seed in (1, 1, 2)
  ]
  assert orders[0] == orders[1] != orders[2]
  early = {f'i{n}' for n in range(20)}
  assert {item for _, item in orders[0][:20]} == early


@pytest.mark.parametrize(
  'policy, kept', [('keep', 'xyxz'), ('first', 'xyz'), ('last', 'yxz')]
)
def test_duplicates(policy, kept):
  rows = [('u', 'x', 3), ('u', 'y', 2), ('u', 'x', 1), ('v', 'x', 9)]
  rows.append(('u', 'z', 4))
  dataset = build_dataset('t', _raw(rows), duplicates=policy)
  assert ''.join(i for u, i in _rows(dataset) if u == 'u') == kept


def test_k_core_is_the_largest_set_that_satisfies_it():
  random = np.random.default_rng(0)
  rows = [
    (f'u{u}', f'i{i}', t)
    for t, (u, i) in enumerate(random.integers(0, 12, (40, 2)))
  ]
  dataset = build_dataset('t', _raw(rows), k_core=3)

  def is_core(pairs):
    counts = [[pair[side] for pair in pairs] for side in (0, 1)]
    return all(c.count(x) >= 3 for c in counts for x in set(c))

  assert is_core(_rows(dataset)) and dataset.num_interactions < 40
  # The same by brute force: peel one bad user or item after another.
  remaining = [row[:2] for row in rows]
  while not is_core(remaining):
    for side, pair in itertools.product((0, 1), remaining):
      if sum(other[side] == pair[side] for other in remaining) < 3:
        remaining = [o for o in remaining if o[side] != pair[side]]
        break
  assert sorted(_rows(dataset)) == sorted(remaining)
  dropped = 40 - dataset.num_interactions
  assert dataset.facts['dropped_rows'] == {'duplicates': 0, 'k_core': dropped}


def test_a_core_of_nothing_is_an_error():
  with pytest.raises(GenrecError, match='lower k_core'):
    build_dataset('t', _raw([('u', 'x', 1)]), k_core=2)


@pytest.mark.parametrize(
  'times, clock',
  [([0, 86400], 'days'), ([0, 86401], 'seconds'), (None, 'order')],
)
def test_clock(times, clock):
  columns = {'user': ['u', 'u'], 'item': ['x', 'y']}
  if times:
    columns['time'] = times
  dataset = build_dataset('t', RawTables(interactions=pa.table(columns)))
  assert dataset.facts['clock'] == clock
  assert dataset.time.tolist() == (times or [0, 1])


def test_without_a_clock_time_is_the_position_after_filtering():
  rows = [('v', 'y'), ('u', 'x'), ('u', 'x'), ('u', 'y'), ('v', 'x')]
  dataset = build_dataset('t', _raw(rows, ('user', 'item')), duplicates='first')
  assert dataset.time.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
  'rows, reason',
  [
    ([('u', 'x', -1)], 'earliest time.*-1'),
    ([(None, 'x', 1)], 'no user id'),
    ([('u', 'x', None), ('u', 'y', 1)], 'no time'),
  ],
)
def test_values_that_no_reader_yields_are_refused(rows, reason):
  with pytest.raises(GenrecError, match=reason):
    build_dataset('t', _raw(rows))


def test_an_unknown_policy_lists_the_known():
  with pytest.raises(GenrecError, match="'newest'.*first, keep, last"):
    build_dataset('t', _raw([('u', 'x', 1)]), duplicates='newest')
