"""Factors of users and items, by the library `implicit`: ALS and BPR."""

from __future__ import annotations

import importlib.util
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


class ALS:
  """Weighted matrix factorization by alternating least squares.

  See Hu, Koren, Volinsky, "Collaborative filtering for implicit feedback
  datasets", ICDM 2008: an item that a user used is a 1 of the `confidence`
  given, all others are zeros of confidence 1. A history's factors are solved
  for by the same least squares with the factors of items fixed, so that users
  need not have been in train, and what they took after it counts.

  Args:
    factors: the number of factors.
    regularization: of the factors.
    confidence: of what was used, relative to what was not.
    iterations: over users and items.
    recency: the confidence of an item relative to the one after it, when
      scoring; 1 is the method as published.
    seed: of the first factors, and of the order of equal scores.
  """

  name = 'als'
  grid = {
    'factors': (128, 256),
    'confidence': (10.0, 30.0),
    'recency': (1.0, 0.5, 0.25),
  }
  scoring = ('recency',)

  def __init__(
    self,
    *,
    factors: int = 128,
    regularization: float = 1.0,
    confidence: float = 10.0,
    iterations: int = 15,
    recency: float = 1.0,
    seed: int = 0,
  ):
    _check(factors, regularization, iterations, recency)
    if confidence <= 0:
      raise GenrecError(f'Got confidence={confidence}; expected above 0.')
    self.factors = factors
    self.regularization = regularization
    self.confidence = confidence
    self.iterations = iterations
    self.recency = recency
    self.seed = seed

  def fit(
    self,
    user: Int[np.ndarray, 'R'],
    item: Int[np.ndarray, 'R'],
    num_items: int,
  ) -> Self:
    """Solves for the factors of users and of items in turns."""
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    self.item_rank = rank_by_popularity(item, num_items, seed=self.seed)
    # The library has its own threads, and those of BLAS are in their way.
    with threadpool_limits(1, 'blas'):
      self.model = AlternatingLeastSquares(
        factors=self.factors,
        regularization=self.regularization,
        alpha=self.confidence,
        iterations=self.iterations,
        random_state=self.seed,
      )
      used = _for_library(used_by(user, item, num_items))
      self.model.fit(used, show_progress=False)
    return self

  def scores(
    self, histories: Int32[np.ndarray, 'B T']
  ) -> Float[np.ndarray, 'B N']:
    """Returns inner products with the factors solved for the histories."""
    return self._users(histories) @ self.model.item_factors.T

  def candidate_scores(
    self,
    histories: Int32[np.ndarray, 'B T'],
    candidates: Int32[np.ndarray, 'B C'],
  ) -> Float[np.ndarray, 'B C']:
    """Returns the scores of some items a history, see `protocol`."""
    items = self.model.item_factors[candidates]
    return np.einsum('bf,bcf->bc', self._users(histories), items)

  def _users(self, histories):
    weights = history_weights(histories, len(self.item_rank), self.recency)
    weights.data = np.minimum(weights.data, 1)
    return self.model.recalculate_user(
      np.arange(len(histories)), _for_library(weights)
    )


class BPR:
  """Matrix factorization that ranks what was used above what was not.

  See Rendle et al., "BPR: Bayesian personalized ranking from implicit
  feedback", UAI 2009.

  A history's factors are the mean of those of its items. The user's own are not
  used: they know neither the order of the items nor what the user took after
  train, and there are none of users who were not in it.

  Args:
    factors: the number of factors, beside a bias of each item.
    regularization: of the factors.
    learning_rate: of the stochastic gradient steps.
    iterations: over the interactions.
    recency: the weight of an item relative to the one after it in the mean.
    seed: of the first factors, the samples and the order of equal scores.
  """

  name = 'bpr'
  grid = {
    'factors': (64, 128),
    'iterations': (100, 300),
    'recency': (1.0, 0.5, 0.25),
  }
  scoring = ('recency',)

  def __init__(
    self,
    *,
    factors: int = 64,
    regularization: float = 0.01,
    learning_rate: float = 0.05,
    iterations: int = 100,
    recency: float = 1.0,
    seed: int = 0,
  ):
    _check(factors, regularization, iterations, recency)
    if learning_rate <= 0:
      raise GenrecError(f'Got learning_rate={learning_rate}; expected above 0.')
    self.factors = factors
    self.regularization = regularization
    self.learning_rate = learning_rate
    self.iterations = iterations
    self.recency = recency
    self.seed = seed

  def fit(
    self,
    user: Int[np.ndarray, 'R'],
    item: Int[np.ndarray, 'R'],
    num_items: int,
  ) -> Self:
    """Learns factors by stochastic gradient steps."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    self.item_rank = rank_by_popularity(item, num_items, seed=self.seed)
    model = BayesianPersonalizedRanking(
      factors=self.factors,
      regularization=self.regularization,
      learning_rate=self.learning_rate,
      iterations=self.iterations,
      num_threads=1,  # several write over each other: no two runs are the same
      random_state=self.seed,
    )
    model.fit(_for_library(used_by(user, item, num_items)), show_progress=False)
    # The library keeps an item's bias as its last factor.
    self.item_factors = model.item_factors[:, :-1]
    self.item_bias = model.item_factors[:, -1]
    return self

  def scores(
    self, histories: Int32[np.ndarray, 'B T']
  ) -> Float[np.ndarray, 'B N']:
    """Returns inner products with the histories' means, plus the biases."""
    return self._users(histories) @ self.item_factors.T + self.item_bias

  def candidate_scores(
    self,
    histories: Int32[np.ndarray, 'B T'],
    candidates: Int32[np.ndarray, 'B C'],
  ) -> Float[np.ndarray, 'B C']:
    """Returns the scores of some items a history, see `protocol`."""
    items = self.item_factors[candidates]
    products = np.einsum('bf,bcf->bc', self._users(histories), items)
    return products + self.item_bias[candidates]

  def _users(self, histories):
    weights = history_weights(histories, len(self.item_rank), self.recency)
    sums = weights.sum(axis=1)[:, None]
    return weights @ self.item_factors / np.where(sums, sums, 1)


def _check(factors, regularization, iterations, recency):
  if factors < 1 or iterations < 1 or regularization < 0:
    raise GenrecError(
      f'Got factors={factors}, iterations={iterations} and'
      f' regularization={regularization}; expected at least 1, at least 1, and'
      ' at least 0.'
    )
  if not 0 < recency <= 1:
    raise GenrecError(
      f'Got recency={recency}; expected above 0, and at most 1.'
    )
  if importlib.util.find_spec('implicit') is None:
    raise GenrecError(
      'ALS and BPR need the library implicit, which is not installed; run'
      " pip install 'genrec_jax[baselines]' (or '.[baselines]' in a checkout),"
      ' or leave als and bpr out of --methods.'
    )


def _for_library(matrix):
  """Returns a sparse array as the library takes it: a matrix, 32-bit."""
  return scipy.sparse.csr_matrix(
    (
      matrix.data.astype(np.float32),
      matrix.indices.astype(np.int32),
      matrix.indptr.astype(np.int32),
    ),
    matrix.shape,
  )
