"""`genrec experiment`: arms are run, go on, are compared and drawn."""

import json

import numpy as np
import pytest

from genrec_jax import artifacts, main
from genrec_jax.evaluate import evaluate
from genrec_jax.evaluation import ranking, results
from genrec_jax.experiment import experiment
from genrec_jax.experiments import measures, runner
from genrec_jax.experiments.arms import RECORD, Arm, alone, run_arm
from genrec_jax.types import GenrecError

BASE = 'experiments/tiny.gin'
COMMON = {'DATASET': 'shop', 'TRAIN_STEPS': 300}
ARMS = {'plain': (), 'good guess': ('ids/random_ids.gin', 'NUM_LEVELS = 2')}
PARTS = ('validation', 'test')
SETTINGS = {
  'title': 'Guesses',
  'question': 'Does it help to guess well?',
  'base': BASE,
  'arms': ARMS,
  'common': COMMON,
  'dataset': 'shop',
}


@pytest.fixture(scope='module')
def looked(run):
  """The results of a trained model on both parts: result and arrays."""
  for part in PARTS:
    evaluate(
      run_dir=run.directory,
      model=run.model,
      checkpoint='last',
      tasks='sequential',
      split=part,
      batch_size=64,
      baselines=(),
    )
  return {p: results.read_result(run.directory, p, 'sequential') for p in PARTS}


@pytest.fixture
def directory(run, looked, tmp_path):
  """An experiment whose arms have been measured with two seeds.

  The lists of one arm begin with the target at every third example, and at
  every second one of seed 1.
  """
  (tmp_path / 'dataset').symlink_to(run.directory / 'dataset')
  plan = runner.Plan(tmp_path, BASE, (Arm.parse('plain', ()),))
  commands = [('build_ids',), ('tokenize',), ('train',)]
  commands += [look for part in PARTS for look in runner._looks(plan, part)]
  for name, entries in ARMS.items():
    for seed in (0, 1):
      made = run_arm(
        Arm.parse(name, entries),
        seed,
        tmp_path,
        base=BASE,
        settings=tuple(f'{k} = {v!r}' for k, v in COMMON.items()),
        commands=(),
        dataset=tmp_path / 'dataset',
      )
      record = json.loads((made.directory / RECORD).read_text())
      record['costs'] = {
        ' '.join(command): {'seconds': 1.25, 'peak_gb': 0.5}
        for command in commands
      }
      artifacts.write_json(made.directory / RECORD, record)
      for result, arrays in looked.values():
        write_lists(made.directory, result, arrays, name, 3 - seed)
  return tmp_path


def write_lists(directory, result, arrays, name, every):
  arrays = {k: v for k, v in arrays.items() if k not in ('split', 'task')}
  lists = arrays['items_model'].copy()
  if name == 'good guess':
    rows = np.arange(0, len(lists), every)
    rows = rows[(lists[rows] != arrays['target'][rows, None]).all(axis=1)]
    lists[rows, 0] = arrays['target'][rows]
  results.write_result(directory, result, {**arrays, 'items_model': lists})


def test_arms_are_compared_with_the_first_and_with_baselines(
  directory, looked, capsys
):
  found = experiment(
    run_dir=directory,
    seeds=(0, 1),
    baselines=('popularity',),
    measure=lambda directory: [{'named': directory.name, 'size': 1.5}],
    plots=[('seed', 'size')],
    **SETTINGS,
  )
  (scores,) = found['scores']
  rows = {row['name']: row for row in scores['rows'] if row['slice'] == 'all'}
  assert list(rows) == ['plain', 'good guess', 'popularity']
  arrays = looked['validation'][1]
  expected = ranking.ranking_metrics(arrays['items_model'], arrays['target'])
  assert rows['plain']['mean'] == pytest.approx(expected['ndcg@10'])
  assert rows['plain']['seed_deviation'] == 0
  assert rows['good guess']['seed_deviation'] > 0
  assert (
    rows['good guess']['high'] < 0 and rows['good guess']['corrected'] < 0.05
  )
  low, high = scores['intervals']['good guess']
  assert low < rows['good guess']['mean'] < high
  # Four runs, and what is said of the ids of each.
  assert [row['arm'] for row in found['measured']] == [
    *['plain'] * 2,
    *['good guess'] * 2,
  ]
  assert found['measured'][1] == {
    'arm': 'plain',
    'seed': 1,
    'named': 'seed_1',
    'size': 1.5,
  }
  saved = json.loads((directory / 'experiment.json').read_text())
  assert saved['scores'] == json.loads(json.dumps(found['scores']))
  assert saved['fingerprints']['dataset']
  mean = f'{rows["good guess"]["mean"]:.4f}'
  for text in (
    capsys.readouterr().out,
    (directory / 'experiment.md').read_text(),
    (directory / 'experiment.html').read_text(),
  ):
    assert (
      mean in text and 'less than the first' in text and 'popularity' in text
    )
  page = (directory / 'experiment.html').read_text()
  assert 'size by seed' in page and 'good guess: size 1.5 at seed 1' in page
  assert page.count('<svg') == 2 and '<script' not in page


