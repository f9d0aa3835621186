"""Rankings for other evaluators, measured by one of them."""

import json

import numpy as np
import pytest

from genrec_jax.data.token_cache import Ragged
from genrec_jax.evaluation import conversation, ranking
from genrec_jax.exchange import rankings
from genrec_jax.types import GenrecError

NUM_ITEMS, NUM_QUERIES, LENGTH = 40, 30, 10
METRICS = ['recall@5', 'recall@10', 'ndcg@5', 'ndcg@10', 'mrr']


@pytest.fixture(scope='module')
def arrays():
  """Lists with ties, empty places and targets that are not in them."""
  rng = np.random.default_rng(0)
  items = np.stack(
    [rng.permutation(NUM_ITEMS)[:LENGTH] for _ in range(NUM_QUERIES)]
  )
  scores = -np.sort(rng.integers(1, 4, items.shape) / 3, axis=1)
  items[3, 6:], scores[3, 6:] = -1, -np.inf
  target = rng.integers(0, NUM_ITEMS, NUM_QUERIES)
  target[:15] = items[np.arange(15), rng.integers(0, 6, 15)]
  return {
    'user': np.arange(NUM_QUERIES)[::-1],
    'target': target,
    'scores': scores.astype(np.float32),
    'items_model': items,
    'items_popularity': np.tile(np.arange(LENGTH), (NUM_QUERIES, 1)),
  }


def write(directory, arrays):
  return rankings.write_rankings(
    directory,
    arrays,
    item_names=[f'Item {n}' for n in range(NUM_ITEMS)],
    item_ids=[f'i {n}' for n in range(NUM_ITEMS)],
    query_ids=[f'u{n}' for n in range(NUM_QUERIES)],
  )


@pytest.fixture
def measure(monkeypatch):
  """What ranx says of a row that was written."""
  # Compiling each metric takes a minute, interpreting them a moment.
  monkeypatch.setenv('NUMBA_DISABLE_JIT', '1')
  import ranx

  def measure(directory, row):
    qrels, run = (
      kind.from_file(str(directory / name), kind='trec')
      for kind, name in (
        (ranx.Qrels, 'qrels.trec'),
        (ranx.Run, f'run_{row}.trec'),
      )
    )
    return ranx.evaluate(qrels, run, METRICS)

  return measure


@pytest.mark.filterwarnings('ignore')  # numba's, of ranx
@pytest.mark.parametrize('row', ['model', 'popularity'])
def test_ranx_measures_what_we_do(arrays, tmp_path, measure, row):
  assert write(tmp_path, arrays) == ['model', 'popularity']
  ours = ranking.ranking_metrics(
    arrays[f'items_{row}'], arrays['target'], (5, 10)
  )
  found = measure(tmp_path, row)
  for name in METRICS:
    assert found[name] == pytest.approx(ours[name], abs=1e-9), name


@pytest.mark.filterwarnings('ignore')
def test_turns_of_a_dialogue_are_queries_of_their_own(
  arrays, tmp_path, measure
):
  targets = Ragged.from_rows(
    [[target, (target + 1) % NUM_ITEMS] for target in arrays['target']]
  )
  of_dialogues = {
    'dialogue': np.arange(NUM_QUERIES) // 3,
    'targets': targets.values,
    'targets_offsets': targets.offsets,
    'scores': arrays['scores'],
    'items_model': arrays['items_model'],
  }
  write(tmp_path, of_dialogues)
  lines = (tmp_path / 'predictions.jsonl').read_text().splitlines()
  assert [json.loads(line)['query'] for line in lines[:4]] == [
    'u0/0',
    'u0/1',
    'u0/2',
    'u1/0',
  ]
  ours = conversation.conversation_metrics(
    arrays['items_model'], targets, Ragged.from_rows([[]] * NUM_QUERIES)
  )
  found = measure(tmp_path, 'model')
  assert found['recall@10'] == pytest.approx(ours['all']['turn_recall@10'])


def test_lines_name_items_and_keep_scores(arrays, tmp_path):
  write(tmp_path, arrays)
  lines = (tmp_path / 'predictions.jsonl').read_text().splitlines()
  record = json.loads(lines[3])
  assert record['query'] == f'u{NUM_QUERIES - 4}'
  assert len(record['predictions']['model']) == len(record['scores']) == 6
  first = arrays['items_model'][3, 0]
  assert record['predictions']['model'][0] == {
    'item': first,
    'id': f'i%20{first}',
    'name': f'Item {first}',
  }
  np.testing.assert_allclose(record['scores'], arrays['scores'][3, :6])


def test_results_without_lists_are_refused(tmp_path):
  with pytest.raises(GenrecError, match='no ranked items'):
    write(tmp_path, {'predicted': np.zeros(3)})
