"""Ratings: which are good, and what others gave an item."""

from __future__ import annotations

import numpy as np

from genrec_jax.data.dataset import Dataset
from genrec_jax.data.splits import TRAIN, Examples, Split
from genrec_jax.data.token_cache import Ragged

LIKED = 4.0  # stars from which on a user likes an item, as the field has it


def ratings_of_others(
  dataset: Dataset, split: Split, examples: Examples, *, most: int = 10
) -> Ragged:
  """Returns the last train ratings that others gave each target, by time.

  Those of the example's own user are left out, in all parts alike: else the
  answer of a train example stood among them.

  Args:
    dataset: with a column `rating`.
    split: its split.
    examples: E of them.
    most: how many ratings of an item at most.

  Returns:
    Float ratings, a row an example, oldest first.
  """
  column = dataset.interactions['rating']
  known = column.is_valid().to_numpy(zero_copy_only=False)
  rows = np.flatnonzero((split.part == TRAIN) & known)
  rows = rows[np.lexsort((dataset.time[rows], dataset.item[rows]))]
  item, user = dataset.item[rows], dataset.user[rows]
  rating = column.take(rows).to_numpy().astype(np.float32)
  starts = np.searchsorted(item, np.arange(dataset.num_items + 1))
  found = []
  for who, target in zip(examples.user, examples.target):
    of_item = slice(starts[target], starts[target + 1])
    found.append(rating[of_item][user[of_item] != who][-most:])
  return Ragged.from_rows(found, np.float32)
