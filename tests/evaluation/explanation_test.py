"""Explanation measures by hand, and diversity against all pairs."""

import itertools

import numpy as np
import pytest

from genrec_jax.evaluation.explanation import explanation_metrics
from genrec_jax.types import GenrecError

FEATURES = ['paper weight', 'lid', 'non-slip base', 'grip', 'cuff length']


def test_by_hand():
  generated = [
    'The paper weight is fine.',
    'The weight of paper, and the LID.',
    'The lid and the non-slip base',
    'The  paper weight is fine.',
  ]
  wanted = ['paper weight', 'paper weight', 'Lid', None]
  assert explanation_metrics(generated, FEATURES, wanted) == pytest.approx(
    {
      'n': 4,
      'num_features': 5,
      'usr': 3 / 4,
      'fcr': 3 / 5,
      'div': 2 / 6,  # 1 and 4 share the paper weight, 2 and 3 the lid
      'fmr_n': 3,
      'fmr': 2 / 3,
    }
  )


def test_diversity_is_the_mean_over_all_pairs():
  generator = np.random.default_rng(0)
  chosen = generator.random((40, len(FEATURES))) < 0.3
  generated = [
    ', '.join(np.array(FEATURES)[row]) + f' {number}'
    for number, row in enumerate(chosen)
  ]
  common = [(a & b).sum() for a, b in itertools.combinations(chosen, 2)]
  found = explanation_metrics(generated, FEATURES)
  assert found['div'] == pytest.approx(np.mean(common))
  assert found['usr'] == 1 and 'fmr' not in found


def test_a_wanted_feature_need_not_be_a_known_one():
  found = explanation_metrics(['a strap', 'a lid'], ['lid'], ['strap', 'strap'])
  assert (found['fmr'], found['fcr'], found['div']) == (1 / 2, 1, 0)


@pytest.mark.parametrize(
  'generated, known, wanted, message',
  [
    (['a'], FEATURES, None, '1 explanations'),
    (['a', 'b'], [' ', '-'], None, 'no features'),
    (['a', 'b'], FEATURES, ['lid'], '1 features for 2'),
  ],
)
def test_refuses_what_has_no_measure(generated, known, wanted, message):
  with pytest.raises(GenrecError, match=message):
    explanation_metrics(generated, known, wanted)
