"""Ranking metrics by hand and against ranx."""

import numpy as np
import pytest

from genrec_jax.evaluation import ranking
from genrec_jax.types import GenrecError


def test_by_hand():
  """Ranks 1, 3 and none, in lists of four."""
  recommended = np.array([[7, 1, 2, 3], [4, 5, 6, -1], [0, 1, -1, -1]])
  metrics = ranking.ranking_metrics(recommended, np.array([7, 6, 9]), (1, 3, 4))
  expected = {
    'recall@1': 1 / 3,
    'ndcg@1': 1 / 3,
    'precision@1': 1 / 3,
    'recall@3': 2 / 3,
    'ndcg@3': (1 + 1 / 2) / 3,  # log2(1 + 3) = 2
    'precision@3': 2 / 9,
    'recall@4': 2 / 3,
    'ndcg@4': (1 + 1 / 2) / 3,
    'precision@4': 2 / 12,
    'mrr': (1 + 1 / 3) / 3,
  }
  assert metrics == pytest.approx(expected)


@pytest.mark.filterwarnings('ignore')  # numba's, not ours
def test_against_ranx(monkeypatch):
  # Compiling each metric takes a minute, interpreting them a moment.
  monkeypatch.setenv('NUMBA_DISABLE_JIT', '1')
  from ranx import Qrels, Run, evaluate

  rng = np.random.default_rng(0)
  recommended = np.stack([rng.permutation(60)[:20] for _ in range(50)])
  targets = rng.integers(0, 60, 50)
  qrels = Qrels({f'u{e}': {f'i{t}': 1} for e, t in enumerate(targets)})
  run = Run(
    {
      f'u{e}': {f'i{item}': 20.0 - place for place, item in enumerate(row)}
      for e, row in enumerate(recommended)
    }
  )
  found = ranking.ranking_metrics(recommended, targets)
  theirs = evaluate(qrels, run, [name for name in found], make_comparable=True)
  assert found == pytest.approx(theirs)
  hit_rate = evaluate(qrels, run, 'hit_rate@10', make_comparable=True)
  assert found['recall@10'] == pytest.approx(hit_rate)


def test_slices_are_means_over_their_examples():
  recommended = np.array([[1, 2], [2, 1], [3, 4]])
  metrics = ranking.example_metrics(recommended, np.array([1, 1, 1]), (1, 2))
  tied = np.array([True, True, False])
  slices = ranking.slice_metrics(
    metrics, {'tied': tied, 'untied': ~tied, 'none': tied & ~tied}
  )
  assert slices['tied']['n'] == 2 and slices['tied']['recall@1'] == 0.5
  assert slices['tied']['mrr'] == 0.75 and slices['untied']['mrr'] == 0
  assert slices['none'] == {'n': 0}


def test_held_out_targets_are_a_slice_of_their_own():
  recommended = np.array([[1, 2], [2, 1], [3, 4], [5, 6]])
  targets = np.array([1, 1, 9, 6])
  cold = np.array([False, True, True, False])
  found = ranking.measure_lists(recommended, targets, ~cold, cold)
  assert found['cold'] == {
    'n': 2,
    'recall@1': 0,
    'ndcg@1': 0,
    'precision@1': 0,
    'mrr': 0.25,
  }
  assert found['warm']['n'] == 2 and found['warm']['mrr'] == 0.75
  assert 'cold' not in ranking.measure_lists(recommended, targets, cold)


@pytest.mark.parametrize(
  'recommended, targets, cutoffs, message',
  [
    ([[1, 2], [3, 3]], [1, 1], (1,), 'example 1 holds item 3 more than once'),
    ([[1, -2]], [1], (1,), 'negative'),
    ([[1, 2]], [-1], (1,), 'negative'),
    ([[1, 2]], [1], (1, 5), 'lists of 2'),
    ([[1, 2]], [1], (0,), 'from 1 to 2'),
    ([[1, 2]], [1, 2], (1,), r'\(1, 2\) and targets of shape \(2,\)'),
    (np.zeros((0, 2), int), [], (1,), 'no examples'),
  ],
)
def test_refuses_what_is_no_ranking(recommended, targets, cutoffs, message):
  with pytest.raises(GenrecError, match=message):
    ranking.ranking_metrics(
      np.asarray(recommended), np.asarray(targets, int), cutoffs
    )
