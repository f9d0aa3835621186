"""Tests of item factors and quantile codes."""

import numpy as np
import pytest

from genrec_jax.ids.svd import (
  MATRICES,
  WEIGHTINGS,
  item_factors,
  quantile_codes,
  quantile_svd,
)
from genrec_jax.types import GenrecError


def planted_interactions(num_clusters=4, items_per_cluster=6, num_users=80):
  """Users who each stay within one cluster: item n is of cluster n // 6."""
  generator = np.random.default_rng(0)
  user = np.repeat(np.arange(num_users), 5)
  cluster = user % num_clusters
  item = cluster * items_per_cluster + generator.integers(
    items_per_cluster, size=len(user)
  )
  return user, item, num_users, num_clusters * items_per_cluster


@pytest.mark.parametrize('matrix', MATRICES)
@pytest.mark.parametrize('weighting', WEIGHTINGS)
def test_items_of_one_cluster_lie_closer_than_others(matrix, weighting):
  vectors = item_factors(
    *planted_interactions(), rank=4, matrix=matrix, weighting=weighting
  )
  cosine = vectors @ vectors.T
  same = np.equal.outer(np.arange(24) // 6, np.arange(24) // 6)
  assert cosine[same].min() > cosine[~same].max() + 0.1


@pytest.mark.parametrize('num_users', [30, 300])  # dense, and Lanczos
def test_factors_are_the_right_singular_vectors(num_users):
  generator = np.random.default_rng(0)
  table = generator.random((num_users, 40)) < 0.2
  user, item = np.nonzero(table)
  factors = item_factors(
    user, item, num_users, 40, rank=8, weighting='count', normalize='none'
  )
  _, singular, vectors = np.linalg.svd(table.astype(float))
  expected = vectors[:8].T * singular[:8]
  signs = np.sign((factors * expected).sum(axis=0))
  np.testing.assert_allclose(factors, expected * signs, atol=1e-5)
  again = item_factors(
    user, item, num_users, 40, rank=8, weighting='count', normalize='none'
  )
  np.testing.assert_array_equal(factors, again)


@pytest.mark.parametrize('normalize', ['unit', 'standard', 'none'])
def test_items_never_seen_have_the_zero_vector(normalize):
  user, item, num_users, num_items = planted_interactions()
  vectors = item_factors(
    user, item, num_users, num_items + 2, rank=4, normalize=normalize
  )
  assert not vectors[-2:].any()
  assert np.abs(vectors[:-2]).sum(axis=1).all()


def test_pairs_count_the_less_the_farther_apart_they_are():
  user, item = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 2, 0])
  counts = MATRICES['cooccurrence'](user, item, 2, 3, 2).toarray()
  np.testing.assert_allclose(counts, [[0, 1, 1.5], [1, 0, 1], [1.5, 1, 0]])


def test_a_rank_beyond_the_matrix_is_refused():
  with pytest.raises(GenrecError, match='rank=25 .* between 1 and 24'):
    item_factors(*planted_interactions(), rank=25)


def test_quantile_codes_of_a_level_are_used_equally():
  vectors = np.random.default_rng(0).normal(size=(1000, 3))
  vectors[:300] = 0  # equal items too
  codes = quantile_codes(vectors, num_levels=3, codebook_size=16)
  for level in range(3):
    counts = np.bincount(codes[:, level], minlength=16)
    assert counts.min() >= 62 and counts.max() <= 63
    order = np.argsort(vectors[:, level])
    assert (np.diff(codes[order, level][vectors[order, level] != 0]) >= 0).all()


def test_quantile_codes_need_a_dimension_a_level():
  with pytest.raises(GenrecError, match='4 levels .* vectors have 3'):
    quantile_codes(np.zeros((5, 3)), num_levels=4, codebook_size=2)


def test_quantile_ids_depend_on_the_seed_alone():
  def vectors(user, item, num_users, num_items, *, seed):
    return item_factors(user, item, num_users, num_items, rank=4, seed=seed)

  ids = [
    quantile_svd(
      *planted_interactions(),
      item_vectors=vectors,
      num_levels=2,
      codebook_size=3,
      seed=seed,
    )
    for seed in (1, 1, 2)
  ]
  assert ids[0].fingerprint == ids[1].fingerprint != ids[2].fingerprint


def test_a_small_catalogue_gets_as_many_dimensions_as_there_are():
  vectors = item_factors(*planted_interactions())
  assert vectors.shape[0] == 24 and 4 <= vectors.shape[1] <= 24


def test_dimensions_beyond_the_rank_of_the_matrix_hold_no_noise():
  # Two kinds of users, two kinds of items: a matrix of rank 2.
  user, item = np.nonzero(np.equal.outer(np.arange(20) % 2, np.arange(12) % 2))
  kwargs = {'weighting': 'count', 'normalize': 'standard'}
  assert item_factors(user, item, 20, 12, **kwargs).shape == (12, 2)
  asked = item_factors(user, item, 20, 12, rank=5, **kwargs)
  assert asked[:, :2].any() and not asked[:, 2:].any()
  with pytest.raises(GenrecError, match='2 .* the rank of the matrix'):
    quantile_codes(asked, num_levels=3, codebook_size=2)


def test_factors_of_no_interactions_are_refused():
  nothing = np.zeros(0, int)
  with pytest.raises(GenrecError, match='0 train interactions is empty'):
    item_factors(nothing, nothing, 5, 5, rank=2)


def test_smoothed_contexts_make_rare_ones_less_surprising():
  counts = MATRICES['cooccurrence'](*planted_interactions(), 5)
  plain = WEIGHTINGS['ppmi'](counts)
  smooth = WEIGHTINGS['ppmi'](counts, context_smoothing=0.75)
  rare, common = np.argsort(counts.sum(axis=0))[[0, -1]]
  change = (smooth - plain).toarray()
  assert change[:, rare].min() < 0 and change[:, common].max() > 0
  weights = counts.toarray()
  contexts = weights.sum(axis=0) ** 0.75
  joint = weights / weights.sum(axis=1, keepdims=True)
  with np.errstate(divide='ignore'):
    expected = np.maximum(np.log(joint / (contexts / contexts.sum())), 0)
  np.testing.assert_allclose(smooth.toarray(), expected, atol=1e-6)
