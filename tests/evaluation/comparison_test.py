"""Differences between methods: what is more than chance is called so."""

import numpy as np
import pytest

from genrec_jax.evaluation.comparison import compare, format_comparison
from genrec_jax.evaluation.significance import holm, paired_bootstrap
from genrec_jax.types import GenrecError


def hits(seed, share, seeds=1, examples=2000):
  random = np.random.default_rng(seed)
  return (random.random((seeds, examples)) < share).astype(float)


EVERYTHING = {'all': np.ones(2000, bool)}


def test_holm_is_the_step_down_procedure():
  # Ascending: .01 * 4, .02 * 3, .03 * 2, .5 * 1, and never less than before.
  found = holm([0.02, 0.5, 0.01, 0.03])
  np.testing.assert_allclose(found, [0.06, 0.5, 0.04, 0.06])
  assert holm([0.4, 0.9]) == [0.8, 0.9]
  assert holm([]) == []


def test_no_more_than_one_table_in_twenty_is_wrong_where_all_are_equal():
  wrong = 0
  for trial in range(60):
    values = {str(n): hits(10 * trial + n, 0.3) for n in range(5)}
    rows = compare(values, EVERYTHING, reference='0', num_resamples=500)
    wrong += any(row.corrected < 0.05 for row in rows[1:])
  # 3 are expected at most; 9 have a probability below .002.
  assert wrong < 9


def test_rows_say_what_the_bootstrap_says():
  values = {'mine': hits(0, 0.3), 'worse': hits(1, 0.2), 'same': hits(0, 0.3)}
  mine, worse, same = compare(values, EVERYTHING, reference='mine')
  assert mine.difference is None and mine.mean == values['mine'].mean()
  expected = paired_bootstrap(values['mine'][0], values['worse'][0])
  assert (worse.difference, worse.low, worse.high, worse.p_value) == (
    expected.mean,
    expected.low,
    expected.high,
    expected.p_value,
  )
  assert worse.low > 0 and worse.corrected == 2 * worse.p_value < 0.05
  assert same.difference == 0 and same.corrected == 1


def test_seeds_are_averaged_and_their_spread_is_told():
  values = {'mine': hits(0, 0.3, seeds=3), 'other': hits(9, 0.3)}
  mine, other = compare(values, EVERYTHING, reference='mine')
  means = values['mine'].mean(axis=1)
  assert mine.mean == pytest.approx(means.mean())
  assert mine.seed_deviation == pytest.approx(means.std(ddof=1))
  assert other.seed_deviation is None


def test_slices_are_compared_apart_and_empty_ones_left_out():
  first = np.arange(2000) < 800
  values = {'mine': hits(0, 0.3), 'other': hits(1, 0.3)}
  values['other'][:, first] = 0
  rows = compare(
    values,
    {'first': first, 'rest': ~first, 'none': np.zeros(2000, bool)},
    reference='mine',
  )
  assert [(row.slice, row.n) for row in rows] == [
    ('first', 800),
    ('first', 800),
    ('rest', 1200),
    ('rest', 1200),
  ]
  assert rows[1].corrected < 0.01 < rows[3].corrected
  table = format_comparison(rows, 'recall@10')
  assert table.count('recall@10') == 2 and 'first, 800 examples' in table


def test_other_examples_are_refused():
  with pytest.raises(GenrecError, match='on 5 examples and mine on 2,000'):
    compare(
      {'mine': hits(0, 0.3), 'other': hits(0, 0.3, examples=5)},
      EVERYTHING,
      reference='mine',
    )
