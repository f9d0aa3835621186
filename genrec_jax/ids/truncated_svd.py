"""The leading singular vectors of a sparse matrix: exact, or randomized."""

from __future__ import annotations

import concurrent.futures
import os

import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jax.sharding import Mesh
from jaxtyping import Float

from genrec_jax import progress
from genrec_jax.ids.row_blocks import RowBlocks
from genrec_jax.types import unknown_name

SOLVERS = ('auto', 'dense', 'lanczos', 'randomized')
LANCZOS_LIMIT = 2_000_000  # stored entries; about ten seconds at rank 64


def truncated_svd(
  matrix: scipy.sparse.csr_array,
  rank: int,
  *,
  solver: str = 'auto',
  num_iterations: int = 8,
  oversampling: int = 16,
  seed: int = 0,
  mesh: Mesh | None = None,
) -> tuple[Float[np.ndarray, 'rank'], Float[np.ndarray, 'N rank']]:
  """Returns the largest singular values and their right singular vectors.

  The sign of a singular vector is arbitrary: its largest entry is made
  positive.

  Args:
    matrix: [M, N], sparse.
    rank: how many, at most min(M, N).
    solver: 'dense' (exact; for small matrices), 'lanczos' (exact; ARPACK in
      double precision), 'randomized' (see `randomized_svd`), or 'auto': the
      first of them that is quick enough.
    num_iterations: for 'randomized' alone.
    oversampling: for 'randomized' alone.
    seed: of the start.
    mesh: for 'randomized' alone; the result does not depend on it.

  Raises:
    GenrecError: if the solver is unknown.
  """
  if solver not in SOLVERS:
    raise unknown_name('SVD solver', solver, SOLVERS)
  cramped = min(matrix.shape) <= 2 * rank  # Lanczos needs room beyond the rank
  if solver == 'auto':
    solver = 'lanczos' if matrix.nnz <= LANCZOS_LIMIT else 'randomized'
  if solver != 'randomized':
    matrix = matrix.astype(np.float64)
  if solver == 'dense' or (cramped and solver == 'lanczos'):
    _, singular, vectors = np.linalg.svd(matrix.toarray(), full_matrices=False)
    singular, vectors = singular[:rank], vectors[:rank].T
  elif solver == 'lanczos':
    start = np.random.default_rng(seed).standard_normal(min(matrix.shape))
    _, singular, vectors = scipy.sparse.linalg.svds(matrix, rank, v0=start)
    singular, vectors = singular[::-1], vectors[::-1].T
  else:
    singular, vectors = randomized_svd(
      matrix,
      rank,
      num_iterations=num_iterations,
      oversampling=oversampling,
      seed=seed,
      mesh=mesh,
    )
  largest = np.abs(vectors).argmax(axis=0)
  signs = np.where(vectors[largest, np.arange(rank)] < 0, -1, 1)
  return singular, vectors * signs.astype(vectors.dtype)


def randomized_svd(
  matrix: scipy.sparse.csr_array,
  rank: int,
  *,
  num_iterations: int = 8,
  oversampling: int = 16,
  seed: int = 0,
  mesh: Mesh | None = None,
) -> tuple[Float[np.ndarray, 'rank'], Float[np.ndarray, 'N rank']]:
  """Returns leading singular values and vectors by subspace iteration.

  Halko, Martinsson & Tropp, "Finding structure with randomness", 2011; each
  iteration multiplies by A^T A less a shift that grows as it learns how small
  the wanted values are, which costs nothing and converges faster (Feng, Yu, Xie
  & Tang, "Algorithm 1043: Faster randomized SVD with dynamic shifts", 2024).
  All in float32; sparse products run in SciPy in threads, dense ones in JAX.

  Memory: twice the matrix in float32, and max(M, N) + 2 N rows of
  rank + oversampling numbers.

  Returns:
    singular: float32 [rank], falling.
    vectors: float32 [N, rank].
  """
  width = min(rank + oversampling, *matrix.shape)
  forth = _float32(matrix)
  back = forth.T.tocsr()
  generator = np.random.default_rng(seed)
  start = generator.standard_normal((matrix.shape[1], width), np.float32)
  basis, _ = orthonormal(start, mesh=mesh)
  shift = 0.0
  for _ in progress.bar(range(num_iterations), 'SVD'):
    image = _product(back, _product(forth, basis))
    image -= np.float32(shift) * basis
    basis, stretched = orthonormal(image, mesh=mesh)
    # Below that, the smallest is a rounding error.
    if stretched[-1] > max(shift, 1e-3 * stretched[0]):
      shift = (float(stretched[-1]) + shift) / 2
  image = _product(forth, basis)
  gram = np.zeros((width, width))
  for first in range(0, len(image), 2**16):
    rows = image[first : first + 2**16].astype(np.float64)
    gram += rows.T @ rows
  values, rotation = np.linalg.eigh(gram)
  singular = np.sqrt(np.maximum(values[::-1][:rank], 0)).astype(np.float32)
  return singular, basis @ rotation[:, ::-1][:, :rank].astype(np.float32)


