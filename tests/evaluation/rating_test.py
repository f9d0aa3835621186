"""Rating metrics by hand, and the AUC against brute force and scikit-learn."""

import numpy as np
import pytest

from genrec_jax.evaluation import rating
from genrec_jax.evaluation.outputs import Failure, Rating
from genrec_jax.types import GenrecError


def test_errors_by_hand():
  found = rating.rating_metrics(np.array([3, 5, 1.5]), np.array([4, 5, 4]))
  expected = {'n': 3, 'rmse': np.sqrt((1 + 6.25) / 3), 'mae': 3.5 / 3}
  assert found == pytest.approx(expected)


def test_an_answer_that_is_no_rating_counts_as_the_fallback():
  outputs = [Rating(4, False), Failure('no_rating', 'well'), Rating(5, True)]
  found = rating.measure_ratings(outputs, np.array([4, 1, 3]), fallback=3.5)
  assert found == pytest.approx(
    {
      'n': 3,
      'rmse': np.sqrt((2.5**2 + 2**2) / 3),
      'mae': 4.5 / 3,
      'failed_share': 1 / 3,
      'clamped_share': 1 / 3,
      'fallback': 3.5,
    }
  )


@pytest.mark.parametrize('levels', [2, 3, 1000])
def test_auc_counts_pairs_and_half_of_the_ties(levels):
  generator = np.random.default_rng(levels)
  scores = generator.integers(levels, size=200) / levels
  liked = generator.random(200) < 0.3
  above = scores[liked][:, None] - scores[~liked]
  pairs = (above > 0).mean() + (above == 0).mean() / 2
  found = rating.liking_metrics(scores, liked)
  assert found['auc'] == pytest.approx(pairs, abs=1e-12)
  assert found['n'] == 200 and found['n_liked'] == liked.sum()

  sklearn = pytest.importorskip('sklearn.metrics')
  theirs = sklearn.roc_auc_score(liked, scores)
  assert found['auc'] == pytest.approx(theirs, abs=1e-12)


def test_auc_takes_log_odds_of_certainty():
  scores = np.array([np.inf, 800.0, 700.0, -np.inf])
  liked = np.array([True, True, False, False])
  assert rating.liking_metrics(scores, liked)['auc'] == 1


@pytest.mark.parametrize(
  'predicted, ratings, message',
  [
    ([1, 2], [1], r'\(2,\) and ratings of shape \(1,\)'),
    ([], [], 'no ratings'),
    ([1, np.nan], [1, 2], '1 of 2 predictions are not finite'),
    ([1, 2], [np.nan, np.inf], '2 of 2 ratings are not finite'),
  ],
)
def test_refuses_what_has_no_error(predicted, ratings, message):
  with pytest.raises(GenrecError, match=message):
    rating.rating_metrics(np.array(predicted), np.array(ratings))


@pytest.mark.parametrize(
  'scores, liked, message',
  [
    ([0.1, 0.2], [True, True], '2 liked examples and 0 others'),
    ([0.1, np.nan], [True, False], '1 of 2 scores are NaN'),
    ([0.1, 0.2], [1, 0], 'and bool'),
    ([0.1], [True, False], r'shape \(1,\)'),
  ],
)
def test_refuses_what_has_no_auc(scores, liked, message):
  with pytest.raises(GenrecError, match=message):
    rating.liking_metrics(np.array(scores), np.array(liked))
