import pathlib
import types

from genrec_jax import report
from genrec_jax.evaluation import results
from genrec_jax.reporting import task_sections


def test_compared_runs_are_told_apart_by_the_fewest_folders(tmp_path):
  def names(*paths):
    return list(report._short_names([tmp_path / path for path in paths]))

  assert names('a/x', 'b/y') == ['x', 'y']
  assert names('one/seed_0/run', 'two/seed_0/run') == [
    'one/seed_0/run',
    'two/seed_0/run',
  ]
  assert names('a/run', 'b/run', 'c') == [
    'a/run',
    'b/run',
    f'{tmp_path.name}/c',
  ]
  assert names('a', 'a') == ['a']
  assert names() == []
  assert report._short_names(['a'])['a'] == pathlib.Path('a').resolve()


def test_results_of_tasks_no_longer_tokenized_come_last(tmp_path):
  for task in ('rating', 'before', 'summary'):
    facts = {'split': 'validation', 'task': task, 'subset': None}
    results.write_result(tmp_path, facts, {})
  cache = types.SimpleNamespace(tasks=lambda: ['summary', 'rating'])
  found = report._read_results(tmp_path, cache)
  assert list(found) == ['summary', 'rating', 'before']


def test_another_sample_of_a_compared_run_is_named():
  def result(examples):
    return {
      'split': 'test',
      'task': 'review',
      'answer': 'text',
      'columns': ['bleu_1'],
      'metrics': {'model': {'all': {'n': examples, 'bleu_1': 0.5}}},
      'subset': {'examples': examples, 'of': 90, 'seed': 1},
    }

  others = {'same': result(10), 'other': result(20)}
  (table,) = task_sections.metric_tables(result(10), others, ())
  assert [row['name'] for row in table['rows']] == [
    'model',
    'model of same',
    'model of other (seed 1, 20 examples)',
  ]
