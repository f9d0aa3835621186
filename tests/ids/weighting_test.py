"""Tests of weighting the entries of sparse matrices."""

import numpy as np
import pytest
import scipy.sparse

from genrec_jax.ids import weighting
from genrec_jax.ids.weighting import WEIGHTINGS


def counts():
  table = np.random.default_rng(0).poisson(0.3, (90, 40)).astype(np.float32)
  table[::7] = 0  # rows without an entry, the first and the last among them
  table[-1] = 0
  return scipy.sparse.csr_array(table)


def by_hand(name, table):
  rows, columns = table.sum(axis=1, keepdims=True), table.sum(axis=0)
  use = (table > 0).sum(axis=0)
  if name == 'count':
    return table
  if name == 'binary':
    return (table > 0).astype(float)
  if name == 'log':
    return np.log1p(table)
  if name == 'tfidf':
    return np.log1p(table) * np.log(len(table) / use)
  if name == 'bm25':
    idf = np.log1p((len(table) - use + 0.5) / (use + 0.5))
    length = 1 - 0.75 + 0.75 * rows / rows.mean()
    return 2.2 * table / (table + 1.2 * length) * idf
  with np.errstate(divide='ignore', invalid='ignore'):
    if name == 'degree':
      return np.nan_to_num(table / np.sqrt(rows * columns))
    information = np.log(table * table.sum() / (rows * columns))
    return np.maximum(np.nan_to_num(information, neginf=0), 0)


@pytest.mark.parametrize('slab', [1, 50, 2**22])
@pytest.mark.parametrize('name', WEIGHTINGS)
def test_weights_are_those_made_by_hand_whatever_the_slab(
  name, slab, monkeypatch
):
  monkeypatch.setattr(weighting, 'SLAB', slab)
  weighted = WEIGHTINGS[name](counts()).toarray()
  expected = by_hand(name, counts().toarray().astype(float))
  np.testing.assert_allclose(weighted, expected, rtol=1e-12, atol=1e-15)


def test_a_matrix_without_an_entry_stays_empty():
  empty = scipy.sparse.csr_array((4, 3))
  assert all(not WEIGHTINGS[n](empty).nnz for n in ('log', 'ppmi', 'degree'))
