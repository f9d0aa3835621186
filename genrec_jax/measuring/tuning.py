"""Hyper-parameters of baselines, chosen on validation."""

from __future__ import annotations

import copy
import dataclasses
import time
from typing import Any

import numpy as np

from genrec_jax.baselines import protocol
from genrec_jax.baselines.methods import Method
from genrec_jax.data import splits
from genrec_jax.evaluation import ranking
from genrec_jax.measuring.train_data import TrainData

METRIC = 'ndcg@10'
LENGTH = 10  # of the lists that METRIC needs


@dataclasses.dataclass(frozen=True)
class Choice:
  """What was chosen, and everything that was tried.

  Attributes:
    method: the method with the values chosen.
    value: its METRIC.
    examples: how many it was measured on.
    tried: settings, METRIC and seconds of all, in the order of the grid.
  """

  method: Method
  value: float
  examples: int
  tried: list[dict[str, Any]]


def tune(
  method: Method,
  data: TrainData,
  *,
  exclude_seen: bool,
  max_examples: int,
  seed: int,
) -> Choice:
  """Tries a method's grid on validation, and chooses the highest METRIC.

  Of equal ones the first of the grid.

  Args:
    method: what it says of its hyper-parameters holds where the grid is silent.
    data: the data.
    exclude_seen: leave out the items of each history.
    max_examples: of validation; a seeded sample where there are more.
    seed: of the sample and of the method.
  """
  examples = sample_examples(
    splits.examples(data.dataset, data.split, splits.VALIDATION),
    data,
    max_examples,
    seed,
  )
  histories = examples.ragged_histories()
  tried = []
  for of_fit, of_scoring in method.grid():
    start = time.perf_counter()
    fitted = method.replace(**of_fit).make(seed=seed, exclude_seen=exclude_seen)
    fitted.fit(*data.interactions(), data.dataset.num_items)
    fit_seconds = time.perf_counter() - start
    for settings in of_scoring:
      baseline = copy.copy(fitted)
      for name, value in settings.items():
        setattr(baseline, name, value)
      start = time.perf_counter()
      lists = protocol.recommend(
        baseline, histories, top_k=LENGTH, exclude_seen=exclude_seen
      )
      metrics = ranking.ranking_metrics(lists, examples.target, (LENGTH,))
      tried.append(
        {
          'settings': {**of_fit, **settings},
          METRIC: metrics[METRIC],
          'fit_seconds': fit_seconds,
          'rank_seconds': time.perf_counter() - start,
        }
      )
  best = max(tried, key=lambda one: one[METRIC])
  return Choice(
    method.replace(**best['settings']), best[METRIC], len(examples), tried
  )


def sample_examples(
  examples: splits.Examples, data: TrainData, count: int, seed: int
) -> splits.Examples:
  """Returns so many of the examples, drawn by seed; all if there are fewer."""
  if len(examples) <= count:
    return examples
  generator = np.random.default_rng(seed)
  rows = np.sort(generator.choice(len(examples), count, replace=False))
  return splits.examples_at(data.dataset, examples.rows[rows])
