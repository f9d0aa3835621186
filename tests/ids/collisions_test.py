"""Tests of the resolution of collisions."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from genrec_jax.ids.collisions import (
  POLICIES,
  SHARERS,
  collision_rate,
  extra_digit,
  free_codes,
  nearest_free,
  resolve_collisions,
  sinkhorn,
  squared_error,
)
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.ids.kmeans import nearest
from genrec_jax.types import GenrecError

CROWDED = hnp.arrays(
  np.int32,
  st.tuples(st.integers(1, 60), st.just(2)),
  elements=st.integers(0, 3),
)
quick = hypothesis.settings(deadline=None, max_examples=60)


def test_collision_rate_counts_every_item_of_a_shared_code():
  assert collision_rate(np.array([[0], [1], [0], [0]])) == 0.75


@hypothesis.given(CROWDED, st.integers(0, 3))
@quick
def test_an_extra_digit_makes_codes_unique_and_keeps_the_rest(codes, seed):
  longer, sizes = extra_digit(codes, (4, 4), seed=seed)
  ItemIds(codes=longer, codebook_sizes=sizes)  # unique, and in range
  np.testing.assert_array_equal(longer[:, :2], codes)
  if collision_rate(codes):
    _, counts = np.unique(codes, axis=0, return_counts=True)
    assert sizes == (4, 4, counts.max())
    # Digits start at 0 in every cell, so that small ones are the common ones.
    assert (longer[:, 2] == 0).sum() == len(counts)


def test_an_extra_digit_does_not_tell_the_order_of_the_source():
  digits = extra_digit(np.zeros((500, 1), np.int32), (1,))[0][:, 1]
  assert sorted(digits) == list(range(500))
  assert abs(np.corrcoef(digits, np.arange(500))[0, 1]) < 0.15


@st.composite
def quantizers(draw):
  sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
  seed = draw(st.integers(0, 99))
  generator = np.random.default_rng(seed)
  codebooks = [generator.normal(size=(n, 2)).astype('f') for n in sizes]
  num_items = draw(st.integers(1, int(np.prod(sizes))))
  # Few different points: most items want what another one wants.
  vectors = generator.integers(-1, 2, size=(num_items, 2)).astype('f')
  return vectors, codebooks, seed


@hypothesis.given(quantizers(), st.sampled_from(list(SHARERS)))
@quick
def test_freed_codes_are_unique_up_to_a_full_table(quantizer, sharer):
  vectors, codebooks, seed = quantizer
  codes = free_codes(vectors, codebooks, share_out=SHARERS[sharer], seed=seed)
  ItemIds(codes=codes, codebook_sizes=tuple(map(len, codebooks)))


def plain_codes(vectors, codebooks):
  residuals, codes = vectors.copy(), []
  for codebook in codebooks:
    codes.append(nearest(residuals, codebook)[0])
    residuals -= codebook[codes[-1]]
  return np.stack(codes, axis=1)


def test_items_of_a_prefix_without_collisions_stay_where_they_are():
  generator = np.random.default_rng(0)
  codebooks = [generator.normal(size=(8, 4)).astype('f') for _ in range(2)]
  vectors = generator.normal(size=(30, 4)).astype('f')
  plain = plain_codes(vectors, codebooks)
  codes = nearest_free(vectors, codebooks)
  prefixes = [plain[plain[:, 0] == plain[n, 0]] for n in range(30)]
  alone = [n for n in range(30) if collision_rate(prefixes[n]) == 0]
  assert 0 < len(alone) < 30
  np.testing.assert_array_equal(codes[alone], plain[alone])


def test_the_item_nearest_to_a_code_gets_it():
  codebook = np.array([[0.0], [1.0], [5.0]], np.float32)
  vectors = np.array([[0.3], [0.1], [0.2]], np.float32)
  # 0.1 keeps code 0; 0.3 is nearer to code 1 than 0.2 is.
  np.testing.assert_array_equal(
    nearest_free(vectors, [codebook]), [[1], [0], [2]]
  )


def test_more_items_than_codes_are_refused():
  with pytest.raises(GenrecError, match='5 items do not fit into 4 codes'):
    nearest_free(np.zeros((5, 1)), [np.zeros((2, 1)), np.zeros((2, 1))])


def crowd():
  """Five hundred items, most near few points, and codes for 512."""
  generator = np.random.default_rng(0)
  codebooks = [generator.normal(size=(n, 4)).astype('f') for n in (8, 64)]
  vectors = generator.normal(size=(500, 4)) * generator.random((500, 1))
  vectors = vectors.astype('f')
  return plain_codes(vectors, codebooks), vectors, codebooks


@pytest.mark.parametrize('policy', POLICIES)
def test_every_policy_parts_all_items_and_says_what_it_cost(policy):
  codes, vectors, codebooks = crowd()
  unique, sizes, facts = resolve_collisions(
    codes, vectors, codebooks, policy=policy
  )
  assert ItemIds(codes=unique, codebook_sizes=sizes).num_items == 500
  assert facts['collision_rate'] == collision_rate(codes) > 0.5
  if policy == 'extra_digit':
    return
  moved = (unique != codes).any(axis=1)
  assert facts['moved'] == moved.mean()
  extra = squared_error(vectors, codebooks, unique)
  extra -= squared_error(vectors, codebooks, codes)
  variance = vectors.var(axis=0).sum() * 500
  assert facts['extra_error'] == pytest.approx(extra / variance, abs=1e-5)


def test_an_optimal_assignment_costs_least_and_sinkhorn_is_close():
  generator = np.random.default_rng(0)
  points = generator.normal(size=(60, 1, 4)) * generator.random((60, 1, 1))
  centroids = generator.normal(size=(64, 4))
  distances = ((points - centroids) ** 2).sum(axis=2).astype('f')
  rows = np.arange(60)
  cost = {
    name: distances[rows, share_out(distances, 1)].sum()
    for name, share_out in SHARERS.items()
  }
  assert cost['hungarian'] < cost['sinkhorn'] < 1.1 * cost['hungarian']
  assert cost['sinkhorn'] < cost['nearest_free']


def test_sinkhorn_keeps_to_the_room_in_a_cell():
  distances = np.random.default_rng(0).random((40, 4)).astype('f')
  distances[:, 0] -= 1  # what all want
  counts = np.bincount(sinkhorn(distances, 12), minlength=4)
  assert counts.max() <= 12 and counts[0] > 9
