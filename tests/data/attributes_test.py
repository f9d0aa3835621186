import numpy as np
import pyarrow as pa
import pytest

from genrec_jax.data.attributes import draw_wishes, read_attributes
from genrec_jax.types import GenrecError

ITEMS = pa.table(
  {
    'item_id': [f'i{i}' for i in range(12)],
    'attributes': [
      ['Comedy', 'Drama', 'Drama'],
      ['Comedy'],
      None,
      ['Drama', 'Noir'],
      [],
      *[['Comedy', 'Drama']] * 7,
    ],
    'brand': ['Oakrill', None, 'Quillan', *['Oakrill'] * 9],
    'year': list(range(1990, 2002)),
  }
)


def test_attributes_that_few_items_have_are_no_wishes():
  attributes = read_attributes(ITEMS, min_items=2)
  assert attributes.values == ['Comedy', 'Drama']
  assert attributes.of_item[0].tolist() == [0, 1]
  assert attributes.of_item[3].tolist() == [1]
  assert read_attributes(ITEMS, 'brand', min_items=1).values == [
    'Oakrill',
    'Quillan',
  ]


def test_items_with_an_attribute_are_known_and_none_has_no_wish():
  attributes = read_attributes(ITEMS, min_items=2)
  has = attributes.items_with(np.array([1, -1, 0, 1]))
  late = list(range(5, 12))
  assert np.flatnonzero(has[0]).tolist() == [0, 3, *late]
  assert not has[1].any()
  assert np.flatnonzero(has[2]).tolist() == [0, 1, *late]
  assert (has[3] == has[0]).all()


def test_a_wish_is_of_the_target_and_always_the_same():
  attributes = read_attributes(ITEMS, min_items=2)
  user = np.arange(4000, dtype=np.int32)
  target = user % 12
  wishes = draw_wishes(attributes, user, target)
  assert (wishes == draw_wishes(attributes, user, target)).all()
  # One example alone has the wish that it has among others.
  assert draw_wishes(attributes, user[77:78], target[77:78]) == wishes[77]
  assert (wishes[np.isin(target, (2, 4))] == -1).all()
  assert (wishes[target == 1] == 0).all() and (wishes[target == 3] == 1).all()
  # Both of two attributes are wished for equally often (5 deviations).
  both = wishes[target > 4]
  assert abs(both.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(both))


@pytest.mark.parametrize(
  'column, complaint',
  [
    ('genre', "no column 'genre'; expected one of: item_id, attributes"),
    ('year', 'expected texts'),
    ('item_id', 'shared by 5 of the 12 items'),
  ],
)
def test_a_column_without_wishes_says_which_to_take(column, complaint):
  with pytest.raises(GenrecError, match=complaint):
    read_attributes(ITEMS, column)
