"""Plans of batches: every request once, in few shapes, little padding."""

import doctest

import numpy as np
import pytest

from genrec_jax.data import batch_plans
from genrec_jax.data.batch_plans import plan_batches
from genrec_jax.types import GenrecError

WIDTHS, ROWS = (8, 24, 40), (1, 4, 16)


@pytest.mark.parametrize('seed', range(20))
def test_every_request_is_in_one_batch_that_it_fits(seed):
  rng = np.random.default_rng(seed)
  lengths = rng.integers(0, 41, rng.integers(0, 70))
  plan = plan_batches(lengths, WIDTHS, ROWS)
  index = np.concatenate([batch.index for batch in plan] or [[]])
  assert sorted(index[index >= 0]) == list(range(len(lengths)))
  for batch in plan:
    assert len(batch.index) in ROWS
    longest = lengths[batch.index[batch.index >= 0]].max()
    assert batch.width == min(w for w in WIDTHS if w >= longest)
  one_width = plan_batches(lengths, WIDTHS[-1:], ROWS)
  tokens, padded = (sum(b.num_tokens for b in p) for p in (plan, one_width))
  assert tokens <= padded


@pytest.mark.parametrize('row_cost, batch_cost', [(0, 0), (5, 20), (0, 200)])
def test_no_other_cut_costs_less(row_cost, batch_cost):
  """Of all cuts of up to eight requests, in the order of their lengths."""

  def count(rows, width):
    return rows * (width + row_cost) + batch_cost

  def least(lengths):
    if not lengths:
      return 0
    width = min(w for w in WIDTHS if w >= lengths[0])
    return min(count(rows, width) + least(lengths[rows:]) for rows in (1, 2, 5))

  rng = np.random.default_rng(0)
  for size in [*range(1, 9)] * 3:
    lengths = rng.integers(1, 41, size)
    costs = {'row_cost': row_cost, 'batch_cost': batch_cost}
    plan = plan_batches(lengths, WIDTHS, (1, 2, 5), **costs)
    found = sum(count(len(batch.index), batch.width) for batch in plan)
    assert found == least(sorted(lengths.tolist(), reverse=True))


def test_what_a_batch_costs_decides_how_many_there_are():
  def rows(count, batch_cost):
    plan = plan_batches(np.full(count, 8), WIDTHS, ROWS, batch_cost=batch_cost)
    return [len(batch.index) for batch in plan]

  assert rows(3, 0) == [1, 1, 1] and rows(3, 10) == [4]
  assert rows(5, 10) == [4, 1] and rows(9, 10) == [4, 4, 1]
  assert rows(9, 100) == [16] and rows(37, 10) == [16, 16, 4, 1]


@pytest.mark.parametrize(
  'lengths, widths, rows, message',
  [
    ([3, 41], WIDTHS, ROWS, 'Request 1 has 41 tokens'),
    ([3], (8, 8), ROWS, r'widths=\(8, 8\)'),
    ([3], WIDTHS, (), r'row_counts=\(\)'),
  ],
)
def test_what_cannot_be_planned_is_refused(lengths, widths, rows, message):
  with pytest.raises(GenrecError, match=message):
    plan_batches(np.array(lengths), widths, rows)


def test_examples_of_docstrings():
  assert doctest.testmod(batch_plans).failed == 0
