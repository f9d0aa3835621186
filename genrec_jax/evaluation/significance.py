"""How sure a difference is: paired bootstrap over users.

Two methods that are measured on the same users differ by a mean of
differences, one a user. Resampling users with replacement says how far that
mean would move with other users (Efron & Tibshirani, "An introduction to the
bootstrap", 1993; Sakai, "Evaluating evaluation metrics based on the
bootstrap", SIGIR 2006). It says nothing of other seeds of training: average a
user's metric over seeds first, or measure the spread of seeds apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.stats
from jaxtyping import Float, Integer

from genrec_jax.types import GenrecError

BATCH_VALUES = 1 << 24  # values resampled at once: 128 MiB


@dataclasses.dataclass(frozen=True)
class Difference:
  """A mean difference and its interval.

  Attributes:
    mean: of first - second.
    low: lower end of the interval.
    high: upper end of the interval.
    p_value: two-sided, of a mean of 0: twice the share of resampled means on
      the other side of 0 (or at it), at least 1 / (resamples + 1).
    n: users.
  """

  mean: float
  low: float
  high: float
  p_value: float
  n: int


def paired_bootstrap(
  first: Float[np.ndarray, 'E'],
  second: Float[np.ndarray, 'E'],
  *,
  confidence: float = 0.95,
  num_resamples: int = 5000,
  seed: int = 0,
) -> Difference:
  """Compares two methods measured on the same examples.

  Args:
    first: the metric of one method on each example.
    second: that of the other, on the same examples in the same order.
    confidence: of the interval of percentiles.
    num_resamples: how often examples are drawn anew.
    seed: of the draws.

  Raises:
    GenrecError: if the two are not of the same examples, there are fewer than
      two, or a value is not a number.
  """
  first, second = np.asarray(first, float), np.asarray(second, float)
  if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
    raise GenrecError(
      f'Got metrics of shapes {first.shape} and {second.shape}; expected one'
      ' value for each of the same examples, at least two.'
    )
  differences = first - second
  if not np.isfinite(differences).all():
    example = int((~np.isfinite(differences)).argmax())
    raise GenrecError(
      f'The metrics of example {example} are {first[example]} and'
      f' {second[example]}; expected numbers.'
    )
  result = scipy.stats.bootstrap(
    (differences,),
    np.mean,
    confidence_level=confidence,
    n_resamples=num_resamples,
    batch=max(1, BATCH_VALUES // len(differences)),
    method='percentile',
    rng=np.random.default_rng(seed),
  )
  means = result.bootstrap_distribution
  tail = min((means <= 0).sum(), (means >= 0).sum())
  return Difference(
    mean=float(differences.mean()),
    low=float(result.confidence_interval.low),
    high=float(result.confidence_interval.high),
    p_value=float(min(1.0, 2 * (tail + 1) / (num_resamples + 1))),
    n=len(differences),
  )


def holm(p_values: Sequence[float]) -> list[float]:
  """Returns p-values corrected for how many there are.

  By the step-down procedure of Holm ("A simple sequentially rejective multiple
  test procedure", 1979): to call those below .05 significant is to be wrong
  about any of them in at most 5 % of such tables, however they depend on each
  other.
  """
  order = np.argsort(p_values, kind='stable')
  factors = len(order) - np.arange(len(order))
  raised = np.maximum.accumulate(np.asarray(p_values, float)[order] * factors)
  corrected = np.empty(len(order))
  corrected[order] = np.minimum(raised, 1.0)
  return corrected.tolist()


def ratio_bootstrap(
  numerator: Float[np.ndarray, 'E'],
  denominator: Float[np.ndarray, 'E'],
  user: Integer[np.ndarray, 'E'],
  *,
  confidence: float = 0.95,
  num_resamples: int = 1000,
  seed: int = 0,
) -> dict[str, float | int | None]:
  """Returns sum(numerator) / sum(denominator), with an interval over users.

  Users are drawn with all their examples, as those of one user are alike; so
  a share of all claims, of which some texts hold many and some none, has an
  interval too.

  Args:
    numerator: of each example.
    denominator: of each example, at least 0; ones for a mean.
    user: of each example.
    confidence: of the interval of percentiles.
    num_resamples: how often users are drawn anew.
    seed: of the draws.

  Returns:
    `n`, users; `mean`, `low` and `high`, None where the denominator is 0.

  Raises:
    GenrecError: if there is not one of each for every example, or a value is
      not a number.
  """
  sums = np.stack([numerator, denominator]).astype(float)
  user = np.asarray(user)
  if sums.shape != (2, len(user)) or not len(user):
    raise GenrecError(
      f'Got values of shape {sums.shape[1:]} for {len(user)} examples;'
      ' expected one for each of at least one.'
    )
  if not np.isfinite(sums).all():
    raise GenrecError(
      f'Got the value {sums[~np.isfinite(sums)][0]}; expected numbers.'
    )
  _, place = np.unique(user, return_inverse=True)
  of_users = np.stack([np.bincount(place, values) for values in sums])
  total = of_users.sum(axis=1)
  result = {'n': of_users.shape[1], 'mean': None, 'low': None, 'high': None}
  if not total[1]:
    return result
  # Many users are alike: how often each kind of user comes is drawn at once.
  kinds, counts = np.unique(of_users, axis=1, return_counts=True)
  rng = np.random.default_rng(seed)
  batch = max(1, BATCH_VALUES // len(counts))
  above, below = np.concatenate(
    [
      rng.multinomial(
        result['n'], counts / result['n'], min(batch, num_resamples - done)
      )
      @ kinds.T
      for done in range(0, num_resamples, batch)
    ]
  ).T
  ratios = above[below > 0] / below[below > 0]
  low, high = np.quantile(ratios, [(1 - confidence) / 2, (1 + confidence) / 2])
  return result | {
    'mean': float(total[0] / total[1]),
    'low': float(low),
    'high': float(high),
  }
