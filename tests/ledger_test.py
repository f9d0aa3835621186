"""`genrec ledger` on runs that were measured, half done, odd and damaged."""

import json
import shutil

import numpy as np
import pytest

from genrec_jax.compare import compare
from genrec_jax.data import simulator
from genrec_jax.evaluation import ranking, results, significance
from genrec_jax.evaluation.rating import liking_metrics, rating_metrics
from genrec_jax.ledger import ledger
from genrec_jax.measure_baselines import measure_baselines
from genrec_jax.reporting import run_records
from genrec_jax.reporting.ledger_tables import Ledger
from genrec_jax.types import GenrecError

ODD = 'odd <img src=x onerror=alert(1)> & "co"'
PLANTED = (
  '</title></script><script>document.title = "planted"</script>'
  '<img src="https://planted.example/x.png" onerror="document.title=1">'
)
DRAWN = {'num_resamples': 200, 'seed': 4}
HEADS = 16  # columns of the table of results


@pytest.fixture(scope='module')
def runs(save_shop, tmp_path_factory):
  """A directory of runs: one whole, one better, one of other data, one bare.

  What would take a model is answered by simple methods and at random here, and
  measured as ever; measuring_test.py makes the page of a run that has one.
  """
  directory = tmp_path_factory.mktemp('ledger') / 'runs'
  whole = directory / 'whole'
  raw = simulator.simulate(seed=1, num_users=40, num_dialogues=2)
  dataset, split, ids = save_shop(whole, raw)
  about = {
    'fingerprints': {**ids.inputs, 'ids': ids.fingerprint},
    'checkpoint': {'step': 1200, 'training_seed': 7},
    'num_parameters': 3456,
    'code': {'version': '1', 'commit': 'c' * 40, 'changed': True},
    'lacking': {},
    'cut': {},
  }
  for part in ('validation', 'test'):
    methods = 'ease,popularity' if part == 'validation' else 'popularity'
    measure_baselines(run_dir=whole, split=part, methods=methods)
    write_next_items(whole, part, about)
  write_next_items(whole, 'test', about)  # a second look
  write_others(whole, about)
  (whole / 'config.gin').write_text(f'# {PLANTED}')
  (whole / 'logs').mkdir()
  (whole / 'logs' / 'metrics.jsonl').write_text(
    ''.join(
      json.dumps({'step': step, 'split': 'train', 'loss': 9 / step}) + '\n'
      for step in range(100, 1300, 100)
    )
  )
  path = [{'label': PLANTED, 'items': 12}, {'label': '5', 'items': 1}]
  item = {'rank': 1, 'item': 3, 'name': PLANTED, 'score': -1.5, 'path': path}
  worked = {'kind': 'item', 'prompt': PLANTED, 'truth': 'a', 'items': [item]}
  (whole / 'examples.json').write_text(
    json.dumps({'facts': {'checkpoint': 9}, 'tasks': {'sequential': [worked]}})
  )

  write_cost(whole, about)

  better = directory / 'deeper' / 'better'
  shutil.copytree(whole / 'evaluation', better / 'evaluation')
  result, arrays = read(better)
  lists, target = arrays['items_model'], arrays['target']
  wrong = ~(lists == target[:, None]).any(axis=1)
  lists[wrong, 0] = target[wrong]
  result['metrics']['model'] = ranking.measure_lists(
    lists, target, arrays['tied']
  )
  del result['bias'], result['groups']  # as where no floors are measured
  rewrite(better, result, arrays)
  compare(run_dir=whole, runs=[better], num_resamples=1000)

  odd = directory / ODD
  shutil.copytree(whole / 'evaluation', odd / 'evaluation')
  result, arrays = read(odd)
  result['fingerprints'] = {**result['fingerprints'], 'dataset': 'f' * 64}
  result['read_out'] = [{'prompt': PLANTED, 'output': [PLANTED], 'truth': 'b'}]
  result['columns'].append(PLANTED)
  result['metrics']['model']['all'][PLANTED] = 0.5
  rewrite(odd, result, arrays)

  beauty = directory / 'beauty'
  for name in ('evaluation/test', 'dataset'):
    shutil.copytree(whole / name, beauty / name)
  result, arrays = results.read_result(beauty, 'test', 'sequential')
  result['fingerprints'] = {**result['fingerprints'], 'dataset': 'b' * 64}
  rewrite(beauty, result, arrays)
  manifest = beauty / 'dataset' / 'manifest.json'
  facts = json.loads(manifest.read_text())
  facts |= {'name': 'amazon_beauty', 'fingerprint': 'b' * 64}
  manifest.write_text(json.dumps(facts))

  bare = directory / 'bare'
  (bare / 'evaluation' / 'validation').mkdir(parents=True)
  (bare / 'evaluation' / 'validation' / 'rating.json').write_text('{"cut')
  ledger(run_dir=directory, **DRAWN)
  return directory


