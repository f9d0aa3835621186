"""What lists favour, against sums written out and scipy."""

import itertools
import math

import numpy as np
import pytest
import scipy.sparse
import scipy.stats
from sklearn.metrics.pairwise import cosine_similarity

from genrec_jax.data.token_cache import Ragged
from genrec_jax.evaluation import beyond_accuracy, bias
from genrec_jax.types import GenrecError

NUM_ITEMS = 30


@pytest.fixture
def rng():
  return np.random.default_rng(0)


def draw_lists(rng, num_lists=20, k=6):
  """Lists without repeats, some cut short, one empty."""
  lists = np.stack([rng.permutation(NUM_ITEMS)[:k] for _ in range(num_lists)])
  for example in range(0, num_lists, 3):
    lists[example, rng.integers(1, k) :] = -1
  lists[1] = -1
  return lists


def draw_histories(rng, num_lists=20):
  rows = [
    rng.integers(0, NUM_ITEMS, rng.integers(1, 8)) for _ in range(num_lists)
  ]
  return Ragged.from_rows([[], *rows[1:]])


def listed(lists):
  return [[item for item in row if item >= 0] for row in lists.tolist()]


def test_exposure_coverage_and_gini_are_counted(rng):
  lists = draw_lists(rng)
  exposed = bias.exposure(lists, NUM_ITEMS, k=4)
  shown = [item for row in listed(lists[:, :4]) for item in row]
  assert exposed.tolist() == [shown.count(item) for item in range(NUM_ITEMS)]
  assert bias.coverage(exposed) == len(set(shown)) / NUM_ITEMS
  # Half of the mean difference of two different items, by their mean.
  apart = [abs(a - b) for a, b in itertools.permutations(exposed.tolist(), 2)]
  expected = sum(apart) / len(apart) / exposed.mean() / 2
  assert bias.gini(exposed) == pytest.approx(expected)


@pytest.mark.parametrize(
  ('exposed', 'expected'),
  [([5, 5, 5], 0.0), ([0, 9, 0], 1.0), ([0, 0], None), ([3], None)],
)
def test_gini_at_its_ends(exposed, expected):
  found = bias.gini(np.array(exposed))
  assert found == (None if expected is None else pytest.approx(expected))


def test_the_lorenz_curve_lies_as_far_below_the_diagonal_as_gini_says(rng):
  exposed = rng.integers(0, 50, 100)
  curve = bias.lorenz(exposed, num_points=101)
  area = np.trapezoid(curve, np.linspace(0, 1, 101))
  # Its area counts each item with itself, too.
  assert 1 - 2 * area == pytest.approx(bias.gini(exposed) * 99 / 100)
  assert curve == sorted(curve) and curve[0] == 0 and curve[-1] == 1


def test_popularity_groups_take_the_counts_from_above():
  """Of 100 interactions: 30 begin below 20, the tens below 80."""
  counts = np.array([10, 30, 10, 10, 10, 10, 10, 5, 5, 0])
  groups = bias.popularity_groups(counts)
  # All tens begin at 30, the fives at 90, together.
  expected = [1, 0, 1, 1, 1, 1, 1, 2, 2, 2]
  assert groups.tolist() == expected
  order = np.random.default_rng(1).permutation(len(counts))
  again = bias.popularity_groups(counts[order])
  assert again.tolist() == groups[order].tolist()


def test_a_head_of_a_fifth_is_full():
  counts = np.array([20, *[16] * 5])
  assert bias.popularity_groups(counts).tolist() == [0, *[1] * 5]


def test_items_of_no_interactions_are_the_tail():
  assert bias.popularity_groups(np.zeros(3, int)).tolist() == [2, 2, 2]


def test_shares_of_groups_are_sums():
  shares = bias.group_shares(
    np.array([4, 0, 4]), np.array([6, 3, 1]), np.array([0, 1, 1]), 3
  )
  assert shares == {
    'exposure': [0.5, 0.5, 0.0],
    'interactions': [0.6, pytest.approx(0.4), 0.0],
    'items': [pytest.approx(1 / 3), pytest.approx(2 / 3), 0.0],
  }


def test_lift_is_that_of_mean_profiles(rng):
  lists, histories = draw_lists(rng), draw_histories(rng)
  counts = rng.integers(0, 40, NUM_ITEMS)
  found = bias.popularity_lift(
    bias.mean_of_lists(counts, lists), bias.mean_of_histories(counts, histories)
  )
  of_lists, of_histories = [], []
  for row, items in enumerate(listed(lists)):
    history = histories[row].tolist()
    if items and history:
      of_lists.append(sum(counts[i] for i in items) / len(items))
      of_histories.append(sum(counts[i] for i in history) / len(history))
  assert len(of_lists) == 18  # one list is empty, and one history
  gap = np.mean(of_lists) / np.mean(of_histories) - 1
  assert found == pytest.approx(gap)


