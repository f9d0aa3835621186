"""Item vectors from a truncated SVD, and quantile codes made from them.

The matrix is either users by items (what was bought) or items by items (what
was bought close to what); it is weighted, and its leading right singular
vectors are the items' factors.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Float, Int

from genrec_jax.ids.collisions import collision_rate, extra_digit
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.types import GenrecError, unknown_name

NORMALIZATIONS = ('none', 'unit', 'standard')


def item_factors(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_users: int,
  num_items: int,
  *,
  rank: int = 64,
  matrix: str = 'interactions',
  weighting: str = 'log',
  window: int = 5,
  singular_power: float = 1.0,
  normalize: str = 'unit',
  seed: int = 0,
) -> Float[np.ndarray, 'N rank']:
  """Returns item factors from a truncated SVD, float32 [N, rank].

  Args:
    user: the user of each train interaction.
    item: its item; the rows of one user are in chronological order.
    num_users: U.
    num_items: N. Items without a train interaction get the zero vector.
    rank: how many singular vectors.
    matrix: 'interactions' (users by items) or 'cooccurrence' (items by items,
      pairs at most `window` steps apart in one history).
    weighting: a name in `WEIGHTINGS`.
    window: for 'cooccurrence' alone; a pair at distance d counts 1/d.
    singular_power: factors are V S^power: 1 weighs dimensions by the variance
      they explain, 0 weighs them all the same.
    normalize: 'unit' (every item has length 1), 'standard' (every dimension
      has mean 0 and deviation 1 over the items seen), or 'none'.
    seed: of the start vector; the same seed gives the same factors.

  Raises:
    GenrecError: if the rank is more than the matrix can have.
  """
  if matrix not in MATRICES:
    raise unknown_name('matrix', matrix, MATRICES)
  if weighting not in WEIGHTINGS:
    raise unknown_name('weighting', weighting, WEIGHTINGS)
  if normalize not in NORMALIZATIONS:
    raise unknown_name('normalization', normalize, NORMALIZATIONS)
  counts = MATRICES[matrix](user, item, num_users, num_items, window)
  if not 0 < rank <= min(counts.shape):
    raise GenrecError(
      f'rank={rank} singular vectors were asked of a matrix of'
      f' {counts.shape[0]} x {counts.shape[1]}; set rank between 1 and'
      f' {min(counts.shape)}.'
    )
  singular, vectors = _truncated_svd(WEIGHTINGS[weighting](counts), rank, seed)
  factors = vectors * singular**singular_power
  seen = np.bincount(item, minlength=num_items) > 0
  factors[~seen] = 0
  if normalize == 'unit':
    lengths = np.linalg.norm(factors, axis=1, keepdims=True)
    factors = np.divide(factors, lengths, where=lengths > 0, out=factors)
  elif normalize == 'standard':
    deviation = factors[seen].std(axis=0)
    centred = factors[seen] - factors[seen].mean(axis=0)
    factors[seen] = centred / np.where(deviation > 0, deviation, 1)
  return factors.astype(np.float32)


def quantile_codes(
  vectors: Float[np.ndarray, 'N D'],
  *,
  num_levels: int,
  codebook_size: int,
  noise: float = 1e-5,
  seed: int = 0,
) -> Int[np.ndarray, 'N num_levels']:
  """Cuts each of the leading dimensions into quantiles (GPTRec).

  Each dimension is scaled to [0, 1], a little Gaussian noise parts equal
  items, and the code of an item is the quantile it falls in, so that all codes
  of a level are used equally often. See section 4.2 of Petrov & Macdonald,
  "Generative Sequential Recommendation with GPTRec", 2023.

  Raises:
    GenrecError: if there are fewer dimensions than levels.
  """
  if vectors.shape[1] < num_levels:
    raise GenrecError(
      f'Quantile codes of {num_levels} levels need as many dimensions, but the'
      f' item vectors have {vectors.shape[1]}; raise the rank of the item'
      ' vectors, or lower num_levels.'
    )
  vectors = vectors[:, :num_levels].astype(np.float64)
  low, high = vectors.min(axis=0), vectors.max(axis=0)
  scaled = (vectors - low) / np.where(high > low, high - low, 1)
  generator = np.random.default_rng(seed)
  scaled += noise * generator.standard_normal(scaled.shape)
  ranks = scaled.argsort(axis=0, kind='stable').argsort(axis=0)
  return (ranks * codebook_size // len(vectors)).astype(np.int32)


def quantile_svd(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_users: int,
  num_items: int,
  *,
  item_vectors: Callable[..., Float[np.ndarray, 'N D']] = item_factors,
  num_levels: int = 4,
  codebook_size: int = 256,
  noise: float = 1e-5,
  seed: int = 0,
) -> ItemIds:
  """Makes ids of quantile codes of the leading factors, as GPTRec does.

  Args:
    user: the user of each train interaction.
    item: its item.
    num_users: U.
    num_items: N.
    item_vectors: what makes the vectors; called with the four arguments before
      it and `seed`.
    num_levels: codes an item, before a digit that parts colliding items.
    codebook_size: quantiles a dimension.
    noise: its standard deviation, relative to a dimension's range.
    seed: of the vectors, of the noise and of the order of colliding items.
  """
  vectors = item_vectors(user, item, num_users, num_items, seed=seed)
  codes = quantile_codes(
    vectors,
    num_levels=num_levels,
    codebook_size=codebook_size,
    noise=noise,
    seed=seed,
  )
  unique, sizes = extra_digit(codes, [codebook_size] * num_levels, seed=seed)
  facts = {'method': 'quantile_svd', 'collision_rate': collision_rate(codes)}
  return ItemIds(
    codes=unique, codebook_sizes=sizes, facts=facts, vectors=vectors
  )


def _interactions(user, item, num_users, num_items, window):
  del window
  ones = np.ones(len(user))
  return scipy.sparse.csr_array((ones, (user, item)), (num_users, num_items))


def _cooccurrence(user, item, num_users, num_items, window):
  del num_users
  order = np.argsort(user, kind='stable')
  user, item = user[order], item[order]
  total = scipy.sparse.csr_array((num_items, num_items))
  for distance in range(1, window + 1):
    same = user[distance:] == user[:-distance]
    earlier, later = item[:-distance][same], item[distance:][same]
    weights = np.full(len(earlier), 1 / distance)
    total += scipy.sparse.csr_array((weights, (earlier, later)), total.shape)
  return (total + total.T).tocsr()


MATRICES = {'interactions': _interactions, 'cooccurrence': _cooccurrence}


def _with_data(matrix, data):
  return scipy.sparse.csr_array(
    (data, matrix.indices, matrix.indptr), matrix.shape
  )


def _entry_sums(matrix):
  """Returns the row sum and the column sum of each stored entry."""
  row_sums, column_sums = matrix.sum(axis=1), matrix.sum(axis=0)
  rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
  return row_sums[rows], column_sums[matrix.indices]


def _column_use(matrix):
  return np.bincount(matrix.indices, minlength=matrix.shape[1])


def _tfidf(matrix):
  idf = np.log(matrix.shape[0] / np.maximum(_column_use(matrix), 1))
  return _with_data(matrix, np.log1p(matrix.data) * idf[matrix.indices])


def _bm25(matrix, k1=1.2, b=0.75):
  use = _column_use(matrix)
  idf = np.log1p((matrix.shape[0] - use + 0.5) / (use + 0.5))
  lengths, _ = _entry_sums(matrix)
  relative = lengths / matrix.sum(axis=1).mean()
  saturated = (k1 + 1) * matrix.data
  saturated /= matrix.data + k1 * (1 - b + b * relative)
  return _with_data(matrix, saturated * idf[matrix.indices])


def _degree(matrix):
  row_sums, column_sums = _entry_sums(matrix)
  return _with_data(matrix, matrix.data / np.sqrt(row_sums * column_sums))


def _ppmi(matrix):
  row_sums, column_sums = _entry_sums(matrix)
  ratio = matrix.data * matrix.data.sum() / (row_sums * column_sums)
  return _with_data(matrix, np.log(np.maximum(ratio, 1)))


# How the entries of a matrix of counts are weighted, rows being documents and
# columns terms where that matters. 'degree' is D^-1/2 A D^-1/2, as in spectral
# clustering; 'ppmi' is positive pointwise mutual information.
WEIGHTINGS = {
  'count': lambda matrix: matrix,
  'binary': lambda matrix: _with_data(matrix, np.ones_like(matrix.data)),
  'log': lambda matrix: _with_data(matrix, np.log1p(matrix.data)),
  'tfidf': _tfidf,
  'bm25': _bm25,
  'degree': _degree,
  'ppmi': _ppmi,
}


def _truncated_svd(matrix, rank, seed):
  """Returns the `rank` largest singular values and right singular vectors."""
  if min(matrix.shape) <= 2 * rank:  # Lanczos needs room beyond the rank
    _, singular, vectors = np.linalg.svd(matrix.toarray(), full_matrices=False)
  else:
    start = np.random.default_rng(seed).standard_normal(min(matrix.shape))
    _, singular, vectors = scipy.sparse.linalg.svds(matrix, rank, v0=start)
    singular, vectors = singular[::-1], vectors[::-1]
  singular, vectors = singular[:rank], vectors[:rank].T
  # A singular vector's sign is arbitrary: its largest entry is made positive.
  largest = np.abs(vectors).argmax(axis=0)
  signs = np.where(vectors[largest, np.arange(rank)] < 0, -1, 1)
  return singular, vectors * signs
