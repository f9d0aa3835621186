"""Whether groups of items are shown as much as they deserve.

A place far up is seen more often than one further down, so exposure is counted
with the discount of NDCG, 1 / log2(1 + rank), and compared to merit, group by
group (Singh and Joachims, "Fairness of exposure in rankings", KDD 2018). Merit
is what users did: the share of the targets that are of a group. A ratio of 1
is exposure in proportion to merit (their "disparate treatment"); the quotient
of two groups' ratios is their DTR.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int, Integer

from genrec_jax.types import GenrecError

MIN_TARGETS = 30  # of a group whose ratio is compared with those of others
_VALUES_AT_ONCE = 1 << 23


def exposure_by_group(
  items: Integer[np.ndarray, 'E K'], weights: scipy.sparse.csr_array
) -> Float[np.ndarray, 'E G']:
  """Returns how much each list exposes each group of items.

  Args:
    items: lists, the best first, -1 behind their end.
    weights: [N, G], how much of an item belongs to a group.
  """
  items = np.asarray(items)
  exposed = np.zeros((len(items), weights.shape[1]))
  for place in range(items.shape[1]):
    there = items[:, place] >= 0
    found = weights[items[there, place]].toarray()
    exposed[there] += found / np.log2(2 + place)
  return exposed


def compare_exposure(
  rows: Mapping[str, Integer[np.ndarray, 'E K']],
  target: Int[np.ndarray, 'E'],
  weights: scipy.sparse.csr_array,
  labels: Sequence[str],
  *,
  user: Int[np.ndarray, 'E'],
  confidence: float = 0.95,
  num_resamples: int = 500,
  seed: int = 0,
) -> dict[str, Any]:
  """Returns exposure by group against merit, for each method's lists.

  Args:
    rows: lists by method.
    target: what each list should hold.
    weights: [N, G], how much of an item belongs to a group: rows sum to 1, or
      to 0 where an item is of none.
    labels: what the G groups are called.
    user: of each list; users are drawn for intervals with all their lists.
    confidence: of the intervals of percentiles.
    num_resamples: of the bootstrap.
    seed: of the draws.

  Returns:
    JSON values: `merit`, by group its share of the targets and the number `n`
    of these (of an item of several groups a part each); `rows`, by method
    `groups`, with their share of `exposure` and its `ratio` to merit, `low` and
    `high`, None without targets; `dtr`, the highest by the lowest ratio of
    groups that have MIN_TARGETS, None of fewer than two or where the lowest is
    0; and `total_variation` of exposure and merit.

  Raises:
    GenrecError: if no target is of a group.
  """
  merit = weights[np.asarray(target)].toarray()
  if not merit.any():
    raise GenrecError('No target is of a group, so there is no merit.')
  exposed = {
    name: exposure_by_group(items, weights) for name, items in rows.items()
  }
  users, place = np.unique(np.asarray(user), return_inverse=True)
  sums = np.zeros((len(users), 1 + len(rows), len(labels)))
  np.add.at(sums, place, np.stack([merit, *exposed.values()], axis=1))
  flat = sums.reshape(len(users), -1)
  rng = np.random.default_rng(seed)
  drawn = []
  step = max(1, _VALUES_AT_ONCE // len(users))
  for start in range(0, num_resamples, step):
    times = rng.multinomial(
      len(users),
      np.full(len(users), 1 / len(users)),
      min(step, num_resamples - start),
    )
    drawn.append(times @ flat)
  resampled = np.concatenate(drawn).reshape(-1, *sums.shape[1:])
  total = sums.sum(axis=0)
  shares, resampled = _shares(total), _shares(resampled)
  enough = total[0] >= MIN_TARGETS
  tail = (1 - confidence) / 2
  found = {}
  for number, name in enumerate(rows, start=1):
    ratio = _ratios(shares[number], shares[0])
    ends = np.nanquantile(
      # A draw without any target of a group says nothing of it.
      np.where(
        np.isnan(ratio), 0.0, _ratios(resampled[:, number], resampled[:, 0])
      ),
      [tail, 1 - tail],
      axis=0,
    )
    compared = ratio[enough]
    found[name] = {
      'groups': {
        label: {
          'exposure': float(share),
          'ratio': None if np.isnan(one) else float(one),
          'low': None if np.isnan(one) else float(low),
          'high': None if np.isnan(one) else float(high),
        }
        for label, share, one, low, high in zip(
          labels, shares[number], ratio, *ends
        )
      },
      'dtr': (
        float(compared.max() / compared.min())
        if len(compared) > 1 and compared.min() > 0
        else None
      ),
      'total_variation': float(np.abs(shares[number] - shares[0]).sum() / 2),
    }
  return {
    'merit': {
      label: {'share': float(share), 'n': float(count)}
      for label, share, count in zip(labels, shares[0], total[0])
    },
    'rows': found,
  }


def _shares(sums: Float[np.ndarray, '*R G']) -> Float[np.ndarray, '*R G']:
  whole = sums.sum(axis=-1, keepdims=True)
  return np.divide(sums, whole, out=np.zeros_like(sums), where=whole > 0)


def _ratios(
  exposure: Float[np.ndarray, '*R G'], merit: Float[np.ndarray, '*R G']
) -> Float[np.ndarray, '*R G']:
  """Returns exposure by merit, NaN without merit."""
  nothing = np.full(np.broadcast(exposure, merit).shape, np.nan)
  return np.divide(exposure, merit, out=nothing, where=merit > 0)
