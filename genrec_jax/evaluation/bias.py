"""What lists show of the catalogue, and whom they favour.

Accuracy is high where everyone is shown the same few popular items. Measured
beside it, of the first k places of E lists over N items:

  coverage      the share of the catalogue that is listed at all (Ge,
                Delgado-Battenfeld, Jannach, "Beyond accuracy: evaluating
                recommender systems by coverage and serendipity", RecSys 2010)
  Gini          how unequally items are exposed, from 0 (all alike) to 1 (one
                has it all), as Shani and Gunawardana, "Evaluating
                recommendation systems" (Recommender Systems Handbook, 2011)
  ARP, APLT     average popularity of what is listed, and the share of it that
                is of the long tail (Yin et al., "Challenging the long tail
                recommendation", VLDB 2012; Abdollahpouri, Burke, Mobasher,
                "Managing popularity bias in recommender systems with
                personalized re-ranking", FLAIRS 2019)
  lift          how much more popular lists are than the histories of the same
                users (Abdollahpouri et al., "The unfairness of popularity bias
                in recommendation", RMSE at RecSys 2019)
  miscalibration  how far the attributes of a list are from those of its history
                (Steck, "Calibrated recommendations", RecSys 2018)

Popularity is the number of train interactions. Numbers of items decide nothing:
equally popular items are always in the same group.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int, Int8, Integer

from genrec_jax.data.token_cache import Ragged
from genrec_jax.types import GenrecError

HEAD, MID, TAIL = range(3)
POPULARITY_GROUPS = ('head', 'mid', 'tail')
_GROUP_ENDS = (0.2, 0.8)  # of all train interactions
_SMOOTHING = 0.01  # Steck's alpha
_LISTS_AT_ONCE = 1024


def first_places(
  recommended: Integer[np.ndarray, 'E K'], k: int
) -> Integer[np.ndarray, 'E k']:
  """Returns the first k places of lists.

  Raises:
    GenrecError: if lists are no lists, shorter than k, or not of items.
  """
  recommended = np.asarray(recommended)
  if recommended.ndim != 2 or not 1 <= k <= recommended.shape[1]:
    raise GenrecError(
      f'Got lists of shape {recommended.shape} and k={k}; expected [E, K] with'
      ' k from 1 to K; recommend more items or lower k.'
    )
  if recommended.min(initial=0) < -1:
    raise GenrecError(
      f'Got item {recommended.min()}; expected rows of the items table, or -1'
      ' for "none".'
    )
  return recommended[:, :k]


def exposure(
  recommended: Integer[np.ndarray, 'E K'], num_items: int, *, k: int
) -> Int[np.ndarray, 'N']:
  """Returns how many lists show each item in their first k places.

  Raises:
    GenrecError: as `first_places`, or if an item is not of the catalogue.
  """
  shown = first_places(recommended, k)
  if shown.max(initial=-1) >= num_items:
    raise GenrecError(
      f'Got item {shown.max()}, expected numbers below {num_items}, the items'
      ' of the catalogue.'
    )
  return np.bincount(shown[shown >= 0], minlength=num_items)


def coverage(exposed: Int[np.ndarray, 'N']) -> float:
  """Returns the share of the items that are exposed at all."""
  return float((np.asarray(exposed) > 0).mean())


def gini(exposed: Int[np.ndarray, 'N']) -> float | None:
  """Returns the Gini index of exposure over all items, exposed or not.

  The sum over items j, by rising exposure p_j, of (2 j - N - 1) p_j, by
  N - 1. None where nothing is exposed, or there are fewer than two items.
  """
  p = np.sort(np.asarray(exposed, float))
  if len(p) < 2 or not p.sum():
    return None
  places = np.arange(1, len(p) + 1)
  return float(((2 * places - len(p) - 1) * p).sum() / (len(p) - 1) / p.sum())


def lorenz(
  exposed: Int[np.ndarray, 'N'], *, num_points: int = 101
) -> list[float]:
  """Returns the share of all exposure that the least exposed items have.

  At shares of the items from 0 to 1, evenly spaced. Nothing exposed is a curve
  of zeros.
  """
  reached = np.concatenate([[0], np.cumsum(np.sort(exposed))])
  total = max(1, reached[-1])
  at = np.linspace(0, len(exposed), num_points)
  return np.interp(at, np.arange(len(reached)), reached / total).tolist()


def popularity_groups(counts: Int[np.ndarray, 'N']) -> Int8[np.ndarray, 'N']:
  """Returns whether each item is of the HEAD, the MID or the TAIL.

  The head are the most popular items that have a fifth of the interactions
  together, the tail the least popular that have the last fifth (Abdollahpouri
  et al., "User-centered evaluation of popularity bias in recommender systems",
  UMAP 2021). The items outside the tail are the short head of work with two
  groups. An item is in the group in which its count begins, and all items of
  one count are together; those without interactions are in the tail.
  """
  counts = np.asarray(counts)
  values, inverse, items = np.unique(
    counts, return_inverse=True, return_counts=True
  )
  before = np.cumsum((values * items)[::-1])[::-1] - values * items
  share = before / max(1, counts.sum())
  groups = np.searchsorted(_GROUP_ENDS, share, side='right').astype(np.int8)
  groups[values == 0] = TAIL
  return groups[inverse]


def group_shares(
  exposed: Int[np.ndarray, 'N'],
  counts: Int[np.ndarray, 'N'],
  groups: Integer[np.ndarray, 'N'],
  num_groups: int,
) -> dict[str, list[float]]:
  """Returns what groups of items have of exposure, interactions and items.

  Each a share of its sum, by group; of nothing, zeros.
  """
  ones = np.ones(len(groups))
  found = {}
  for name, weights in (
    ('exposure', exposed),
    ('interactions', counts),
    ('items', ones),
  ):
    sums = np.bincount(groups, weights, num_groups)
    found[name] = (sums / max(1.0, sums.sum())).tolist()
  return found


def total_variation(
  first: Float[np.ndarray, 'C'], second: Float[np.ndarray, 'C']
) -> float:
  """Returns how far two distributions are apart, from 0 to 1.

  Half of the sum of differences: the share of the mass that would have to move.
  """
  return float(np.abs(np.asarray(first) - np.asarray(second)).sum() / 2)


def mean_of_lists(
  values: Float[np.ndarray, 'N'], items: Integer[np.ndarray, 'E K']
) -> Float[np.ndarray, 'E']:
  """Returns the mean value of each list's items; NaN of an empty list."""
  items = np.asarray(items)
  there = items >= 0
  sums = np.where(there, np.asarray(values, float)[items], 0.0).sum(axis=1)
  sizes = there.sum(axis=1)
  return np.where(sizes > 0, sums / np.maximum(sizes, 1), np.nan)


