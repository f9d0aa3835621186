"""Names that people are shown, and rows found by the names they give."""

import pyarrow as pa
import pytest

from genrec_jax.data.lookup import NAME_LENGTH, Lookup, item_names
from genrec_jax.types import GenrecError

ITEMS = Lookup('item', ['a1', 'b2', 'c3', 'd4'], ['Tea Pot', 'Cup', 'Cup', ' '])


def test_a_row_is_found_by_id_or_by_title():
  assert [ITEMS.find(name) for name in ('b2', 'Tea Pot', ' a1 ')] == [1, 0, 0]
  assert ITEMS.get('Saucer') is None
  assert ITEMS.get(' ') is None


def test_an_id_wins_over_a_title():
  assert Lookup('item', ['x', 'y'], ['y', 'z']).find('y') == 1


def test_a_title_of_several_is_refused_with_their_ids():
  with pytest.raises(GenrecError, match="2 items are called 'Cup'.*b2, c3"):
    ITEMS.find('Cup')


def test_a_name_that_is_near_is_told():
  with pytest.raises(GenrecError, match="'tea pott'; near it are 'Tea Pot'"):
    ITEMS.find('tea pott')
  with pytest.raises(GenrecError, match="No user has the id 'zzz'; there are"):
    Lookup('user', ['u1', 'u2']).find('zzz')


def test_names_are_one_line_of_limited_length_and_never_blank():
  titles = ['two\n\tlines ', ' \t ', None, '😀' * 500, 'é' * NAME_LENGTH]
  items = pa.table({'item_id': [*'abcde'], 'title': titles})
  names = item_names(items)
  assert names[:3] == ['two lines', 'b', 'c']
  assert names[3] == '😀' * (NAME_LENGTH - 1) + '…'
  assert names[4] == titles[4]
