"""Tests of residual k-means."""

import numpy as np
import pytest

from genrec_jax.ids.collisions import nearest
from genrec_jax.ids.residual_quantization import (
  kmeans,
  lloyd,
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


def test_nearest_agrees_with_all_distances():
  generator = np.random.default_rng(0)
  points = generator.normal(size=(300, 5)).astype(np.float32)
  centroids = generator.normal(size=(2**17, 5)).astype(np.float32)  # 3 blocks
  codes, distances = nearest(points, centroids)
  for row in (0, 127, 128, 299):
    table = ((points[row] - centroids) ** 2).sum(axis=1)
    assert codes[row] == table.argmin()
    assert distances[row] == pytest.approx(table.min(), abs=1e-5)


def test_empty_clusters_start_again():
  points = np.repeat(np.eye(6, dtype=np.float32), 5, axis=0)
  start = np.zeros((6, 6), np.float32)  # one cluster takes all points
  codes, distances = nearest(points, lloyd(points, start, num_iterations=20))
  assert len(set(codes.tolist())) == 6
  np.testing.assert_allclose(distances, 0, atol=1e-6)


def test_fewer_points_than_codes_are_each_a_centroid():
  points = np.arange(6, dtype=np.float32).reshape(3, 2)
  _, distances = nearest(points, kmeans(points, 8))
  np.testing.assert_allclose(distances, 0, atol=1e-6)


@pytest.mark.parametrize('collisions', ['extra_digit', 'nearest_free'])
def test_ids_depend_on_the_seed_alone(collisions):
  ids = [planted_ids(collisions=collisions, seed=seed) for seed in (1, 1, 2)]
  assert ids[0].fingerprint == ids[1].fingerprint != ids[2].fingerprint


def test_nearest_free_ids_stay_as_long_as_they_were():
  longer = planted_ids(num_levels=3, collisions='extra_digit')
  moved = planted_ids(num_levels=3, collisions='nearest_free')
  assert longer.facts['collision_rate'] == moved.facts['collision_rate'] > 0
  assert (longer.num_levels, moved.num_levels) == (4, 3)
  assert 0 < moved.facts['moved'] < 1
