"""The largest of wide rows, in the order of equals."""

import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.decoding import selection


@pytest.mark.parametrize('width', [5000, 40_000, 65_536])
def test_chunk_maxima_keep_the_order_of_equals(width):
  values = np.random.default_rng(0).integers(0, 40, (2, width))
  values = values.astype(np.float32)
  values[:, ::3] = -np.inf
  best, place = selection.top_k(jnp.asarray(values), 50)
  order = np.argsort(-values, axis=1, kind='stable')[:, :50]
  np.testing.assert_array_equal(place, order)
  np.testing.assert_array_equal(best, np.take_along_axis(values, order, 1))