def mean_of_histories(
  values: Float[np.ndarray, 'N'], histories: Ragged
) -> Float[np.ndarray, 'E']:
  """Returns the mean value of each history's items; NaN of an empty one."""
  reached = np.concatenate(
    [[0.0], np.cumsum(np.asarray(values, float)[histories.values])]
  )
  sums = reached[histories.offsets[1:]] - reached[histories.offsets[:-1]]
  sizes = histories.lengths
  return np.where(sizes > 0, sums / np.maximum(sizes, 1), np.nan)


def popularity_lift(
  of_lists: Float[np.ndarray, 'E'], of_histories: Float[np.ndarray, 'E']
) -> float | None:
  """Returns how much more popular lists are than histories; 0 is as popular.

  GAP(lists) / GAP(histories) - 1, where the group average popularity GAP is the
  mean over users of the mean popularity of their items. Users with an empty
  list or history are left out.

  Args:
    of_lists: mean popularity of each list, NaN of an empty one.
    of_histories: the same of the history that the list was made for.

  Returns:
    The lift; None where nobody is left, or histories have no popular item.
  """
  both = np.isfinite(of_lists) & np.isfinite(of_histories)
  if not both.any() or not of_histories[both].any():
    return None
  return float(of_lists[both].mean() / of_histories[both].mean() - 1)


def miscalibration(
  items: Integer[np.ndarray, 'E K'],
  histories: Ragged,
  attributes: scipy.sparse.csr_array,
) -> float | None:
  """Returns how far the attributes of lists are from those of histories.

  The mean over lists of KL(p || q), in nats: p is the mean over the history of
  the attributes of its items, each of which spreads a weight of 1 over those
  that it has; q is the same of the list, with a hundredth of p mixed in. 0 is
  calibrated. Items without attributes are left out, and so are lists and
  histories where none is left.

  Args:
    items: the first places of lists, -1 where there is none.
    histories: the items that each list was made for.
    attributes: [N, A], not zero where an item has an attribute.

  Returns:
    The mean; None where no list is left.
  """
  weights = _rows_to_one(attributes)
  num_items = attributes.shape[0]
  found = []
  for start in range(0, len(items), _LISTS_AT_ONCE):
    rows = slice(start, min(start + _LISTS_AT_ONCE, len(items)))
    q = _rows_to_one(list_matrix(items[rows], num_items) @ weights)
    p = _rows_to_one(_history_matrix(histories, rows, num_items) @ weights)
    p, q = p.toarray(), q.toarray()
    kept = p.any(axis=1) & q.any(axis=1)
    p, q = p[kept], q[kept]
    mixed = (1 - _SMOOTHING) * q + _SMOOTHING * p
    ratio = np.where(p > 0, p, 1.0) / np.where(p > 0, mixed, 1.0)
    found.append((p * np.log(ratio)).sum(axis=1))
  divergence = np.concatenate(found) if found else np.zeros(0)
  return float(divergence.mean()) if len(divergence) else None


def list_matrix(
  items: Integer[np.ndarray, 'E K'], num_items: int
) -> scipy.sparse.csr_array:
  """Returns [E, N], 1 where a list holds an item."""
  row, place = np.nonzero(np.asarray(items) >= 0)
  entries = np.ones(len(row)), (row, np.asarray(items)[row, place])
  return scipy.sparse.csr_array(entries, shape=(len(items), num_items))


def _history_matrix(
  histories: Ragged, rows: slice, num_items: int
) -> scipy.sparse.csr_array:
  offsets = histories.offsets[rows.start : rows.stop + 1]
  items = histories.values[offsets[0] : offsets[-1]]
  return scipy.sparse.csr_array(
    (np.ones(len(items)), items, offsets - offsets[0]),
    shape=(len(offsets) - 1, num_items),
  )


def _rows_to_one(matrix: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
  """Returns a matrix whose rows sum to 1, but those of zeros."""
  sums = np.asarray(matrix.sum(axis=1)).ravel()
  scale = np.divide(1.0, sums, out=np.zeros_like(sums, float), where=sums > 0)
  return scipy.sparse.csr_array(scipy.sparse.diags_array(scale) @ matrix)
