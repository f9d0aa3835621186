"""`genrec compare` on a run that was measured."""

import json
import shutil

import numpy as np
import pytest

from genrec_jax.compare import compare
from genrec_jax.evaluate import evaluate
from genrec_jax.evaluation import ranking, results
from genrec_jax.types import GenrecError


@pytest.fixture(scope='module')
def measured(run, tmp_path_factory):
  """Another directory with the run's result, and a better model's."""
  evaluate(
    run_dir=run.directory,
    model=run.model,
    checkpoint='last',
    tasks='sequential,rating',
    batch_size=64,
  )
  found = {}
  for name in ('own', 'better', 'baseline'):
    found[name] = tmp_path_factory.mktemp(name)
    shutil.copytree(run.directory / 'evaluation', found[name] / 'evaluation')
  result, arrays = results.read_result(found['own'], 'validation', 'sequential')
  lists = arrays['items_model']
  wrong = ~(lists == arrays['target'][:, None]).any(axis=1)
  lists[wrong, 0] = arrays['target'][wrong]
  del arrays['split'], arrays['task']
  results.write_result(found['better'], result, arrays)
  baseline = found['baseline'] / 'baselines' / 'validation' / 'oracle.npz'
  baseline.parent.mkdir(parents=True)
  np.savez(baseline, items=lists, user=arrays['user'], target=arrays['target'])
  return found


def test_all_that_was_measured_is_compared(measured, capsys):
  own, better = measured['own'], str(measured['better'])
  rows = compare(run_dir=own, runs=[better], metric='recall@10')
  everything = {row.name: row for row in rows if row.slice == 'all'}
  assert set(everything) == {
    'model',
    'popularity',
    'markov',
    'item_knn',
    better,
  }
  _, arrays = results.read_result(own, 'validation', 'sequential')
  for name in ('model', 'markov'):
    expected = ranking.ranking_metrics(
      arrays[f'items_{name}'], arrays['target']
    )
    assert everything[name].mean == pytest.approx(expected['recall@10'])
  assert everything[better].mean == 1
  assert everything[better].high < 0
  assert len({row.slice for row in rows}) >= 3
  saved = json.loads(
    (own / 'comparison/validation/sequential.json').read_text()
  )
  assert len(saved['rows']) == len(rows)
  assert '95 % interval' in capsys.readouterr().out


def test_baselines_of_the_run_directory_are_among_them(measured):
  rows = compare(run_dir=measured['baseline'])
  assert {row.name for row in rows} >= {'model', 'oracle', 'markov'}


def test_seeds_are_one_method(measured):
  rows = compare(
    run_dir=measured['own'], seeds=measured['better'].as_posix(), metric='mrr'
  )
  assert rows[0].name == 'model' and rows[0].seed_deviation > 0


@pytest.mark.parametrize(
  'settings, error',
  [
    ({'metric': 'ndcg@7'}, "'ndcg@7'; expected one of: mrr"),
    ({'task': 'rating'}, 'has no items_model'),
    ({'task': 'top_n'}, 'run `genrec evaluate --split=validation'),
  ],
)
def test_what_cannot_be_compared_is_said(measured, settings, error):
  with pytest.raises(GenrecError, match=error):
    compare(run_dir=measured['own'], **settings)


def test_other_examples_are_refused(measured, tmp_path):
  shutil.copytree(measured['own'], tmp_path / 'other')
  result, arrays = results.read_result(
    tmp_path / 'other', 'validation', 'sequential'
  )
  arrays = {k: v[1:] for k, v in arrays.items() if k not in ('split', 'task')}
  results.write_result(tmp_path / 'other', result, arrays)
  with pytest.raises(GenrecError, match='on other examples than'):
    compare(run_dir=measured['own'], runs=[tmp_path / 'other'])


def test_groups_of_targets_and_users_are_slices(run, measured):
  rows = compare(run_dir=run.directory, groups=('target', 'activity'))
  own = {row.slice: row for row in rows if row.name == 'model'}
  sizes = {name: row.n for name, row in own.items()}
  of_activity = [n for k, n in sizes.items() if k.startswith('activity: ')]
  assert sum(of_activity) == sizes['all']
  result, arrays = results.read_result(
    run.directory, 'validation', 'sequential'
  )
  found = ranking.example_metrics(arrays['items_model'], arrays['target'], [10])
  tail = result['groups']['target']['model']['ndcg@10']['groups']['tail']
  assert own['target: tail'].n == tail['n']
  assert own['target: tail'].mean == pytest.approx(tail['mean'])
  assert own['all'].mean == pytest.approx(found['ndcg@10'].mean())
  with pytest.raises(GenrecError, match="group 'taget'; expected .*activity"):
    compare(run_dir=run.directory, groups='taget')
  # A directory without a dataset has the other slices.
  assert {row.slice for row in compare(run_dir=measured['own'])} < set(own)
