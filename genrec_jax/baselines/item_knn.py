"""What is used by those who used the items of the history."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int, Int32

from genrec_jax.baselines.protocol import (
  history_weights,
  rank_by_popularity,
  used_by,
)
from genrec_jax.types import GenrecError


class ItemKNN:
  """Sums the cosine similarities of an item to the items of the history.

  The similarity of two items is the cosine of the sets of their users in
  train. Only the most similar neighbours of an item count. See Sarwar et al.,
  "Item-based collaborative filtering recommendation algorithms", 2001.

  Args:
    num_neighbours: neighbours an item.
    shrinkage: added to the denominator, against similarities from few users.
    recency: the weight of an item relative to the one after it; 1 weighs all
      items of the history alike.
    seed: of the order of equal scores.
  """

  name = 'item_knn'
  grid = {
    'num_neighbours': (50, 200),
    'shrinkage': (0.0, 5.0),
    'recency': (1.0, 0.5, 0.25),
  }
  scoring = ('recency',)

  def __init__(
    self,
    *,
    num_neighbours: int = 100,
    shrinkage: float = 0.0,
    recency: float = 1.0,
    seed: int = 0,
  ):
    if num_neighbours < 1 or shrinkage < 0 or not 0 < recency <= 1:
      raise GenrecError(
        f'Got num_neighbours={num_neighbours}, shrinkage={shrinkage} and'
        f' recency={recency}; expected at least 1, at least 0, and above 0 but'
        ' at most 1.'
      )
    self.num_neighbours = num_neighbours
    self.shrinkage = shrinkage
    self.recency = recency
    self.seed = seed

  def fit(
    self,
    user: Int[np.ndarray, 'R'],
    item: Int[np.ndarray, 'R'],
    num_items: int,
  ) -> Self:
    """Computes each item's nearest neighbours."""
    self.item_rank = rank_by_popularity(item, num_items, seed=self.seed)
    users = used_by(user, item, num_items)
    used = users.T.tocsr()
    norms = np.sqrt(used.sum(axis=1))
    block = 1024
    rows = [
      self._neighbours(used[start : start + block] @ users, norms, start)
      for start in range(0, num_items, block)
    ]
    self.similarity = scipy.sparse.vstack(rows, format='csr')
    return self

  def scores(
    self, histories: Int32[np.ndarray, 'B T']
  ) -> Float[np.ndarray, 'B N']:
    """Returns the sums of similarities to the history's items."""
    weights = history_weights(histories, self.similarity.shape[0], self.recency)
    return (weights @ self.similarity).toarray()

  def _neighbours(self, common, norms, start):
    """Returns the similarities of a block of items, the largest a row."""
    row = np.repeat(np.arange(common.shape[0]), np.diff(common.indptr))
    column = common.indices
    cosine = common.data / (norms[start + row] * norms[column] + self.shrinkage)
    other = row + start != column
    row, column, cosine = row[other], column[other], cosine[other]
    # Rows in order, and in a row the most similar first.
    order = np.lexsort((self.item_rank[column], -cosine, row))
    row, column, cosine = row[order], column[order], cosine[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    kept = place < self.num_neighbours
    return scipy.sparse.csr_array(
      (cosine[kept].astype(np.float32), (row[kept], column[kept])), common.shape
    )
