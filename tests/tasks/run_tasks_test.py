import importlib
import importlib.util
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import seqio

from genrec_jax.data.token_cache import PARTS, TokenCache
from genrec_jax.tasks import run_tasks
from genrec_jax.tokenize import tokenize
from genrec_jax.types import GenrecError

HAS_BEAM = importlib.util.find_spec('apache_beam') is not None
needs_beam = pytest.mark.skipif(
  not HAS_BEAM,
  reason='apache-beam is not installed; it brings older versions of protobuf'
  " and pyarrow: pip install '.[tasks,beam]' in an environment of its own",
)


@pytest.fixture
def shop(run_dir):
  """A run of one task, `shop_sequential`, whose prompts are drawn once."""
  shop = run_dir / 'shop'
  shop.mkdir()
  for name in ('dataset', 'ids'):
    (run_dir / name).rename(shop / name)
  tokenize(run_dir=shop, templates='plain')
  yield shop
  seqio.TaskRegistry.reset()
  seqio.MixtureRegistry.reset()
  seqio.set_global_cache_dirs([])


def read(part, **settings):
  settings = {'shuffle': False, 'seed': 0, **settings}
  dataset = seqio.get_mixture_or_task('shop_sequential').get_dataset(
    sequence_length=None, split=part, **settings
  )
  return list(dataset.as_numpy_iterator())


def test_the_environment_names_the_runs_whose_tasks_are_wanted(
  shop, monkeypatch
):
  monkeypatch.setenv(run_tasks.RUN_DIRS, os.fspath(shop))
  importlib.reload(run_tasks)
  assert seqio.TaskRegistry.names() == {'shop_sequential'}
  assert seqio.MixtureRegistry.names() == {'shop_all'}


def test_a_run_is_registered_once_and_no_other_by_its_name(shop, tmp_path):
  for _ in range(2):
    module = importlib.import_module(run_tasks.register(shop))
  task = seqio.get_mixture_or_task('shop_sequential')
  assert task.output_features['inputs'].vocabulary == module.vocabulary(shop)
  other = shutil.copytree(shop, tmp_path / 'elsewhere' / 'shop')
  with pytest.raises(GenrecError, match='pass a name'):
    run_tasks.register(other)
  run_tasks.register(other, name='other')
  assert 'other_sequential' in seqio.TaskRegistry.names()


def test_shards_part_the_examples_and_are_the_same_each_time(shop):
  run_tasks.register(shop)

  def rows(index):
    shard = seqio.ShardInfo(index=index, num_shards=3)
    found = read('train', shuffle=True, seed=5, shard_info=shard)
    return [int(example['row']) for example in found]

  shards = [rows(index) for index in range(3)]
  whole = [int(example['row']) for example in read('train')]
  assert sorted(sum(shards, [])) == whole
  assert max(map(len, shards)) - min(map(len, shards)) <= 1
  assert shards == [rows(index) for index in range(3)]


@needs_beam
def test_what_seqio_caches_is_what_its_pipeline_and_our_cache_give(shop):
  """Example by example, all features of all parts; and by shard."""
  cache = shop.parent / 'cache'
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'seqio.scripts.cache_tasks_main'),
      '--module_import=genrec_jax.tasks.run_tasks',
      '--tasks=shop_sequential',
      f'--output_cache_dir={cache}',
      '--min_shards=2',
    ],
    env=os.environ | {run_tasks.RUN_DIRS: os.fspath(shop)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  run_tasks.register(shop)
  tokens = TokenCache.load(shop / 'tokens')
  seqio.set_global_cache_dirs([os.fspath(cache)])
  for part in PARTS:
    online = read(part)
    cached = read(part, use_cached=True)
    cached = sorted(cached, key=lambda example: example['row'])
    ours = tokens.examples('sequential', part)
    assert len(cached) == len(online) == len(ours) > 0
    for i, (one, other) in enumerate(zip(cached, online)):
      assert one.keys() == other.keys()
      for name, value in one.items():
        np.testing.assert_array_equal(value, other[name])
        assert value.dtype == other[name].dtype
      np.testing.assert_array_equal(one['inputs'], ours.inputs[i])
      np.testing.assert_array_equal(one['targets'], ours.targets[i])

  def rows(index):
    shard = seqio.ShardInfo(index=index, num_shards=2)
    found = read(
      'train', use_cached=True, shuffle=True, seed=5, shard_info=shard
    )
    return [int(example['row']) for example in found]

  shards = [rows(index) for index in range(2)]
  whole = [int(example['row']) for example in read('train')]
  assert sorted(sum(shards, [])) == whole
  assert shards == [rows(index) for index in range(2)]
