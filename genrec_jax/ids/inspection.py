"""What codes mean: do items that share a prefix belong together?

Every measure comes with a control: the same measure after the ids were dealt
out to the items at random, which keeps the sizes of all prefixes. So what is
above the control is meaning, and not the number of codes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from genrec_jax.ids.cooccurrence import count_cooccurrences
from genrec_jax.types import GenrecError


def prefix_groups(codes: Int[np.ndarray, 'N L']) -> Int[np.ndarray, 'L N']:
  """Numbers the prefixes of each length.

  Returns:
    int64 [L, N]; in row l the number of an item's first l + 1 codes, counted
    from 0 in the order of the codes. An id that ended earlier is a prefix of
    its own.
  """
  groups = np.empty(codes.shape[::-1], np.int64)
  before = np.zeros(len(codes), np.int64)
  for level, column in enumerate(codes.T):
    cell = before * (int(column.max(initial=0)) + 2) + column + 1
    _, before = np.unique(cell, return_inverse=True)
    groups[level] = before
  return groups


def neighbourhood_overlap(
  codes: Int[np.ndarray, 'N L'],
  user: Int[np.ndarray, 'M'],
  item: Int[np.ndarray, 'M'],
  *,
  num_neighbors: int = 10,
  num_shuffles: int = 3,
  seed: int = 0,
) -> dict[str, Any]:
  """Says how far items that are taken together share their first codes.

  The neighbours of an item are the items with the largest cosine of their sets
  of users to its own, as for item-kNN: by bare counts the neighbours of all
  items would be the bestsellers. Items taken together with no other do
  not count.

  Args:
    codes: -1 after the end of an id.
    user: the user of each train interaction.
    item: its item; the rows of one user are in chronological order.
    num_neighbors: K, most neighbours an item.
    num_shuffles: how often the ids are dealt out at random for the control.
    seed: of the shuffles and of the choice among equal neighbours.

  Returns:
    prefixes: for each prefix length from 1 to L the mean share of an item's
      neighbours that share its prefix.
    nearest: the mean share of the K items of the longest shared prefixes that
      are among the neighbours (of all items that share equally many codes as
      many as are wanted, taken at random: it is the expected share).
    shuffled: both, under shuffled ids.
    items: how many items have a neighbour.
    num_neighbors: K.

  Raises:
    GenrecError: if no two items were taken by one user.
  """
  neighbors = nearest_neighbors(
    user, item, len(codes), num_neighbors=num_neighbors, seed=seed
  )
  return overlap(codes, neighbors, num_shuffles=num_shuffles, seed=seed)


def overlap(
  codes: Int[np.ndarray, 'N L'],
  neighbors: Int[np.ndarray, 'N K'],
  *,
  num_shuffles: int = 3,
  seed: int = 0,
) -> dict[str, Any]:
  """The same for neighbours at hand; -1 where an item has fewer than K."""
  known = np.flatnonzero(neighbors[:, 0] >= 0)
  if not len(known):
    raise GenrecError(
      f'No two of the {len(codes)} items were taken by one user, so there are'
      ' no neighbours to compare ids with; give more interactions.'
    )
  groups = prefix_groups(codes)
  generator = np.random.default_rng(seed)
  shuffled = [
    _overlap(groups[:, generator.permutation(len(codes))], neighbors, known)
    for _ in range(num_shuffles)
  ]
  prefixes, nearest = _overlap(groups, neighbors, known)
  return {
    'prefixes': prefixes.tolist(),
    'nearest': nearest,
    'shuffled': {
      'prefixes': np.mean([p for p, _ in shuffled], axis=0).tolist(),
      'nearest': float(np.mean([n for _, n in shuffled])),
    },
    'items': len(known),
    'num_neighbors': neighbors.shape[1],
  }


def nearest_neighbors(
  user: Int[np.ndarray, 'M'],
  item: Int[np.ndarray, 'M'],
  num_items: int,
  *,
  num_neighbors: int = 10,
  seed: int = 0,
) -> Int[np.ndarray, 'N K']:
  """Returns the items of the most similar sets of users, the nearest first.

  Returns:
    int32 [N, num_neighbors]; -1 where an item was taken together with fewer.
    Equal neighbours are in a seeded order.
  """
  counts = count_cooccurrences(user, item, num_items)
  pairs = np.unique(user.astype(np.int64) * num_items + item)
  num_users = np.bincount(pairs % num_items, minlength=num_items)
  chance = np.random.default_rng(seed).permutation(num_items)
  neighbors = np.full((num_items, num_neighbors), -1, np.int32)
  for row in range(num_items):
    cells = slice(counts.indptr[row], counts.indptr[row + 1])
    others = counts.indices[cells]
    cosine = counts.data[cells] / np.sqrt(num_users[others])
    best = others[np.lexsort((chance[others], -cosine))[:num_neighbors]]
    neighbors[row, : len(best)] = best
  return neighbors


@dataclasses.dataclass(frozen=True, eq=False)
class Attributes:
  """Which items have which values of an attribute.

  Attributes:
    values: the A values that there are.
    has: float64 [N, A], 1 where an item has a value; an item may have none.
  """

  values: Sequence[str]
  has: scipy.sparse.csr_array

  @classmethod
  def of(cls, lists: Sequence[Sequence[str] | None]) -> Attributes:
    """Takes the list of values of each item; what is in it twice counts once.

    >>> Attributes.of([['b', 'a'], None, ['b', 'b']]).has.toarray()
    array([[1., 1.],
           [0., 0.],
           [0., 1.]])
    """
    pairs = sorted(
      {(row, value) for row, some in enumerate(lists) for value in some or ()}
    )
    values = sorted({value for _, value in pairs})
    number = {value: place for place, value in enumerate(values)}
    rows, columns = (
      np.array([(row, number[value]) for row, value in pairs], np.int64)
      .reshape(-1, 2)
      .T
    )
    has = (np.ones(len(rows)), (rows, columns))
    return cls(
      values, scipy.sparse.csr_array(has, shape=(len(lists), len(values)))
    )

  @property
  def items(self) -> Int[np.ndarray, 'n']:
    """The items that have a value."""
    return np.flatnonzero(np.diff(self.has.indptr))


def attribute_information(
  codes: Int[np.ndarray, 'N L'],
  attributes: Attributes,
  *,
  num_shuffles: int = 5,
  seed: int = 0,
) -> dict[str, Any]:
  """Says how much of an attribute can be read off the codes.

  An item is drawn, and then one of its values: an item counts as much with
  a list of five as with one. The mutual information of the code and
  the value is divided by that of the item itself and the value, so 1 is all
  that there is to know, and more than that no list can give away. Items without
  a value do not count. Many codes of few items agree with anything by chance;
  `adjusted` takes the control off: (ids - shuffled) / (1 - shuffled), as the
  adjusted mutual information of Vinh, Epps & Bailey, "Information theoretic
  measures for clusterings comparison", 2010, does with an expected value.

  Args:
    codes: -1 after the end of an id, which is a code of its own here.
    attributes: of the same items.
    num_shuffles: how often the ids are dealt out at random for the control.
    seed: of that.

  Returns:
    bits: what there is to know; 0 if all items say the same.
    levels: the share of it that each of the L codes tells by itself.
    prefixes: the share that the first codes tell together, from 1 to L.
    shuffled: both, under shuffled ids.
    adjusted: both; None where shuffled ids tell more than .99 too.
    items: how many have a value.
    values: how many different ones there are.
  """
  items = attributes.items
  weights = attributes.has[items]
  lengths = np.diff(weights.indptr)
  weights.data = 1 / np.repeat(lengths * len(items), lengths)
  levels = [np.unique(column, return_inverse=True)[1] for column in codes.T]
  views = np.stack([*levels, *prefix_groups(codes)])[:, items]
  bits = mutual_information(np.arange(len(items)), weights)

  def shares(order):
    told = [mutual_information(view[order], weights) for view in views]
    return np.array(told) / bits if bits > 1e-9 else np.zeros(len(told))

  generator = np.random.default_rng(seed)
  found = shares(np.arange(len(items)))
  shuffled = np.mean(
    [shares(generator.permutation(len(items))) for _ in range(num_shuffles)],
    axis=0,
  )
  adjusted = [
    (one - other) / (1 - other) if other <= 0.99 else None
    for one, other in zip(found.tolist(), shuffled.tolist())
  ]

  def named(values):
    values = list(values)
    return {'levels': values[: len(levels)], 'prefixes': values[len(levels) :]}

  return {
    **named(found.tolist()),
    'shuffled': named(shuffled.tolist()),
    'adjusted': named(adjusted),
    'bits': bits,
    'items': len(items),
    'values': len(attributes.values),
  }


def mutual_information(
  groups: Int[np.ndarray, 'n'], weights: scipy.sparse.csr_array
) -> float:
  """Returns the mutual information of groups and values, in bits.

  Args:
    groups: the group of each row, from 0.
    weights: [n, A], how probable a row and a value are; the sum is 1.
  """
  row = np.repeat(groups, np.diff(weights.indptr))
  joint = scipy.sparse.csr_array(
    (weights.data, (row, weights.indices)),
    shape=(int(groups.max(initial=-1)) + 1, weights.shape[1]),
  )
  joint.sum_duplicates()
  parts = joint.sum(axis=1), joint.sum(axis=0), joint.data
  group, value, both = (_entropy(part) for part in parts)
  return max(0.0, group + value - both)


def telling_values(
  attributes: Attributes, rows: Int[np.ndarray, 'n'], *, limit: int = 5
) -> list[dict[str, Any]]:
  """Returns the values that set some items apart from the catalogue.

  Returns:
    the values of the largest share * log(lift) (the terms of the
    Kullback-Leibler divergence): of those items that have any value, `items`
    have this one, a `share` that is `lift` times that of the catalogue.
  """
  has = attributes.has[rows]
  known = max(1, int((np.diff(has.indptr) > 0).sum()))
  counts = has.sum(axis=0)
  share = counts / known
  usual = attributes.has.sum(axis=0) / max(1, len(attributes.items))
  lift = share / np.where(usual > 0, usual, 1)
  weight = share * np.log(np.maximum(lift, 1))
  best = np.argsort(-weight, kind='stable')[:limit]
  return [
    {
      'value': attributes.values[place],
      'items': int(counts[place]),
      'share': float(share[place]),
      'lift': float(lift[place]),
    }
    for place in best
    if weight[place] > 0
  ]


def shared_codes(
  codes: Int[np.ndarray, 'N L'], one: int
) -> Int[np.ndarray, 'N']:
  """Returns how many codes, from the first on, items share with one of them."""
  equal = (codes == codes[one]) & (codes[one] >= 0)
  return np.logical_and.accumulate(equal, axis=1).sum(axis=1)


def _entropy(masses: Float[np.ndarray, 'n']) -> float:
  masses = masses[masses > 0]
  return float(-(masses @ np.log2(masses)))


def _overlap(groups, neighbors, known):
  """Returns the share of neighbours a prefix length, and that of nearest."""
  num_levels, num_items = groups.shape
  wanted = neighbors[known]
  real = wanted >= 0
  # How many items share at least so many codes, and how many neighbours do.
  sharing = np.empty((num_levels + 1, len(known)))
  hits = np.empty_like(sharing)
  sharing[0], hits[0] = num_items - 1, real.sum(axis=1)
  for level, group in enumerate(groups, start=1):
    sharing[level] = np.bincount(group)[group[known]] - 1
    hits[level] = (real & (group[wanted] == group[known, None])).sum(axis=1)
  prefixes = (hits[1:] / hits[0]).mean(axis=1)
  # The nearest are taken from the longest prefix to the shortest; of those
  # that share exactly so many codes each is as likely to be taken.
  places = np.minimum(sharing, neighbors.shape[1])
  nothing = np.zeros((1, len(known)))
  exactly, hit, taken = (
    -np.diff(np.concatenate([x, nothing]), axis=0)
    for x in (sharing, hits, places)
  )
  found = (hit * taken / np.maximum(exactly, 1)).sum(axis=0)
  return prefixes, float((found / np.maximum(places[0], 1)).mean())
