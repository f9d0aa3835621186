"""Tests of EASE against the optimisation problem that it solves."""

import numpy as np
import pytest

from genrec_jax.baselines.ease import EASE
from genrec_jax.types import GenrecError

NUM_ITEMS = 12


@pytest.fixture(scope='module')
def interactions():
  generator = np.random.default_rng(0)
  user, item = np.nonzero(generator.random((30, NUM_ITEMS - 1)) < 0.3)
  # One pair twice, and an item that nobody used.
  return np.append(user, user[0]), np.append(item, item[0])


def test_every_column_is_a_ridge_regression_on_the_other_items(interactions):
  user, item = interactions
  used = np.zeros((30, NUM_ITEMS))
  used[user, item] = 1
  expected = np.zeros((NUM_ITEMS, NUM_ITEMS))
  for column in range(NUM_ITEMS):
    others = np.delete(np.arange(NUM_ITEMS), column)
    inputs = used[:, others]
    expected[others, column] = np.linalg.solve(
      inputs.T @ inputs + 3.0 * np.eye(len(others)), inputs.T @ used[:, column]
    )
  ease = EASE(regularization=3.0).fit(user, item, NUM_ITEMS)
  np.testing.assert_allclose(ease.weights, expected, atol=1e-6)
  np.testing.assert_allclose(
    ease.scores(np.array([[-1, 4], [2, 7]])),
    [expected[4], expected[2] + expected[7]],
    atol=1e-6,
  )


def test_older_items_weigh_less(interactions):
  ease = EASE(recency=0.5).fit(*interactions, NUM_ITEMS)
  weights = ease.weights
  np.testing.assert_allclose(
    ease.scores(np.array([[1, 2, 3]]))[0],
    0.25 * weights[1] + 0.5 * weights[2] + weights[3],
    rtol=1e-5,
  )


def test_a_catalogue_too_large_for_the_memory_is_refused(interactions):
  with pytest.raises(GenrecError, match='leave ease out'):
    EASE().fit(*interactions, num_items=10**7)  # 2,000 TB
  with pytest.raises(GenrecError, match='0.0 GB may be used'):
    EASE(memory_gb=1e-9).fit(*interactions, NUM_ITEMS)


def test_settings_out_of_range_are_refused():
  with pytest.raises(GenrecError, match='regularization=0'):
    EASE(regularization=0)
