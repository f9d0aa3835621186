import numpy as np
import pytest
import scipy.stats

from genrec_jax.evaluation.significance import paired_bootstrap, ratio_bootstrap
from genrec_jax.types import GenrecError


def test_the_interval_is_that_of_the_normal_law_where_that_holds():
  random = np.random.default_rng(0)
  second = random.random(4000)
  first = second + random.normal(0.02, 2.0, 4000)
  found = paired_bootstrap(first, second)
  differences = first - second
  low, high = scipy.stats.norm.interval(
    0.95, differences.mean(), differences.std() / np.sqrt(4000)
  )
  assert found.mean == pytest.approx(differences.mean())
  assert found.low == pytest.approx(low, abs=0.004)
  assert found.high == pytest.approx(high, abs=0.004)
  normal = 2 * scipy.stats.norm.sf(
    abs(differences.mean()) / differences.std() * np.sqrt(4000)
  )
  assert 0.02 < normal < 0.98
  assert found.p_value == pytest.approx(normal, abs=0.02)


def test_intervals_hold_the_truth_as_often_as_they_say():
  random = np.random.default_rng(1)
  held = 0
  for trial in range(200):
    first = random.random(300) < 0.25
    second = random.random(300) < 0.2
    found = paired_bootstrap(
      first, second, confidence=0.9, num_resamples=300, seed=trial
    )
    held += found.low <= 0.05 <= found.high
  # Binomial: 180 expected, standard deviation 4.2.
  assert 165 <= held <= 195


def test_pairing_sees_what_unpaired_users_hide():
  random = np.random.default_rng(2)
  easy = random.normal(0, 10, 500)  # how easy a user is, the same for both
  found = paired_bootstrap(easy + random.normal(0.2, 0.5, 500), easy)
  assert found.low > 0
  assert found.p_value < 0.01


def test_equal_methods_have_a_p_value_of_one():
  values = np.random.default_rng(3).random(50)
  found = paired_bootstrap(values, values)
  assert (found.mean, found.low, found.high, found.p_value) == (0, 0, 0, 1)
  assert found.n == 50


def test_seeds_repeat():
  random = np.random.default_rng(4)
  first, second = random.random((2, 100))
  assert paired_bootstrap(first, second, seed=5) == paired_bootstrap(
    first, second, seed=5
  )


@pytest.mark.parametrize(
  ('first', 'second', 'message'),
  [
    (np.zeros(3), np.zeros(4), r'\(3,\) and \(4,\)'),
    (np.zeros(1), np.zeros(1), 'at least two'),
    (np.array([0.0, np.nan]), np.zeros(2), 'example 1'),
  ],
)
def test_what_cannot_be_compared_is_refused(first, second, message):
  with pytest.raises(GenrecError, match=message):
    paired_bootstrap(first, second)


def test_a_ratio_has_the_interval_of_its_users():
  random = np.random.default_rng(6)
  claims = random.integers(0, 5, 600)
  false = random.binomial(claims, 0.3)
  user = np.arange(600) // 3
  found = ratio_bootstrap(false, claims, user)
  assert found['n'] == 200
  assert found['mean'] == pytest.approx(false.sum() / claims.sum())

  def ratio(a, b, axis):
    return a.sum(axis) / b.sum(axis)

  of_users = [np.bincount(user, values) for values in (false, claims)]
  slow = scipy.stats.bootstrap(
    of_users, ratio, paired=True, method='percentile', rng=random
  ).confidence_interval
  assert found['low'] == pytest.approx(slow.low, abs=0.004)
  assert found['high'] == pytest.approx(slow.high, abs=0.004)


def test_examples_of_one_user_are_not_drawn_apart():
  """Ten users, each ten times, are not a hundred."""
  values = np.repeat(np.arange(10) % 2, 10).astype(float)
  ones = np.ones(100)
  alone = ratio_bootstrap(values, ones, np.arange(100))
  together = ratio_bootstrap(values, ones, np.repeat(np.arange(10), 10))
  assert together['high'] - together['low'] > 2 * (alone['high'] - alone['low'])


def test_a_ratio_of_nothing_is_none():
  found = ratio_bootstrap(np.zeros(3), np.zeros(3), np.arange(3))
  assert found == {'n': 3, 'mean': None, 'low': None, 'high': None}
  with pytest.raises(GenrecError, match='2 examples'):
    ratio_bootstrap(np.zeros(3), np.ones(3), np.arange(2))
  with pytest.raises(GenrecError, match='nan'):
    ratio_bootstrap(np.array([1, np.nan]), np.ones(2), np.arange(2))
