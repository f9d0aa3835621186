"""What followed the last item: a first-order Markov chain."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int, Int32

from genrec_jax.baselines.protocol import rank_by_popularity


class Markov:
  """Scores items by how often they came right after the last item.

  All other items have the score 0 and so come after these, by popularity; that
  is also what a history gets whose last item was never followed by anything.
  """

  name = 'markov'

  def __init__(self, *, seed: int = 0):
    self.seed = seed

  def fit(
    self,
    user: Int[np.ndarray, 'R'],
    item: Int[np.ndarray, 'R'],
    num_items: int,
  ) -> Self:
    """Counts the pairs of consecutive items of one user."""
    self.item_rank = rank_by_popularity(item, num_items, seed=self.seed)
    order = np.argsort(user, kind='stable')
    user, item = user[order], item[order]
    same = user[1:] == user[:-1]
    ones = np.ones(same.sum(), np.float32)
    # One row more, of zeros, for histories without an item.
    self.followers = scipy.sparse.csr_array(
      (ones, (item[:-1][same], item[1:][same])), (num_items + 1, num_items)
    )
    return self

  def scores(
    self, histories: Int32[np.ndarray, 'B T']
  ) -> Float[np.ndarray, 'B N']:
    """Returns the number of times each item followed the last one."""
    last = histories[:, -1]
    last = np.where(last < 0, self.followers.shape[1], last)
    return self.followers[last].toarray()
