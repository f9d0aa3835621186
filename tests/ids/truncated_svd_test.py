"""Tests of the truncated SVD."""

import jax
import numpy as np
import pytest
import scipy.sparse

from genrec_jax.ids.truncated_svd import (
  orthonormal,
  randomized_svd,
  truncated_svd,
)
from genrec_jax.types import GenrecError


def sparse_matrix(rows, columns, density=0.05):
  matrix = scipy.sparse.random_array(
    (rows, columns), density=density, rng=np.random.default_rng(0)
  ).tocsr()
  scale = 1 / np.arange(1, columns + 1) ** 0.5
  return scipy.sparse.csr_array(matrix * scale)


@pytest.mark.parametrize('shape', [(300, 90), (90, 300)])
@pytest.mark.parametrize('solver', ['lanczos', 'dense', 'randomized'])
def test_every_solver_finds_the_leading_singular_vectors(solver, shape):
  matrix = sparse_matrix(*shape)
  singular, vectors = truncated_svd(matrix, 5, solver=solver, num_iterations=30)
  _, expected, right = np.linalg.svd(matrix.toarray())
  np.testing.assert_allclose(singular, expected[:5], rtol=1e-4)
  assert np.abs((vectors * right[:5].T).sum(axis=0)).min() > 0.999
  assert (vectors.max(axis=0) >= -vectors.min(axis=0)).all()


def test_a_few_iterations_explain_nearly_all_that_can_be():
  matrix = sparse_matrix(800, 500)
  _, vectors = randomized_svd(matrix, 16)
  best = (np.linalg.svd(matrix.toarray())[1][:16] ** 2).sum()
  assert ((matrix @ vectors) ** 2).sum() > 0.998 * best


def test_more_dimensions_than_the_matrix_has_rank_are_zero():
  generator = np.random.default_rng(0)
  table = generator.random((200, 3)) @ generator.random((3, 150))
  singular, _ = randomized_svd(scipy.sparse.csr_array(table), 10)
  assert (singular[3:] < 1e-5 * singular[0]).all() and singular[2] > 0.1


def test_a_basis_is_orthonormal_however_uneven_and_the_same_on_any_mesh():
  generator = np.random.default_rng(0)
  columns = generator.normal(size=(5000, 6)) @ generator.normal(size=(6, 6))
  columns = (columns * 10.0 ** -np.arange(6)).astype('f')
  basis, singular = orthonormal(columns)
  np.testing.assert_allclose(basis.T @ basis, np.eye(6), atol=2e-3)
  left = columns - basis @ (basis.T @ columns)
  assert np.abs(left).max() < 1e-4
  expected = np.linalg.svd(columns.astype('d'), compute_uv=False)
  np.testing.assert_allclose(singular[:3], expected[:3], rtol=1e-3)
  sharded, _ = orthonormal(columns, mesh=jax.make_mesh((8,), ('data',)))
  np.testing.assert_array_equal(basis, sharded)


def test_an_unknown_solver_is_refused_by_name():
  with pytest.raises(GenrecError, match="Unknown SVD solver 'fast'.*lanczos"):
    truncated_svd(sparse_matrix(20, 20), 2, solver='fast')