def orthonormal(
  columns: Float[np.ndarray, 'N R'], *, mesh: Mesh | None = None
) -> tuple[Float[np.ndarray, 'N R'], Float[np.ndarray, 'R']]:
  """Returns an orthonormal basis of columns, and their singular values.

  The columns are turned to the eigenvectors of their Gram matrix and scaled,
  twice if they are uneven: in float32 directions below 3e-4 of the largest come
  out short at first (Fukaya et al., "Shifted Cholesky QR for computing the QR
  factorization of ill-conditioned matrices", 2020). The Gram matrix is summed
  up over blocks of rows, which are the same on any mesh.
  """
  singular = None
  for _ in range(2):
    rows = RowBlocks(columns, mesh=mesh)
    parts = rows.map(_block_gram)
    gram = sum(part.sum(axis=0, dtype=np.float64) for part in parts)
    values, axes = np.linalg.eigh(gram)
    values, axes = values[::-1], axes[:, ::-1]
    if singular is None:
      singular = np.sqrt(np.maximum(values, 0))
    floor = max(values[0] * np.finfo(np.float32).eps, np.finfo(np.float32).tiny)
    turn = (axes / np.sqrt(np.maximum(values, floor))).astype(np.float32)
    (columns,) = rows.map_rows(_block_turn, turn)
    if values[-1] > 1e-3 * values[0]:
      break
  return columns, singular


def _block_gram(rows, valid):
  del valid  # rows of zeros add nothing
  return jnp.matmul(rows.T, rows, precision='highest')


def _block_turn(rows, valid, turn):
  del valid
  return (jnp.matmul(rows, turn, precision='highest'),)


def _float32(matrix):
  index = np.int32 if max(matrix.nnz, *matrix.shape) < 2**31 else np.int64
  return scipy.sparse.csr_array(
    (
      matrix.data.astype(np.float32, copy=False),
      matrix.indices.astype(index, copy=False),
      matrix.indptr.astype(index, copy=False),
    ),
    matrix.shape,
  )


def _product(matrix, dense):
  """Returns matrix @ dense, by rows in threads: the same for any number."""
  result = np.empty((matrix.shape[0], dense.shape[1]), np.float32)

  def fill(rows):
    first, last = rows
    start, stop = matrix.indptr[first], matrix.indptr[last]
    part = scipy.sparse.csr_array(
      (
        matrix.data[start:stop],
        matrix.indices[start:stop],
        matrix.indptr[first : last + 1] - start,
      ),
      (last - first, matrix.shape[1]),
    )
    result[first:last] = part @ dense

  # Parts of equal work, which is to say of equal numbers of entries.
  work = np.linspace(0, matrix.nnz, 17)
  edges = np.searchsorted(matrix.indptr, work[1:-1]).tolist()
  edges = [0, *edges, matrix.shape[0]]
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    list(pool.map(fill, zip(edges[:-1], edges[1:])))
  return result
