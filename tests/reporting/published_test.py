"""In which points a run differs from what was published."""

import pytest

from genrec_jax.reporting import published


def of_beauty(**changes):
  """A data set as if of the benchmark, and a result on its test part."""
  dataset = {
    'name': 'amazon_beauty',
    'fingerprint': 'd',
    'facts': {'ties': 'source'},
    'counts': {'users': 22363, 'items': 12101, 'interactions': 198502},
    'split': {'protocol': 'leave_one_out', 'fingerprint': 's'},
  }
  for name, value in changes.items():
    if name in dataset:
      dataset[name] = {**dataset[name], **value}
  result = {
    'split': changes.get('part', 'test'),
    'task': 'sequential',
    'fingerprints': {'dataset': 'd', 'split': 's'},
    'subset': changes.get('subset'),
  }
  return dataset, result


@pytest.mark.parametrize(
  ('changes', 'point'),
  [
    ({}, None),
    ({'part': 'validation'}, 'part: validation here, test published'),
    ({'facts': {'ties': 'random'}}, 'ties: random here, source published'),
    ({'counts': {'users': 9}}, 'users: 9 here, 22,363 published'),
    (
      {'split': {'protocol': 'global_temporal'}},
      'split: global_temporal here, leave_one_out published',
    ),
    (
      {'subset': {'examples': 10, 'of': 90}},
      'examples: a sample of 10 of 90 here, all published',
    ),
    (
      {'split': {'fingerprint': 'other'}},
      'split: not known here, leave_one_out published',
    ),
    (
      {'split': {'cold_items': [1, 2]}},
      'targets: 2 items held out of training, too here, all items published',
    ),
  ],
)
def test_each_point_in_which_a_protocol_differs_is_named(changes, point):
  theirs = published.read_references('amazon_beauty')['protocol']
  ours = published.own_protocol(*of_beauty(**changes))
  found = published.differences(ours, theirs)
  assert found == ([] if point is None else [point])


def test_published_rows_say_what_they_have_otherwise():
  rows = published.read_references('amazon_beauty')['rows']
  told = {row['method']: published.own_deviations(row) for row in rows}
  assert told['TIGER'] == []
  assert told['P5-S'] == ['ids: numbered along the test sequences, which leaks']
  assert published.read_references('simulator') is None


def test_rows_are_marked_where_their_protocol_differs():
  rows = {row['name']: row for row in published.rows_beside(*of_beauty())}
  assert rows['TIGER, published']['reasons'] == []
  assert rows['TIGER, published']['metrics']['recall@10'] == 0.0648
  assert 'leaks' in rows['P5-S, published ≠']['reasons'][0]
  others = published.rows_beside(*of_beauty(counts={'users': 9}))
  assert len(others) == len(rows)
  assert all(row['name'].endswith('published ≠') for row in others)
  assert published.rows_beside(*of_beauty(part='validation')) == []
  dataset, result = of_beauty()
  assert published.rows_beside(dataset, {**result, 'task': 'rating'}) == []
  assert published.rows_beside({}, result) == []
