"""Exposure of groups against merit: by hand, and against loops."""

import numpy as np
import pytest
import scipy.sparse

from genrec_jax.evaluation import exposure
from genrec_jax.types import GenrecError

GROUPS = ('drama', 'comedy', 'western')


def draw(seed=0, num_lists=200, num_items=30):
  rng = np.random.default_rng(seed)
  weights = rng.integers(0, 2, (num_items, len(GROUPS))).astype(float)
  weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1)
  items = np.stack([rng.permutation(num_items)[:5] for _ in range(num_lists)])
  items[::7, 3:] = -1
  return items, rng.integers(0, num_items, num_lists), weights


def test_by_hand():
  weights = scipy.sparse.csr_array([[1.0, 0], [0, 1], [0.5, 0.5], [0, 0]])
  items = np.array([[0, 1, 3], [2, -1, -1]])
  found = exposure.compare_exposure(
    {'model': items},
    np.array([1, 2]),
    weights,
    ['a', 'b'],
    user=np.array([0, 1]),
  )
  assert found['merit'] == {
    'a': {'share': 0.25, 'n': 0.5},
    'b': {'share': 0.75, 'n': 1.5},
  }
  second = 1 / np.log2(3)
  whole = 1 + second + 1
  groups = found['rows']['model']['groups']
  assert groups['a']['exposure'] == pytest.approx(1.5 / whole)
  assert groups['a']['ratio'] == pytest.approx(1.5 / whole / 0.25)
  assert groups['b']['ratio'] == pytest.approx((second + 0.5) / whole / 0.75)
  tv = found['rows']['model']['total_variation']
  assert tv == pytest.approx(1.5 / whole - 0.25)
  assert found['rows']['model']['dtr'] is None  # too few targets


def test_ratios_are_those_of_loops_over_lists():
  items, target, weights = draw()
  exposed, merit = np.zeros(3), np.zeros(3)
  for row, wanted in zip(items, target):
    merit += weights[wanted]
    for rank, item in enumerate(row, start=1):
      if item >= 0:
        exposed += weights[item] / np.log2(1 + rank)
  found = exposure.compare_exposure(
    {'model': items, 'turned': items[:, ::-1]},
    target,
    scipy.sparse.csr_array(weights),
    GROUPS,
    user=np.arange(len(items)),
  )
  ratio = (exposed / exposed.sum()) / (merit / merit.sum())
  groups = found['rows']['model']['groups']
  np.testing.assert_allclose([groups[g]['ratio'] for g in GROUPS], ratio)
  for label in GROUPS:
    assert groups[label]['low'] < groups[label]['ratio'] < groups[label]['high']
  assert found['rows']['model']['dtr'] == pytest.approx(
    ratio.max() / ratio.min()
  )


def test_lists_that_are_right_at_once_are_fair():
  _, target, weights = draw(1)
  found = exposure.compare_exposure(
    {'model': target[:, None]},
    target,
    scipy.sparse.csr_array(weights),
    GROUPS,
    user=np.arange(len(target)),
  )['rows']['model']
  assert found['total_variation'] == pytest.approx(0)
  assert found['dtr'] == pytest.approx(1)
  for group in found['groups'].values():
    # Whoever is drawn, exposure is merit.
    assert group['low'] == pytest.approx(1) == group['high']


def test_a_group_without_targets_has_no_ratio():
  weights = scipy.sparse.csr_array(np.eye(3))
  found = exposure.compare_exposure(
    {'model': np.array([[2, 0]])}, np.array([0]), weights, GROUPS, user=[0]
  )['rows']['model']['groups']
  assert found['western']['ratio'] is None and found['western']['exposure'] > 0
  with pytest.raises(GenrecError, match='no merit'):
    exposure.compare_exposure(
      {'model': np.array([[0]])},
      np.array([0]),
      scipy.sparse.csr_array(np.zeros((3, 3))),
      GROUPS,
      user=[0],
    )
