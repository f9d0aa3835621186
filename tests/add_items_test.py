"""New items get ids; those of the others stay as they are."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genrec_jax import artifacts, main
from genrec_jax.add_items import add_items
from genrec_jax.build_ids import make_ids
from genrec_jax.data import simulator, splits
from genrec_jax.data.dataset import build_dataset
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.ids.new_items import NewItems
from genrec_jax.ids.residual_quantization import residual_kmeans
from genrec_jax.ids.simple import atomic_ids
from genrec_jax.ids.svd import item_factors
from genrec_jax.types import GenrecError


def method(*args, **settings):
  return residual_kmeans(
    *args,
    item_vectors=lambda *a, seed: item_factors(*a, rank=8, seed=seed),
    num_levels=2,
    codebook_size=64,
    **settings,
  )


@pytest.fixture(scope='module')
def fresh_run(tmp_path_factory):
  run_dir = tmp_path_factory.mktemp('runs') / 'shop'
  dataset = build_dataset('shop', simulator.simulate(num_users=60))
  split = splits.leave_one_out(dataset)
  dataset.save(run_dir / 'dataset')
  splits.save_split(split, dataset, run_dir / 'dataset')
  make_ids(dataset, split, method=method).save(run_dir / 'ids')
  return run_dir


@pytest.fixture
def run_dir(fresh_run, tmp_path):
  return shutil.copytree(fresh_run, tmp_path / 'run')


def items_table(run_dir):
  return pq.read_table(run_dir / 'dataset' / 'items.parquet')


def write_items(path, rows):
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return path


def like_items(run_dir, numbers):
  """Returns new items with the text of these items of the run."""
  table = items_table(run_dir).to_pylist()
  return [
    {
      'item_id': f'new-{number}',
      'title': table[number]['title'],
      'attributes': table[number]['attributes'],
    }
    for number in numbers
  ]


def test_a_new_item_stands_with_the_item_whose_text_it_has(
  run_dir, tmp_path, capsys
):
  file = write_items(tmp_path / 'new.jsonl', like_items(run_dir, [3, 40]))
  ids_before = sorted(
    (path.name, artifacts.file_sha256(path))
    for path in (run_dir / 'ids').iterdir()
  )
  assert (
    main.main(['add_items', f'--run_dir={run_dir}', f'--items={file}']) == 0
  )
  printed = capsys.readouterr().out
  ids, new = ItemIds.load(run_dir / 'ids'), NewItems.load(run_dir / 'new_items')
  table = items_table(run_dir)
  for record, number in zip(new.records, [3, 40]):
    title = table['title'][number].as_py()
    assert record['name'] == title and f'like 1.00  {title}' in printed
    assert record['like'][0]['likeness'] == 1
    assert record['known_by'] == 'text'
  everyone = np.concatenate([ids.codes, new.codes])
  assert len(np.unique(everyone, axis=0)) == len(everyone)
  assert new.inputs['ids'] == ids.fingerprint
  assert ids_before == sorted(
    (path.name, artifacts.file_sha256(path))
    for path in (run_dir / 'ids').iterdir()
  )


def test_adding_one_by_one_gives_the_codes_of_adding_at_once(run_dir, tmp_path):
  rows = like_items(run_dir, [3, 3, 40, 41])
  rows[1]['item_id'] = 'new-3b'
  other = shutil.copytree(run_dir, tmp_path / 'other')
  add_items(run_dir=run_dir, items=write_items(tmp_path / 'all.jsonl', rows))
  for row in rows:
    add_items(run_dir=other, items=write_items(tmp_path / 'one.jsonl', [row]))
  together, apart = (
    NewItems.load(directory / 'new_items') for directory in (run_dir, other)
  )
  np.testing.assert_array_equal(together.codes, apart.codes)
  assert together.records == apart.records
  assert [added['num_items'] for added in apart.additions] == [1, 1, 1, 1]


def test_the_first_evidence_that_says_anything_counts(run_dir, tmp_path):
  """A vector, first interactions and text, each of an item of the run."""
  ids, table = ItemIds.load(run_dir / 'ids'), items_table(run_dir)
  rows = pq.read_table(run_dir / 'dataset' / 'interactions.parquet')
  users = pq.read_table(run_dir / 'dataset' / 'users.parquet')['user_id']
  new = like_items(run_dir, [5, 6, 7])
  new[0]['title'] = new[1]['title'] = None
  items = tmp_path / 'items.parquet'
  pq.write_table(pa.Table.from_pylist(new), items)
  vectors = tmp_path / 'vectors.parquet'
  pq.write_table(
    pa.table({'item_id': ['new-5'], 'vector': [ids.vectors[11].tolist()]}),
    vectors,
  )
  often = np.bincount(rows['item'].to_numpy()).argmax()
  buyers = rows['user'].filter(np.equal(rows['item'].to_numpy(), often))
  lines = ['user_id\titem_id\ttime']
  lines += [f'{users[u.as_py()].as_py()}\tnew-6\t9' for u in buyers]
  interactions = tmp_path / 'first.tsv'
  interactions.write_text('\n'.join(lines) + '\n')
  add_items(
    run_dir=run_dir, items=items, vectors=vectors, interactions=interactions
  )
  records = NewItems.load(run_dir / 'new_items').records
  assert [r['known_by'] for r in records] == ['vectors', 'interactions', 'text']
  found = [record['like'][0]['item_id'] for record in records]
  assert found == table['item_id'].take([11, int(often), 7]).to_pylist()


def test_what_is_wrong_with_a_file_is_named_and_nothing_is_written(
  run_dir, tmp_path
):
  known = items_table(run_dir)['item_id'][0].as_py()
  title = items_table(run_dir)['title'][0].as_py()
  for rows, message in (
    ([{'item_id': 'a', 'titel': title}], "unknown column 'titel'"),
    ([{'title': title}], "no 'item_id'"),
    ([{'item_id': known, 'title': title}], f'{known!r}, an item of the run'),
    ([{'item_id': 'a', 'title': title}] * 2, "'a' more than once"),
    ([{'item_id': 'a', 'title': 'xyzzy'}], "first being 'a'"),
  ):
    file = write_items(tmp_path / 'items.jsonl', rows)
    with pytest.raises(GenrecError, match=message):
      add_items(run_dir=run_dir, items=file)
  with pytest.raises(GenrecError, match='.xlsx'):
    add_items(run_dir=run_dir, items=tmp_path / 'items.xlsx')
  file = write_items(
    tmp_path / 'items.jsonl', [{'item_id': 'a', 'title': title}]
  )
  first = tmp_path / 'first.csv'
  first.write_text('user_id,item_id\nu,a\nu,nowhere\n')
  with pytest.raises(GenrecError, match="'nowhere'"):
    add_items(run_dir=run_dir, items=file, interactions=first)
  with pytest.raises(GenrecError, match="evidence 'taste'"):
    add_items(run_dir=run_dir, items=file, evidence=('taste',))
  for vectors, message in (
    (np.full((1, 8), np.nan), 'NaN or infinity in 1 rows'),
    (np.ones((1, 5)), r'shape \[1, 5\]; expected \[1, 8\]'),
    (np.ones((2, 8)), r'shape \[2, 8\]; expected \[1, 8\]'),
  ):
    np.save(tmp_path / 'vectors.npy', vectors)
    with pytest.raises(GenrecError, match=message):
      add_items(run_dir=run_dir, items=file, vectors=tmp_path / 'vectors.npy')
  assert not (run_dir / 'new_items').exists()


def test_ids_without_room_and_runs_without_ids_are_refused(run_dir, tmp_path):
  title = items_table(run_dir)['title'][0].as_py()
  file = write_items(
    tmp_path / 'items.jsonl', [{'item_id': 'a', 'title': title}]
  )
  ids = ItemIds.load(run_dir / 'ids')
  full = atomic_ids([], [], 0, ids.num_items, seed=0)
  ItemIds(full.codes, full.codebook_sizes, inputs=ids.inputs).save(
    run_dir / 'ids'
  )
  with pytest.raises(GenrecError, match='No code is free'):
    add_items(run_dir=run_dir, items=file)
  shutil.rmtree(run_dir / 'ids')
  with pytest.raises(GenrecError, match='No ids at'):
    add_items(run_dir=run_dir, items=file)


def test_items_that_were_added_to_other_ids_are_refused(run_dir, tmp_path):
  rows = like_items(run_dir, [3, 4])
  add_items(
    run_dir=run_dir, items=write_items(tmp_path / 'items.jsonl', rows[:1])
  )
  ids = ItemIds.load(run_dir / 'ids')
  ItemIds(
    ids.codes[::-1], ids.codebook_sizes, inputs=ids.inputs, facts=ids.facts
  ).save(run_dir / 'ids')
  with pytest.raises(GenrecError, match='were added to the ids'):
    add_items(
      run_dir=run_dir, items=write_items(tmp_path / 'more.jsonl', rows[1:])
    )
