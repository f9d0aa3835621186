"""A share of the places goes to items that training never saw."""

import numpy as np
import pytest

from genrec_jax.decoding.cold_share import reserve_places
from genrec_jax.decoding.recommend import Lists
from genrec_jax.types import GenrecError


def lists_of(*rows):
  """Returns lists whose scores fall and whose tokens tell the item."""
  items = np.array(rows, np.int32)
  scores = np.broadcast_to(-np.arange(items.shape[1]) - 1.0, items.shape)
  scores = np.where(items < 0, -np.inf, scores).astype(np.float32)
  return Lists(items, scores, np.where(items < 0, 0, items)[..., None] + 3)


def test_every_fourth_place_is_kept_and_the_others_move_back():
  lists = lists_of(range(8), range(10, 18))
  cold = lists_of([90, 91, 92], [91, -1, -1])
  merged = reserve_places(lists, cold, np.arange(90, 93), 0.25)
  assert merged.items.tolist() == [
    [0, 1, 2, 90, 3, 4, 5, 91],
    [10, 11, 12, 91, 13, 14, 15, 16],  # no more cold items to list
  ]
  np.testing.assert_array_equal(merged.tokens[..., 0], merged.items + 3)
  assert merged.scores[0].tolist() == [-1, -2, -3, -1, -4, -5, -6, -2]


def test_an_item_that_comes_by_its_own_score_counts_and_comes_once():
  lists = lists_of([0, 90, 1, 2, 91, 3, 4, 5])
  merged = reserve_places(lists, lists_of([90, 91]), np.arange(90, 92), 0.25)
  assert merged.items.tolist() == [[0, 90, 1, 2, 91, 3, 4, 5]]


@pytest.mark.parametrize('share', [0.0, 0.1, 0.29, 0.5, 1.0])
def test_no_prefix_of_a_list_has_fewer_than_its_share(share):
  """And none has more, where none comes by its own score."""
  lists, cold = lists_of(range(100)), lists_of(range(100, 200))
  merged = reserve_places(lists, cold, np.arange(100, 200), share)
  found = np.cumsum(merged.items[0] >= 100)
  due = [round(share * 100) * k // 100 for k in range(1, 101)]
  assert found.tolist() == due
  assert len(set(merged.items[0].tolist())) == 100


def test_short_lists_stay_short():
  merged = reserve_places(
    lists_of([4, -1, -1]), lists_of([-1, -1, -1]), np.array([7]), 0.5
  )
  assert merged.items.tolist() == [[4, -1, -1]]
  assert np.isneginf(merged.scores[0, 1:]).all()
  assert not merged.tokens[0, 1:].any()


def test_a_share_is_from_zero_to_one():
  with pytest.raises(GenrecError, match='cold_share=1.5'):
    reserve_places(lists_of([1]), lists_of([2]), np.array([2]), 1.5)
