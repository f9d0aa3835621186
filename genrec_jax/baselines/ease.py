"""A linear model of items by the other items of a user, in closed form."""

from __future__ import annotations

import pathlib
from typing import Self

import numpy as np
import scipy.linalg.lapack
import scipy.sparse
from jaxtyping import Float, Int, Int32

from genrec_jax.baselines.protocol import (
  history_weights,
  rank_by_popularity,
  used_by,
)
from genrec_jax.types import GenrecError

# The matrix and its inverse in one place, the weights, and what it takes to
# mirror them.
BYTES_A_PAIR = 12


class EASE:
  """Predicts a user's row of 0 and 1 from itself, no item from itself.

  The weights B [N, N] minimize ‖X − XB‖² + regularization ‖B‖² with a diagonal
  of zeros, X [U, N] being who used what in train: with
  P = (XᵀX + regularization I)⁻¹, B is −P / diag(P), column by column, off the
  diagonal. See Steck, "Embarrassingly shallow autoencoders for sparse data",
  WWW 2019, equation 8.

  It takes memory with the square and time with the cube of the number of items,
  and is solved in single precision.

  Args:
    regularization: of the weights.
    recency: the weight of an item relative to the one after it, when scoring;
      1 is the method as published, to which a history has no order.
    memory_gb: the most gigabytes that `fit` may take; None for what is free on
      this machine.
    seed: of the order of equal scores.
  """

  name = 'ease'
  grid = {'regularization': (50.0, 200.0, 800.0), 'recency': (1.0, 0.5, 0.25)}
  scoring = ('recency',)

  def __init__(
    self,
    *,
    regularization: float = 200.0,
    recency: float = 1.0,
    memory_gb: float | None = None,
    seed: int = 0,
  ):
    if regularization <= 0 or not 0 < recency <= 1:
      raise GenrecError(
        f'Got regularization={regularization} and recency={recency}; expected'
        ' above 0, and above 0 but at most 1.'
      )
    self.regularization = regularization
    self.recency = recency
    self.memory_gb = memory_gb
    self.seed = seed

  def fit(
    self,
    user: Int[np.ndarray, 'R'],
    item: Int[np.ndarray, 'R'],
    num_items: int,
  ) -> Self:
    """Solves for the weights.

    Raises:
      GenrecError: if they do not fit in memory.
    """
    self._check_memory(num_items)
    self.item_rank = rank_by_popularity(item, num_items, seed=self.seed)
    used = used_by(user, item, num_items)
    common = (used.T @ used).toarray(order='F')
    common[np.diag_indices(num_items)] += self.regularization
    # In place; only the lower triangle is read and written.
    factor, failed = scipy.linalg.lapack.spotrf(
      common, lower=True, clean=False, overwrite_a=True
    )
    assert not failed, 'a Gram matrix and a positive diagonal are definite'
    inverse, failed = scipy.linalg.lapack.spotri(
      factor, lower=True, overwrite_c=True
    )
    assert not failed
    weights = np.tril(inverse, -1)
    weights += weights.T
    weights /= -np.diag(inverse)
    self.weights = weights
    return self

  def scores(
    self, histories: Int32[np.ndarray, 'B T']
  ) -> Float[np.ndarray, 'B N']:
    """Returns the sums of the weights from the history's items."""
    rows = history_weights(histories, len(self.weights), self.recency)
    return rows @ self.weights

  def candidate_scores(
    self,
    histories: Int32[np.ndarray, 'B T'],
    candidates: Int32[np.ndarray, 'B C'],
  ) -> Float[np.ndarray, 'B C']:
    """Returns the scores of some items a history, see `protocol`."""
    rows = history_weights(histories, len(self.weights), self.recency)
    scores = np.empty(candidates.shape, np.float32)
    for row, (start, stop) in enumerate(zip(rows.indptr, rows.indptr[1:])):
      pairs = np.ix_(rows.indices[start:stop], candidates[row])
      scores[row] = rows.data[start:stop] @ self.weights[pairs]
    return scores

  def _check_memory(self, num_items: int) -> None:
    needed = BYTES_A_PAIR * num_items**2 / 1e9
    available = self.memory_gb
    if available is None:
      available = free_memory_gb()
    if needed > available:
      raise GenrecError(
        f'EASE of {num_items:,} items needs {needed:,.1f} GB of memory, and'
        f' {available:,.1f} GB may be used; leave ease out of --methods, run'
        ' on a machine with more, or prepare the data with a higher k_core.'
      )


def free_memory_gb() -> float:
  """Returns how much memory a process can take without swapping."""
  path = pathlib.Path('/proc/meminfo')
  if not path.exists():
    return np.inf  # only Linux says
  lines = (line.split() for line in path.read_text().splitlines())
  return next(int(line[1]) for line in lines if 'MemAvailable' in line[0]) / 1e6
