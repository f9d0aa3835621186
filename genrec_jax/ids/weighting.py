"""How the entries of a sparse matrix of counts are weighted.

Entries are made a slab at a time, in double precision: beside a matrix of half
a billion entries there is no room for several arrays of as many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from genrec_jax.ids.truncated_svd import LANCZOS_LIMIT

SLAB = 2**22  # entries


def log(matrix: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
  """Returns log(1 + n)."""
  return _weighted(matrix, lambda counts, rows, columns: np.log1p(counts))


def tfidf(matrix: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
  """Returns log(1 + n) times the inverse document frequency."""
  idf = np.log(matrix.shape[0] / np.maximum(_column_use(matrix), 1))

  def weight(counts, rows, columns):
    return np.log1p(counts) * idf[columns]

  return _weighted(matrix, weight)


def bm25(
  matrix: scipy.sparse.csr_array, k1: float = 1.2, b: float = 0.75
) -> scipy.sparse.csr_array:
  """Returns Okapi BM25."""
  use = _column_use(matrix)
  idf = np.log1p((matrix.shape[0] - use + 0.5) / (use + 0.5))
  lengths, _ = _sums(matrix)
  relative = lengths / lengths.mean()

  def weight(counts, rows, columns):
    saturated = (k1 + 1) * counts
    saturated /= counts + k1 * (1 - b + b * relative[rows])
    return saturated * idf[columns]

  return _weighted(matrix, weight)


def degree(matrix: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
  """Returns D^-1/2 A D^-1/2, as in spectral clustering."""
  row_sums, column_sums = _sums(matrix)

  def weight(counts, rows, columns):
    return counts / np.sqrt(row_sums[rows] * column_sums[columns])

  return _weighted(matrix, weight)


def ppmi(
  matrix: scipy.sparse.csr_array, context_smoothing: float = 1.0
) -> scipy.sparse.csr_array:
  """Returns positive pointwise mutual information.

  Args:
    matrix: items by contexts.
    context_smoothing: contexts count to this power.
  """
  row_sums, column_sums = _sums(matrix)
  contexts = column_sums**context_smoothing
  total = contexts.sum()

  def weight(counts, rows, columns):
    ratio = counts * total / (row_sums[rows] * contexts[columns])
    return np.log(np.maximum(ratio, 1))

  return _weighted(matrix, weight)


# Rows are documents and columns terms where that matters.
WEIGHTINGS = {
  'count': lambda matrix: matrix,
  'binary': lambda matrix: _weighted(matrix, lambda counts, *_: 1.0),
  'log': log,
  'tfidf': tfidf,
  'bm25': bm25,
  'degree': degree,
  'ppmi': ppmi,
}


def _weighted(
  matrix: scipy.sparse.csr_array,
  weight: Callable[..., Float[np.ndarray, 'E'] | float],
) -> scipy.sparse.csr_array:
  """Returns what a function makes of the counts, rows and columns of entries.

  In single precision where a randomized SVD would take it so anyhow.
  """
  exact = matrix.nnz <= LANCZOS_LIMIT
  data = np.empty(matrix.nnz, np.float64 if exact else np.float32)
  for entries, rows in _slabs(matrix):
    counts = matrix.data[entries].astype(np.float64)
    data[entries] = weight(counts, rows, matrix.indices[entries])
  return scipy.sparse.csr_array(
    (data, matrix.indices, matrix.indptr), matrix.shape
  )


def _sums(
  matrix: scipy.sparse.csr_array,
) -> tuple[Float[np.ndarray, 'M'], Float[np.ndarray, 'N']]:
  """Returns the sums of rows and of columns, in double precision."""
  row_sums, column_sums = (np.zeros(size) for size in matrix.shape)
  for entries, rows in _slabs(matrix):
    counts = matrix.data[entries]
    lengths = np.bincount(rows - rows[0], counts)
    row_sums[rows[0] : rows[0] + len(lengths)] = lengths
    column_sums += np.bincount(
      matrix.indices[entries], counts, minlength=matrix.shape[1]
    )
  return row_sums, column_sums


def _column_use(matrix: scipy.sparse.csr_array) -> Int[np.ndarray, 'N']:
  use = np.zeros(matrix.shape[1], np.int64)
  for entries, _ in _slabs(matrix):
    use += np.bincount(matrix.indices[entries], minlength=matrix.shape[1])
  return use


def _slabs(
  matrix: scipy.sparse.csr_array,
) -> Iterator[tuple[slice, Int[np.ndarray, 'E']]]:
  """Yields the entries of some whole rows, and the row of each entry."""
  ends = np.flatnonzero(np.diff(matrix.indptr)) + 1  # of rows with entries
  first = 0
  while first < len(ends):
    start = int(matrix.indptr[ends[first] - 1])
    last = int(np.searchsorted(matrix.indptr[ends], start + SLAB, side='right'))
    last = max(last, first + 1)
    low, high = int(ends[first]) - 1, int(ends[last - 1])
    lengths = np.diff(matrix.indptr[low : high + 1])
    rows = np.repeat(np.arange(low, high), lengths)
    yield slice(start, int(matrix.indptr[high])), rows
    first = last
