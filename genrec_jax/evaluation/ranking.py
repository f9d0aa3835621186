"""Ranking metrics where each example has one relevant item, its target.

The lists rank the whole catalogue: no sampled candidates. With one target
Recall@k is the hit rate HR@k, and the best possible DCG is 1, so that

  Recall@k     1 if the target is among the first k, else 0
  NDCG@k       1 / log2(1 + rank) if it is, else 0 (Järvelin, Kekäläinen 2002)
  Precision@k  Recall@k / k
  MRR          1 / rank, 0 where the target is not in the list at all
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from genrec_jax.types import GenrecError

CUTOFFS = (1, 5, 10, 20)


def target_ranks(
  recommended: Int[np.ndarray, 'E K'], targets: Int[np.ndarray, 'E']
) -> Int[np.ndarray, 'E']:
  """Returns the place of each target in its list, from 1; 0 where absent.

  Args:
    recommended: ranked items, best first; -1 where there is none.
    targets: the relevant item of each example.

  Raises:
    GenrecError: if the shapes do not fit, a number is none of an item, or a
      list holds an item twice.
  """
  recommended, targets = np.asarray(recommended), np.asarray(targets)
  if recommended.ndim != 2 or targets.shape != recommended.shape[:1]:
    raise GenrecError(
      f'Got lists of shape {recommended.shape} and targets of shape'
      f' {targets.shape}, expected [E, K] and [E].'
    )
  if targets.min(initial=0) < 0 or recommended.min(initial=0) < -1:
    raise GenrecError(
      'Got a negative number for an item; targets are 0 or more, lists may'
      ' also hold -1 for "none".'
    )
  ordered = np.sort(recommended, axis=1)
  repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
  if repeated.any():
    example = int(repeated.any(axis=1).argmax())
    raise GenrecError(
      f'The list of example {example} holds item'
      f' {ordered[example, 1:][repeated[example]][0]} more than once; each'
      ' item may have one place.'
    )
  hits = recommended == targets[:, None]
  return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)


def example_metrics(
  recommended: Int[np.ndarray, 'E K'],
  targets: Int[np.ndarray, 'E'],
  cutoffs: Sequence[int] = CUTOFFS,
) -> dict[str, Float[np.ndarray, 'E']]:
  """Returns every metric of every example, for slices and significance.

  Raises:
    GenrecError: as `target_ranks`, or if the lists are shorter than a cutoff.
  """
  ranks = target_ranks(recommended, targets)
  length = np.shape(recommended)[1]
  if not cutoffs or min(cutoffs) < 1 or max(cutoffs) > length:
    raise GenrecError(
      f'Got cutoffs {tuple(cutoffs)} for lists of {length}, expected numbers'
      f' from 1 to {length}; recommend more items or lower the cutoffs.'
    )
  gains = np.where(ranks > 0, 1 / np.log2(1 + np.maximum(ranks, 1)), 0.0)
  metrics = {}
  for cutoff in cutoffs:
    hit = (ranks > 0) & (ranks <= cutoff)
    metrics[f'recall@{cutoff}'] = hit.astype(np.float64)
    metrics[f'ndcg@{cutoff}'] = np.where(hit, gains, 0.0)
    metrics[f'precision@{cutoff}'] = hit / cutoff
    assert (metrics[f'ndcg@{cutoff}'] <= metrics[f'recall@{cutoff}']).all()
  metrics['mrr'] = np.where(ranks > 0, 1 / np.maximum(ranks, 1), 0.0)
  return metrics


def ranking_metrics(
  recommended: Int[np.ndarray, 'E K'],
  targets: Int[np.ndarray, 'E'],
  cutoffs: Sequence[int] = CUTOFFS,
) -> dict[str, float]:
  """Returns the mean of every metric over the examples."""
  return mean_metrics(example_metrics(recommended, targets, cutoffs))


def mean_metrics(
  metrics: Mapping[str, Float[np.ndarray, 'E']],
  keep: Bool[np.ndarray, 'E'] | None = None,
) -> dict[str, float]:
  """Returns the means over the examples to `keep`; none at all is an error."""
  means = {}
  for name, values in metrics.items():
    values = values if keep is None else values[keep]
    if not len(values):
      raise GenrecError('Got no examples, so their metrics have no mean.')
    means[name] = float(values.mean())
  return means


def slice_metrics(
  metrics: Mapping[str, Float[np.ndarray, 'E']],
  slices: Mapping[str, Bool[np.ndarray, 'E']],
) -> dict[str, dict[str, float]]:
  """Returns the number of examples and the means of every slice.

  An empty slice has `n` = 0 and no means.
  """
  result = {}
  for name, keep in slices.items():
    count = int(np.count_nonzero(keep))
    means = mean_metrics(metrics, keep) if count else {}
    result[name] = {'n': count, **means}
  return result


def measure_lists(
  recommended: Int[np.ndarray, 'E K'],
  targets: Int[np.ndarray, 'E'],
  tied: Bool[np.ndarray, 'E'],
  cold: Bool[np.ndarray, 'E'] | None = None,
) -> dict[str, dict[str, float]]:
  """Returns the means at the CUTOFFS that the lists reach, over slices.

  The slices are 'all', 'tied' (targets of the same time as the item before
  them, whose order is arbitrary) and 'untied'; and where items were held out of
  training, 'cold' (targets that are such items) and 'warm'.
  """
  cutoffs = [k for k in CUTOFFS if k <= np.shape(recommended)[1]]
  tied = np.asarray(tied, bool)
  slices = {'all': np.ones(len(tied), bool), 'tied': tied, 'untied': ~tied}
  if cold is not None:
    slices |= {'cold': cold, 'warm': ~cold}
  return slice_metrics(example_metrics(recommended, targets, cutoffs), slices)
