"""Token tables that get rows for ID tokens."""

import numpy as np
import pytest

from genrec_jax.exchange import vocabulary
from genrec_jax.exchange.t5_names import EMBEDDING, HEAD
from genrec_jax.tasks.vocabulary import train_text_model
from genrec_jax.types import GenrecError

NUM_TEXT, NUM_ROWS, WIDTH = 600, 2000, 8


@pytest.fixture(scope='module')
def weights():
  """Tables of other scales: 600 pieces, and 28 rows of sentinels."""
  rng = np.random.default_rng(0)
  table = rng.normal(5.0, 2.0, (NUM_TEXT + 28, WIDTH)).astype(np.float32)
  table[NUM_TEXT:] = 1e6
  head = rng.normal(-1.0, 0.1, (WIDTH, NUM_TEXT + 28)).astype(np.float32)
  head[:, NUM_TEXT:] = 1e6
  return {EMBEDDING: table, HEAD: head, 'x': np.ones(1, np.float32)}


def extend(weights, **choices):
  return vocabulary.extend_tables(
    weights,
    num_kept=NUM_TEXT,
    num_rows=NUM_ROWS,
    **{'noise': 1.0, 'seed': 0} | choices,
  )


def test_text_keeps_its_rows_and_new_ones_are_of_the_same_kind(weights):
  extended = extend(weights)
  for table, before in (
    (extended[EMBEDDING], weights[EMBEDDING]),
    (extended[HEAD].T, weights[HEAD].T),
  ):
    kept, new = table[:NUM_TEXT], table[NUM_TEXT:]
    np.testing.assert_array_equal(kept, before[:NUM_TEXT])
    assert new.shape == (NUM_ROWS - NUM_TEXT, WIDTH)
    # Sentinels do not count: 1400 draws are within five errors of the mean.
    error = kept.std(axis=0) / np.sqrt(len(new))
    assert (abs(new.mean(axis=0) - kept.mean(axis=0)) < 5 * error).all()
    np.testing.assert_allclose(new.std(axis=0), kept.std(axis=0), rtol=0.2)
  np.testing.assert_array_equal(extended['x'], weights['x'])


def test_without_noise_new_rows_are_the_mean(weights):
  new = extend(weights, noise=0.0)[EMBEDDING][NUM_TEXT:]
  mean = weights[EMBEDDING][:NUM_TEXT].mean(axis=0, keepdims=True)
  np.testing.assert_allclose(new, np.repeat(mean, len(new), 0), rtol=1e-5)


def test_draws_are_those_of_the_seed(weights):
  first, again, other = (extend(weights, seed=s)[HEAD] for s in (1, 1, 2))
  np.testing.assert_array_equal(first, again)
  assert (first != other)[:, NUM_TEXT:].all()


def test_a_model_of_fewer_tokens_is_refused(weights):
  with pytest.raises(GenrecError, match='fewer than the 629'):
    vocabulary.extend_tables(
      weights, num_kept=NUM_TEXT + 29, num_rows=NUM_ROWS, noise=1.0, seed=0
    )


def test_other_pieces_are_refused_by_the_first_that_differs(tmp_path):
  one, other = tmp_path / 'one.model', tmp_path / 'other.model'
  one.write_bytes(train_text_model(['a tale of two cities'] * 3, 280))
  other.write_bytes(train_text_model(['xylophones and zithers'] * 3, 280))
  vocabulary.check_pieces(one, one)
  with pytest.raises(GenrecError, match='Token 259 is .* --text_model=FILE'):
    vocabulary.check_pieces(one, other)
