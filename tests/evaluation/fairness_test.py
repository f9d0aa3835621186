"""Metrics by group, against fairlearn and scipy."""

import numpy as np
import pytest
import scipy.stats

from genrec_jax.evaluation import fairness
from genrec_jax.types import GenrecError

LABELS = ['a', 'b', 'c']


@pytest.fixture
def drawn():
  rng = np.random.default_rng(0)
  group = rng.integers(0, 3, 400)
  values = (rng.random(400) < np.array([0.1, 0.2, 0.5])[group]) * 1.0
  return values, group


@pytest.mark.filterwarnings('ignore')  # pandas', not ours
def test_as_fairlearn(drawn):
  metrics = pytest.importorskip(
    'fairlearn.metrics', reason='fairlearn is not installed'
  )
  values, group = drawn
  frame = metrics.MetricFrame(
    metrics=lambda truth, found: np.mean(found),
    y_true=values,
    y_pred=values,
    sensitive_features=np.array(LABELS)[group],
  )
  found = fairness.compare_groups(values, group, LABELS)
  theirs = frame.by_group.to_dict()
  assert {k: v['mean'] for k, v in found['groups'].items()} == pytest.approx(
    theirs
  )
  assert found['difference'] == pytest.approx(frame.difference())
  assert found['ratio'] == pytest.approx(frame.ratio())


def test_intervals_are_those_of_scipy(drawn):
  values, group = drawn
  found = fairness.compare_groups(values, group, LABELS, num_resamples=20000)
  for number, label in enumerate(LABELS):
    own = values[group == number]
    theirs = scipy.stats.bootstrap(
      (own,), np.mean, method='percentile', rng=np.random.default_rng(1)
    ).confidence_interval
    of_group = found['groups'][label]
    assert of_group['n'] == len(own)
    # Means are whole numbers of hits by n.
    step = 1.01 / len(own)
    assert of_group['low'] == pytest.approx(theirs.low, abs=step)
    assert of_group['high'] == pytest.approx(theirs.high, abs=step)


def test_groups_that_mean_nothing_differ_by_chance(drawn):
  values, group = drawn
  told = fairness.compare_groups(values, group, LABELS)
  assert told['p_value'] < 0.01
  assert told['difference'] > 3 * told['difference_by_chance']
  p_values = [
    fairness.compare_groups(
      values, np.random.default_rng(n).permutation(group), LABELS
    )['p_value']
    for n in range(100)
  ]
  assert 0.3 < np.mean(p_values) < 0.7


def test_groups_of_nobody_are_left_out():
  values, group = np.array([1.0, 0.0, 1.0, 9.0]), np.array([2, 0, 2, -1])
  found = fairness.compare_groups(values, group, LABELS)
  assert list(found['groups']) == ['a', 'c']
  assert found['ratio'] == 0 and found['difference'] == 1
  one = fairness.compare_groups(values[:1], group[:1], LABELS)
  assert one['difference'] == 0 and one['ratio'] == 1 and one['p_value'] == 1
  zeros = fairness.compare_groups(np.zeros(3), np.array([0, 1, 1]), LABELS)
  assert zeros['ratio'] is None and zeros['p_value'] == 1


def test_equal_numbers_are_in_one_group():
  group, labels = fairness.by_number(np.array([1, 1, 1, 1, 5, 9, np.nan]))
  assert group.tolist() == [0, 0, 0, 0, 1, 1, -1]
  assert labels == ['1', '5 to 9']
  group, labels = fairness.by_number(np.arange(9))
  assert labels == ['0 to 2', '3 to 5', '6 to 8']
  assert np.bincount(group).tolist() == [3, 3, 3]
  assert fairness.by_number(np.full(4, 2.0))[1] == ['2']


@pytest.mark.parametrize(
  ('values', 'labels'),
  [
    (['M', 'F', None], ['F', 'M', 'unknown']),
    ([18, 1, 18], ['1', '18']),
    ([0.5, float('nan'), 2.0], ['0.5', '2', 'unknown']),
    ([1234567, 1234568, 0], ['0', '1234567', '1234568']),
    (['nan', '9', '9'], ['9', 'nan']),
    (['18', '9', '9'], ['9', '18']),
    (['18', '09', '09'], ['09', '18']),
    ([str(n) for n in range(90)], ['0 to 29', '30 to 59', '60 to 89']),
    (list(range(90)), ['0 to 29', '30 to 59', '60 to 89']),
    ([*range(90), None], ['0 to 29', '30 to 59', '60 to 89', 'unknown']),
  ],
)
def test_columns_make_groups(values, labels):
  group, found = fairness.by_column(values)
  assert found == labels
  if isinstance(values[0], str) and len(labels) == len(set(values)):
    said = [found[place] for place in group]
    assert said == [fairness.NO_VALUE if v is None else v for v in values]


@pytest.mark.parametrize(
  'values', [['x'] * 4, [None] * 3, [f'{n:05d}' for n in range(90)]]
)
def test_columns_that_make_none(values):
  assert fairness.by_column(values) is None


@pytest.mark.parametrize(
  ('values', 'group', 'match'),
  [
    ([1.0], [0, 1], 'one of each'),
    ([1.0], [3], 'places among the 3 labels'),
    ([1.0], [-1], 'No example'),
    ([np.nan], [0], 'value nan'),
  ],
)
def test_bad_groups_are_refused(values, group, match):
  with pytest.raises(GenrecError, match=match):
    fairness.compare_groups(np.array(values), np.array(group), LABELS)
