"""Typed results on their way to the metrics: nothing is lost."""

import numpy as np
import pytest

from genrec_jax.evaluation import outputs
from genrec_jax.evaluation.outputs import (
  DialogueTurn,
  Failure,
  Mention,
  RankedItems,
  Text,
)
from genrec_jax.types import GenrecError

FAILED = Failure('not_tokens', 'None')


def test_lists_are_cut_and_filled_and_a_failure_is_empty():
  found = outputs.item_lists(
    [
      RankedItems((4, 2, 7), (3.0, 2.0, 1.0)),
      FAILED,
      RankedItems((5,), (1.0,)),
    ],
    width=2,
  )
  np.testing.assert_array_equal(found, [[4, 2], [-1, -1], [5, -1]])
  assert found.dtype == np.int32


def test_a_failed_text_is_an_empty_one():
  turn = DialogueTurn('see @3', (Mention(3, 4, 6),))
  assert outputs.texts([Text('good'), FAILED, turn]) == ['good', '', 'see @3']


def test_counts_failures_by_reason():
  others = [FAILED, Failure('no_text', ''), Text('good'), FAILED]
  assert outputs.count_failures(others) == {
    'n': 4,
    'failed_share': 0.75,
    'reasons': {'no_text': 1, 'not_tokens': 2},
  }
  with pytest.raises(GenrecError, match='no outputs'):
    outputs.count_failures([])
