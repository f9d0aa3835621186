"""A model beside others on the same examples: differences and their intervals.

Every method has a metric of each example, or several where it was trained with
several seeds; those are averaged first, example by example, so that intervals
speak of users, and the spread of seeds is told apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

from genrec_jax.evaluation import ranking
from genrec_jax.evaluation.significance import holm, paired_bootstrap
from genrec_jax.types import GenrecError, unknown_name


@dataclasses.dataclass(frozen=True)
class Compared:
  """A method beside the reference, on one slice of the examples.

  Attributes:
    name: of the method.
    slice: of the examples.
    n: examples.
    mean: of the method.
    seed_deviation: standard deviation of the means of its seeds; None of one.
    difference: of the reference's mean and this one; None for the reference.
    low: lower end of the difference's 95 % interval.
    high: upper end.
    p_value: two-sided, of no difference, by the paired bootstrap over examples.
    corrected: the same, corrected for the methods of the slice (Holm).
  """

  name: str
  slice: str
  n: int
  mean: float
  seed_deviation: float | None
  difference: float | None = None
  low: float | None = None
  high: float | None = None
  p_value: float | None = None
  corrected: float | None = None


def compare(
  values: Mapping[str, Float[np.ndarray, 'seeds E']],
  slices: Mapping[str, Bool[np.ndarray, 'E']],
  *,
  reference: str,
  num_resamples: int = 5000,
  seed: int = 0,
) -> list[Compared]:
  """Compares methods with one of them.

  Args:
    values: the metric of each example, by method and seed.
    slices: which examples, by name; those of fewer than two are left out.
    reference: the method that the others are compared with.
    num_resamples: of the bootstrap.
    seed: of the bootstrap.

  Returns:
    Slice by slice: the reference, then the others as they come.

  Raises:
    GenrecError: if methods are not of the same examples.
  """
  count = values[reference].shape[1]
  for name, of_method in values.items():
    if of_method.shape[1] != count:
      raise GenrecError(
        f'{name} was measured on {of_method.shape[1]:,} examples and'
        f' {reference} on {count:,}; expected the same ones.'
      )
  rows = []
  for slice_name, keep in slices.items():
    if np.count_nonzero(keep) < 2:
      continue
    kept = {name: of_method[:, keep] for name, of_method in values.items()}
    base = kept.pop(reference)
    others = {
      name: paired_bootstrap(
        base.mean(axis=0),
        of_method.mean(axis=0),
        num_resamples=num_resamples,
        seed=seed,
      )
      for name, of_method in kept.items()
    }
    corrected = holm([found.p_value for found in others.values()])
    rows.append(Compared(reference, slice_name, *_describe(base)))
    rows += [
      Compared(
        name,
        slice_name,
        *_describe(kept[name]),
        difference=found.mean,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        corrected=p_value,
      )
      for (name, found), p_value in zip(others.items(), corrected)
    ]
  return rows


def list_metric(
  items: Int[np.ndarray, 'E K'], target: Int[np.ndarray, 'E'], metric: str
) -> Float[np.ndarray, 'E']:
  """Returns a metric of each list, of those that lists so long have.

  Raises:
    GenrecError: if there is none of this name.
  """
  cutoffs = [k for k in ranking.CUTOFFS if k <= items.shape[1]]
  found = ranking.example_metrics(items, target, cutoffs)
  if metric not in found:
    raise unknown_name('metric', metric, found)
  return found[metric]


def example_slices(
  arrays: Mapping[str, np.ndarray],
) -> dict[str, Bool[np.ndarray, 'E']]:
  """Returns which examples of a result are of a slice, by its name.

  Args:
    arrays: of the result: 'tied', and 'history_length' where it is known.
  """
  tied = arrays['tied'].astype(bool)
  slices = {'all': np.ones(len(tied), bool), 'untied': ~tied, 'tied': tied}
  lengths = arrays.get('history_length')
  if lengths is not None:
    middle = np.median(lengths)
    slices |= {
      f'histories of at most {middle:g}': lengths <= middle,
      f'histories of more than {middle:g}': lengths > middle,
    }
  return slices


def check_same_examples(
  own: Mapping[str, np.ndarray],
  other: Mapping[str, np.ndarray],
  source: str,
  own_source: str,
) -> None:
  """Refuses results of other examples.

  Raises:
    GenrecError: if users or targets differ.
  """
  for name in ('user', 'target'):
    if not np.array_equal(own[name], other[name]):
      raise GenrecError(
        f'{source} was measured on other examples than {own_source}; compare'
        ' runs of the same dataset and split, and measure all their examples.'
      )


def format_comparison(rows: list[Compared], metric: str) -> str:
  """Returns a table a slice as text."""
  width = max(len(row.name) for row in rows)
  lines = []
  for row in rows:
    if row.difference is None:
      lines += ['' if lines else None, f'{row.slice}, {row.n:,} examples']
      lines.append(
        f'{"":<{width}}{metric:>11}{"seeds ±":>9}{"difference":>12}'
        f'{"95 % interval":>21}{"p (Holm)":>10}'
      )
    line = f'{row.name:<{width}}{row.mean:>11.4f}'
    deviation = row.seed_deviation
    line += f'{"-" if deviation is None else f"{deviation:.4f}":>9}'
    if row.difference is not None:
      interval = f'{row.low:+.4f} to {row.high:+.4f}'
      line += f'{row.difference:>+12.4f}{interval:>21}{row.corrected:>10.4f}'
    lines.append(line)
  return '\n'.join(line for line in lines if line is not None)


def _describe(values: Float[np.ndarray, 'seeds E']):
  means = values.mean(axis=1)
  deviation = float(means.std(ddof=1)) if len(means) > 1 else None
  return values.shape[1], float(means.mean()), deviation