def test_lift_of_nobody_is_none():
  nothing = np.full(3, np.nan)
  assert bias.popularity_lift(nothing, np.ones(3)) is None
  assert bias.popularity_lift(np.ones(3), np.zeros(3)) is None


def test_miscalibration_is_the_divergence_of_scipy(rng, monkeypatch):
  monkeypatch.setattr(bias, '_LISTS_AT_ONCE', 7)  # the last block is shorter
  lists, histories = draw_lists(rng), draw_histories(rng)
  has = rng.random((NUM_ITEMS, 5)) < 0.3
  has[3] = False

  def distribution(items):
    weights = [has[i] / has[i].sum() for i in items if has[i].any()]
    return np.sum(weights, axis=0) / len(weights) if weights else None

  expected = []
  for row, items in enumerate(listed(lists)):
    p, q = distribution(histories[row]), distribution(items)
    if p is not None and q is not None:
      expected.append(scipy.stats.entropy(p, 0.99 * q + 0.01 * p))
  matrix = scipy.sparse.csr_array(has.astype(float))
  found = bias.miscalibration(lists, histories, matrix)
  assert found == pytest.approx(np.mean(expected))


def test_a_list_like_its_history_is_calibrated():
  has = scipy.sparse.csr_array(np.eye(3))
  history = Ragged.from_rows([[0, 1]])
  assert bias.miscalibration(np.array([[1, 0]]), history, has) == 0
  # Nothing in common: log(1 / 0.01).
  found = bias.miscalibration(np.array([[2, -1]]), history, has)
  assert found == pytest.approx(math.log(100))
  assert bias.miscalibration(np.array([[-1, -1]]), history, has) is None


def test_total_variation_is_what_has_to_move():
  assert bias.total_variation([0.5, 0.5, 0], [0, 0.5, 0.5]) == 0.5


def test_novelty_is_in_bits_and_counts_unknown_items_once():
  information = beyond_accuracy.self_information(np.array([8, 4, 1, 0]), 8)
  assert information.tolist() == [0, 1, 3, 3]
  lists = np.array([[0, 1], [3, -1], [-1, -1]])
  assert beyond_accuracy.novelty(lists, information) == (0.5 + 3) / 2


def test_diversity_is_that_of_all_pairs(rng, monkeypatch):
  monkeypatch.setattr(beyond_accuracy, '_LISTS_AT_ONCE', 7)
  vectors = rng.integers(0, 2, (NUM_ITEMS, 12)) * 1.0
  vectors[5] = 0  # never in train: like no other
  alike = cosine_similarity(vectors)
  lists = draw_lists(rng)
  expected = [
    np.mean([1 - alike[a, b] for a, b in itertools.combinations(items, 2)])
    for items in listed(lists)
    if len(items) > 1
  ]
  found = beyond_accuracy.intra_list_diversity(
    lists, scipy.sparse.csr_array(vectors)
  )
  assert found == pytest.approx(np.mean(expected), abs=1e-6)


def test_personalisation_is_that_of_all_pairs(rng):
  lists = draw_lists(rng)
  overlaps = [
    len(set(a) & set(b)) / 6
    for a, b in itertools.combinations(listed(lists), 2)
  ]
  exposed = bias.exposure(lists, NUM_ITEMS, k=6)
  found = beyond_accuracy.personalisation(exposed, len(lists), 6)
  assert found == pytest.approx(1 - np.mean(overlaps))
  assert beyond_accuracy.personalisation(exposed, 1, 6) is None


def test_what_popularity_finds_is_no_serendipity():
  lists = np.array([[1, 2], [1, 2], [3, -1]])
  expected = np.array([[5, 2], [5, 6], [-1, -1]])
  found = beyond_accuracy.serendipity(lists, expected, np.array([2, 2, 9]))
  assert found.tolist() == [False, True, False]


@pytest.mark.parametrize(
  ('lists', 'k', 'match'),
  [
    (np.array([[1, 2]]), 3, 'k=3'),
    (np.array([1, 2]), 1, 'shape'),
    (np.array([[-2]]), 1, 'item -2'),
    (np.array([[99]]), 1, 'item 99'),
  ],
)
def test_what_are_no_lists_is_refused(lists, k, match):
  with pytest.raises(GenrecError, match=match):
    bias.exposure(lists, NUM_ITEMS, k=k)
