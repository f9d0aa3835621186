"""How much a list changes where a user is said to be someone else.

A recommender is counterfactually fair to an attribute if nobody's list would
be another one, had they another value of it (Kusner et al., "Counterfactual
fairness", NeurIPS 2017; Li et al., "Towards personalized fairness based on
causal notion", SIGIR 2021). Here the value is changed in the prompt and
nowhere else: the history stays. So this measures what a model makes of being
told, not what it makes of the history that goes with it.

  overlap   |A ∩ B| / |A ∪ B| of the first k places (Jaccard)
  RBO       rank-biased overlap, which minds the top places most (Webber,
            Moffat, Zobel, "A similarity measure for indefinite rankings", ACM
            TOIS 2010, equation 30: extrapolated from what two lists show)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from genrec_jax.types import GenrecError

PERSISTENCE = 0.9  # of RBO: the first ten places have 86 % of its weight
_VALUES_AT_ONCE = 1 << 23


def overlap(
  first: Integer[np.ndarray, 'E K'], second: Integer[np.ndarray, 'E K']
) -> Float[np.ndarray, 'E']:
  """Returns the Jaccard index of the items of two lists; of two empty ones 1.

  Lists hold each item once; -1 is no item.
  """
  first, second = _same_shape(first, second)
  shared = _shared(first, second).sum(axis=(1, 2))
  union = (first >= 0).sum(axis=1) + (second >= 0).sum(axis=1) - shared
  return np.where(union > 0, shared / np.maximum(union, 1), 1.0)


def rank_biased_overlap(
  first: Integer[np.ndarray, 'E K'],
  second: Integer[np.ndarray, 'E K'],
  *,
  persistence: float = PERSISTENCE,
) -> Float[np.ndarray, 'E']:
  """Returns the extrapolated rank-biased overlap of two lists, from 0 to 1.

  To the depth s of the shorter list, with X_d items that the first d places
  share: X_s / s · p^s + (1 - p) / p · Σ_{d ≤ s} X_d / d · p^d.

  Args:
    first: lists, the best first, -1 behind their end.
    second: others of the same users.
    persistence: p, the chance of looking at one place more.

  Returns:
    Of two empty lists 1, of an empty one and another 0.

  Raises:
    GenrecError: if the lists are of other shapes, or p is no chance.
  """
  first, second = _same_shape(first, second)
  if not 0 < persistence < 1:
    raise GenrecError(
      f'Got the persistence {persistence}, expected one between 0 and 1.'
    )
  lengths = [(lists >= 0).sum(axis=1) for lists in (first, second)]
  shared = _shared(first, second)
  width = first.shape[1]
  # Both items stand in the first d places from the later of their places on.
  later = np.maximum(np.arange(width)[:, None], np.arange(width))
  appear = np.stack(
    [(shared & (later == d)).sum(axis=(1, 2)) for d in range(width)], axis=1
  )
  depth = np.arange(1, width + 1)
  agreement = np.cumsum(appear, axis=1) / depth
  end = np.minimum(*lengths)
  inside = depth <= end[:, None]
  weights = persistence**depth
  found = (
    (1 - persistence) / persistence * (agreement * weights * inside).sum(axis=1)
  )
  last = np.take_along_axis(agreement, np.maximum(end - 1, 0)[:, None], 1)[:, 0]
  found += last * persistence**end
  # Not nearly 1, whatever the order of the sum.
  alike = ~changed(first, second)
  return np.where(alike, 1.0, np.where(end > 0, np.minimum(found, 1.0), 0.0))


def changed(
  first: Integer[np.ndarray, 'E K'], second: Integer[np.ndarray, 'E K']
) -> Bool[np.ndarray, 'E']:
  """Returns whether two lists differ at all, in an item or its place."""
  first, second = _same_shape(first, second)
  return (first != second).any(axis=1)


def mean_by_user(
  values: Mapping[str, Float[np.ndarray, 'E']],
  user: Integer[np.ndarray, 'E'],
  *,
  confidence: float = 0.95,
  num_resamples: int = 1000,
  seed: int = 0,
) -> dict[str, dict[str, float]]:
  """Returns means of examples with the bootstrap's intervals over users.

  Users are drawn with all their examples; all measures by the same draws.

  Args:
    values: of each example, by name of the measure.
    user: of each example.
    confidence: of the intervals of percentiles.
    num_resamples: how often users are drawn.
    seed: of the draws.

  Returns:
    By name, `mean`, `low` and `high`.

  Raises:
    GenrecError: if there are no examples, or a value is not a number.
  """
  user = np.asarray(user)
  if not len(user):
    raise GenrecError('Got no examples, so there is no mean.')
  matrix = np.stack([np.asarray(v, float) for v in values.values()], axis=1)
  if not np.isfinite(matrix).all():
    name = list(values)[int((~np.isfinite(matrix)).any(axis=0).argmax())]
    raise GenrecError(f'A value of {name} is not a number; expected numbers.')
  users, place = np.unique(user, return_inverse=True)
  sums = np.zeros((len(users), matrix.shape[1]))
  np.add.at(sums, place, matrix)
  counts = np.bincount(place)
  rng = np.random.default_rng(seed)
  means = []
  for start in range(0, num_resamples, max(1, _VALUES_AT_ONCE // len(users))):
    stop = min(start + max(1, _VALUES_AT_ONCE // len(users)), num_resamples)
    drawn = rng.multinomial(
      len(users), np.full(len(users), 1 / len(users)), stop - start
    )
    means.append((drawn @ sums) / (drawn @ counts)[:, None])
  tail = (1 - confidence) / 2
  low, high = np.quantile(np.concatenate(means), [tail, 1 - tail], axis=0)
  return {
    name: {'mean': float(mean), 'low': float(a), 'high': float(b)}
    for name, mean, a, b in zip(values, matrix.mean(axis=0), low, high)
  }


def draw_other_values(
  values: Int[np.ndarray, 'E'],
  num_values: int,
  *,
  num_draws: int,
  rng: np.random.Generator,
) -> Int[np.ndarray, 'E D']:
  """Returns other values for each, all others equally likely, none twice.

  Args:
    values: from 0 to V - 1.
    num_values: V.
    num_draws: how many; of fewer others all.
    rng: of the draws.
  """
  # Steps forward of 1 to V - 1, around the end.
  steps = np.tile(np.arange(1, num_values), (len(values), 1))
  steps = rng.permuted(steps, axis=1)[:, :num_draws]
  return (np.asarray(values)[:, None] + steps) % num_values


def _shared(first: np.ndarray, second: np.ndarray) -> Bool[np.ndarray, 'E K K']:
  return (first[:, :, None] == second[:, None, :]) & (first >= 0)[:, :, None]


def _same_shape(first, second) -> tuple[np.ndarray, np.ndarray]:
  first, second = np.asarray(first), np.asarray(second)
  if first.shape != second.shape or first.ndim != 2:
    raise GenrecError(
      f'Got lists of shapes {first.shape} and {second.shape}; expected [E, K]'
      ' for both, lists of the same users.'
    )
  return first, second
