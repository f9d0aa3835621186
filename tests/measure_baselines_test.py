"""Tests of the command that measures baselines, on a small simulated shop."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest

from genrec_jax import main
from genrec_jax.baselines.ease import EASE
from genrec_jax.baselines.item_knn import ItemKNN
from genrec_jax.baselines.methods import OF_DATA
from genrec_jax.baselines.popularity import Popularity
from genrec_jax.data import simulator, splits
from genrec_jax.data.dataset import Dataset
from genrec_jax.evaluation import ranking
from genrec_jax.measure_baselines import measure_baselines
from genrec_jax.types import GenrecError

NAMES = OF_DATA
FEW = {'sasrec': {'num_epochs': 2}}  # epochs, for time's sake


@pytest.fixture(scope='module')
def shop(tmp_path_factory, save_shop):
  directory = tmp_path_factory.mktemp('shop')
  dataset, split, _ = save_shop(
    directory, simulator.simulate(seed=1, num_users=80, num_dialogues=5)
  )
  return directory, dataset, split


@pytest.fixture
def run_dir(shop, tmp_path):
  (tmp_path / 'dataset').symlink_to(shop[0] / 'dataset')
  return tmp_path


def read(run_dir, method, split='validation'):
  path = run_dir / 'baselines' / split / f'{method}.json'
  with np.load(path.with_suffix('.npz')) as arrays:
    return json.loads(path.read_text()), dict(arrays)


def test_lists_are_also_measured_by_what_they_show(run_dir, shop, capsys):
  methods = ('popularity', 'ease')
  found = measure_baselines(run_dir=run_dir, methods=methods)
  dataset, split = shop[1:]
  _, item = splits.train_interactions(dataset, split)
  counts = np.bincount(item, minlength=dataset.num_items)
  text = capsys.readouterr().out
  for name in methods:
    lists = read(run_dir, name)[1]['items'][:, :10]
    row = found[name]['bias']['rows'][name]
    assert row['coverage'] == len(np.unique(lists)) / dataset.num_items
    assert row['arp'] == pytest.approx(counts[lists].mean())
    assert f'{row["coverage"]:.4g}' in text
    assert 'activity' in found[name]['groups']
  assert text.count('the targets') == 1


def test_one_command_measures_every_method(run_dir, shop, capsys):
  assert (
    main.main(['baselines', f'--run_dir={run_dir}', f'--parameters={FEW}']) == 0
  )
  text = capsys.readouterr().out
  dataset, split = shop[1:]
  examples = splits.examples(dataset, split, splits.VALIDATION)
  for name in NAMES:
    result, arrays = read(run_dir, name)
    assert arrays['items'].dtype == np.int32
    assert arrays['items'].shape == (len(examples), 20)
    for key in ('user', 'target', 'tied'):
      np.testing.assert_array_equal(arrays[key], getattr(examples, key))
    assert result['metrics'] == ranking.measure_lists(
      arrays['items'], examples.target, examples.tied
    )
    assert result['fingerprints'] == {
      'dataset': dataset.fingerprint,
      'split': split.fingerprint,
      'train': splits.train_fingerprint(dataset, split),
    }
    assert result['audit'] == {'lists': 'passed', 'metrics': 'passed'}
    for row, found in enumerate(arrays['items']):
      assert not np.isin(found, examples.history(row)).any()
    assert f'{result["metrics"]["all"]["ndcg@10"]:.4f}' in text
  best = max(read(run_dir, name)[0]['metrics']['all']['mrr'] for name in NAMES)
  assert best > read(run_dir, 'popularity')[0]['metrics']['all']['mrr']


def test_what_is_known_is_not_fitted_again(run_dir, monkeypatch):
  names = ('popularity', 'item_knn', 'multi_stage')
  first = measure_baselines(run_dir=run_dir, methods=names)
  fits = []
  for method in (Popularity, ItemKNN):
    fit = method.fit
    monkeypatch.setattr(
      method,
      'fit',
      lambda self, *data, fit=fit: fits.append(self.name) or fit(self, *data),
    )
  assert measure_baselines(run_dir=run_dir, methods=names) == first
  assert not fits
  changed = [
    (dict(seed=1), names),
    (dict(top_k=10), names),
    (dict(exclude_seen=False), names),
    (dict(again=True, exclude_seen=False), names),
    (
      dict(parameters={'item_knn': {'shrinkage': 9}}, exclude_seen=False),
      ('item_knn', 'multi_stage'),  # its first stage
    ),
  ]
  for settings, fitted in changed:
    fits.clear()
    measure_baselines(run_dir=run_dir, methods=names, **settings)
    expected = [n if n != 'multi_stage' else 'item_knn' for n in fitted]
    assert fits == expected, settings


def test_a_result_of_other_data_or_code_is_measured_again(
  run_dir, shop, monkeypatch
):
  first = measure_baselines(run_dir=run_dir, methods='popularity')
  (run_dir / 'dataset').unlink()
  dataset = dataclasses.replace(shop[1], name='another')
  save(run_dir, dataset)
  second = measure_baselines(run_dir=run_dir, methods='popularity')
  assert first != second
  monkeypatch.setattr('inspect.getsource', lambda module: 'other code')
  third = measure_baselines(run_dir=run_dir, methods='popularity')
  assert third != second
  assert third['popularity']['metrics'] == first['popularity']['metrics']


def test_what_is_held_out_changes_no_list_of_validation(shop, tmp_path):
  dataset, split = shop[1:]
  item = dataset.item.copy()
  held_out = np.flatnonzero(split.part != splits.TRAIN)
  item[held_out] = np.random.default_rng(0).permutation(item[held_out])
  column = dataset.interactions.column_names.index('item')
  other = dataclasses.replace(
    dataset,
    interactions=dataset.interactions.set_column(
      column, 'item', pa.array(item)
    ),
  )
  assert (other.item != dataset.item).any()
  for name, data in (('one', dataset), ('other', other)):
    save(tmp_path / name, data)
    measure_baselines(run_dir=tmp_path / name, parameters=FEW)
  for name in NAMES:
    one, two = (read(tmp_path / run, name)[1] for run in ('one', 'other'))
    assert (one['target'] != two['target']).any()
    np.testing.assert_array_equal(one['items'], two['items'])


def test_what_is_chosen_on_validation_holds_on_test(
  run_dir, monkeypatch, capsys
):
  monkeypatch.setattr(
    EASE, 'grid', {'regularization': (1.0, 900.0), 'recency': (1.0, 0.1)}
  )
  fits = []
  fit = EASE.fit
  monkeypatch.setattr(
    EASE, 'fit', lambda self, *data: fits.append(self) or fit(self, *data)
  )
  measure_baselines(
    run_dir=run_dir, methods='ease', tune=True, tune_examples=30
  )
  assert len(fits) == 3  # two of the grid, and the one measured
  path = run_dir / 'baselines' / 'chosen.json'
  chosen = json.loads(path.read_text())['ease']
  assert [one['settings'] for one in chosen['tried']] == [
    {'regularization': regularization, 'recency': recency}
    for regularization in (1.0, 900.0)
    for recency in (1.0, 0.1)
  ]
  best = max(chosen['tried'], key=lambda one: one['ndcg@10'])
  assert chosen['settings'] == best['settings'] and chosen['examples'] == 30
  measure_baselines(
    run_dir=run_dir, methods='ease', tune=True, tune_examples=30
  )
  assert len(fits) == 3  # known
  assert not (run_dir / 'baselines' / 'test').exists()
  for looks in (1, 1, 2):
    measure_baselines(
      run_dir=run_dir, methods='ease', split='test', again=looks == 2
    )
    log = run_dir / 'baselines' / 'test_log.jsonl'
    assert len(log.read_text().splitlines()) == looks
  made_from = read(run_dir, 'ease', 'test')[0]['made_from']
  assert made_from['settings'].items() >= best['settings'].items()
  assert json.loads(log.read_text().splitlines()[0])['made_from'] == made_from


def test_each_value_tried_is_measured_as_if_fitted_with_it(
  run_dir, monkeypatch
):
  monkeypatch.setattr(ItemKNN, 'grid', {'recency': (1.0, 0.2)})
  measure_baselines(run_dir=run_dir, methods='item_knn', tune=True)
  tried = json.loads((run_dir / 'baselines/chosen.json').read_text())
  for one in tried['item_knn']['tried']:
    result = measure_baselines(
      run_dir=run_dir,
      methods='item_knn',
      parameters={'item_knn': one['settings']},
    )
    assert result['item_knn']['metrics']['all']['ndcg@10'] == one['ndcg@10']


def test_lists_that_hold_an_item_twice_are_not_measured(run_dir, monkeypatch):
  monkeypatch.setattr(
    'genrec_jax.baselines.protocol.recommend',
    lambda baseline, histories, **settings: np.zeros(
      (len(histories), 20), np.int32
    ),
  )
  with pytest.raises(GenrecError, match='item 0 more than once|item twice'):
    measure_baselines(run_dir=run_dir, methods='popularity', split='test')
  assert not (run_dir / 'baselines').exists()


def test_what_was_chosen_on_other_data_is_refused(run_dir, shop):
  measure_baselines(run_dir=run_dir, methods='item_knn', tune=True)
  (run_dir / 'dataset').unlink()
  save(run_dir, dataclasses.replace(shop[1], name='another'))
  with pytest.raises(GenrecError, match='chosen on another dataset'):
    measure_baselines(run_dir=run_dir, methods='item_knn')


@pytest.mark.parametrize(
  'settings, said',
  [
    (dict(split='test', tune=True), 'on validation alone'),
    (dict(split='train'), "Unknown split 'train'"),
    (dict(methods='eas'), "Unknown method 'eas'"),
    (dict(parameters={'ease': {'l2': 1}}), 'hyper-parameter of ease'),
    (dict(stages=('ease',)), 'expected two methods'),
    (dict(tune_examples=0), 'tune_examples=0'),
  ],
)
def test_a_mistake_is_refused_before_anything_is_fitted(
  settings, said, run_dir
):
  with pytest.raises(GenrecError, match=said):
    measure_baselines(run_dir=run_dir, **settings)
  assert not (run_dir / 'baselines').exists()


def save(run_dir, dataset: Dataset):
  dataset.save(run_dir / 'dataset')
  splits.save_split(splits.leave_one_out(dataset), dataset, run_dir / 'dataset')
