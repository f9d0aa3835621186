"""Tests of ids that need no model, and of user codes."""

import functools

import numpy as np
import pytest

from genrec_jax.ids.simple import (
  atomic_ids,
  hybrid_ids,
  random_ids,
  sequential_ids,
  shuffle_ids,
)
from genrec_jax.ids.users import hashed_users, svd_users, users_as_items
from genrec_jax.types import GenrecError

NOTHING = np.zeros(0, np.int32)


def test_random_ids_fill_even_a_full_table():
  ids = random_ids(NOTHING, NOTHING, 0, 27, num_levels=3, codebook_size=3)
  assert (ids.codes[:, 0] != np.arange(27) // 9).any()
  assert np.bincount(ids.codes[:, 0]).tolist() == [9, 9, 9]


def test_random_ids_need_room():
  with pytest.raises(GenrecError, match='make 8 ids; expected at least the 9'):
    random_ids(NOTHING, NOTHING, 0, 9, num_levels=3, codebook_size=2)


def test_shuffled_ids_are_the_same_set_for_other_items():
  ids = random_ids(NOTHING, NOTHING, 0, 50)
  shuffled = shuffle_ids(ids, seed=1)
  assert (shuffled.codes != ids.codes).any(axis=1).mean() > 0.8
  np.testing.assert_array_equal(
    np.unique(shuffled.codes, axis=0), np.unique(ids.codes, axis=0)
  )
  assert shuffled.facts == {'method': 'random_ids', 'shuffled': True}


def test_an_atomic_id_is_one_token():
  ids = atomic_ids(NOTHING, NOTHING, 0, 200)
  assert ids.layout().item_tokens(ids.codes).shape == (200, 1)
  assert ids.vectors is None


def test_an_atomic_id_keeps_the_vectors_it_is_given():
  bare = atomic_ids(NOTHING, NOTHING, 0, 20, seed=3)
  wide = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
  ids = atomic_ids(
    NOTHING, NOTHING, 0, 20, seed=3, item_vectors=lambda *_, seed: wide + seed
  )
  np.testing.assert_array_equal(ids.vectors, wide + 3)
  np.testing.assert_array_equal(ids.codes, bare.codes)
  with pytest.raises(GenrecError):
    atomic_ids(NOTHING, NOTHING, 0, 9, item_vectors=lambda *_, seed: wide)


def test_hashed_users_fill_their_buckets_and_stay_when_others_come():
  codes, sizes = hashed_users(NOTHING, NOTHING, 20_000, 0, num_codes=50)
  counts = np.bincount(codes[:, 0], minlength=50)
  assert sizes == (50,) and counts.min() > 300 and counts.max() < 500
  fewer, _ = hashed_users(NOTHING, NOTHING, 100, 0, num_codes=50)
  np.testing.assert_array_equal(codes[:100], fewer)
  other, _ = hashed_users(NOTHING, NOTHING, 100, 0, num_codes=50, seed=1)
  assert (other != fewer).mean() > 0.9


def test_users_of_like_taste_share_their_code():
  user = np.repeat(np.arange(40), 3)
  item = (user % 2) * 3 + np.tile(np.arange(3), 40)

  def vectors(user, item, num_users, num_items, *, seed):
    return np.repeat(np.eye(2, dtype=np.float32), 3, axis=0)

  codes, sizes = svd_users(
    user, item, 41, 6, item_vectors=vectors, codebook_size=3
  )
  assert sizes == (3,)
  assert len({tuple(codes[n::2, 0][:20]) for n in (0, 1)}) == 2
  assert [len(set(codes[n:40:2, 0])) for n in (0, 1)] == [1, 1]


def test_sequential_ids_number_items_along_histories():
  user, item = np.array([1, 0, 1, 0]), np.array([4, 2, 0, 4])
  ids = sequential_ids(user, item, 2, 5, codebook_size=3, allow_leaky=True)
  number = ids.codes @ [3, 1]
  assert number[[2, 4, 0]].tolist() == [0, 1, 2]
  assert sorted(number[[1, 3]].tolist()) == [3, 4]
  assert ids.facts['leaky'] is True


def test_sequential_ids_are_refused_outside_an_audit():
  with pytest.raises(GenrecError, match='leak what comes next'):
    sequential_ids(NOTHING, NOTHING, 0, 5)


@pytest.mark.parametrize(('last', 'levels'), [(atomic_ids, 3), (None, 3)])
def test_hybrid_ids_share_what_one_method_says_and_end_uniquely(last, levels):
  shared = functools.partial(random_ids, num_levels=4, codebook_size=3)
  ids = hybrid_ids(
    NOTHING, NOTHING, 0, 40, shared=shared, num_shared=2, last=last
  )
  leading = shared(NOTHING, NOTHING, 0, 40, seed=0)
  np.testing.assert_array_equal(ids.codes[:, :2], leading.codes[:, :2])
  assert ids.num_levels == levels
  assert ids.facts['shared'] == leading.facts


def test_hybrid_ids_refuse_more_codes_than_there_are():
  with pytest.raises(GenrecError, match='num_shared=4 codes were asked'):
    hybrid_ids(NOTHING, NOTHING, 0, 9, shared=random_ids, num_shared=4)


def test_users_get_the_codes_that_a_method_gives_items_in_their_place():
  def by_role(user, item, num_users, num_items, *, seed):
    assert user.tolist() == [5, 6] and item.tolist() == [0, 1]
    return random_ids(user, item, num_users, num_items, seed=seed)

  roles = (np.array([0, 1]), np.array([5, 6]), 2, 7)
  codes, sizes = users_as_items(*roles, method=by_role, num_levels=2)
  assert codes.shape == (2, 2) and sizes == (256, 256)
  with pytest.raises(GenrecError, match='set num_levels between 1 and 3'):
    users_as_items(*roles, method=by_role, num_levels=4)
