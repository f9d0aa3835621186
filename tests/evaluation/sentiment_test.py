"""Texts that say the opposite of the rating are counted."""

import numpy as np
import pytest

from genrec_jax.evaluation.sentiment import Sentiment, contradiction_metrics
from genrec_jax.types import GenrecError

pytest.importorskip('sklearn')
GOOD, BAD = ('superb', 'I love it', 'works well'), ('awful', 'I hate it')


@pytest.fixture(scope='module')
def sentiment():
  texts = [f'{word}, it came {n}' for word in (*GOOD, *BAD) for n in range(9)]
  liked = [any(word in text for word in GOOD) for text in texts]
  return Sentiment().fit(texts, np.array(liked))


def test_planted_contradictions_are_counted(sentiment):
  texts = ['superb!', 'so awful', 'I love it', 'I hate it', '', 'superb']
  liked = np.array([True, True, False, False, False, True])
  spoken = np.array([bool(text) for text in texts])
  found = contradiction_metrics(
    sentiment.liking(texts), liked, spoken, np.arange(6)
  )
  assert found['contradictions']['mean'] == pytest.approx(2 / 5)
  assert found['blames_liked'] == pytest.approx(1 / 3)
  assert found['praises_disliked'] == pytest.approx(1 / 2)


def test_a_kind_that_is_not_there_has_no_share(sentiment):
  found = contradiction_metrics(
    sentiment.liking(['awful']), np.array([True]), np.array([True]), [0]
  )
  assert found['blames_liked'] == 1 and found['praises_disliked'] is None


def test_few_complaints_among_much_praise_are_still_read():
  texts = ['superb thing'] * 190 + ['awful thing'] * 10
  liked = np.arange(200) < 190
  liking = Sentiment().fit(texts, liked).liking(['superb', 'awful', 'thing'])
  assert liking[0] > 0.5 > liking[1]


def test_one_kind_of_rating_teaches_nothing():
  with pytest.raises(GenrecError, match='2 texts, 2 of them liked'):
    Sentiment().fit(['a', 'b'], np.ones(2, bool))
  with pytest.raises(GenrecError, match='has a word'):
    Sentiment().fit(['!', '?'], np.array([True, False]))
