"""Tests of the baselines, against cases counted by hand."""

import numpy as np
import pytest

from genrec_jax.baselines.item_knn import ItemKNN
from genrec_jax.baselines.markov import Markov
from genrec_jax.baselines.popularity import Popularity
from genrec_jax.baselines.protocol import recommend, top_items
from genrec_jax.data.token_cache import Ragged
from genrec_jax.types import GenrecError

# Sequences 0 1 2, 0 1, 3 1 0; item 4 is never used.
USER = np.array([0, 0, 0, 1, 1, 2, 2, 2])
ITEM = np.array([0, 1, 2, 0, 1, 3, 1, 0])
NUM_ITEMS = 5


def histories(*rows):
  return Ragged.from_rows(rows)


def test_popularity_counts_train_interactions():
  popularity = Popularity().fit(USER, ITEM, NUM_ITEMS)
  np.testing.assert_array_equal(
    popularity.scores(np.array([[-1, 2]])), [[3, 3, 1, 1, 0]]
  )


def test_markov_counts_what_followed_the_last_item():
  markov = Markov().fit(USER, ITEM, NUM_ITEMS)
  np.testing.assert_array_equal(
    markov.scores(np.array([[-1, 0], [3, 1], [-1, 2], [-1, -1]])),
    [[0, 2, 0, 0, 0], [1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]],
  )


def test_markov_does_not_step_from_one_user_to_the_next():
  markov = Markov().fit(USER, ITEM, NUM_ITEMS)
  assert markov.followers[2].sum() == 0  # user 0 ends with 2, user 1 begins


def test_markov_falls_back_on_popularity():
  markov = Markov().fit(USER, ITEM, NUM_ITEMS)
  popularity = Popularity().fit(USER, ITEM, NUM_ITEMS)
  last_was_never_followed = histories([2], [4])
  np.testing.assert_array_equal(
    recommend(markov, last_was_never_followed, top_k=4),
    recommend(popularity, last_was_never_followed, top_k=4),
  )


def test_item_knn_sums_cosines_of_user_sets():
  # Users of items: 0 {0,1,2}, 1 {0,1,2}, 2 {0}, 3 {2}; a repeat adds nothing.
  knn = ItemKNN().fit(np.append(USER, 0), np.append(ITEM, 0), NUM_ITEMS)
  third = 1 / np.sqrt(3)
  np.testing.assert_allclose(
    knn.scores(np.array([[-1, 0], [2, 1]])),
    [[0, 1, third, third, 0], [1 + third, third, third, third, 0]],
    rtol=1e-6,
  )


def test_item_knn_weighs_older_items_less():
  knn = ItemKNN(recency=0.5).fit(USER, ITEM, NUM_ITEMS)
  one = knn.scores(np.array([[-1, -1, 2], [-1, -1, 0]]))
  both = knn.scores(np.array([[-1, 2, 0]]))
  np.testing.assert_allclose(both[0], 0.5 * one[0] + one[1], rtol=1e-6)


def test_item_knn_keeps_the_nearest_neighbours_alone():
  knn = ItemKNN(num_neighbours=1).fit(USER, ITEM, NUM_ITEMS)
  third = 1 / np.sqrt(3)
  np.testing.assert_allclose(
    knn.scores(np.array([[0], [1]])), [[0, 1, 0, 0, 0], [1, 0, 0, 0, 0]]
  )
  # Items 0 and 1 are equally near to item 2: one of them counts.
  assert sorted(knn.scores(np.array([[2]]))[0]) == pytest.approx(
    [0, 0, 0, 0, third]
  )


@pytest.mark.parametrize('baseline', [Popularity(), Markov(), ItemKNN()])
def test_lists_hold_every_unseen_item_once(baseline):
  baseline.fit(USER, ITEM, NUM_ITEMS)
  lists = recommend(baseline, histories([0, 1], [4], []), top_k=7)
  assert lists.dtype == np.int32 and lists.shape == (3, 7)
  assert sorted(lists[0]) == [-1, -1, -1, -1, 2, 3, 4]
  assert sorted(lists[1]) == [-1, -1, -1, 0, 1, 2, 3]
  assert sorted(lists[2]) == [-1, -1, 0, 1, 2, 3, 4]
  assert (lists[:, -2:] == -1).all()
  seen = recommend(baseline, histories([0, 1]), top_k=5, exclude_seen=False)
  assert sorted(seen[0]) == [0, 1, 2, 3, 4]


def test_blocks_do_not_change_the_lists(monkeypatch):
  baseline = ItemKNN().fit(USER, ITEM, NUM_ITEMS)
  rows = histories([0], [1, 2, 3], [], [4, 0], [2])
  whole = recommend(baseline, rows, top_k=3)
  monkeypatch.setattr('genrec_jax.baselines.protocol.SCORES_AT_A_TIME', 10)
  np.testing.assert_array_equal(recommend(baseline, rows, top_k=3), whole)


def test_equal_scores_go_by_popularity_then_by_a_seeded_order():
  user, item = np.arange(40), np.repeat(np.arange(20), 2)
  item[-1] = 0  # item 0 three times, 19 once, the others twice
  lists = [
    recommend(Markov(seed=seed).fit(user, item, 20), histories([]), top_k=20)[0]
    for seed in (0, 0, 1)
  ]
  np.testing.assert_array_equal(lists[0], lists[1])
  assert (lists[0] != lists[2]).any()
  for ranking in lists:
    assert (ranking[0], ranking[-1]) == (0, 19)
    assert (np.diff(ranking[1:-1]) < 0).any()  # not by item number


def test_top_items_agrees_with_a_full_sort():
  generator = np.random.default_rng(0)
  scores = generator.integers(-2, 3, size=(50, 30)) * np.float32(0.5)
  scores[generator.random(scores.shape) < 0.5] = -np.inf
  scores[generator.random(scores.shape) < 0.1] = -0.0
  rank = generator.permutation(30)
  best = top_items(scores, rank, 20)
  for row, found in zip(scores, best):
    expected = np.lexsort((rank, -row))[:20]
    expected = np.where(row[expected] == -np.inf, -1, expected)
    np.testing.assert_array_equal(found, expected)


def test_settings_out_of_range_are_refused():
  with pytest.raises(GenrecError, match='recency=2'):
    ItemKNN(recency=2)
  with pytest.raises(GenrecError, match='top_k=0'):
    recommend(Popularity().fit(USER, ITEM, NUM_ITEMS), histories([0]), top_k=0)
