import numpy as np
import pytest

from genrec_jax.evaluation import intervals, ranking, rating
from genrec_jax.evaluation.significance import (
  bootstrap_auc,
  bootstrap_mean,
  paired_bootstrap,
)
from genrec_jax.types import GenrecError


def test_one_example_a_user_is_the_paired_bootstrap_against_nought():
  values = np.random.default_rng(0).random(80)
  found = bootstrap_mean(values, np.arange(80), num_resamples=500, seed=3)
  paired = paired_bootstrap(values, np.zeros(80), num_resamples=500, seed=3)
  assert (found.mean, found.low, found.high, found.n) == (
    paired.mean,
    paired.low,
    paired.high,
    80,
  )


def test_users_with_several_examples_are_drawn_whole():
  rng = np.random.default_rng(1)
  users = rng.integers(30, size=300)
  # What a user does is alike, so examples tell less than they are many.
  values = rng.normal(size=30)[users] + 0.1 * rng.normal(size=300)
  found = bootstrap_mean(values, users, num_resamples=4000)
  slow = []
  for _ in range(1500):
    drawn = rng.integers(30, size=30)
    slow.append(
      np.concatenate([values[users == user] for user in drawn]).mean()
    )
  expected = np.quantile(slow, [0.025, 0.975])
  assert found.n == 30 and found.mean == pytest.approx(values.mean())
  assert [found.low, found.high] == pytest.approx(expected, abs=0.03)
  alone = bootstrap_mean(values, num_resamples=4000)
  assert found.high - found.low > 2 * (alone.high - alone.low)


def test_auc_of_each_draw_is_that_of_the_drawn_examples():
  rng = np.random.default_rng(2)
  scores = rng.integers(6, size=40).astype(float)  # with ties
  liked = rng.random(40) < 0.3
  found = bootstrap_auc(scores, liked, num_resamples=200, seed=5)
  drawn = np.random.default_rng(5).integers(40, size=(200, 40))
  slow = [
    rating.liking_metrics(scores[rows], liked[rows])['auc']
    for rows in drawn
    if 0 < liked[rows].sum() < 40
  ]
  assert found.mean == pytest.approx(
    rating.liking_metrics(scores, liked)['auc']
  )
  assert [found.low, found.high] == pytest.approx(
    np.quantile(slow, [0.025, 0.975])
  )
  with pytest.raises(GenrecError, match='some that are liked'):
    bootstrap_auc(scores, np.ones(40, bool))


def test_rmse_is_the_root_of_the_mean_square():
  rng = np.random.default_rng(3)
  truth, expected = rng.integers(1, 6, size=50), rng.random(50) * 5
  arrays = {'user': np.arange(50), 'truth': truth, 'expected': expected}
  result = {
    'answer': 'rating',
    'metrics': {'model': {'all': rating.rating_metrics(expected, truth)}},
  }
  drawn = {'num_resamples': 300, 'seed': 1}
  found = intervals.intervals(result, arrays, 'rmse', **drawn)['model']
  squares = (expected - truth) ** 2
  paired = paired_bootstrap(squares, np.zeros(50), **drawn)
  assert found.mean == pytest.approx(result['metrics']['model']['all']['rmse'])
  assert [found.low, found.high] == pytest.approx(
    [paired.low**0.5, paired.high**0.5]
  )


def test_answers_of_another_measurement_are_refused():
  target = np.arange(8)
  lists = np.stack([target, target + 1], axis=1)
  arrays = {'user': target, 'target': target, 'items_model': lists}
  metrics = ranking.measure_lists(lists, target, target < 0)
  result = {'answer': 'item', 'metrics': {'model': metrics}}
  found = intervals.intervals(result, arrays, 'ndcg@1', num_resamples=50)
  assert found['model'].mean == found['model'].low == 1
  metrics['all']['ndcg@1'] = 0.5
  with pytest.raises(GenrecError, match='not of one measurement'):
    intervals.intervals(result, arrays, 'ndcg@1', num_resamples=50)
