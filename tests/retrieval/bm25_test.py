import math

import numpy as np
import pytest

from genrec_jax.retrieval.bm25 import BM25
from genrec_jax.retrieval.words import count_words, join_texts
from genrec_jax.types import GenrecError

DOCUMENTS = [
  'the red kettle, a kettle of steel',
  'the red boots',
  '',
  'the kettle is red and the boots are brown and the socks are red',
  'steel grinder',
]
QUERIES = ['red kettle', 'Steel steel BOOTS', 'nothing of this', '']


def slow_score(document, query, documents, k1, b):
  """BM25 as the paper writes it, a word at a time."""
  split = [text.replace(',', '').lower().split() for text in documents]
  mean = sum(map(len, split)) / len(split)
  score = 0.0
  for word in query.lower().split():
    having = sum(word in text for text in split)
    idf = math.log(1 + (len(split) - having + 0.5) / (having + 0.5))
    often = split[document].count(word)
    held_back = k1 * (1 - b + b * len(split[document]) / mean)
    score += idf * often * (k1 + 1) / (often + held_back) if often else 0
  return score


@pytest.mark.parametrize('k1, b', [(1.2, 0.75), (0.0, 0.0), (2.0, 1.0)])
def test_scores_are_those_of_the_formula(k1, b):
  numbers = {}
  index = BM25(count_words(DOCUMENTS, numbers), k1=k1, b=b)
  queries = index.represent(count_words(QUERIES, numbers, grows=False))
  expected = [
    [slow_score(d, query, DOCUMENTS, k1, b) for d in range(len(DOCUMENTS))]
    for query in QUERIES
  ]
  np.testing.assert_allclose(index.scores(queries), expected, rtol=1e-5)
  query, document = np.indices((len(QUERIES), len(DOCUMENTS))).reshape(2, -1)
  pairs = index.pair_scores(queries, query, document)
  np.testing.assert_allclose(pairs, np.ravel(expected), rtol=1e-5)


def test_settings_out_of_their_range_are_refused():
  counts = count_words(DOCUMENTS, {})
  for settings in (dict(k1=-1), dict(b=1.5)):
    with pytest.raises(GenrecError, match='expected k1 from 0'):
      BM25(counts, **settings)


def test_words_of_any_script_are_counted_and_new_ones_left_out():
  numbers = {}
  counts = count_words(['Crème crème 😀', 'نظرة رائعة'], numbers)
  assert counts.toarray().tolist() == [[2, 0, 0], [0, 1, 1]]
  other = count_words(['crème neu'], numbers, grows=False)
  assert other.toarray().tolist() == [[1, 0, 0]]


def test_columns_of_texts_and_of_lists_are_joined():
  joined = join_texts([['Kettle', None], [['steel', None, 'red'], None]])
  assert joined == ['Kettle steel red', ' ']
