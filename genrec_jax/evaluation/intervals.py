"""How sure a stored result is: intervals from the answers beside it.

`TASK.npz` holds what was answered to each example, so that the metric of each
can be taken again and its mean drawn over users. Of BLEU, which is one number
of all texts, and of rows whose answers are not kept there is no interval.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from genrec_jax.evaluation import ranking
from genrec_jax.evaluation.significance import (
  Interval,
  bootstrap_auc,
  bootstrap_mean,
)
from genrec_jax.types import GenrecError

LISTS = 'items_'
# Rows of the result whose answers have another name among the arrays.
_RATINGS = {'model': 'expected'}
_ORDERS = {'model': 'log_odds'}
# Not a row's answers, but what examples are.
_EXAMPLES = ('user', 'item', 'dialogue', 'truth', 'split', 'task', 'yes')


def intervals(
  result: Mapping[str, Any],
  arrays: Mapping[str, np.ndarray],
  metric: str,
  *,
  num_resamples: int = 5000,
  seed: int = 0,
) -> dict[str, Interval]:
  """Returns a metric of each row of a result, with its interval over users.

  Args:
    result: of `results.read_result`, or of `genrec baselines` with its metrics
      by method.
    arrays: those beside it.
    metric: of all examples.
    num_resamples: of the bootstrap.
    seed: of the bootstrap.

  Returns:
    By row; those without an interval are left out.

  Raises:
    GenrecError: if the arrays do not give what the result says.
  """
  drawn = {'num_resamples': num_resamples, 'seed': seed}
  found = {}
  answer = result.get('answer', 'item')
  if answer == 'yes_no' and metric == 'auc':
    for row, scores in _floors(arrays, _ORDERS):
      found[row] = bootstrap_auc(scores, arrays['truth'], **drawn)
  else:
    for row, values, users in _values(result, arrays, metric):
      if len(np.unique(users)) < 2:
        continue
      found[row] = bootstrap_mean(values, users, **drawn)
  if metric == 'rmse':
    found = {
      row: Interval(*np.sqrt([one.mean, one.low, one.high]).tolist(), one.n)
      for row, one in found.items()
    }
  metrics = result['metrics']
  found = {
    row: one for row, one in found.items() if metric in _of_all(metrics, row)
  }
  for row, one in found.items():
    told = _of_all(metrics, row)[metric]
    if not np.isclose(one.mean, told, rtol=1e-4, atol=1e-6):
      raise GenrecError(
        f'The result says {metric} = {told:.6f} of {row}, and the answers'
        f' beside it give {one.mean:.6f}; they are not of one measurement.'
      )
  return found


def _values(
  result: Mapping[str, Any], arrays: Mapping[str, np.ndarray], metric: str
) -> Iterator[tuple[str, Float[np.ndarray, 'n'], Int[np.ndarray, 'n']]]:
  """Yields rows with the values whose mean is the metric, and their users."""
  answer = result.get('answer', 'item')
  if 'target' in arrays:
    for row, items in _lists(result, arrays):
      cutoffs = [k for k in ranking.CUTOFFS if k <= items.shape[1]]
      values = ranking.example_metrics(items, arrays['target'], cutoffs)
      if metric in values:
        yield row, values[metric], arrays['user']
  elif 'targets' in arrays:
    yield from _of_dialogues(result, arrays, metric)
  elif answer == 'rating' and metric in ('rmse', 'mae'):
    for row, predicted in _floors(arrays, _RATINGS):
      errors = np.abs(predicted - arrays['truth'])
      yield row, errors**2 if metric == 'rmse' else errors, arrays['user']
  elif answer == 'yes_no' and metric == 'accuracy':
    correct = (arrays['yes'] >= 0.5) == arrays['truth']
    yield 'model', correct.astype(float), arrays['user']
  elif metric in arrays:  # ROUGE of texts
    users = arrays['dialogue' if 'dialogue' in arrays else 'user']
    yield 'model', arrays[metric], users


def _lists(
  result: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
  if 'items' in arrays:  # of `genrec baselines`
    yield result['method'], arrays['items']
  for name, items in arrays.items():
    if name.startswith(LISTS):
      yield name.removeprefix(LISTS), items


def _of_dialogues(
  result: Mapping[str, Any], arrays: Mapping[str, np.ndarray], metric: str
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
  """Yields recall of each target of each turn, as conversation.py counts."""
  if not metric.startswith('recall@'):
    return
  cutoff = int(metric.removeprefix('recall@'))
  turns = len(arrays['dialogue'])
  turn = np.repeat(np.arange(turns), np.diff(arrays['targets_offsets']))
  pairs = np.unique(np.stack([turn, arrays['targets']], axis=1), axis=0)
  turn, target = pairs.T
  for row, items in _lists(result, arrays):
    if cutoff <= items.shape[1]:
      values = ranking.example_metrics(items[turn], target, [cutoff])
      yield row, values[metric], arrays['dialogue'][turn]


def _floors(
  arrays: Mapping[str, np.ndarray], named: Mapping[str, str]
) -> Iterator[tuple[str, np.ndarray]]:
  """Yields the model's answers, then those of the floors."""
  for row, name in named.items():
    yield row, arrays[name]
  for name, values in arrays.items():
    if name not in (*_EXAMPLES, *named.values()):
      yield name, values


def _of_all(metrics: Mapping[str, Any], row: str) -> Mapping[str, float]:
  return metrics.get(row, {}).get('all', {})
