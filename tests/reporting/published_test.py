"""In which points a run differs from what was published."""

import pytest

from genrec_jax.reporting import published, run_records


def of_beauty(**changes):
  """A run as if of the benchmark, and its result on test."""
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
  run = run_records.RunRecord(
    name='r',
    path=None,
    dataset=dataset,
    ids={},
    measurements=[],
    comparisons={},
    costs={},
    log=[],
    worked={},
    recommendations=[],
    config=None,
    notes=[],
  )
  measured = run_records.Measurement(
    'r',
    changes.get('part', 'test'),
    'sequential',
    None,
    {
      'fingerprints': {'dataset': 'd', 'split': 's'},
      'subset': changes.get('subset'),
    },
    {},
    'e',
    0,
  )
  return published.own_protocol(run, measured)


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
  found = published.differences(of_beauty(**changes), theirs)
  assert found == ([] if point is None else [point])


def test_published_rows_say_what_they_have_otherwise():
  rows = published.read_references('amazon_beauty')['rows']
  told = {row['method']: published.own_deviations(row) for row in rows}
  assert told['TIGER'] == []
  assert told['P5-S'] == ['ids: numbered along the test sequences, which leaks']
  assert published.read_references('simulator') is None
