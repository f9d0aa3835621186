"""How much lists differ: by hand, and against the definitions."""

import numpy as np
import pytest

from genrec_jax.evaluation import counterfactual
from genrec_jax.types import GenrecError


def draw_lists(seed, num_lists=60, width=8, num_items=12):
  """Returns lists of different lengths, each item once, -1 behind the end."""
  rng = np.random.default_rng(seed)
  lists = np.full((num_lists, width), -1)
  for row in lists:
    length = rng.integers(0, width + 1)
    row[:length] = rng.permutation(num_items)[:length]
  return lists


def test_overlap_is_the_jaccard_index_of_sets():
  first, second = draw_lists(0), draw_lists(1)
  first[0] = second[0] = -1
  expected = []
  for a, b in zip(first, second):
    a, b = ({*one.tolist()} - {-1} for one in (a, b))
    expected.append(len(a & b) / len(a | b) if a | b else 1.0)
  np.testing.assert_allclose(counterfactual.overlap(first, second), expected)


def test_rbo_is_that_of_the_paper():
  """Equation 30, the sum written out over prefixes as sets."""
  first, second = draw_lists(2), draw_lists(3)
  first[0] = second[0] = -1
  p, expected = 0.8, []
  for a, b in zip(first, second):
    a, b = ([item for item in one.tolist() if item >= 0] for one in (a, b))
    s = min(len(a), len(b))
    if not s:
      expected.append(float(not a and not b))
      continue
    agreement = [len({*a[:d]} & {*b[:d]}) / d for d in range(1, s + 1)]
    total = sum(x * p**d for d, x in enumerate(agreement, start=1))
    expected.append(agreement[-1] * p**s + (1 - p) / p * total)
  found = counterfactual.rank_biased_overlap(first, second, persistence=p)
  np.testing.assert_allclose(found, expected)


def test_rbo_by_hand():
  first = np.array([[1, 2], [1, 2], [1, 2], [1, 2]])
  second = np.array([[1, 2], [2, 1], [1, 3], [3, 4]])
  found = counterfactual.rank_biased_overlap(first, second, persistence=0.5)
  # (1, 1), (0, 1), (1, 1/2), (0, 0): a2 / 4 + a1 / 2 + a2 / 4.
  np.testing.assert_allclose(found, [1, 0.5, 0.75, 0])


def test_changes_mind_places():
  first = np.array([[1, 2, -1], [1, 2, -1], [1, 2, -1]])
  second = np.array([[1, 2, -1], [2, 1, -1], [1, 2, 3]])
  found = counterfactual.changed(first, second).tolist()
  assert found == [False, True, True]
  assert counterfactual.overlap(first, second).tolist() == [1, 1, 2 / 3]


def test_intervals_draw_users_with_all_their_examples():
  rng = np.random.default_rng(0)
  user = np.repeat(np.arange(40), 5)
  # All examples of a user are alike: 200 examples know no more than 40 users.
  values = np.repeat(rng.normal(size=40), 5)
  found = counterfactual.mean_by_user(
    {'x': values, 'constant': np.ones(200)}, user, num_resamples=4000
  )
  assert found['x']['mean'] == pytest.approx(values.mean())
  width = found['x']['high'] - found['x']['low']
  of_users = 2 * 1.96 * values[::5].std() / np.sqrt(40)
  assert width == pytest.approx(of_users, rel=0.1)
  assert found['constant'] == {'mean': 1, 'low': 1, 'high': 1}


def test_users_of_many_examples_weigh_more():
  user, values = np.array([0, 0, 0, 1]), np.array([1.0, 1, 1, 0])
  found = counterfactual.mean_by_user({'x': values}, user)['x']
  assert found == {'mean': 0.75, 'low': 0, 'high': 1}


def test_other_values_are_other_ones_and_equally_likely():
  values = np.repeat(np.arange(4), 3000)
  drawn = counterfactual.draw_other_values(
    values, 4, num_draws=2, rng=np.random.default_rng(0)
  )
  assert drawn.shape == (12_000, 2)
  assert (drawn[:, 0] != drawn[:, 1]).all()
  for value in range(4):
    counts = np.bincount(drawn[values == value].ravel(), minlength=4)
    assert counts[value] == 0
    np.testing.assert_allclose(
      np.delete(counts, value) / 3000, 2 / 3, atol=0.03
    )
  every = counterfactual.draw_other_values(
    values, 4, num_draws=9, rng=np.random.default_rng(0)
  )
  assert np.sort(every, axis=1)[0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
  ('call', 'message'),
  [
    (lambda: counterfactual.overlap([[1]], [[1, 2]]), 'of the same users'),
    (
      lambda: counterfactual.rank_biased_overlap([[1]], [[1]], persistence=1.0),
      'between 0 and 1',
    ),
    (lambda: counterfactual.mean_by_user({'x': []}, []), 'no examples'),
    (lambda: counterfactual.mean_by_user({'x': [np.nan]}, [0]), 'of x is not'),
  ],
)
def test_what_cannot_be_measured_is_told(call, message):
  with pytest.raises(GenrecError, match=message):
    call()
