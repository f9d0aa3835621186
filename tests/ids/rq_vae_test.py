"""Tests of RQ-VAE ids."""

import functools

import jax
import numpy as np
import pytest

from genrec_jax.ids.rq_vae import check_use, rq_vae, standardize
from genrec_jax.ids.rq_vae_training import revive
from genrec_jax.types import GenrecError

NOTHING = np.zeros(0, np.int32)
NUM_CLUSTERS, CLUSTER = 8, 25


def planted_vectors():
  generator = np.random.default_rng(0)
  centres = generator.normal(size=(NUM_CLUSTERS, 8)) * 10
  noise = generator.normal(size=(NUM_CLUSTERS * CLUSTER, 8))
  return (np.repeat(centres, CLUSTER, axis=0) + noise).astype(np.float32)


def small_ids(vectors=None, **kwargs):
  vectors = planted_vectors() if vectors is None else vectors
  settings = {
    'item_vectors': lambda *arguments, seed: vectors,
    'num_levels': 2,
    'codebook_size': 8,
    'hidden': (16,),
    'latent': 8,
    'num_steps': 120,
    'batch_size': 64,
    'learning_rate': 5e-3,
    'reset_every': 20,
  }
  return rq_vae(NOTHING, NOTHING, 0, len(vectors), **{**settings, **kwargs})


@functools.cache
def planted_ids(seed=0):
  return small_ids(seed=seed)


def test_planted_clusters_share_their_first_code():
  codes = planted_ids().codes[:, 0].reshape(NUM_CLUSTERS, CLUSTER)
  assert (codes == codes[:, :1]).mean() > 0.95
  assert len(set(np.median(codes, axis=1))) >= NUM_CLUSTERS - 1


def test_each_level_leaves_less_unexplained():
  first, second = planted_ids().facts['unexplained_variance']
  assert 0.5 > first > second


def test_the_number_of_devices_does_not_change_the_codes():
  mesh = jax.make_mesh(
    (4, 2),
    ('data', 'model'),
    axis_types=(jax.sharding.AxisType.Auto,) * 2,
  )
  short = small_ids(num_steps=40)
  assert small_ids(num_steps=40, mesh=mesh).fingerprint == short.fingerprint


def test_ids_depend_on_the_seed_alone():
  assert small_ids().fingerprint == planted_ids().fingerprint
  assert planted_ids(seed=1).fingerprint != planted_ids().fingerprint


def test_dead_codes_come_back():
  latents = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
  codebooks = np.full((2, 6, 4), 100, np.float32)  # near nothing
  codebooks[:, 0] = 0
  used = np.zeros((2, 6), int)
  used[:, 0] = 200
  revived = revive(codebooks, used, latents, np.random.default_rng(0))
  assert (revived[:, 0] == 0).all()
  residuals = latents
  for codebook in revived:
    distances = ((residuals[:, None] - codebook) ** 2).sum(axis=2)
    nearest = distances.argmin(axis=1)
    assert len(set(nearest.tolist())) >= 5
    residuals = residuals - codebook[nearest]


def test_a_collapsed_codebook_is_refused_or_warned_of():
  vectors = np.zeros((200, 8), np.float32)
  vectors[0] = 1  # one item differs from all others
  settings = {'vectors': vectors, 'num_steps': 8, 'min_perplexity': 0.5}
  with pytest.raises(GenrecError, match='Level 0 of the RQ-VAE has collapsed'):
    small_ids(**settings)
  codes = np.zeros((50, 1), int)
  with pytest.warns(match='1 of 16 codes are used, with a perplexity of 1.0'):
    check_use(codes, 16, min_perplexity=0.1, on_collapse='warn')


def test_standardized_dimensions_have_mean_0_and_deviation_1():
  vectors = np.random.default_rng(0).normal(3, 7, (50, 3)).astype(np.float32)
  vectors[:, 2] = 5
  vectors[-1] = 0
  scaled = standardize(vectors)
  np.testing.assert_allclose(scaled[:-1].mean(axis=0), 0, atol=1e-5)
  np.testing.assert_allclose(scaled[:-1].std(axis=0), [1, 1, 0], atol=1e-5)
  assert not scaled[-1].any()


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'batch_size': 12}, 'Got batch_size=12'),
    ({'codebook_size': 1000}, 'more than the 200 items'),
    ({'on_collapse': 'ignore'}, 'expected one of: error, warn'),
    ({'collisions': 'none'}, 'expected one of: extra_digit'),
  ],
)
def test_bad_settings_are_named(settings, message):
  with pytest.raises(GenrecError, match=message):
    small_ids(**settings)
