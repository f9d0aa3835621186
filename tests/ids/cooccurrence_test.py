"""Tests of counting which items are taken together, and of the cut."""

import numpy as np
import pytest
import scipy.sparse

from genrec_jax.ids import cooccurrence
from genrec_jax.ids.cooccurrence import (
  count_cooccurrences,
  distance_weights,
  normalized_cut,
)
from genrec_jax.types import GenrecError


def histories(num_users=60, num_items=30):
  generator = np.random.default_rng(0)
  lengths = generator.integers(1, 12, num_users)
  user = np.repeat(np.arange(num_users), lengths)
  return user, generator.integers(0, num_items, len(user))


def by_hand(user, item, num_items, window):
  counts = np.zeros((num_items, num_items))
  for who in set(user.tolist()):
    taken = item[user == who]
    if window is None:
      taken = np.unique(taken)
    for i, a in enumerate(taken):
      for j, b in enumerate(taken):
        if a != b and (window is None or abs(i - j) <= window):
          counts[a, b] += 1 if window is None else 1 / abs(i - j)
  return counts


@pytest.mark.parametrize('window', [None, 1, 3])
@pytest.mark.parametrize('pairs_per_chunk', [1, 50, 2**24])
def test_counts_are_those_made_by_hand(window, pairs_per_chunk):
  user, item = histories()
  counts = count_cooccurrences(
    user, item, 30, window=window, pairs_per_chunk=pairs_per_chunk
  )
  np.testing.assert_allclose(
    counts.toarray(), by_hand(user, item, 30, window), rtol=1e-5
  )


@pytest.mark.parametrize('window', [None, 5, 30])
def test_counts_do_not_depend_on_the_chunks(window):
  user, item = histories()
  first, second = (
    count_cooccurrences(user, item, 30, window=window, pairs_per_chunk=size)
    for size in (1, 2**24)
  )
  for name in ('indptr', 'indices', 'data'):
    np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize('window', [None, 3])
def test_pairs_that_count_too_little_are_left_out(window):
  user, item = histories()
  every = count_cooccurrences(user, item, 30, window=window).toarray()
  some = count_cooccurrences(user, item, 30, window=window, min_count=1.5)
  np.testing.assert_array_equal(
    some.toarray(), np.where(every >= 1.5, every, 0)
  )
  assert 0 < some.nnz < (every > 0).sum()


@pytest.mark.parametrize('window', [1, 5, 20])
def test_weights_are_whole_numbers_of_one_unit(window):
  one, weights = distance_weights(window)
  np.testing.assert_array_equal(weights, weights.round())
  np.testing.assert_allclose(weights / one, 1 / np.arange(1, window + 1))


def test_the_order_of_users_does_not_matter():
  user, item = histories()
  order = np.random.default_rng(1).permutation(len(user))
  mixed = count_cooccurrences(user[order], item[order], 30)
  assert (mixed != count_cooccurrences(user, item, 30)).nnz == 0


def test_no_interaction_makes_an_empty_graph():
  nothing = np.zeros(0, np.int32)
  assert count_cooccurrences(nothing, nothing, 5).nnz == 0


def test_histories_too_long_to_count_ask_for_a_window(monkeypatch):
  user, item = histories()
  monkeypatch.setattr(cooccurrence, 'MAX_PAIRS', 100)
  with pytest.raises(GenrecError, match='expected at most 100. Set window'):
    count_cooccurrences(user, item, 30)


def test_normalized_cut_by_hand():
  edges = [[0, 2, 0, 0], [2, 0, 1, 0], [0, 1, 0, 3], [0, 0, 3, 0]]
  graph = scipy.sparse.csr_array(np.array(edges, np.float32))
  cut = normalized_cut(graph, np.array([7, 7, 3, 3]))
  assert cut == pytest.approx(1 / 5 + 1 / 7)
  assert normalized_cut(graph, np.zeros(4, int)) == 0
