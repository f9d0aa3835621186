"""Counting on Apache Beam gives the bits of counting here."""

import importlib.util

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genrec_jax.data import splits
from genrec_jax.data.dataset import Dataset
from genrec_jax.ids.cooccurrence import count_cooccurrences
from genrec_jax.ids.cooccurrence_beam import count_with_beam
from genrec_jax.ids.cooccurrence_files import load_counts, read_shards
from genrec_jax.main import main
from genrec_jax.types import GenrecError

HAS_BEAM = importlib.util.find_spec('apache_beam') is not None
needs_beam = pytest.mark.skipif(
  not HAS_BEAM,
  reason='needs Apache Beam, which is no part of the test extra: it pins older'
  " versions of protobuf and pyarrow; pip install '.[beam]' in an environment"
  ' of its own',
)


def assert_equal(here, there):
  for name in ('indptr', 'indices', 'data'):
    np.testing.assert_array_equal(getattr(here, name), getattr(there, name))


@needs_beam
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('window,min_count', [(None, 0.0), (5, 0.0), (5, 1.5)])
def test_beam_counts_what_is_counted_here(tmp_path, window, min_count):
  generator = np.random.default_rng(0)
  user = np.repeat(np.arange(200), generator.integers(2, 15, 200)).astype('i4')
  item = generator.integers(0, 80, len(user)).astype('i4')
  table = pa.table({'user': user, 'item': item, 'time': np.arange(len(user))})
  order = generator.permutation(len(user))
  pq.write_table(table.take(order[:500]), tmp_path / 'a.parquet')
  pq.write_table(table.take(order[500:]), tmp_path / 'b.parquet')
  (tmp_path / 'out').mkdir()
  count_with_beam(
    str(tmp_path / '*.parquet'),
    tmp_path / 'out',
    window=window,
    min_count=min_count,
  )
  here = count_cooccurrences(user, item, 80, window=window, min_count=min_count)
  assert_equal(here, read_shards(tmp_path / 'out', 80))


@needs_beam
@pytest.mark.filterwarnings('ignore')
def test_the_command_counts_the_train_part_of_a_run(tmp_path):
  run_dir = tmp_path / 'run'
  assert not main(
    ['prepare', f'--run_dir={run_dir}', '--gin_file=experiments/quickstart.gin']
  )
  assert not main(['count_cooccurrences', f'--run_dir={run_dir}', '--window=3'])
  dataset = Dataset.load(run_dir / 'dataset')
  split = splits.load_split(run_dir / 'dataset', dataset)
  user, item = splits.train_interactions(dataset, split)
  here = count_cooccurrences(user, item, dataset.num_items, window=3)
  there = load_counts(
    run_dir / 'cooccurrences', user, item, dataset.num_items, window=3
  )
  assert_equal(here, there)
  assert not (run_dir / 'cooccurrences' / 'train').exists()


@pytest.mark.skipif(HAS_BEAM, reason='Apache Beam is installed')
def test_without_beam_it_says_how_to_install_it(tmp_path):
  with pytest.raises(GenrecError, match=r'genrec_jax\[beam\]'):
    count_with_beam('*.parquet', tmp_path)