def write_next_items(run_dir, part, about):
  """Writes lists of popular items, turned round, as those of a model."""
  path = run_dir / 'baselines' / part / 'popularity'
  result = json.loads(path.with_suffix('.json').read_text())
  with np.load(path.with_suffix('.npz')) as file:
    arrays = {k: file[k] for k in ('user', 'target', 'tied')}
    popular = file['items']
  arrays |= {'items_model': popular[:, ::-1], 'items_popularity': popular}

  def of_both(found):
    return {**found, 'model': found['popularity']}

  metrics = {
    name: ranking.measure_lists(
      arrays[f'items_{name}'], arrays['target'], arrays['tied']
    )
    for name in ('model', 'popularity')
  }
  bias = result['bias']
  named = {name: of_both(bias[name]) for name in ('rows', 'shares', 'lorenz')}
  results.write_result(
    run_dir,
    {
      **about,
      'split': part,
      'task': 'sequential',
      'answer': 'item',
      'n': result['n'],
      'subset': None,
      'time': results.now(),
      'metrics': metrics,
      'columns': result['columns'],
      'bias': {**bias, **named},
      'groups': {k: of_both(found) for k, found in result['groups'].items()},
      'audit': result['audit'],
      'read_out': [],
    },
    arrays,
  )


def write_others(run_dir, about):
  """Writes ratings, yes or no, and a sample of texts."""
  rng = np.random.default_rng(0)
  user = np.arange(30)
  truth, expected = rng.integers(1, 6, size=30), rng.random(30) * 5
  of_ratings = {'truth': truth, 'expected': expected}
  liked, odds = truth > 3, rng.normal(size=30)
  of_answers = {'truth': liked, 'log_odds': odds, 'yes': expected / 5}
  rouge = {'rouge_l': 100 * rng.random(30)}
  for task, answer, columns, metrics, arrays in (
    (
      'rating',
      'rating',
      ('rmse', 'mae'),
      rating_metrics(expected, truth),
      of_ratings,
    ),
    (
      'rating_yes_no',
      'yes_no',
      ('auc',),
      liking_metrics(odds, liked),
      of_answers,
    ),
    (
      'summary',
      'text',
      ('bleu_1', 'rouge_l'),
      {'n': 30, 'bleu_1': 3.0, 'rouge_l': rouge['rouge_l'].mean()},
      rouge,
    ),
  ):
    sample = {'examples': 30, 'of': 90, 'seed': 0}
    result = {
      **about,
      'split': 'validation',
      'task': task,
      'answer': answer,
      'n': 30,
      'subset': sample if task == 'summary' else None,
      'time': results.now(),
      'columns': columns,
      'metrics': {'model': {'all': metrics}},
    }
    results.write_result(run_dir, result, {'user': user, **arrays})


def write_cost(run_dir, about):
  """Writes what `genrec measure_cost` would, of a model and a baseline."""

  def spent(times):
    return {
      'requests_per_second': 1234.5 * times,
      'cpu_ms_per_request': 0.75 / times,
      'p50_ms': 0.5,
      'p95_ms': 2.5,
      'flops_per_request': None,
      'bytes_held': 3 * 2**20,
      'bytes_peak': 4 * 2**20,
    }

  cost = {
    'task': 'sequential',
    'requests': {'examples': 128, 'of': 400, 'seed': 0},
    'items': 90,
    'rounds': 3,
    'search': {'num_beams': 20},
    'costs': {
      size: {
        'model': {**spent(1), 'flops_per_request': 2.5e6},
        PLANTED: spent(4),
      }
      for size in ('1', '32')
    },
    'fingerprints': {**about['fingerprints'], 'tokens': 't' * 64},
  }
  (run_dir / 'cost').mkdir()
  (run_dir / 'cost' / 'sequential.json').write_text(json.dumps(cost))
  (run_dir / 'cost' / 'summary.json').write_text('{"costs": {"1": {}}}')


