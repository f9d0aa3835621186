"""Tests of ids made of title pieces."""

import numpy as np
import pytest

from genrec_jax.ids.textual import textual_ids
from genrec_jax.types import GenrecError

NOTHING = np.zeros(0, np.int32)
TITLES = ['Tea pot', 'tea POT', 'Tea cup', 'Tea', None, 'Sugar bowl, blue', '']


def ids_of(titles=TITLES, **kwargs):
  return textual_ids(NOTHING, NOTHING, 0, len(titles), titles=titles, **kwargs)


def test_titles_that_start_alike_share_their_first_codes():
  codes = ids_of().codes
  assert (codes[:4, 0] == codes[0, 0]).all() and codes[5, 0] != codes[0, 0]
  assert codes[0, 1] == codes[1, 1] != codes[2, 1]


def test_ids_are_as_long_as_their_titles():
  ids = ids_of()
  lengths = (ids.codes >= 0).sum(axis=1)
  assert lengths.tolist() == [3, 3, 2, 1, 1, 3, 1]
  assert ids.layout().variable_length
  assert ids.facts['items_without_text'] == 2


def test_equal_titles_differ_in_a_number_alone():
  codes = ids_of().codes
  assert sorted(codes[:2, 2].tolist()) == [1, 2]  # 0 is "blue"
  assert (codes[0, :2] == codes[1, :2]).all()


def test_rare_pieces_are_left_out():
  codes = ids_of(['a b', 'a b', 'a rare', 'b'], num_pieces=2).codes
  assert (codes[2] >= 0).sum() == 1


def test_any_tokenizer_cuts_the_titles():
  codes = ids_of(['ab', 'ac', 'b'], pieces=list, num_levels=1).codes
  assert codes[0, 0] == codes[1, 0] != codes[2, 0]


def test_the_source_order_of_items_has_no_say():
  order = np.random.default_rng(0).permutation(len(TITLES))
  unequal = [1, 2, 3, 5]  # of the others the number depends on the row
  mixed = ids_of([TITLES[row] for row in order]).codes
  place = np.argsort(order)
  np.testing.assert_array_equal(
    mixed[place[unequal], :2], ids_of().codes[unequal, :2]
  )


@pytest.mark.parametrize(
  ('titles', 'num_items', 'message'),
  [
    (['a'], 2, 'Got 1 titles for 2 items'),
    (['', None], 2, 'None of the 2 titles has a piece'),
  ],
)
def test_titles_that_make_no_ids_are_refused(titles, num_items, message):
  with pytest.raises(GenrecError, match=message):
    textual_ids(NOTHING, NOTHING, 0, num_items, titles=titles)
