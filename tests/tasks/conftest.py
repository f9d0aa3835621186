"""A run directory with a small catalogue, shared by the tests of the room."""

import sys

import numpy as np
import pyarrow as pa
import pytest

from genrec_jax.data import splits
from genrec_jax.data.dataset import Dataset, RawTables, build_dataset
from genrec_jax.ids.item_ids import ItemIds

NUM_ITEMS = 40


def make_dataset(num_users=30) -> Dataset:
  random = np.random.default_rng(0)
  user, item, time = [], [], []
  for u in range(num_users):
    length = random.integers(3, 12)
    user += [f'u{u}'] * length
    item += [f'i{i}' for i in random.choice(NUM_ITEMS, length, replace=False)]
    time += sorted(random.integers(1, 10**9, length).tolist())
  interactions = pa.table({'user': user, 'item': item, 'time': time})
  items = pa.table(
    {
      'item_id': [f'i{i}' for i in range(NUM_ITEMS)],
      'title': [f'Crème {i} – 50 ml ☃' for i in range(NUM_ITEMS)],
    }
  )
  return build_dataset(
    'small', RawTables(interactions=interactions, items=items)
  )


def make_ids(dataset, split, *, users=False, variable=False) -> ItemIds:
  codes = np.array([[i % 7, i // 7] for i in range(dataset.num_items)])
  if variable:
    codes = np.pad(codes, ((0, 0), (0, 1)), constant_values=-1)
    codes[::2, 2] = 1
  users = (
    {
      'user_codes': np.arange(dataset.num_users)[:, None],
      'user_codebook_sizes': (dataset.num_users,),
    }
    if users
    else {}
  )
  return ItemIds(
    codes=codes,
    codebook_sizes=(7, 6, 2)[: codes.shape[1]],
    inputs={
      'dataset': dataset.fingerprint,
      'split': split.fingerprint,
      'train': splits.train_fingerprint(dataset, split),
    },
    **users,
  )


def write_run(run_dir, **ids):
  dataset = make_dataset()
  split = splits.leave_one_out(dataset)
  dataset.save(run_dir / 'dataset')
  splits.save_split(split, dataset, run_dir / 'dataset')
  make_ids(dataset, split, **ids).save(run_dir / 'ids')
  return run_dir


@pytest.fixture(scope='session')
def small():
  """This module: its data set and ids."""
  return sys.modules[__name__]


@pytest.fixture
def run_dir(tmp_path):
  return write_run(tmp_path)


@pytest.fixture
def run_dir_with_users(tmp_path):
  return write_run(tmp_path, users=True)


@pytest.fixture
def run_dir_with_variable_ids(tmp_path):
  return write_run(tmp_path, variable=True)
