"""Tests of k-means."""

import numpy as np
import pytest

from genrec_jax.ids import row_blocks
from genrec_jax.ids.kmeans import kmeans, lloyd, nearest


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


def test_slabs_make_no_difference(monkeypatch):
  generator = np.random.default_rng(0)
  points = generator.normal(size=(5000, 5)).astype(np.float32)
  centroids = generator.normal(size=(9, 5)).astype(np.float32)
  whole = nearest(points, centroids)
  monkeypatch.setattr(row_blocks, 'SLAB', 2048)
  for one, other in zip(whole, nearest(points, centroids)):
    np.testing.assert_array_equal(one, other)


def test_offsets_draw_points_to_a_centroid():
  points = np.array([[0.0], [0.9]], np.float32)
  centroids = np.array([[0.0], [2.0]], np.float32)
  codes, distances = nearest(points, centroids, np.array([0, 0.5], 'f'))
  assert codes.tolist() == [0, 1]
  np.testing.assert_allclose(distances, [0, 1.21], rtol=1e-5)