def read(run_dir):
  return results.read_result(run_dir, 'validation', 'sequential')


def rewrite(run_dir, result, arrays):
  arrays = {k: v for k, v in arrays.items() if k not in ('split', 'task')}
  results.write_result(run_dir, result, arrays)


@pytest.fixture(scope='module')
def text(runs):
  return (runs / 'ledger.html').read_text()


@pytest.fixture(scope='module')
def page(text, pages):
  return pages.Page(text)


def rows_of_results(page):
  return [
    (about, cells) for about, cells in page.rows if 'data-method' in about
  ]


def find_row(page, run, task, part='validation', method='model'):
  (cells,) = (
    cells
    for about, cells in rows_of_results(page)
    if (about['data-run'], about['data-part'], about['data-method'])
    == (run, part, method)
    and task in about['data-task'].split()
  )
  return {
    about['data-label']: (about.get('data-value'), ' '.join(text.split()))
    for about, text in cells
  }


def test_numbers_are_those_of_the_results(runs, page):
  metrics = {
    'sequential': 'ndcg@10',
    'rating': 'rmse',
    'rating_yes_no': 'auc',
    'summary': 'rouge_l',
  }
  for task, metric in metrics.items():
    sample = task == 'summary'
    result, _ = results.read_result(
      runs / 'whole', 'validation', task, subset=sample
    )
    expected = result['metrics']['model']['all'][metric]
    row = find_row(page, 'whole', task)
    assert row['metric'][1] == metric
    value, told = row['value, 95 % interval']
    assert float(value) == expected
    assert told.startswith(f'{expected:.4f} [')
    assert row['n'][1] == f'{result["n"]:,}'
    made = result['fingerprints']
    assert row['dataset'][1] == made['dataset'][:8]
    assert row['split'][1] == made['split'][:8]
    assert row['ids'][1].split()[-1] == made['ids'][:8]
    assert row['steps'][1] == '1,200' and row['parameters'][1] == '3,456'
    assert row['seed'][1] == '7' and row['commit'][1] == 'cccccccc changed'
    assert ('a sample of 30 of 90' in row['part'][1]) == sample
  ease = json.loads((runs / 'whole/baselines/validation/ease.json').read_text())
  row = find_row(page, 'whole', 'sequential', method='ease')
  assert (
    float(row['value, 95 % interval'][0]) == (ease['metrics']['all']['ndcg@10'])
  )


def test_intervals_are_those_of_significance(runs, page):
  for run, method, path, name in (
    ('whole', 'model', 'evaluation/validation/sequential.npz', 'items_model'),
    ('better', 'model', 'evaluation/validation/sequential.npz', 'items_model'),
    ('whole', 'ease', 'baselines/validation/ease.npz', 'items'),
  ):
    where = runs / ('deeper/better' if run == 'better' else run)
    with np.load(where / path) as file:
      values = ranking.example_metrics(file[name], file['target'], [10])
    values = values['ndcg@10']
    found = significance.paired_bootstrap(
      values, np.zeros_like(values), **DRAWN
    )
    _, told = find_row(page, run, 'sequential', method=method)[
      'value, 95 % interval'
    ]
    assert told == f'{found.mean:.4f} [{found.low:.4f}, {found.high:.4f}]'


def test_only_what_is_of_the_same_stands_in_one_table(runs):
  found = Ledger(run_records.read_runs([runs]), metric='mrr', **DRAWN)
  letters = {name['dataset']: name['letter'] for name in found.data.values()}
  tables = {
    (group.data, group.task, group.part): found.table(group)
    for group in found.groups
  }
  own = read(runs / 'whole')[0]['fingerprints']['dataset'][:8]
  models = {
    key: [row['run'] for row in table['rows'] if row['model']]
    for key, table in tables.items()
  }
  assert models[letters[own], 'sequential', 'validation'] in (
    ['better', 'whole'],
    ['whole', 'better'],
  )
  # Of another dataset, as its result says, whatever its lists are.
  assert models[letters['f' * 8], 'sequential', 'validation'] == [ODD]
  # A floor that two runs measured alike stands once, and says so.
  rows = tables[letters[own], 'sequential', 'validation']['rows']
  (popular,) = (row for row in rows if row['method'] == 'popularity')
  assert {popular['run'], *popular['also']} == {'whole', 'better'}
  # Baselines stand with the model of the same examples.
  assert 'ease' in [row['method'] for row in rows]


