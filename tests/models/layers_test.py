"""Dropout: which elements are left out, and how often."""

import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.models import layers


def test_dropout_mask_has_its_rate_without_correlation():
  masks = np.array(
    [
      layers.random_mask(jax.random.key(seed), (64, 512), 0.9)
      for seed in range(4)
    ]
  )
  # Deviations of means over 2**17 and 2**15 elements: .0008 and .0017.
  assert abs(masks.mean() - 0.9) < 0.004
  assert abs(masks.mean(axis=(1, 2)) - 0.9).max() < 0.008
  centred = masks - masks.mean()
  for a, b in (
    (centred[0], centred[1]),  # between keys
    (centred[:, :-1], centred[:, 1:]),  # between rows
    (centred[..., :-1], centred[..., 1:]),  # between neighbours
  ):
    assert abs((a * b).mean()) / centred.var() < 0.03


def test_dropout_can_be_shared_along_the_length():
  x = jnp.ones((4, 6, 50))
  rngs = {'dropout': jax.random.key(0)}

  def apply(*axes):
    dropout = layers.Dropout(0.5, axes)
    return np.asarray(dropout.apply({}, x, enable=True, rngs=rngs))

  assert (apply(-2) == apply(-2)[:, :1]).all()
  assert not (apply() == apply()[:, :1]).all()
  assert set(np.unique(apply())) == {0.0, 2.0}
