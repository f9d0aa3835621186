"""Whom a model serves well: metrics by group, and how far groups are apart.

A mean over users hides those who fare badly (Ekstrand et al., "All the cool
kids, how do they fit in?", FAT* 2018). So metrics are taken apart by group, as
fairlearn's MetricFrame does, each mean with its number of users and an
interval; and since the best and the worst of many small groups differ even
where groups mean nothing, beside each difference stands what groups of the
same sizes, drawn from everyone, differ by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Integer

from genrec_jax.types import GenrecError

MAX_GROUPS = 25
NO_VALUE = 'unknown'


def compare_groups(
  values: Float[np.ndarray, 'E'],
  group: Integer[np.ndarray, 'E'],
  labels: Sequence[str],
  *,
  confidence: float = 0.95,
  num_resamples: int = 1000,
  seed: int = 0,
) -> dict[str, Any]:
  """Returns a metric by group, and the gap between the best and the worst.

  Args:
    values: the metric of each example.
    group: of each example, a place in `labels`; -1 for none, left out.
    labels: what groups are called; those without examples are left out.
    confidence: of the intervals.
    num_resamples: of the bootstrap, and of groups drawn from everyone.
    seed: of the draws.

  Returns:
    `groups`, by label {n, mean, low, high}, the interval of percentiles of the
    bootstrap over examples; `difference`, of the highest and the lowest mean;
    `ratio`, the lowest by the highest, None where that is 0; and of groups of
    the same sizes drawn from all examples, `difference_by_chance`, the mean of
    their differences, and `p_value`, how often they differ as much.

  Raises:
    GenrecError: if there are not as many of each, no example has a group, or a
      value is not a number.
  """
  values, group = np.asarray(values, float), np.asarray(group)
  if values.shape != group.shape or values.ndim != 1:
    raise GenrecError(
      f'Got values of shape {values.shape} and groups of shape {group.shape};'
      ' expected one of each for every example.'
    )
  if group.max(initial=-1) >= len(labels) or group.min(initial=0) < -1:
    raise GenrecError(
      f'Got groups from {group.min()} to {group.max()}, expected places among'
      f' the {len(labels)} labels, or -1.'
    )
  values, group = values[group >= 0], group[group >= 0]
  if not len(values):
    raise GenrecError('No example has a group, so there is none to compare.')
  if not np.isfinite(values).all():
    raise GenrecError(
      f'Got the value {values[~np.isfinite(values)][0]}; expected numbers.'
    )
  rng = np.random.default_rng(seed)
  present = np.unique(group)
  found, drawn = {}, []
  for number in present:
    own = values[group == number]
    means = _resample(own, len(own), num_resamples, rng)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    found[labels[number]] = {
      'n': len(own),
      'mean': float(own.mean()),
      'low': float(low),
      'high': float(high),
    }
    drawn.append(_resample(values, len(own), num_resamples, rng))
  means = [of_group['mean'] for of_group in found.values()]
  difference = max(means) - min(means)
  by_chance = np.ptp(np.stack(drawn), axis=0)
  # Means that are equal but for the order of their sums.
  as_much = by_chance >= difference - 1e-12
  return {
    'groups': found,
    'difference': difference,
    'ratio': min(means) / max(means) if max(means) else None,
    'difference_by_chance': float(by_chance.mean()),
    'p_value': float((1 + as_much.sum()) / (1 + num_resamples)),
  }


def by_number(
  numbers: Float[np.ndarray, 'E'], *, num_groups: int = 3
) -> tuple[Int[np.ndarray, 'E'], list[str]]:
  """Returns groups of like numbers, about as many examples in each.

  Equal numbers are in one group, so that there may be fewer groups.

  Returns:
    The group of each, and labels such as '3 to 7'; a number that is NaN is in
    none, -1.
  """
  numbers = np.asarray(numbers, float)
  known = np.isfinite(numbers)
  group = np.full(len(numbers), -1)
  if not known.any():
    return group, []
  edges = np.quantile(
    numbers[known], np.arange(1, num_groups) / num_groups, method='lower'
  )
  places = np.searchsorted(edges, numbers[known], side='left')
  present, group[known] = np.unique(places, return_inverse=True)
  labels = []
  for place in range(len(present)):
    low, high = numbers[group == place].min(), numbers[group == place].max()
    labels.append(
      _write(low) if low == high else f'{_write(low)} to {_write(high)}'
    )
  return group, labels


def by_column(
  values: Sequence[str | float | None],
) -> tuple[Int[np.ndarray, 'E'], list[str]] | None:
  """Returns the groups that a column of users makes, if it makes any.

  Up to MAX_GROUPS different values are a group each, and what is missing is
  one, too. More numbers than that are put into three groups of like numbers.
  Texts are numbers if all of them are written as numbers are, such as '25' and
  unlike the postcode '02138'.

  Returns:
    The group of each and the labels; None where all are alike, or texts differ
    too much to be groups.
  """
  values = [None if _is_no_value(value) else value for value in values]
  numbers = [_number(value) for value in values]
  if all((n is None) == (v is None) for n, v in zip(numbers, values)):
    values = numbers
  known = [value for value in values if value is not None]
  different = sorted(set(known))
  missing = len(known) < len(values)
  if len(different) + missing < 2:
    return None
  if len(different) <= MAX_GROUPS:
    place: Mapping[Any, int] = {v: n for n, v in enumerate(different)}
    group = np.array([-1 if v is None else place[v] for v in values])
    labels = [v if isinstance(v, str) else _write(v) for v in different]
  elif isinstance(different[0], str):
    return None
  else:
    group, labels = by_number(np.array(values, float))
  if missing:
    group = np.where(group < 0, len(labels), group)
    labels = [*labels, NO_VALUE]
  return group, labels


def _is_no_value(value: str | float | None) -> bool:
  return value is None or (isinstance(value, float) and not np.isfinite(value))


def _number(value: str | float | None) -> float | None:
  """Returns a number, or what a text that is one says; None of others."""
  if not isinstance(value, str):
    return None if value is None else float(value)
  try:
    number = float(value)
  except ValueError:
    return None
  return number if np.isfinite(number) and _write(number) == value else None


def _write(number: float) -> str:
  return f'{number:.12g}'


def _resample(
  values: Float[np.ndarray, 'E'],
  size: int,
  num_resamples: int,
  rng: np.random.Generator,
) -> Float[np.ndarray, 'R']:
  """Returns means of `size` values drawn with replacement, again and again.

  How often each distinct value comes is drawn at once: a metric has few.
  """
  distinct, counts = np.unique(values, return_counts=True)
  drawn = rng.multinomial(size, counts / len(values), num_resamples)
  return drawn @ distinct / size
