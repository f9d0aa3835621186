"""Tests of residual k-means."""

import jax
import numpy as np
import pytest

from genrec_jax.ids.collisions import POLICIES
from genrec_jax.ids.residual_quantization import (
  residual_codes,
  residual_kmeans,
)


def planted_vectors(num_clusters=8, size=40, dimensions=16):
  generator = np.random.default_rng(0)
  centres = generator.normal(size=(num_clusters, dimensions)) * 10
  noise = generator.normal(size=(num_clusters * size, dimensions))
  return (np.repeat(centres, size, axis=0) + noise).astype(np.float32)


def planted_ids(**kwargs):
  vectors = planted_vectors()
  return residual_kmeans(
    np.zeros(0, int),
    np.zeros(0, int),
    0,
    len(vectors),
    item_vectors=lambda *args, seed: vectors,
    codebook_size=8,
    **kwargs,
  )


def test_planted_clusters_share_their_first_code():
  codes = planted_ids().codes[:, 0].reshape(8, 40)
  assert (codes == codes[:, :1]).all()
  assert len(set(codes[:, 0])) == 8


def test_each_level_leaves_less_unexplained():
  codes, codebooks, unexplained = residual_codes(
    planted_vectors(), num_levels=4, codebook_size=8
  )
  assert 1 > unexplained[0] > unexplained[1] > unexplained[2] > unexplained[3]
  rebuilt = sum(book[codes[:, n]] for n, book in enumerate(codebooks))
  vectors = planted_vectors()
  error = ((vectors - rebuilt) ** 2).sum() / (
    (vectors - vectors.mean(axis=0)) ** 2
  ).sum()
  assert unexplained[3] == pytest.approx(error, rel=1e-3)


def test_the_codes_of_what_is_left_are_used_evenly():
  vectors = np.random.default_rng(0).normal(size=(3000, 32)).astype('f')
  vectors[:1000] *= 0.3  # the hubs that would take nearly all
  codes, _, _ = residual_codes(vectors, num_levels=3, codebook_size=64)
  for column in codes.T[1:]:
    share = np.bincount(column, minlength=64) / len(column)
    share = share[share > 0]
    assert np.exp(-share @ np.log(share)) > 0.6 * 64


@pytest.mark.parametrize('collisions', POLICIES)
def test_ids_depend_on_the_seed_alone(collisions):
  ids = [planted_ids(collisions=collisions, seed=seed) for seed in (1, 1, 2)]
  assert ids[0].fingerprint == ids[1].fingerprint != ids[2].fingerprint


def test_nearest_free_ids_stay_as_long_as_they_were():
  longer = planted_ids(num_levels=3, collisions='extra_digit')
  moved = planted_ids(num_levels=3, collisions='nearest_free')
  assert longer.facts['collision_rate'] == moved.facts['collision_rate'] > 0
  assert (longer.num_levels, moved.num_levels) == (4, 3)
  assert 0 < moved.facts['moved'] < 1


def test_balanced_levels_are_used_evenly():
  vectors = np.random.default_rng(0).gumbel(size=(600, 3)).astype('f')
  plain, _, _ = residual_codes(vectors, num_levels=2, codebook_size=16)
  even, _, left = residual_codes(
    vectors, num_levels=2, codebook_size=16, balanced=True
  )
  assert left[1] < left[0] < 0.5
  most = [np.bincount(codes[:, 0]).max() for codes in (plain, even)]
  assert most[1] < 1.2 * 600 / 16 < 1.5 * 600 / 16 < most[0]


def test_sharded_codes_are_the_codes_of_one_device():
  mesh = jax.make_mesh((8,), ('data',))
  vectors = np.random.default_rng(0).normal(size=(5000, 8)).astype('f')
  for balanced in (False, True):
    one, many = (
      residual_codes(
        vectors,
        num_levels=2,
        codebook_size=16,
        num_iterations=5,
        balanced=balanced,
        mesh=devices,
      )
      for devices in (None, mesh)
    )
    np.testing.assert_array_equal(one[0], many[0])
    np.testing.assert_array_equal(one[1], many[1])
