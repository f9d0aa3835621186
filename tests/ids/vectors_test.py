"""Tests of item vectors from several sources."""

import numpy as np
import pytest

from genrec_jax.ids.residual_quantization import residual_kmeans
from genrec_jax.ids.vectors import (
  aligned_vectors,
  check_vectors,
  concatenated_vectors,
  vector_facts,
)
from genrec_jax.types import GenrecError

NOTHING = np.zeros(0, int)


def source(vectors):
  """Returns what makes vectors: those given."""
  return lambda user, item, num_users, num_items, *, seed: vectors


def call(function, num_items, **kwargs):
  return function(NOTHING, NOTHING, 0, num_items, **kwargs)


@pytest.mark.parametrize(
  'vectors, error',
  [
    (np.ones((4, 2)), r'shape \[4, 2\]; expected \[5, D\]'),
    (np.ones((5, 0)), r'shape \[5, 0\]'),
    (
      np.full((5, 2), np.inf),
      'NaN or infinity in 5 of 5 rows, the first in row 0',
    ),
    (np.ones((5, 2)), 'zero variance'),
  ],
)
def test_no_ids_are_made_of_vectors_that_cannot_be_used(vectors, error):
  with pytest.raises(GenrecError, match=error):
    call(residual_kmeans, 5, item_vectors=source(vectors), codebook_size=2)


def test_vectors_of_one_item_have_no_variance_to_ask_for():
  check_vectors(np.ones((1, 2)), 1)


def test_items_without_a_vector_are_counted():
  vectors = np.eye(5)[:, :3]
  assert vector_facts(vectors) == {
    'vector_dimensions': 3,
    'items_without_vector': 2,
  }


def test_a_source_counts_by_its_weight_not_by_its_unit():
  generator = np.random.default_rng(0)
  wide = generator.normal(size=(50, 20)) * 1000 + 7
  narrow = generator.normal(size=(50, 2)) / 1000
  narrow[:10] = 0  # unknown to this source
  both = call(
    concatenated_vectors,
    50,
    sources=[source(wide), source(narrow)],
    weights=[1, 3],
  )
  assert both.shape == (50, 22) and both.dtype == np.float32
  assert (both[:, :20] ** 2).sum(axis=1).mean() == pytest.approx(1, rel=1e-4)
  known = both[10:, 20:]
  assert (known**2).sum(axis=1).mean() == pytest.approx(3, rel=1e-4)
  np.testing.assert_allclose(known.mean(axis=0), 0, atol=1e-5)
  assert not both[:10, 20:].any()


def test_sources_and_weights_go_together():
  some = source(np.eye(4))
  for kwargs in (
    {'sources': []},
    {'sources': [some], 'weights': [1, 2]},
    {'sources': [some], 'weights': [0]},
  ):
    with pytest.raises(GenrecError, match='a positive weight for each'):
      call(concatenated_vectors, 4, **kwargs)
  with pytest.raises(GenrecError, match='of source 1 hold NaN'):
    call(
      concatenated_vectors, 4, sources=[some, source(np.full((4, 4), np.nan))]
    )
  same = np.array([[1, 0]] * 3 + [[0, 0]])
  with pytest.raises(GenrecError, match='source 0 are equal for all 3 items'):
    call(concatenated_vectors, 4, sources=[source(same)])


def planted_sources():
  """Collaborative vectors that content tells, but for some noise.

  Items 0 to 19 have no interactions, item 20 has no content.
  """
  generator = np.random.default_rng(0)
  content = generator.normal(size=(300, 12)) + 1
  truth = content @ generator.normal(size=(12, 4))
  truth /= np.linalg.norm(truth, axis=1, keepdims=True)
  known = truth + generator.normal(size=truth.shape) * 0.05
  known[:20] = 0
  content[20] = 0
  return content, truth, known


def test_new_items_stand_where_their_content_says(capsys):
  content, truth, known = planted_sources()
  vectors = call(
    aligned_vectors,
    300,
    content=source(content),
    collaborative=source(known),
  )
  np.testing.assert_array_equal(vectors[20:], known[20:].astype('f'))
  cosine = (vectors[:20] * truth[:20]).sum(axis=1)
  assert cosine.mean() > 0.9
  lengths = np.linalg.norm(vectors, axis=1)
  np.testing.assert_allclose(lengths[:20], lengths[21:].mean(), rtol=1e-3)
  printed = capsys.readouterr().out
  assert 'Content explains 8' in printed or 'explains 9' in printed


def test_content_is_mixed_in_by_its_share():
  content, _, known = planted_sources()
  none, half, all_of_it = (
    call(
      aligned_vectors,
      300,
      content=source(content),
      collaborative=source(known),
      share=share,
    )
    for share in (0, 0.5, 1)
  )
  np.testing.assert_allclose(half, (none + all_of_it) / 2, atol=1e-6)
  # There is nothing to mix into an item without content.
  np.testing.assert_array_equal(all_of_it[20], none[20])


def test_too_few_items_to_fit_are_refused():
  content, _, known = planted_sources()
  known[25:] = 0
  for kwargs, error in (
    ({}, 'Only 4 items have both'),
    ({'share': 2}, 'share=2 is not between 0 and 1'),
  ):
    with pytest.raises(GenrecError, match=error):
      call(
        aligned_vectors,
        300,
        content=source(content),
        collaborative=source(known),
        **kwargs,
      )
