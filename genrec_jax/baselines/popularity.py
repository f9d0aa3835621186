"""The items most used, the same for everyone."""

from __future__ import annotations

from typing import Self

import numpy as np
from jaxtyping import Float, Int, Int32

from genrec_jax.baselines.protocol import rank_by_popularity


class Popularity:
  """Scores items by how often they occur in the train interactions."""

  name = 'popularity'

  def __init__(self, *, seed: int = 0):
    self.seed = seed

  def fit(
    self,
    user: Int[np.ndarray, 'R'],
    item: Int[np.ndarray, 'R'],
    num_items: int,
  ) -> Self:
    """Counts the items."""
    del user
    self.item_rank = rank_by_popularity(item, num_items, seed=self.seed)
    self.counts = np.bincount(item, minlength=num_items).astype(np.float32)
    return self

  def scores(
    self, histories: Int32[np.ndarray, 'B T']
  ) -> Float[np.ndarray, 'B N']:
    """Returns the counts, whatever the history."""
    return np.broadcast_to(self.counts, (len(histories), len(self.counts)))
