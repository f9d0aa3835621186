"""What codes mean: do items that share a prefix belong together?

Every measure comes with a control: the same measure after the ids were dealt
out to the items at random, which keeps the sizes of all prefixes. So what is
above the control is meaning, and not the number of codes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int

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
    'num_neighbors': num_neighbors,
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
