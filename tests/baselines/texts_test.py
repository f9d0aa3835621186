"""Text floors: which train text is copied."""

import numpy as np
import pytest

from genrec_jax.baselines.texts import (
  MostFrequentText,
  RetrievalCopy,
  first_sentence,
)
from genrec_jax.types import GenrecError

USER = np.array([0, 1, 2, 0, 3])
ITEM = np.array([0, 0, 0, 1, 2])
TEXTS = [
  'The strap is fine',
  'The lid is poor, a poor lid',
  'The strap broke',
  'Another lid, and a good one',
  'The strap is fine',
]


def test_most_frequent_text_is_the_same_for_everyone():
  baseline = MostFrequentText().fit(USER, ITEM, TEXTS)
  assert baseline.predict(np.array([0, 9]), np.array([5, 1])) == [TEXTS[0]] * 2


def test_equally_frequent_texts_go_by_the_abc_not_by_rows():
  texts = ['b', 'a', 'b', 'c', 'a']
  baseline = MostFrequentText().fit(USER, ITEM, texts)
  assert baseline.predict(USER[:1], ITEM[:1]) == ['a']


def test_copies_a_text_of_the_item_that_is_nearest_to_the_users():
  baseline = RetrievalCopy().fit(USER, ITEM, TEXTS)
  # User 0 spoke of straps and lids; of item 1 there is one text alone.
  assert baseline.predict(np.array([3]), np.array([0])) == [TEXTS[0]]
  assert baseline.predict(np.array([3]), np.array([1])) == [TEXTS[3]]


def test_copies_what_is_nearest_to_the_query():
  baseline = RetrievalCopy().fit(USER, ITEM, TEXTS)
  item = np.zeros(2, int)
  found = baseline.predict(item, item, ['My lid is poor!', 'It broke; a strap'])
  assert found == [TEXTS[1], TEXTS[2]]


def test_copies_from_the_user_and_then_from_all():
  baseline = RetrievalCopy().fit(USER, ITEM, TEXTS)
  new_item, new_user = np.array([7, 7]), np.array([2, 8])
  assert baseline.predict(new_user, new_item) == [TEXTS[2], TEXTS[0]]


def test_rows_do_not_decide():
  order = np.array([4, 2, 0, 3, 1])
  user, item = np.repeat([0, 1, 2, 9], 3), np.tile([0, 1, 2], 4)
  lists = [
    RetrievalCopy()
    .fit(USER[rows], ITEM[rows], [TEXTS[row] for row in rows])
    .predict(user, item)
    for rows in (np.arange(5), order)
  ]
  assert lists[0] == lists[1]


@pytest.mark.parametrize(
  'text, first',
  [
    ('Works well. Buy it!', 'Works well.'),
    ('Version 2.5 is fine', 'Version 2.5 is fine'),
    (' So?\nNo', 'So?'),
    ('one line\nand more', 'one line'),
    ('', ''),
  ],
)
def test_first_sentence(text, first):
  assert first_sentence(text) == first


def test_refuses_to_learn_from_nothing():
  with pytest.raises(GenrecError, match='no train texts'):
    MostFrequentText().fit(USER[:0], ITEM[:0], [])
  with pytest.raises(GenrecError, match='no words'):
    RetrievalCopy().fit(USER[:2], ITEM[:2], ['!', ''])
