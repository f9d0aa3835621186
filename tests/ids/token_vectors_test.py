"""The rows that token tables start with, against a slow reference."""

import numpy as np
import pytest

from genrec_jax.ids.token_vectors import token_vectors
from genrec_jax.types import GenrecError


def make_items(num_items=40, width=6, seed=0):
  random = np.random.default_rng(seed)
  # A shared code of 5 and a token of one's own; the last item has no data.
  tokens = np.stack(
    [random.integers(3, 8, num_items), np.arange(num_items) + 8]
  )
  vectors = random.standard_normal((num_items, width)).astype(np.float32)
  vectors[-1] = 0
  return tokens.T.astype(np.int32), vectors


def cosines(rows):
  unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
  return unit @ unit.T


@pytest.mark.parametrize('width', [6, 16])
def test_a_token_has_the_mean_of_its_items(width):
  item_tokens, vectors = make_items()
  tokens, rows = token_vectors(item_tokens, vectors, width)
  assert tokens.tolist() == sorted(set(item_tokens.ravel()) - {8 + 39})
  assert rows.dtype == np.float32
  means = [
    vectors[(item_tokens == token).any(axis=1)].mean(axis=0) for token in tokens
  ]
  np.testing.assert_allclose(cosines(rows), cosines(np.array(means)), atol=1e-5)
  # As long as rows of standard normal draws, and in no dimension alone.
  np.testing.assert_allclose((rows**2).mean(axis=1), 1, rtol=1e-5)
  assert (rows.std(axis=0) > 0.2).all()


def test_fewer_dimensions_keep_the_leading_ones():
  item_tokens, vectors = make_items(width=12)
  vectors[:, 4:] *= 1e-3
  _, rows = token_vectors(item_tokens, vectors, 4)
  _, whole = token_vectors(item_tokens, vectors, 12)
  np.testing.assert_allclose(cosines(rows), cosines(whole), atol=0.01)


def test_padding_and_eos_get_no_row():
  item_tokens, vectors = make_items()
  ended = np.pad(item_tokens, ((0, 0), (0, 2)))
  ended[::2, 2] = 1
  tokens, rows = token_vectors(ended, vectors, 6)
  assert tokens.min() == 3
  np.testing.assert_array_equal(rows, token_vectors(item_tokens, vectors, 6)[1])


def test_vectors_of_other_items_are_refused():
  item_tokens, vectors = make_items()
  with pytest.raises(GenrecError, match=r'shape \(39, 6\) for 40 items'):
    token_vectors(item_tokens, vectors[1:], 6)
