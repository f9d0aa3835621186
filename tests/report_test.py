import json
import types

import numpy as np
import pytest

from genrec_jax import report
from genrec_jax.data.token_cache import (
  Ragged,
  TokenCache,
  TokenExamples,
  write_token_cache,
)
from genrec_jax.evaluation import results
from genrec_jax.ids.item_ids import TokenLayout


def test_results_of_tasks_no_longer_tokenized_come_last(tmp_path):
  for task in ('rating', 'before', 'summary'):
    facts = {'split': 'validation', 'task': task, 'subset': None}
    results.write_result(tmp_path, facts, {})
  cache = types.SimpleNamespace(tasks=lambda: ['summary', 'rating'])
  found = report._read_results(tmp_path, cache)
  assert list(found) == ['summary', 'rating', 'before']


def write_result(run_dir, *, subset=None, step=600, tokens='t', time='1'):
  result = {
    'split': 'test',
    'task': 'sequential',
    'subset': subset and {'examples': subset, 'of': 90, 'seed': 0},
    'checkpoint': {'chosen': 'last', 'step': step, 'training_seed': 0},
    'fingerprints': {'tokens': tokens},
    'time': time,
  }
  results.write_result(run_dir, result, {})


@pytest.mark.parametrize(
  ('sample', 'wins'),
  [
    ({'step': 900, 'time': '2'}, True),
    ({'tokens': 'others', 'time': '2'}, True),
    ({'time': '2'}, False),  # of the same model
    ({'step': 300, 'time': '0'}, False),
  ],
)
def test_a_later_sample_of_another_model_goes_before_all_examples(
  tmp_path, sample, wins
):
  write_result(tmp_path)
  assert results.measured_tasks(tmp_path, 'test') == {'sequential': False}
  write_result(tmp_path, subset=10, **sample)
  assert results.measured_tasks(tmp_path, 'test') == {'sequential': wins}


def test_results_of_other_tokens_are_named(tmp_path):
  cache = types.SimpleNamespace(tasks=lambda: ['sequential'], fingerprint='t')
  write_result(tmp_path)
  found = report._read_results(tmp_path, cache)
  assert report._outdated(cache, found) == []
  cache.fingerprint = 'others'
  (warning,) = report._outdated(cache, found)
  assert 'has now: sequential (test); run' in warning


def write_tokens(run_dir):
  """Two tasks, in which user 0, or dialogue 0, gets other items each time."""
  layout = TokenLayout(codebook_sizes=(8,))
  tokens = layout.item_tokens(np.arange(8)[:, None])

  def examples(inputs, targets):
    zeros = np.zeros(len(targets), np.int32)
    return TokenExamples(
      inputs=Ragged.from_rows([tokens[item] for item in inputs]),
      targets=Ragged.from_rows([tokens[item] for item in targets]),
      user=zeros,
      target=np.array(targets, np.int32),
      tied=zeros.astype(bool),
      history=Ragged.from_rows([[item] for item in inputs]),
    )

  write_token_cache(
    run_dir / 'tokens',
    layout=layout.as_dict(),
    item_tokens=tokens,
    item_names=[f'thing {item}' for item in range(8)],
    examples={
      'sequential': {
        'validation': examples([0], [1]),
        'test': examples([1], [2]),
      },
      'conversation': {'test': examples([3, 4, 4], [4, 5, 6])},
    },
    inputs={'ids': 'some'},
  )
  return TokenCache.load(run_dir / 'tokens')


def test_recommendations_are_held_against_what_came_next_there(tmp_path):
  cache = write_tokens(tmp_path)
  record = {
    'task': 'sequential',
    'split': 'test',
    'tokens': cache.fingerprint,
    'who': 'user',
    'user': 0,
    'user_id': 'u7',
    'history': [],
    'recommendations': [
      {'item': item, 'name': f'thing {item}', 'score': -1.0, 'path': []}
      for item in (1, 5)
    ],
  }
  conversation = {'task': 'conversation', 'who': 'dialogue', 'user_id': None}
  nobody = {'split': None, 'who': 'a new user', 'user': None, 'user_id': None}
  records = [
    record,
    record | {'split': 'validation'},
    record | conversation,
    record | nobody,
    record | {'tokens': 'others'},
    {'user': 0, 'history': []},  # of an older version
  ]
  (tmp_path / 'recommendations.jsonl').write_text(
    ''.join(json.dumps(one) + '\n' for one in records)
  )
  found, (warning,) = report._examples(tmp_path, cache)
  assert [one['user'] for one in found] == [
    'User u7',
    'User u7',
    'Dialogue 0',
    'A new user',
  ]
  assert [one['came_next'] for one in found] == [
    ['thing 2'],
    ['thing 1'],
    ['thing 5', 'thing 6'],
    [],
  ]
  hits = [[item['hit'] for item in one['items']] for one in found]
  assert hits == [[False] * 2, [True, False], [False, True], [False] * 2]
  assert warning.startswith('2 of the 6 lists')
