"""Tests of the command that builds ids."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from genrec_jax.build_ids import METHODS, USER_METHODS, build_ids, make_ids
from genrec_jax.data.audit import audit_builder, audit_ids
from genrec_jax.data.dataset import RawTables, build_dataset
from genrec_jax.data.splits import leave_one_out, save_split
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.ids.residual_quantization import residual_kmeans
from genrec_jax.ids.svd import item_factors
from genrec_jax.types import GenrecError


def small_vectors(*args, seed):
  return item_factors(*args, rank=8, seed=seed)


def small_method(*args, seed):
  return residual_kmeans(
    *args, item_vectors=small_vectors, codebook_size=8, seed=seed
  )


@pytest.fixture
def dataset():
  """Sixty users who walk along a ring of forty items."""
  generator = np.random.default_rng(0)
  user = np.repeat(np.arange(60), 12)
  step = np.tile(np.arange(12), 60)
  start = generator.integers(40, size=60)[user]
  item = (start + step + generator.integers(3, size=len(user))) % 40
  table = pa.table({'user': user.astype(str), 'item': item.astype(str)})
  return build_dataset('ring', RawTables(interactions=table))


@pytest.fixture
def run_dir(tmp_path, dataset):
  dataset.save(tmp_path / 'dataset')
  save_split(leave_one_out(dataset), dataset, tmp_path / 'dataset')
  return tmp_path


def manifest(ids):
  return {'kind': 'ids', 'inputs': ids.inputs}


def test_a_run_gets_the_ids_of_its_train_interactions(run_dir, dataset, capsys):
  build_ids(run_dir=run_dir, method=small_method, user_method='hashed_users')
  ids = ItemIds.load(run_dir / 'ids')
  audit_ids(manifest(ids), dataset, leave_one_out(dataset))
  assert ids.num_items == 40 and ids.user_codes.shape == (60, 1)
  assert ids.facts['levels'][0] == {
    'codes': 8,
    'used': len(set(ids.codes[:, 0])),
    'perplexity': ids.facts['levels'][0]['perplexity'],
  }
  printed = capsys.readouterr().out
  assert 'level 0' in printed and 'collision rate' in printed
  table = (run_dir / 'ids' / 'items.tsv').read_text().splitlines()
  assert len(table) == 41


@pytest.mark.parametrize('method', [small_method, 'random_ids', 'atomic_ids'])
def test_ids_do_not_depend_on_held_out_interactions(dataset, method):
  audit_builder(
    lambda *data: make_ids(*data, method=method).codes,
    dataset,
    leave_one_out(dataset),
  )


def test_users_do_not_depend_on_held_out_interactions(dataset):
  def users(*args, seed):
    return USER_METHODS['svd_users'](
      *args, item_vectors=small_vectors, codebook_size=8, seed=seed
    )

  split = leave_one_out(dataset)
  codes = []
  for shift in (0, 7):
    item = np.where(split.part > 0, dataset.item + shift, dataset.item) % 40
    table = dataset.interactions.set_column(
      1, 'item', pa.array(item, pa.int32())
    )
    changed = dataclasses.replace(dataset, interactions=table)
    ids = make_ids(changed, split, method=small_method, user_method=users)
    codes.append(ids.user_codes)
  np.testing.assert_array_equal(*codes)


def test_shuffled_ids_are_the_same_ids_for_other_items(dataset):
  split = leave_one_out(dataset)
  plain = make_ids(dataset, split, method=small_method)
  shuffled = make_ids(dataset, split, method=small_method, shuffle=True)
  assert (plain.codes != shuffled.codes).any()
  assert sorted(map(tuple, plain.codes)) == sorted(map(tuple, shuffled.codes))


def test_an_unknown_method_is_an_error_that_lists_the_known(dataset):
  with pytest.raises(GenrecError, match=', '.join(sorted(METHODS))):
    make_ids(dataset, leave_one_out(dataset), method='magic')


def test_a_method_that_forgets_items_is_refused(dataset):
  def forgetful(user, item, num_users, num_items, *, seed):
    return METHODS['atomic_ids'](user, item, num_users, num_items - 1)

  with pytest.raises(GenrecError, match='39 items; expected all 40'):
    make_ids(dataset, leave_one_out(dataset), method=forgetful)