def test_several_data_in_the_table_of_results_are_said(text, runs, tmp_path):
  assert 'holds results on 3 pairs of dataset and split' in text
  alone = ledger(run_dir=runs / 'whole', **DRAWN).read_text()
  assert 'pairs of dataset and split, lettered' not in alone


def test_who_is_not_in_the_pictures_is_said(text):
  assert 'as their results do not say it: better.' in text


def test_looks_at_test_are_counted(page):
  row = find_row(page, 'whole', 'sequential', 'test')
  assert 'test looked at 2×' in row['part'][1]


def test_what_a_run_lacks_or_has_damaged_is_said(text):
  assert 'evaluation/validation/rating.json cannot be read' in text
  assert 'nothing is measured yet' in text
  assert 'no log of training' in text


def test_a_comparison_is_told_with_the_names_of_the_runs(text, runs, page):
  saved = json.loads(
    (runs / 'whole/comparison/validation/sequential.json').read_text()
  )
  (row,) = (
    r
    for r in saved['rows']
    if r['slice'] == 'all' and r['name'].endswith('better')
  )
  told = (
    f'{row["difference"]:+.4f} [{row["low"]:+.4f}, {row["high"]:+.4f}]',
    'the model is worse',
  )
  assert any(
    cells[0] == 'better' and (cells[3], cells[5]) == told
    for cells in page.cells()
    if len(cells) == 6
  )


def test_costs_are_told_and_those_that_cannot_be_read(text, page):
  model, other = (
    next(cells for cells in page.cells() if cells[0] == f'{name}, 32 at once')
    for name in ('model', PLANTED)
  )
  assert model[1:] == ['0.5', '2.5', '1,234', '0.75', '2.5', '3', '4']
  assert other[3:6] == ['4,938', '0.1875', '–']
  assert '128 requests on 90 items, 20 beams' in text
  assert 'cost/summary.json is left out' in text


def test_nothing_of_the_data_becomes_part_of_the_page(text, page, pages):
  assert pages.requests(text) == []
  scripts = page.named('script')
  assert len(scripts) == 1 and not page.named('img')
  assert not any('onerror' in a for _, a in page.tags)
  # The odd name and what was planted are there, as texts.
  assert find_row(page, ODD, 'sequential')['run'][1] == ODD
  assert text.count('&lt;script&gt;document.title') >= 3
  assert pages.policy(text)['default-src'] == ["'none'"]
  (source,) = pages.policy(text)['script-src']
  assert source.startswith("'sha256-")


def test_requests_are_found_where_there_are_some(pages):
  for bad in (
    '<img src="https://a.example/b.png">',
    '<link rel="stylesheet" href="style.css">',
    '<style>@import "a.css"</style>',
    '<p style="background: url(a.png)">',
    '<script>fetch("a")</script>',
    '<a href="https://a.example">a</a>',
    '<iframe></iframe>',
  ):
    assert pages.requests(bad), bad
  assert not pages.requests('<a href="#b">https://a.example</a><p data-run=a>')


def test_a_browser_that_is_given_requests_makes_them(pages, tmp_path):
  (tmp_path / 'bad.html').write_text('<img src="http://127.0.0.1:9/a.png">')
  _, asked = pages.open_page(tmp_path / 'bad.html', tmp_path)
  assert 'http://127.0.0.1:9/a.png' in asked


def test_everything_is_there_without_a_script(page):
  (form,) = page.named('form')
  assert 'hidden' in form
  assert len(rows_of_results(page)) >= 10
  hidden = [a for tag, a in page.tags if 'hidden' in a or 'data-off' in a]
  assert hidden == [form]
  for _, cells in rows_of_results(page):
    assert len(cells) == HEADS


