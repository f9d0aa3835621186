"""Rating floors: the mean, and biases that solve their equations."""

import gzip
import pathlib

import numpy as np
import pytest

from genrec_jax.baselines.rating_bias import GlobalMean, UserItemBias
from genrec_jax.evaluation.rating import rating_metrics
from genrec_jax.types import GenrecError

DATA = pathlib.Path(__file__).resolve().parents[3] / 'shared' / 'data'
USER = np.array([0, 0, 1, 2, 2, 2])
ITEM = np.array([0, 1, 0, 0, 1, 2])
RATING = np.array([5, 4, 3, 1, 2, 5], np.float32)


def test_global_mean():
  baseline = GlobalMean().fit(USER, ITEM, RATING, 4, 4)
  np.testing.assert_allclose(
    baseline.predict(np.array([0, 3]), np.array([3, 1])), [10 / 3, 10 / 3]
  )


def test_biases_solve_the_normal_equations():
  """Of damped least squares over users and items at once."""
  baseline = UserItemBias(user_damping=0.5, item_damping=2.0)
  baseline.fit(USER, ITEM, RATING, 4, 4)
  design = np.zeros((6, 8))
  design[np.arange(6), USER] = 1
  design[np.arange(6), 4 + ITEM] = 1
  damping = np.diag(np.repeat([0.5, 2.0], 4))
  above = RATING - RATING.mean()
  expected = np.linalg.solve(design.T @ design + damping, design.T @ above)
  found = np.concatenate([baseline.user_bias, baseline.item_bias])
  np.testing.assert_allclose(found, expected, atol=1e-7)


def test_whoever_was_never_rated_has_no_bias():
  baseline = UserItemBias().fit(USER, ITEM, RATING, 4, 4)
  new = baseline.predict(np.array([3, 0]), np.array([3, 3]))
  np.testing.assert_allclose(
    new, RATING.mean() + np.array([0, baseline.user_bias[0]])
  )


def test_predictions_stay_on_the_scale_of_train():
  user, item = np.arange(60) % 3, np.arange(60) % 4
  rating = np.clip(3 * user + 2 * item - 3, 1, 5)
  baseline = UserItemBias(user_damping=0.01, item_damping=0.01)
  baseline.fit(user, item, rating, 3, 4)
  predicted = baseline.predict(user, item)
  unclipped = (
    baseline.mean + baseline.user_bias[user] + baseline.item_bias[item]
  )
  assert unclipped.max() > 5 and unclipped.min() < 1
  assert predicted.max() == 5 and predicted.min() == 1


def test_bias_beats_the_mean_on_movielens():
  """A fifth held out at random: .94 is what damped biases are known to get."""
  path = DATA / 'ml-100k' / 'u.data.gz'
  if not path.exists():
    pytest.skip(f'no real data at {DATA}')
  with gzip.open(path, 'rt') as lines:
    user, item, rating = np.loadtxt(lines, usecols=(0, 1, 2), dtype=int).T
  test = np.random.default_rng(0).random(len(user)) < 0.2
  scores = {}
  for baseline in (GlobalMean(), UserItemBias()):
    train = user[~test], item[~test], rating[~test]
    baseline.fit(*train, user.max() + 1, item.max() + 1)
    predicted = baseline.predict(user[test], item[test])
    scores[baseline.name] = rating_metrics(predicted, rating[test])['rmse']
  assert scores['global_mean'] == pytest.approx(1.12, abs=0.01)
  assert scores['user_item_bias'] == pytest.approx(0.94, abs=0.01)


def test_refuses_what_cannot_be_fitted():
  with pytest.raises(GenrecError, match='user_damping=0'):
    UserItemBias(user_damping=0)
  with pytest.raises(GenrecError, match='1 are not finite'):
    UserItemBias().fit(USER, ITEM, np.append(RATING[1:], np.nan), 4, 4)
  with pytest.raises(GenrecError, match='0 train ratings'):
    GlobalMean().fit(USER[:0], ITEM[:0], RATING[:0], 4, 4)
