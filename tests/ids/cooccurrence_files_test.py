"""Tests of counts of pairs on the disk."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from genrec_jax.ids import cooccurrence_files
from genrec_jax.ids.collaborative import collaborative_indexing
from genrec_jax.ids.cooccurrence import count_cooccurrences
from genrec_jax.ids.cooccurrence_files import (
  load_counts,
  save_counts,
  train_sha256,
)
from genrec_jax.ids.svd import item_factors
from genrec_jax.types import GenrecError

NUM_USERS, NUM_ITEMS, WINDOW = 60, 30, 3


@pytest.fixture
def histories():
  generator = np.random.default_rng(0)
  user = np.repeat(np.arange(NUM_USERS), generator.integers(2, 12, NUM_USERS))
  return user, generator.integers(0, NUM_ITEMS, len(user))


@pytest.fixture
def directory(histories, tmp_path):
  graph = count_cooccurrences(*histories, NUM_ITEMS, window=WINDOW)
  save_counts(
    graph,
    tmp_path / 'counts',
    train=train_sha256(*histories),
    window=WINDOW,
    min_count=0.0,
  )
  return tmp_path / 'counts'


@pytest.mark.parametrize('slab', [7, 2**22])
def test_what_is_read_is_what_was_counted(
  directory, histories, slab, monkeypatch
):
  monkeypatch.setattr(cooccurrence_files, 'SLAB', slab)
  read = load_counts(directory, *histories, NUM_ITEMS, window=WINDOW)
  counted = count_cooccurrences(*histories, NUM_ITEMS, window=WINDOW)
  for name in ('indptr', 'indices', 'data'):
    np.testing.assert_array_equal(getattr(read, name), getattr(counted, name))


def test_shards_may_be_many_and_in_any_order(directory, histories):
  table = pq.read_table(directory / 'pairs.parquet')
  order = np.random.default_rng(1).permutation(table.num_rows)
  (directory / 'pairs.parquet').unlink()
  for number, rows in enumerate(np.array_split(order, 3)):
    pq.write_table(table.take(rows), directory / f'part-{number}.parquet')
  read = load_counts(directory, *histories, NUM_ITEMS, window=WINDOW)
  counted = count_cooccurrences(*histories, NUM_ITEMS, window=WINDOW)
  assert (read != counted).nnz == 0


def test_ids_and_factors_are_those_of_counting_anew(directory, histories):
  data = *histories, NUM_USERS, NUM_ITEMS
  anew, read = (
    item_factors(
      *data, rank=4, matrix='cooccurrence', window=WINDOW, counts=counts
    )
    for counts in (None, directory)
  )
  np.testing.assert_array_equal(anew, read)
  anew, read = (
    collaborative_indexing(*data, window=WINDOW, counts=counts)
    for counts in (None, directory)
  )
  assert anew.fingerprint == read.fingerprint


def test_counts_of_other_interactions_or_windows_are_refused(
  directory, histories
):
  user, item = histories
  with pytest.raises(GenrecError, match='made from the train'):
    load_counts(directory, user, item[::-1], NUM_ITEMS, window=WINDOW)
  with pytest.raises(GenrecError, match='window=3, expected 30 .* window=5'):
    load_counts(directory, user, item, NUM_ITEMS, window=5)


def test_changed_shards_are_refused(directory, histories):
  table = pq.read_table(directory / 'pairs.parquet')
  pq.write_table(table.slice(1), directory / 'pairs.parquet')
  with pytest.raises(GenrecError, match='changed after they were written'):
    load_counts(directory, *histories, NUM_ITEMS, window=WINDOW)


def test_counts_are_for_the_matrix_of_pairs_alone(directory, histories):
  with pytest.raises(GenrecError, match="matrix='cooccurrence' alone"):
    item_factors(*histories, NUM_USERS, NUM_ITEMS, counts=directory)
