"""Does a text speak as well of an item as it was rated?

Whether a text praises is read by a small classifier, words and pairs of words
weighted by TF-IDF and a logistic regression, that learnt from train texts and
the ratings given with them. It errs, on true texts too; how often is measured
beside what it says of generated ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer

from genrec_jax.evaluation.significance import ratio_bootstrap
from genrec_jax.types import GenrecError

MOST_TEXTS = 50_000  # of train: more say little more


class Sentiment:
  """Reads from a text whether its author liked what it speaks of.

  Liked and not liked weigh the same, however many there are of each, so that
  it does not gain by taking every text for praise.
  """

  def fit(
    self, texts: Sequence[str], liked: Bool[np.ndarray, 'R'], *, seed: int = 0
  ) -> Sentiment:
    """Learns from texts and whether they came with a good rating.

    Args:
      texts: R train texts; of more than MOST_TEXTS a seeded sample.
      liked: of each.
      seed: of the sample.

    Raises:
      GenrecError: if all are of one kind, or no text has a word.
    """
    # Late: scikit-learn takes a second to import.
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    liked = np.asarray(liked, bool)
    if len(texts) != len(liked) or liked.all() or not liked.any():
      raise GenrecError(
        f'Got {len(texts)} texts, {np.count_nonzero(liked)} of them liked;'
        ' expected texts that go with good ratings and others that do not.'
      )
    rows = np.arange(len(texts))
    if len(rows) > MOST_TEXTS:
      rows = np.random.default_rng(seed).choice(rows, MOST_TEXTS, False)
    self._classifier = make_pipeline(
      TfidfVectorizer(
        ngram_range=(1, 2), token_pattern=r'(?u)\b\w+\b', sublinear_tf=True
      ),
      LogisticRegression(C=10.0, class_weight='balanced', max_iter=1000),
    )
    try:
      self._classifier.fit([texts[row] for row in rows], liked[rows])
    except ValueError as error:
      if 'empty vocabulary' not in str(error):
        raise
      raise GenrecError(
        f'None of the {len(rows)} texts has a word, so there is nothing to read'
        ' a sentiment from.'
      ) from error
    return self

  def liking(self, texts: Sequence[str]) -> Float[np.ndarray, 'E']:
    """Returns the probability that each text goes with a good rating."""
    return self._classifier.predict_proba(list(texts))[:, 1]


def contradiction_metrics(
  liking: Float[np.ndarray, 'E'],
  liked: Bool[np.ndarray, 'E'],
  spoken: Bool[np.ndarray, 'E'],
  user: Integer[np.ndarray, 'E'],
) -> dict[str, Any]:
  """Returns how often texts say the opposite of the rating.

  Args:
    liking: the probability that each text praises, see `Sentiment`.
    liked: whether the rating does.
    spoken: where there is a text at all; a blank one contradicts nothing, and
      is left out.
    user: of each; intervals are over users.

  Returns:
    `contradictions`, {n, mean, low, high}, the share of texts; `blames_liked`
    and `praises_disliked`, the share among ratings of each kind, None where
    there are none.
  """
  against = (np.asarray(liking) >= 0.5) != liked
  against &= spoken

  def share(among):
    count = int(np.count_nonzero(among & spoken))
    return int(np.count_nonzero(against & among)) / count if count else None

  return {
    'contradictions': ratio_bootstrap(against, spoken, user),
    'blames_liked': share(liked),
    'praises_disliked': share(~liked),
  }
