"""The arms beside each other: metrics with intervals, differences, costs."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from genrec_jax.evaluation import comparison, results
from genrec_jax.evaluation.comparison import Compared
from genrec_jax.evaluation.significance import paired_bootstrap
from genrec_jax.experiments.arms import ArmRun
from genrec_jax.types import PathLike


@dataclasses.dataclass(frozen=True)
class Scores:
  """What arms and baselines come to on one part.

  Attributes:
    split: 'validation' or 'test'.
    rows: slice by slice, the reference first; empty where the arms are not of
      the same examples.
    means: by name, metrics of every seed.
    intervals: by name, the 95 % interval of the metric over users.
  """

  split: str
  rows: list[Compared]
  means: dict[str, list[dict[str, float]]]
  intervals: dict[str, tuple[float, float]]


def score_arms(
  runs: Sequence[ArmRun],
  *,
  split: str,
  task: str,
  metric: str,
  reference: str | None,
  baselines: Mapping[str, PathLike] | None = None,
  seed: int = 0,
) -> Scores:
  """Reads the results of runs and compares their arms.

  Args:
    runs: of which every one has a result of the task; runs of one arm are its
      seeds.
    split: 'validation' or 'test'.
    task: whose answer is an item.
    metric: recall@10, ...
    reference: the arm that the others are compared with; None does not
      compare.
    baselines: by name, the .npz of `genrec baselines` on the same examples.
    seed: of the bootstrap.

  Raises:
    GenrecError: if a result is missing or of other examples.
  """
  measured: dict[str, list[tuple[np.ndarray, dict[str, np.ndarray]]]] = {}
  for run in runs:
    _, arrays = results.read_result(run.directory, split, task)
    found = arrays['items_model'], arrays
    measured.setdefault(run.arm.name, []).append(found)
    for path in sorted((run.directory / 'baselines' / split).glob('*.npz')):
      name = f'{run.arm.name}: {path.stem}'
      measured.setdefault(name, []).append(_read_baseline(path))
  for name, path in (baselines or {}).items():
    measured[name] = [_read_baseline(path)]
  values = {
    name: np.stack(
      [
        comparison.list_metric(items, arrays['target'], metric)
        for items, arrays in seeds
      ]
    )
    for name, seeds in measured.items()
  }
  rows: list[Compared] = []
  if reference is not None:
    own = measured[reference][0][1]
    for name, seeds in measured.items():
      for _, arrays in seeds:
        comparison.check_same_examples(own, arrays, name, reference)
    rows = comparison.compare(
      values, comparison.example_slices(own), reference=reference, seed=seed
    )
  return Scores(
    split,
    rows,
    {
      name: [_metrics(items, arrays['target']) for items, arrays in seeds]
      for name, seeds in measured.items()
    },
    {name: _interval(of_arm, seed) for name, of_arm in values.items()},
  )


def best_arms(scores: Scores, metric: str, names: Sequence[str]) -> list[str]:
  """Returns the names with the highest mean metric, best first."""
  mean = {
    name: np.mean([of_seed[metric] for of_seed in scores.means[name]])
    for name in dict.fromkeys(names)
  }
  return sorted(mean, key=lambda name: -mean[name])


def _read_baseline(path: PathLike) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  with np.load(pathlib.Path(path)) as file:
    arrays = dict(file)
  return arrays['items'], arrays


def _metrics(items, target) -> dict[str, float]:
  names = ('recall@5', 'ndcg@5', 'recall@10', 'ndcg@10', 'mrr')
  return {
    name: float(comparison.list_metric(items, target, name).mean())
    for name in names
    if '@' not in name or int(name.split('@')[1]) <= items.shape[1]
  }


def _interval(
  values: Float[np.ndarray, 'seeds E'], seed: int
) -> tuple[float, float]:
  mean = values.mean(axis=0)
  found = paired_bootstrap(mean, np.zeros_like(mean), seed=seed)
  return found.low, found.high
