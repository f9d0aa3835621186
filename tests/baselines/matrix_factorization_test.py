"""Tests of the matrix factorizations, on two groups of users and items."""

import importlib.util

import numpy as np
import pytest

from genrec_jax.baselines.matrix_factorization import ALS, BPR
from genrec_jax.types import GenrecError

NUM_ITEMS = 20


@pytest.fixture(scope='module')
def interactions():
  """Users and items of even number go together, and so do the odd ones."""
  generator = np.random.default_rng(0)
  user = np.repeat(np.arange(60), 6)
  item = 2 * generator.integers(NUM_ITEMS // 2, size=len(user)) + user % 2
  return user, item


def test_als_solves_for_histories_it_has_not_seen(interactions):
  als = ALS(factors=4, regularization=0.3, confidence=5.0, recency=0.5)
  als.fit(*interactions, NUM_ITEMS)
  factors = als.model.item_factors.astype(np.float64)
  confidence = np.ones(NUM_ITEMS)
  confidence[[3, 8]] = 2.5, 5.0
  target = np.zeros(NUM_ITEMS)
  target[[3, 8]] = 1
  weighted = factors.T * confidence
  solved = np.linalg.solve(
    weighted @ factors + 0.3 * np.eye(4), weighted @ target
  )
  np.testing.assert_allclose(
    als.scores(np.array([[-1, 3, 8]]))[0], factors @ solved, atol=1e-5
  )


def test_bpr_scores_a_history_by_the_mean_of_its_items(interactions):
  bpr = BPR(factors=4, recency=0.5).fit(*interactions, NUM_ITEMS)
  factors, bias = bpr.item_factors, bpr.item_bias
  mean = (0.5 * factors[3] + factors[8]) / 1.5
  np.testing.assert_allclose(
    bpr.scores(np.array([[-1, 3, 8], [-1, -1, -1]])),
    [factors @ mean + bias, bias],
    atol=1e-5,
  )


@pytest.mark.parametrize('method', [ALS, BPR])
def test_items_of_the_same_group_come_first(method, interactions):
  baseline = method(factors=2).fit(*interactions, NUM_ITEMS)
  scores = baseline.scores(np.array([[0, 2], [1, 3]]))
  scores[0, [0, 2]] = scores[1, [1, 3]] = -np.inf
  best = np.argsort(-scores, axis=1)[:, :8]
  assert (best[0] % 2 == 0).all() and (best[1] % 2 == 1).all()


@pytest.mark.parametrize('method', [ALS, BPR])
def test_a_seed_decides_everything(method, interactions):
  history = np.array([[0, 2, 5]])
  first, same, other = (
    method(seed=seed).fit(*interactions, NUM_ITEMS).scores(history)
    for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, same)
  assert (first != other).any()


@pytest.mark.parametrize('method', [ALS, BPR])
def test_without_the_library_the_error_says_what_to_install(
  method, monkeypatch
):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(GenrecError, match=r'genrec_jax\[baselines\]'):
    method()
