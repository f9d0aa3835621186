"""Tests of product quantization."""

import jax
import numpy as np
import pytest

from genrec_jax.ids.collisions import POLICIES, squared_error
from genrec_jax.ids.product_quantization import (
  product_codes,
  product_quantization,
)
from genrec_jax.types import GenrecError

NOTHING = np.zeros(0, int)


def uneven_vectors(num_items=600, dimensions=8):
  """Normal, the variance falling fast over directions oblique to the axes."""
  generator = np.random.default_rng(0)
  basis = np.linalg.qr(generator.normal(size=(dimensions, dimensions)))[0]
  spread = 0.6 ** np.arange(dimensions)
  vectors = generator.normal(size=(num_items, dimensions)) * spread
  return (vectors @ basis + 1).astype(np.float32)


def make_ids(**kwargs):
  vectors = uneven_vectors()
  return product_quantization(
    NOTHING,
    NOTHING,
    0,
    len(vectors),
    item_vectors=lambda *args, seed: vectors,
    codebook_size=16,
    num_iterations=10,
    num_rotations=3,
    **kwargs,
  )


@pytest.mark.parametrize('rotation', ['none', 'learnt'])
def test_codebooks_add_up_to_the_error_that_is_told(rotation):
  vectors = uneven_vectors(dimensions=7)
  quantized = product_codes(
    vectors, num_levels=3, codebook_size=16, rotation=rotation
  )
  turned = vectors @ quantized.rotation
  np.testing.assert_allclose(
    quantized.rotation @ quantized.rotation.T, np.eye(7), atol=1e-5
  )
  spread = ((vectors - vectors.mean(axis=0)) ** 2).sum()
  left = squared_error(turned, quantized.codebooks, quantized.codes) / spread
  assert left == pytest.approx(quantized.unexplained[-1], rel=1e-3)
  steps = np.diff([1, *quantized.unexplained])
  assert (steps < 0).all() and (np.diff(steps) >= 0).all()


def test_a_learnt_rotation_loses_less():
  left = [
    product_codes(
      uneven_vectors(), num_levels=4, codebook_size=8, rotation=rotation
    ).unexplained[-1]
    for rotation in ('none', 'learnt')
  ]
  assert left[1] < 0.95 * left[0]


def test_a_learnt_rotation_never_loses_more():
  # Sub-spaces that are independent already: nothing to be gained.
  vectors = np.random.default_rng(0).integers(4, size=(400, 4)).astype('f')
  left = [
    product_codes(
      vectors, num_levels=4, codebook_size=4, rotation=rotation
    ).unexplained[-1]
    for rotation in ('none', 'learnt')
  ]
  assert left[1] <= left[0] + 1e-6 and left[0] < 1e-6


def test_planted_clusters_share_their_codes():
  generator = np.random.default_rng(0)
  centres = generator.normal(size=(8, 16)) * 10
  vectors = np.repeat(centres, 40, axis=0) + generator.normal(size=(320, 16))
  codes = product_codes(
    vectors.astype('f'), num_levels=2, codebook_size=8
  ).codes.reshape(8, 40, 2)
  assert (codes == codes[:, :1]).mean() > 0.99


@pytest.mark.parametrize('collisions', POLICIES)
def test_ids_depend_on_the_seed_alone(collisions):
  ids = [
    make_ids(num_levels=3, collisions=collisions, rotation='learnt', seed=seed)
    for seed in (1, 1, 2)
  ]
  assert ids[0].fingerprint == ids[1].fingerprint != ids[2].fingerprint
  assert ids[0].num_levels == 3 + (collisions == 'extra_digit')
  assert ids[0].facts['vector_dimensions'] == 8


def test_sharded_codes_are_the_codes_of_one_device():
  mesh = jax.make_mesh((8,), ('data',))
  one, many = (
    make_ids(num_levels=2, rotation='learnt', mesh=devices)
    for devices in (None, mesh)
  )
  assert one.fingerprint == many.fingerprint


def test_more_levels_than_dimensions_are_refused():
  with pytest.raises(GenrecError, match='9 levels .* vectors have 8'):
    make_ids(num_levels=9)


def test_an_unknown_rotation_is_refused_by_name():
  with pytest.raises(GenrecError, match="Unknown rotation 'best'.*learnt"):
    make_ids(rotation='best')
