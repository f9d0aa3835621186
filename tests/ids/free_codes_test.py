"""Codes for later items: free, near, in a fixed order, and never others'."""

import itertools

import numpy as np
import pytest

from genrec_jax.ids.free_codes import FreeCodes
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.types import GenrecError


def some_ids(seed, sizes, count, *, variable=False):
  """Draws ids; of several lengths, an id may be the beginning of another."""
  generator = np.random.default_rng(seed)
  every = np.array(list(itertools.product(*map(range, sizes))))
  codes = generator.permutation(every)[:count]
  if variable:
    codes[generator.random(count) < 0.4, -1] = -1
    codes = np.unique(codes, axis=0)
  return ItemIds(codes=codes, codebook_sizes=sizes)


def nearest_by_brute_force(ids, vector, codebooks):
  """Sorts all free codes by the distances that a greedy search goes by."""
  taken = set(map(tuple, ids.codes.tolist()))
  free = set(itertools.product(*map(range, ids.codebook_sizes))) - taken

  def distances(code):
    left, key = vector, []
    for level, entry in enumerate(code):
      if level == len(codebooks):
        return *key, entry
      left = left - codebooks[level][entry]
      key.append(float(np.square(left).sum()))
    return tuple(key)

  return min(free, key=distances)


@pytest.mark.parametrize('digit', [(), (3,)])
@pytest.mark.parametrize('seed', range(4))
def test_the_nearest_free_code_is_that_of_brute_force(seed, digit):
  generator = np.random.default_rng(seed)
  codebooks = generator.normal(size=(3, 4, 5)).astype(np.float32)
  ids = some_ids(seed, (4, 4, 4) + digit, 50 if not digit else 170)
  free = FreeCodes(ids)
  vectors = generator.normal(size=(14, 5)).astype(np.float32)
  for vector in vectors:
    expected = nearest_by_brute_force(ids, vector, codebooks)
    assert free.take_nearest(vector, codebooks) == expected
    ids = ItemIds(
      codes=np.vstack([ids.codes, expected]), codebook_sizes=ids.codebook_sizes
    )


@pytest.mark.parametrize('variable', [False, True])
@pytest.mark.parametrize('seed', range(3))
def test_every_code_is_given_out_once_and_then_there_are_none(seed, variable):
  ids = some_ids(seed, (3, 2, 3), 9, variable=variable)
  free, generator = FreeCodes(ids), np.random.default_rng(seed)
  # Of several lengths ids may end after one code, two or three.
  room = (3 + 6 + 18 if variable else 18) - ids.num_items
  codes = list(ids.codes)
  for _ in range(room):
    rows = generator.integers(ids.num_items, size=3)
    codes.append(free.take_voted(ids.codes[rows], generator.random(3)))
  ItemIds(codes=np.array(codes), codebook_sizes=ids.codebook_sizes)
  with pytest.raises(GenrecError, match='No code is free'):
    free.take_voted(ids.codes[:2], np.ones(2))


def test_neighbours_vote_code_by_code():
  codes = [[0, 1, 0], [0, 1, 1], [0, 0, 0], [1, 2, 0], [2, 2, 2]]
  ids = ItemIds(codes=np.array(codes), codebook_sizes=(3, 3, 3))
  # 0 has .3 + .3 of the votes, 1 has .5; then of 0's voters 1 has all.
  free = FreeCodes(ids)
  taken = free.take_voted(ids.codes[[0, 1, 3]], np.array([0.3, 0.3, 0.5]))
  assert taken == (0, 1, 2)
  # 0 > 1 is full now: the next is the other code of 0 that a voter has.
  rows, weights = [0, 1, 2, 3], np.array([0.3, 0.3, 0.1, 0.5])
  assert free.take_voted(ids.codes[rows], weights) == (0, 0, 1)


def test_an_id_is_as_long_as_those_of_its_neighbours():
  codes = [[0, 0, -1], [0, 1, -1], [1, 0, 0], [1, 0, 1]]
  ids = ItemIds(codes=np.array(codes), codebook_sizes=(2, 4, 4))
  free = FreeCodes(ids)
  assert free.take_voted(ids.codes[:2], np.ones(2)) == (0, 2, -1)
  assert free.take_voted(ids.codes[2:], np.ones(2)) == (1, 0, 2)


def test_atomic_ids_have_no_room():
  ids = ItemIds(codes=np.arange(4)[:, None], codebook_sizes=(4,))
  with pytest.raises(GenrecError, match='atomic_ids cannot grow'):
    FreeCodes(ids).take_voted(ids.codes[:1], np.ones(1))
