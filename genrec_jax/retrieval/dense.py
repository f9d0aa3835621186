"""Vectors by their inner product with a query: exact, over all of them."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from genrec_jax.ids.truncated_svd import truncated_svd
from genrec_jax.types import GenrecError


class InnerProducts:
  """N vectors.

  Attributes:
    floor: a score is above it; there is none that is too low.
  """

  floor = -np.inf

  def __init__(self, vectors: Float[np.ndarray, 'N D']):
    """Takes the vectors as they are: make them unit ones for the cosine."""
    self._vectors = np.ascontiguousarray(vectors, np.float64)

  def __len__(self) -> int:
    return len(self._vectors)

  def scores(
    self, queries: Float[np.ndarray, 'Q D']
  ) -> Float[np.ndarray, 'Q N']:
    """Returns the inner product of every query and vector."""
    return _rounded(queries.astype(np.float64) @ self._vectors.T)

  def pair_scores(
    self,
    queries: Float[np.ndarray, 'Q D'],
    query: Int[np.ndarray, 'P'],
    document: Int[np.ndarray, 'P'],
  ) -> Float[np.ndarray, 'P']:
    """Returns those of pairs, by number."""
    products = queries[query].astype(np.float64) * self._vectors[document]
    return _rounded(products.sum(axis=1))


def _rounded(scores: np.ndarray) -> np.ndarray:
  """Returns scores that do not depend on what else was multiplied with them.

  The last bits of a matrix product depend on its shape; they must not decide
  between equals.
  """
  return np.round(scores, 9)


class LatentSemantics(InnerProducts):
  """Documents as unit vectors of latent topics: TF-IDF, then truncated SVD.

  Deerwester et al., "Indexing by latent semantic analysis", 1990. A query goes
  through the same weights and the same projection as the documents did.
  """

  def __init__(
    self, vectors: Float[np.ndarray, 'N D'], idf, topics: np.ndarray
  ):
    """See `fit`."""
    super().__init__(vectors)
    self._idf, self._topics = idf, topics

  @classmethod
  def fit(
    cls, counts: scipy.sparse.csr_array, *, rank: int = 64, seed: int = 0
  ) -> Self:
    """Learns the topics of documents.

    Args:
      counts: [N, T], how often each document has each word.
      rank: how many topics, or as many as there are where that is fewer.
      seed: of the SVD.

    Raises:
      GenrecError: if the documents have no words.
    """
    if not counts.nnz:
      raise GenrecError(
        'The texts to retrieve from have no words; choose retrieval="none".'
      )
    having = np.bincount(counts.indices, minlength=counts.shape[1])
    idf = np.log(counts.shape[0] / np.maximum(having, 1)) + 1
    weighted = _weigh(counts, idf)
    _, topics = truncated_svd(weighted, min(rank, *weighted.shape), seed=seed)
    return cls(_project(weighted, topics), idf, topics)

  def represent(
    self, counts: scipy.sparse.csr_array
  ) -> Float[np.ndarray, 'Q D']:
    """Returns queries, [Q, T] counts of words, as `scores` takes them."""
    return _project(_weigh(counts, self._idf), self._topics)


def _weigh(counts, idf) -> scipy.sparse.csr_array:
  """Returns the logarithms of counts times the idf of their words."""
  weighted = counts.astype(np.float32).tocsr(copy=True)
  weighted.data = (
    np.log1p(np.maximum(weighted.data, 0)) * idf[weighted.indices]
  ).astype(np.float32)
  return weighted


def _project(weighted, topics) -> Float[np.ndarray, 'N D']:
  vectors = np.asarray(weighted @ topics, np.float32)
  return unit(vectors)


def unit(vectors: Float[np.ndarray, 'N D']) -> Float[np.ndarray, 'N D']:
  """Returns vectors of length 1; zero ones stay."""
  lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
  return np.divide(
    vectors, lengths, out=np.zeros_like(vectors), where=lengths > 1e-12
  )
