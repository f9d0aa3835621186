"""Okapi BM25: documents by the words that they share with a query.

Robertson & Zaragoza, "The probabilistic relevance framework: BM25 and beyond",
2009: the score of a document is the sum over the words of the query, each as
often as the query has it, of

  idf(w) * f (k1 + 1) / (f + k1 (1 - b + b length / mean length))

where the document has the word f times and idf(w) = ln(1 + (N - n + 1/2) /
(n + 1/2)) of the n of N documents that have it: never negative, so that a word
of most documents does no harm.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from genrec_jax.types import GenrecError

QUERIES_AT_ONCE = 256  # that are held dense


class BM25:
  """The weights of the words of N documents.

  Attributes:
    floor: a document with no higher score than this has nothing in common.
  """

  floor = 0.0

  def __init__(
    self, counts: scipy.sparse.csr_array, *, k1: float = 1.2, b: float = 0.75
  ):
    """Weighs the words.

    Args:
      counts: [N, T], how often each document has each word.
      k1: how fast further occurrences lose weight; 0 counts presence alone.
      b: how much long documents are held back, from 0 to 1.

    Raises:
      GenrecError: if k1 or b is out of its range.
    """
    if k1 < 0 or not 0 <= b <= 1:
      raise GenrecError(
        f'Got k1={k1} and b={b} for BM25, expected k1 from 0 and b from 0 to 1.'
      )
    weights = counts.astype(np.float32).tocsr(copy=True)
    num_documents, num_words = weights.shape
    having = np.bincount(weights.indices, minlength=num_words)
    idf = np.log1p((num_documents - having + 0.5) / (having + 0.5))
    lengths = np.asarray(weights.sum(axis=1)).ravel()
    mean = lengths.mean() if lengths.any() else 1.0
    held_back = k1 * (1 - b + b * lengths / mean)
    row = np.repeat(np.arange(num_documents), np.diff(weights.indptr))
    weights.data = (
      idf[weights.indices]
      * weights.data
      * (k1 + 1)
      / (weights.data + held_back[row])
    ).astype(np.float32)
    self._weights = weights
    self._columns = weights.T.tocsr()

  def __len__(self) -> int:
    return self._weights.shape[0]

  def represent(self, counts: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """Returns queries, [Q, T] counts of words, as `scores` takes them."""
    return counts.astype(np.float32).tocsr()

  def scores(self, queries: scipy.sparse.csr_array) -> Float[np.ndarray, 'Q N']:
    """Returns the score of every document for every query."""
    return (queries @ self._columns).toarray()

  def pair_scores(
    self,
    queries: scipy.sparse.csr_array,
    query: Int[np.ndarray, 'P'],
    document: Int[np.ndarray, 'P'],
  ) -> Float[np.ndarray, 'P']:
    """Returns the scores of pairs of a query and a document, by number.

    Pairs of a query should stand together: queries are made dense in turn.
    """
    scores = np.zeros(len(query), np.float32)
    starts = np.flatnonzero(np.diff(query, prepend=-1))[::QUERIES_AT_ONCE]
    for start, stop in zip(starts, [*starts[1:], len(query)]):
      asked, row = np.unique(query[start:stop], return_inverse=True)
      dense = queries[asked].toarray()
      weights = self._weights[document[start:stop]]
      pair = np.repeat(np.arange(stop - start), np.diff(weights.indptr))
      products = weights.data * dense[row[pair], weights.indices]
      scores[start:stop] = np.bincount(
        pair, weights=products, minlength=stop - start
      )
    return scores
