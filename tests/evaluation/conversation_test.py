"""Recall in dialogues: by hand, with and without repeated items."""

import numpy as np
import pytest

from genrec_jax.data.token_cache import Ragged
from genrec_jax.evaluation.conversation import conversation_metrics
from genrec_jax.types import GenrecError


def lists(*rows, width=10):
  padded = np.full((len(rows), width), -1)
  for to, row in zip(padded, rows):
    to[: len(row)] = row
  return padded


def test_by_hand():
  recommended = lists([5, 1, 7], [2, 8], [9, 4])
  targets = Ragged.from_rows([[5, 7, 6], [8], [4, 9, 4]])
  mentioned = Ragged.from_rows([[7, 7, 3], [8, 1], []])
  assert conversation_metrics(recommended, targets, mentioned) == {
    'all': {
      'n': 6,
      'recall@1': pytest.approx(2 / 6),
      'recall@10': pytest.approx(5 / 6),
      'turns': 3,
      'turn_recall@1': pytest.approx((1 / 3 + 0 + 1 / 2) / 3),
      'turn_recall@10': pytest.approx((2 / 3 + 1 + 1) / 3),
    },
    'new': {
      'n': 4,
      'recall@1': pytest.approx(2 / 4),
      'recall@10': pytest.approx(3 / 4),
      'turns': 2,
      'turn_recall@1': pytest.approx((1 / 2 + 1 / 2) / 2),
      'turn_recall@10': pytest.approx((1 / 2 + 1) / 2),
    },
    'repeated': {
      'n': 2,
      'recall@1': 0,
      'recall@10': 1,
      'turns': 2,
      'turn_recall@1': 0,
      'turn_recall@10': 1,
    },
  }


def test_agrees_with_counting_one_by_one():
  generator = np.random.default_rng(0)
  recommended = np.stack([generator.permutation(80)[:50] for _ in range(60)])
  targets = [generator.integers(80, size=1 + n % 3) for n in range(60)]
  mentioned = [generator.integers(80, size=n % 30) for n in range(60)]
  found = conversation_metrics(
    recommended, Ragged.from_rows(targets), Ragged.from_rows(mentioned)
  )
  for name, wanted in (
    ('all', lambda item, named: True),
    ('new', lambda item, named: item not in named),
    ('repeated', lambda item, named: item in named),
  ):
    hits = [
      [item in row[:10] for item in set(items) if wanted(item, named)]
      for row, items, named in zip(recommended, targets, mentioned)
    ]
    kept = [turn for turn in hits if turn]
    assert found[name]['n'] == sum(map(len, hits)) > 0
    assert found[name]['turns'] == len(kept)
    assert found[name]['recall@10'] == pytest.approx(np.mean(sum(kept, [])))
    assert found[name]['turn_recall@10'] == pytest.approx(
      np.mean([np.mean(turn) for turn in kept])
    )


def test_nothing_is_repeated_where_nothing_was_mentioned():
  found = conversation_metrics(
    lists([5]), Ragged.from_rows([[5]]), Ragged.from_rows([[]])
  )
  assert found['new'] == found['all']
  assert found['repeated'] == {'n': 0, 'turns': 0}


@pytest.mark.parametrize(
  'rows, targets, mentioned, message',
  [
    ([[1]], [[1], [2]], [[]], '1 lists, targets of 2 turns'),
    ([[1], [1]], [[1], []], [[], []], 'Turn 1 names no item'),
    ([[1, 1]], [[1]], [[]], 'more than once'),
    ([[1], [1]], [[1], [-1]], [[], []], 'negative'),
    ([[1], [1]], [[1], [1]], [[], [-1]], 'negative'),
    ([], [], [], 'at least one'),
  ],
)
def test_refuses_turns_that_do_not_fit(rows, targets, mentioned, message):
  with pytest.raises(GenrecError, match=message):
    conversation_metrics(
      lists(*rows), Ragged.from_rows(targets), Ragged.from_rows(mentioned)
    )
