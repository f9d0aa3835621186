"""The command that answers JSON lines."""

import io
import json
import queue
import threading

import pytest

from genrec_jax.data.dataset import Dataset
from genrec_jax.recommend import recommend
from genrec_jax.serve import _take_together, serve
from genrec_jax.types import GenrecError


def known(run):
  """Returns the source ids of three items and of a user with an example."""
  dataset = Dataset.load(run.directory / 'dataset')
  users = run.cache.examples('sequential', 'test').user
  user = dataset.users['user_id'].to_pylist()[users[1]]
  return dataset.items['item_id'].to_pylist()[4:7], user


@pytest.fixture(scope='module')
def answers(run, tmp_path_factory):
  """What is answered to users, histories and nonsense, and the summary."""
  items, user = known(run)
  requests = [
    json.dumps({'history': items}),
    '',
    json.dumps({'user': user, 'id': 'mine'}),
    json.dumps({'history': [items[0], 'nothing']}),
    'no JSON',
    json.dumps({'history': items, 'wanted': 3}),
    '{"user": "nobody"}',
    json.dumps({'history': items[:1]}),
    '{"history": [], "id": 7}',
    '[3]',
  ]
  directory = tmp_path_factory.mktemp('serve')
  (directory / 'requests.jsonl').write_text('\n'.join(requests))
  summary = serve(
    run_dir=run.directory,
    model=run.model,
    requests=directory / 'requests.jsonl',
    out=directory / 'answers.jsonl',
    task='sequential',
    checkpoint='last',
    top_k=5,
    num_beams=8,
    batch_size=4,
    num_widths=2,
  )
  lines = (directory / 'answers.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines], summary


def test_answers_come_in_the_order_asked_and_say_what_was_wrong(answers):
  found, summary = answers
  names = [1, 'mine', 4, 5, 6, 7, 8, 7, 10]
  assert [answer['request'] for answer in found] == names
  is_answered = [True, True, False, False, False, False, True, False, False]
  assert ['items' in answer for answer in found] == is_answered
  assert all(len(a['items']) == 5 for a in found if 'items' in a)
  errors = [answer['error'] for answer in found if 'error' in answer]
  for error, part in zip(
    errors,
    [
      "item 'nothing' in the history",
      'Got no JSON',
      "Unknown part of a request 'wanted'",
      "user 'nobody'",
      'is empty',
      'Got [3]',
    ],
    strict=True,
  ):
    assert part in error
  assert summary['requests'] == 9 and summary['errors'] == 6
  assert 0 < summary['tokens'] <= summary['computed_tokens']


def test_it_lists_what_recommend_lists(run, answers):
  items, user = known(run)
  for asked, answer in (
    ({'history': items}, answers[0][0]),
    ({'users': user}, answers[0][1]),
  ):
    recommend(
      run_dir=run.directory,
      model=run.model,
      task='sequential',
      checkpoint='last',
      top_k=5,
      num_beams=8,
      **asked,
    )
    line = (run.directory / 'recommendations.jsonl').read_text()
    listed = json.loads(line)['recommendations']
    assert [e['name'] for e in listed] == [e['name'] for e in answer['items']]
    assert [e['score'] for e in listed] == pytest.approx(
      [e['score'] for e in answer['items']], rel=1e-5
    )


def test_lines_are_answered_before_the_next_ones_come():
  """Who asks one thing and waits for its answer gets it."""
  come = queue.Queue()
  groups = _take_together(iter(come.get, None), most=3)
  come.put('a\n')
  assert next(groups) == [(1, 'a\n')]
  threading.Timer(0.1, lambda: [come.put(x) for x in ('b', ' \n', 'c')]).start()
  got = next(groups)
  while len(got) < 2:
    got += next(groups)
  assert got == [(2, 'b'), (4, 'c')]
  come.put(None)
  assert list(groups) == []


def test_no_more_lines_are_taken_together_than_asked():
  groups = list(_take_together(io.StringIO('x\n' * 7), most=3))
  assert sum(map(len, groups)) == 7 and max(map(len, groups)) <= 3


def test_what_cannot_be_is_refused(run, tmp_path):
  with pytest.raises(GenrecError, match='top_k=9 with num_beams=8'):
    serve(run_dir=run.directory, model=run.model, top_k=9, num_beams=8)
  with pytest.raises(GenrecError, match='Cannot open --requests'):
    serve(
      run_dir=run.directory,
      model=run.model,
      checkpoint='last',
      requests=tmp_path / 'none.jsonl',
    )