@pytest.mark.parametrize(
  ('arrays', 'told'),
  [
    (None, 'no evaluation/validation/sequential.npz'),
    (b'no zip', 'evaluation/validation/sequential.npz cannot be read'),
    ('short', 'no interval, as the answers beside the result do not fit'),
  ],
)
def test_missing_arrays_leave_the_metric_without_interval(
  runs, tmp_path, pages, arrays, told
):
  shutil.copytree(runs / 'whole/evaluation', tmp_path / 'r/evaluation')
  path = tmp_path / 'r/evaluation/validation/sequential.npz'
  if arrays is None:
    path.unlink()
  elif arrays == 'short':
    result, found = read(tmp_path / 'r')
    found['items_model'] = found['items_model'][::-1]
    rewrite(tmp_path / 'r', result, found)
  else:
    path.write_bytes(arrays)
  text = ledger(run_dir=tmp_path / 'r', **DRAWN).read_text()
  assert told in text
  row = find_row(pages.Page(text), 'r', 'sequential')
  result, _ = read(runs / 'whole')
  value = result['metrics']['model']['all']['ndcg@10']
  assert row['value, 95 % interval'][1] == f'{value:.4f}'


def test_what_is_no_run_is_refused(runs, tmp_path):
  with pytest.raises(GenrecError, match='holds no run'):
    ledger(run_dir=tmp_path)
  with pytest.raises(GenrecError, match='no directory'):
    ledger(run_dir=runs, runs='nowhere')
  with pytest.raises(GenrecError, match="'ndcg@7'; expected one of: mrr"):
    ledger(run_dir=runs, metric='ndcg@7')


def test_published_rows_stand_beside_ours(runs, page):
  theirs = {
    cells[0]: cells for cells in page.cells() if cells[-1].startswith('Rajput')
  }
  assert theirs['TIGER'][1:6] == ['0.0454', '0.0321', '0.0648', '0.0384', '=']
  result, _ = results.read_result(runs / 'beauty', 'test', 'sequential')
  (ours,) = (
    cells for cells in page.cells() if cells[-1] == 'measured here, beauty'
  )
  value = result['metrics']['model']['all']['recall@10']
  assert ours[0] == 'beauty' and ours[3] == f'{value:.4f}'
  assert ours[5].startswith('≠ users: 40 here, 22,363 published')


# In a real browser.


def shown(page):
  return [
    (about['data-run'], about['data-task'], about['data-part'])
    for about, _ in rows_of_results(page)
    if 'data-off' not in about
  ]


def test_the_address_presets_the_filter(runs, pages, tmp_path):
  dom, asked = pages.open_page(
    runs / 'ledger.html',
    tmp_path,
    '#task=sequential&part=validation&q=better&sort=5&order=descending',
  )
  page = pages.Page(dom)
  assert shown(page) == [('better', 'sequential', 'validation')]
  assert '1 of' in dom
  # Sorted all the same, the best first and what has no metric last.
  values = [
    float(cells[5][0]['data-value']) for _, cells in rows_of_results(page)
  ]
  assert values == sorted(values, reverse=True)
  (head,) = (
    about
    for _, cells in page.rows
    for about, _ in cells
    if 'aria-sort' in about
  )
  assert head['aria-sort'] == 'descending'
  # Sections of other tasks are off, too.
  sections = [a for a in page.named('section') if 'data-part' in a]
  assert {a['data-task'] for a in sections if 'data-off' not in a} == {
    'sequential'
  }
  assert asked == []


def test_nothing_planted_runs(runs, pages, tmp_path):
  dom, asked = pages.open_page(runs / 'ledger.html', tmp_path)
  assert asked == []
  page = pages.Page(dom)
  assert len(shown(page)) == len(rows_of_results(page)) >= 10
  assert '<title>Ledger of runs' in dom
  assert len(page.named('script')) == 1
  # The filter is there, once a script may run.
  assert 'hidden' not in page.named('form')[0]


@pytest.mark.parametrize('width', [340, 1200])
def test_the_page_is_no_wider_than_a_screen(runs, pages, tmp_path, width):
  assert pages.too_wide(runs / 'ledger.html', tmp_path, width) == []
