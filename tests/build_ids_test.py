"""Tests of the command that builds ids."""

import dataclasses
import functools
import pathlib

import gin
import numpy as np
import pyarrow as pa
import pytest

from genrec_jax import build_ids as command
from genrec_jax import main
from genrec_jax.build_ids import METHODS, USER_METHODS, build_ids, make_ids
from genrec_jax.data.audit import audit_builder, audit_ids
from genrec_jax.data.dataset import RawTables, build_dataset
from genrec_jax.data.splits import leave_one_out, save_split
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.ids.residual_quantization import residual_kmeans
from genrec_jax.ids.svd import item_factors
from genrec_jax.types import GenrecError

GIN = pathlib.Path(main.__file__).resolve().parent.parent / 'gin'
LEAVES = sorted(
  f'{path.parent.name}/{path.name}'
  for folder in ('ids', 'vectors', 'users')
  for path in GIN.glob(f'{folder}/*.gin')
)
WORDS = ('soap', 'comb', 'brush', 'rose', 'mint', 'balm', 'salt', 'clay')
# Macros with which forty items will do; a leaf takes those that it has.
TINY = {
  'ALLOW_LEAKY': 'True',
  'CODEBOOK_SIZE': '8',
  'HIDDEN': '(8,)',
  'NUM_CLUSTERS': '3',
  'NUM_USER_CODES': '7',
  'RQ_VAE_STEPS': '3',
  'ON_COLLAPSE': "'warn'",
  'TEXT_RANK': '8',
  'USER_CODEBOOK_SIZE': '4',
}


def small_vectors(*args, seed):
  return item_factors(*args, rank=8, seed=seed)


def small_method(*args, seed):
  return residual_kmeans(
    *args, item_vectors=small_vectors, codebook_size=8, seed=seed
  )


QUANTIZED = {
  'item_vectors': small_vectors,
  'num_levels': 2,
  'codebook_size': 8,
}
SETTINGS = {
  'residual_kmeans': QUANTIZED,
  'product_quantization': QUANTIZED,
  'optimised_product_quantization': QUANTIZED,
  'quantile_svd': QUANTIZED,
  'rq_vae': QUANTIZED
  | {
    'hidden': (8,),
    'latent': 4,
    'num_steps': 3,
    'batch_size': 16,
    'min_perplexity': 0.0,
  },
  'collaborative_indexing': {'num_clusters': 3},
  'textual_ids': {'num_levels': 3},
  'hybrid_ids': {'shared': small_method},
  'random_ids': {'codebook_size': 8},
  'atomic_ids': {},
  'sequential_ids': {'codebook_size': 8, 'allow_leaky': True},
}


def small(name):
  return functools.partial(METHODS[name], **SETTINGS[name])


@pytest.fixture
def dataset():
  """Sixty users who walk along a ring of forty items."""
  generator = np.random.default_rng(0)
  user = np.repeat(np.arange(60), 12)
  step = np.tile(np.arange(12), 60)
  start = generator.integers(40, size=60)[user]
  item = (start + step + generator.integers(3, size=len(user))) % 40
  table = pa.table({'user': user.astype(str), 'item': item.astype(str)})
  titles = [' '.join(generator.choice(WORDS, 3)) for _ in range(40)]
  items = pa.table({'item_id': [str(n) for n in range(40)], 'title': titles})
  return build_dataset('ring', RawTables(interactions=table, items=items))


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
    'prefixes': len(set(ids.codes[:, 0])),
  }
  printed = capsys.readouterr().out
  assert 'level 0' in printed and 'collision rate' in printed
  table = (run_dir / 'ids' / 'items.tsv').read_text().splitlines()
  assert len(table) == 41


@pytest.mark.parametrize('name', METHODS)
def test_ids_are_those_of_the_seed_and_of_the_train_interactions(dataset, name):
  def build(*data):
    built.append(make_ids(*data, method=small(name), seed=1).codes)
    return built[-1]

  built, split = [], leave_one_out(dataset)
  audit_builder(build, dataset, split)
  assert len(np.unique(built[0], axis=0)) == 40
  np.testing.assert_array_equal(built[0], build(dataset, split))


