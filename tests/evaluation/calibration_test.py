"""Calibration against scikit-learn, and the parts of the Brier score."""

import numpy as np
import pytest
from sklearn import calibration as sklearn_calibration
from sklearn.metrics import brier_score_loss

from genrec_jax.evaluation import calibration
from genrec_jax.types import GenrecError


def draw(seed, n=500, bent=1.0):
  """Returns probabilities, and outcomes that are bent away from them."""
  rng = np.random.default_rng(seed)
  p = rng.beta(0.7, 1.3, n)
  return p, rng.random(n) < p**bent


@pytest.mark.parametrize('num_bins', [1, 5, 10])
@pytest.mark.parametrize('bent', [1.0, 2.5])
def test_curve_and_brier_equal_those_of_scikit_learn(num_bins, bent):
  p, y = draw(num_bins, bent=bent)
  found = calibration.measure_calibration(p, y, num_bins=num_bins)
  came, said = sklearn_calibration.calibration_curve(
    y, p, n_bins=num_bins, strategy='quantile'
  )
  curve = found['curve']
  np.testing.assert_allclose([bin['outcome'] for bin in curve], came)
  np.testing.assert_allclose([bin['probability'] for bin in curve], said)
  assert sum(bin['n'] for bin in curve) == len(p)
  assert found['brier'] == pytest.approx(brier_score_loss(y, p))
  sizes = np.array([bin['n'] for bin in curve])
  assert found['ece'] == pytest.approx((sizes * abs(said - came)).sum() / 500)


def test_the_parts_make_the_whole():
  p, y = draw(0, bent=2.0)
  found = calibration.measure_calibration(p, y)
  assert found['brier'] == pytest.approx(
    found['reliability']
    - found['resolution']
    + found['uncertainty']
    + found['within_bins']
  )
  # Nothing is hidden in bins where each has one probability.
  rough = np.round(p * 4) / 4
  found = calibration.measure_calibration(rough, y, num_bins=200)
  assert len(found['curve']) == 5
  assert found['within_bins'] == pytest.approx(0, abs=1e-12)
  for bin in found['curve']:
    own = rough == bin['probability']
    assert bin['n'] == own.sum() and bin['outcome'] == y[own].mean()


def test_by_hand():
  p = np.array([0.2, 0.2, 0.8, 0.8])
  y = np.array([False, False, True, False])
  found = calibration.measure_calibration(p, y, num_bins=2)
  assert found['ece'] == pytest.approx((2 * 0.2 + 2 * 0.3) / 4)
  assert found['reliability'] == pytest.approx((2 * 0.04 + 2 * 0.09) / 4)
  assert found['resolution'] == pytest.approx((2 * 0.0625 + 2 * 0.0625) / 4)
  assert found['uncertainty'] == 0.1875
  assert found['brier'] == pytest.approx((0.04 + 0.04 + 0.04 + 0.64) / 4)


def test_chance_alone_is_told_from_a_bent_model():
  p, y = draw(1)
  honest = calibration.measure_calibration(p, y)
  assert honest['p_value'] > 0.05
  assert honest['ece'] == pytest.approx(honest['ece_by_chance'], abs=0.03)
  p, y = draw(1, bent=3.0)
  bent = calibration.measure_calibration(p, y)
  assert bent['ece'] > 3 * bent['ece_by_chance'] and bent['p_value'] < 0.01


def test_equal_probabilities_share_a_bin():
  y = np.arange(12) % 3 == 0
  found = calibration.measure_calibration(np.full(12, 0.25), y)
  assert found['curve'] == [
    {'probability': 0.25, 'outcome': pytest.approx(1 / 3), 'n': 12}
  ]


@pytest.mark.parametrize(
  ('p', 'y', 'message'),
  [
    ([], [], 'at least one'),
    ([0.5], [1.0], 'and bool'),
    ([0.5, 0.5], [True], 'expected .E. for both'),
    ([1.5], [True], 'probabilities are none, such as 1.5'),
    ([np.nan], [True], 'such as nan'),
  ],
)
def test_what_is_no_probability_is_told(p, y, message):
  with pytest.raises(GenrecError, match=message):
    calibration.measure_calibration(np.array(p), np.array(y))
