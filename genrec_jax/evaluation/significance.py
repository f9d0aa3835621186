"""How sure a difference or a mean is: the bootstrap over users.

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
from jaxtyping import Bool, Float, Int, Integer

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


@dataclasses.dataclass(frozen=True)
class Interval:
  """A metric of one method and its interval.

  Attributes:
    mean: the metric.
    low: lower end of the interval.
    high: upper end of the interval.
    n: users (or dialogues): what was drawn anew.
  """

  mean: float
  low: float
  high: float
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


def bootstrap_mean(
  values: Float[np.ndarray, 'E'],
  users: Int[np.ndarray, 'E'] | None = None,
  *,
  confidence: float = 0.95,
  num_resamples: int = 5000,
  seed: int = 0,
) -> Interval:
  """Returns the mean of a metric and its interval over users.

  Where each user has one example this is `paired_bootstrap` of the metric
  against nought. Where users have several, whole users are drawn, as what one
  of them does is not independent.

  Args:
    values: the metric of each example.
    users: whose each example is; None if every one is another's.
    confidence: of the interval of percentiles.
    num_resamples: how often users are drawn anew.
    seed: of the draws.

  Raises:
    GenrecError: as `paired_bootstrap`, or if there are fewer than two users.
  """
  values = np.asarray(values, float)
  drawn = {
    'confidence': confidence,
    'num_resamples': num_resamples,
    'seed': seed,
  }
  if users is None or len(np.unique(users)) == len(users):
    found = paired_bootstrap(values, np.zeros_like(values), **drawn)
    return Interval(found.mean, found.low, found.high, found.n)
  _, place, counts = np.unique(users, return_inverse=True, return_counts=True)
  if len(counts) < 2 or not np.isfinite(values).all():
    raise GenrecError(
      f'Got {len(values)} values of {len(counts)} users, expected numbers of at'
      ' least two.'
    )
  result = scipy.stats.bootstrap(
    (np.bincount(place, values), counts),
    lambda sums, counts, axis: sums.sum(axis) / counts.sum(axis),
    paired=True,
    confidence_level=confidence,
    n_resamples=num_resamples,
    batch=max(1, BATCH_VALUES // len(counts)),
    method='percentile',
    rng=np.random.default_rng(seed),
  )
  low, high = result.confidence_interval
  return Interval(float(values.mean()), float(low), float(high), len(counts))


def bootstrap_auc(
  scores: Float[np.ndarray, 'E'],
  liked: Bool[np.ndarray, 'E'],
  *,
  confidence: float = 0.95,
  num_resamples: int = 5000,
  seed: int = 0,
) -> Interval:
  """Returns the AUC of scores and its interval over examples.

  The chance that a liked example is above another, ties counting half, as
  `rating.liking_metrics` has it; examples are weighted by how often they are
  drawn. Draws of one kind alone have no AUC and are left out.

  Raises:
    GenrecError: if the examples are not of both kinds.
  """
  scores, liked = np.asarray(scores), np.asarray(liked, bool)
  if scores.shape != liked.shape or liked.all() or not liked.any():
    raise GenrecError(
      f'Got {np.count_nonzero(liked)} liked of {len(liked)} examples and'
      f' {len(scores)} scores, expected some that are liked and some that are'
      ' not, with a score each.'
    )
  count = len(scores)
  order = np.argsort(scores, kind='stable')
  _, starts = np.unique(scores[order], return_index=True)
  liked = liked[order]

  def auc(weights):
    above = np.add.reduceat(weights * liked, starts, axis=1)
    below = np.add.reduceat(weights * ~liked, starts, axis=1)
    lower = np.cumsum(below, axis=1) - below / 2
    pairs = above.sum(axis=1) * below.sum(axis=1)
    return np.divide(
      (above * lower).sum(axis=1),
      pairs,
      out=np.full(len(weights), np.nan),
      where=pairs > 0,
    )

  rng = np.random.default_rng(seed)
  found, batch = [], max(1, BATCH_VALUES // (4 * count))
  for start in range(0, num_resamples, batch):
    size = min(batch, num_resamples - start)
    drawn = rng.integers(count, size=(size, count))
    drawn += count * np.arange(size)[:, None]
    weights = np.bincount(drawn.ravel(), minlength=size * count)
    found.append(auc(weights.reshape(size, count)[:, order]))
  tail = (1 - confidence) / 2
  low, high = np.nanquantile(np.concatenate(found), [tail, 1 - tail])
  mean = auc(np.ones((1, count)))[0]
  return Interval(float(mean), float(low), float(high), count)


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
