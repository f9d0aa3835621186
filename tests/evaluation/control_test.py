"""Shares by hand."""

import numpy as np
import pytest

from genrec_jax.evaluation.control import measure_lists, measure_texts
from genrec_jax.types import GenrecError

# Items 0..5; attribute 0: the even ones, attribute 1: the first two.
HAS = np.array([[1, 0, 1, 0, 1, 0], [1, 1, 0, 0, 0, 0]], bool)
LISTS = np.array(
  [[0, 1, 2, 4], [3, 1, 0, 5], [5, 3, 1, 0], [2, -1, -1, -1], [-1] * 4]
)


def test_the_share_of_items_that_obey_is_counted_by_hand():
  wish = np.array([0, 1, -1, 0, 1])
  found = measure_lists(LISTS, HAS, wish, cutoffs=(1, 2, 4))
  assert found['obey_n'] == 4
  # The third wishes for nothing; the last has no items and does not obey.
  assert found['obey@1'] == (1 + 0 + 1 + 0) / 4
  assert found['obey@2'] == (1 / 2 + 1 / 2 + 1 + 0) / 4
  assert found['obey@4'] == (3 / 4 + 2 / 4 + 1 + 0) / 4


def test_chance_is_what_the_same_lists_obey_of_other_wishes():
  random = np.random.default_rng(0)
  wish = random.integers(4, size=2000)
  has = np.arange(40) % 4 == np.arange(4)[:, None]
  obedient = wish[:, None] + 4 * np.arange(10)
  found = measure_lists(obedient, has, wish)
  assert found['obey@1'] == found['obey@5'] == found['obey@10'] == 1
  # A fourth of the wishes is the same by chance (5 deviations).
  assert abs(found['obey_by_chance@1'] - 0.25) < 5 * np.sqrt(0.1875 / 2000)
  again = measure_lists(obedient, has, wish)
  assert again == found


def test_texts_obey_that_name_the_feature_in_words():
  texts = [
    'The battery life is superb.',
    'Life is short, and so is the battery.',
    'A Battery-life to like',
    'Nice strings',
    'No wish',
  ]
  wishes = ['battery life', 'battery life', 'battery life', 'string', None]
  found = measure_texts(texts, wishes)
  assert found['obey_n'] == 4
  assert found['obey'] == 2 / 4
  same = measure_texts(texts[:3], wishes[:3])
  assert same['obey_by_chance'] == same['obey'] == pytest.approx(2 / 3)


def test_what_cannot_be_measured_is_refused():
  none = np.full(5, -1)
  for arguments, complaint in (
    ((LISTS, HAS, none[:3]), '3 wishes for 5 lists'),
    ((LISTS, HAS, none), 'raise num_beams'),
  ):
    with pytest.raises(GenrecError, match=complaint):
      measure_lists(*arguments)
  with pytest.raises(GenrecError, match='No example has a wish'):
    measure_lists(LISTS, HAS, none, cutoffs=(1,))
  with pytest.raises(GenrecError, match='No text has a wish'):
    measure_texts(['a'], [''])
  with pytest.raises(GenrecError, match='2 wishes for 1 texts'):
    measure_texts(['a'], ['b', 'c'])