def test_a_pipeline_is_a_baseline_like_others(directory):
  found = experiment(run_dir=directory, baselines=('multi_stage',), **SETTINGS)
  assert 'multi_stage' in found['scores'][0]['means']


def test_the_best_and_the_controls_alone_go_on_to_test(directory):
  found = experiment(run_dir=directory, seeds=(0, 1), finalists=1, **SETTINGS)
  validation, test = found['scores']
  assert [len(seeds) for seeds in validation['means'].values()] == [1, 1]
  assert list(test['means']) == ['good guess'] and test['split'] == 'test'
  assert len(test['means']['good guess']) == 2
  found = experiment(
    run_dir=directory, finalists=1, controls=('plain',), **SETTINGS
  )
  assert list(found['scores'][1]['means']) == ['good guess', 'plain']


def test_baselines_of_an_arm_stand_beside_it(directory, looked):
  arrays = looked['validation'][1]
  path = directory / 'plain/seed_0/baselines/validation/oracle.npz'
  path.parent.mkdir(parents=True)
  lists = np.arange(10)[None] + 0 * arrays['target'][:, None]
  kept = {k: arrays[k] for k in ('user', 'target', 'tied')}
  np.savez(path, items=lists, **kept)
  found = experiment(run_dir=directory, **SETTINGS)
  assert 'plain: oracle' in found['scores'][0]['means']


def test_what_was_made_with_other_settings_is_refused(directory):
  changed = {**SETTINGS, 'common': COMMON | {'TRAIN_STEPS': 301}}
  with pytest.raises(GenrecError, match='settings from .*300.* to .*301'):
    experiment(run_dir=directory, **changed)
  with pytest.raises(GenrecError, match='holds the data set shop'):
    experiment(run_dir=directory, **{**SETTINGS, 'dataset': 'ml_1m'})


@pytest.mark.parametrize(
  ('changed', 'said'),
  [
    ({'only': 'plane'}, "arm 'plane'; expected one of: good guess, plain"),
    ({'only': ('plain, plane',)}, "arm 'plane'; expected"),
    ({'controls': ('plane',)}, "arm 'plane'"),
    ({'baselines': ('ese',)}, "method 'ese'"),
    ({'seeds': ()}, '2 arms and 0 seeds'),
    ({'arms': {'a b': (), 'a-b': ()}}, 'lie in a_b/'),
    ({'arms': {'Dataset': ()}}, 'which is taken'),
    ({'arms': {'plain': ('NUM_LEVELS',)}}, "'NUM_LEVELS'; expected gin files"),
    ({'arms': {'+': ()}}, 'letters or digits'),
    ({'dataset': None, 'finalists': 1}, 'data of their own'),
  ],
)
def test_what_is_no_experiment_is_said_before_it_starts(
  changed, said, tmp_path
):
  with pytest.raises(GenrecError, match=said):
    experiment(run_dir=tmp_path, **{**SETTINGS, **changed})
  assert not list(tmp_path.iterdir())


def test_a_command_is_run_once_and_its_failure_told(run, tmp_path):
  def build(name, entries):
    return run_arm(
      Arm.parse(name, entries),
      7,
      tmp_path,
      base=BASE,
      settings=("DATASET = 'shop'", 'CODEBOOK_SIZE = 64'),
      commands=[('build_ids',)],
      dataset=run.directory / 'dataset',
    )

  made = build('Plain, of 2', ('ids/random_ids.gin', 'NUM_LEVELS = 2'))
  assert made.directory == tmp_path / 'plain_of_2' / 'seed_7'
  assert made.error is None and made.costs['build_ids']['seconds'] > 0
  assert 0.1 < made.costs['build_ids']['peak_gb'] < 20
  facts = json.loads((made.directory / 'ids/manifest.json').read_text())
  assert facts['facts']['method'] == 'random_ids'
  assert facts['facts']['seed'] == 7
  assert 'ids are in' in (made.directory / 'arm.log').read_text()
  (facts,) = measures.id_facts(made.directory)
  assert facts['prefixes by level'].endswith('/ 339')
  assert 0 <= facts['neighbours under one first code'] <= 1
  again = build('Plain, of 2', ('ids/random_ids.gin', 'NUM_LEVELS = 2'))
  assert again.costs == made.costs
  failed = build('bad', ('ids/random_ids.gin', 'NUM_LEVELS = 0'))
  assert failed.error.startswith('0 levels of 64 codes') and failed.costs == {}


def test_two_experiments_do_not_write_the_same_arms(directory):
  with alone(directory):
    with pytest.raises(GenrecError, match='running in .* already'):
      experiment(run_dir=directory, **SETTINGS)
  experiment(run_dir=directory, **SETTINGS)


def test_an_experiment_is_named(capsys):
  assert main.main(['experiment', 'idz']) == 1
  assert 'ids' in capsys.readouterr().err