@pytest.mark.parametrize('leaf', LEAVES)
def test_a_gin_file_makes_its_ids_through_the_command(leaf, run_dir, dataset):
  """A source of vectors goes with residual k-means, whatever else it is."""
  np.save(run_dir / 'v.npy', np.random.default_rng(0).random((40, 8)))
  method = leaf if leaf.startswith('ids/') else 'ids/residual_kmeans.gin'
  if leaf == 'ids/on_all_devices.gin':
    method = 'ids/residual_kmeans.gin'
  files = [method] if method == leaf else [method, leaf]
  if leaf == 'ids/hybrid_ids.gin':  # the codes of another leaf's method
    files = ['ids/residual_kmeans.gin', leaf]
  text = ''.join((GIN / name).read_text() for name in files)
  tiny = TINY | {'VECTORS': repr(str(run_dir / 'v.npy'))}
  flags = [
    *(f'--gin_file={name}' for name in files),
    *(f'--gin.{k}={v}' for k, v in tiny.items() if f'\n{k} = ' in text),
  ]
  try:
    main.run_command(['build_ids', f'--run_dir={run_dir}', *flags])
  finally:
    gin.clear_config()
  ids = ItemIds.load(run_dir / 'ids')
  assert ids.num_items == 40
  assert bool(ids.user_codebook_sizes) == leaf.startswith('users/')


@pytest.mark.parametrize('name', ['beauty', 'quickstart', 'tiny'])
def test_an_experiment_takes_other_vectors_by_one_more_file(name, run_dir):
  vectors = np.random.default_rng(0).random((40, 8), np.float32)
  np.save(run_dir / 'v.npy', vectors)
  try:
    main.run_command(
      [
        'build_ids',
        f'--run_dir={run_dir}',
        f'--gin_file=experiments/{name}.gin',
        '--gin_file=vectors/file_vectors.gin',
        f'--gin.VECTORS={str(run_dir / "v.npy")!r}',
        '--gin.residual_quantization.residual_kmeans.codebook_size=8',
        *(["--gin.DATASET='ring'"] if name == 'tiny' else []),
      ]
    )
  finally:
    gin.clear_config()
  np.testing.assert_array_equal(ItemIds.load(run_dir / 'ids').vectors, vectors)


def test_each_method_that_has_settings_has_a_gin_file():
  files = {pathlib.Path(leaf).stem for leaf in LEAVES}
  bare = {'optimised_product_quantization', 'atomic_ids'}
  assert set(METHODS) - bare | set(USER_METHODS) <= files


def test_the_width_of_the_trie_is_the_number_of_different_prefixes():
  codes = np.asarray([[0, 0, 1], [0, 1, -1], [0, 0, 0], [1, 0, -1]])
  ids = ItemIds(codes=codes, codebook_sizes=(2, 2, 2))
  assert [x['prefixes'] for x in command.level_use(ids)] == [2, 3, 2]


@pytest.mark.parametrize('name', USER_METHODS)
def test_users_do_not_depend_on_held_out_interactions(dataset, name):
  settings = {
    'hashed_users': {'num_codes': 7},
    'svd_users': {'item_vectors': small_vectors, 'codebook_size': 8},
    'users_as_items': {'method': small_method},
  }
  users = functools.partial(USER_METHODS[name], **settings[name])
  split = leave_one_out(dataset)
  built = []
  for shift in (0, 7):
    item = np.where(split.part > 0, dataset.item + shift, dataset.item) % 40
    table = dataset.interactions.set_column(
      1, 'item', pa.array(item, pa.int32())
    )
    changed = dataclasses.replace(dataset, interactions=table)
    built.append(
      make_ids(changed, split, method='random_ids', user_method=users)
    )
  np.testing.assert_array_equal(*(ids.user_codes for ids in built))
  assert built[0].inputs['train'] == built[1].inputs['train']


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
