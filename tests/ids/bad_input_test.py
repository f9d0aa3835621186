"""What methods of making ids do with data that are hardly enough, or wrong."""

import functools

import numpy as np
import pytest

from genrec_jax.build_ids import METHODS
from genrec_jax.ids.residual_quantization import residual_kmeans
from genrec_jax.ids.users import hashed_users
from genrec_jax.types import GenrecError

# rq_vae has the checks of the others, and takes long to compile.
NAMES = sorted(set(METHODS) - {'rq_vae'})
QUANTIZED = {'num_levels': 2, 'codebook_size': 8}
SETTINGS = {
  'residual_kmeans': QUANTIZED,
  'product_quantization': QUANTIZED,
  'optimised_product_quantization': QUANTIZED,
  'quantile_svd': QUANTIZED,
  'collaborative_indexing': {'num_clusters': 3},
  'hybrid_ids': {'shared': functools.partial(residual_kmeans, **QUANTIZED)},
  'sequential_ids': {'codebook_size': 8, 'allow_leaky': True},
}
FROM_VECTORS = [name for name in NAMES if SETTINGS.get(name) is QUANTIZED]


def make(name, user, item, num_items, **kwargs):
  kwargs = {**SETTINGS.get(name, {}), **kwargs}
  if name == 'textual_ids':
    kwargs['titles'] = [f'soap {number % 5}' for number in range(num_items)]
  return METHODS[name](user, item, 20, num_items, **kwargs)


def two_kinds():
  """Users of two kinds and items of two kinds: a matrix of rank 2."""
  return np.nonzero(np.equal.outer(np.arange(20) % 2, np.arange(12) % 2))


@pytest.mark.parametrize('name', NAMES)
def test_items_without_interactions_get_ids_in_a_matrix_of_low_rank(name):
  codes = make(name, *two_kinds(), 17).codes
  assert len(np.unique(codes, axis=0)) == 17


@pytest.mark.parametrize(
  'name', ['residual_kmeans', 'optimised_product_quantization']
)
def test_one_item_has_an_id(name):
  user, item = np.arange(20), np.zeros(20, int)
  one = make(name, user, item, 1, num_levels=1, codebook_size=1)
  assert one.codes.tolist() == [[0]]


@pytest.mark.parametrize('name', FROM_VECTORS)
@pytest.mark.parametrize(
  'vectors, error',
  [
    ([[1.0, 2.0]] * 12, 'of the type list; expected a NumPy array'),
    (np.full((12, 2), 'x'), 'of the type <U1; expected a NumPy array'),
    (np.eye(11), r'the shape \[11, 11\]; expected \[12, D\]'),
    (np.where(np.eye(12) > 0, np.nan, 1), 'NaN or infinity in 12 of 12 rows'),
  ],
)
def test_vectors_that_cannot_be_used_are_refused(name, vectors, error):
  with pytest.raises(GenrecError, match=error):
    make(name, *two_kinds(), 12, item_vectors=lambda *args, seed: vectors)


@pytest.mark.parametrize('name', FROM_VECTORS)
def test_more_codes_than_items_are_refused(name):
  with pytest.raises(GenrecError, match='codebook_size=13 .* the 12 items'):
    make(name, *two_kinds(), 12, codebook_size=13)


@pytest.mark.parametrize('name', [*FROM_VECTORS, 'collaborative_indexing'])
def test_no_interactions_are_refused_with_another_way(name):
  nothing = np.zeros(0, int)
  with pytest.raises(GenrecError, match='(?i)use (another|content)'):
    make(name, nothing, nothing, 12)


def test_users_need_a_bucket():
  with pytest.raises(GenrecError, match='num_codes=0 .* at least 1'):
    hashed_users(np.zeros(1, int), np.zeros(1, int), 1, 1, num_codes=0)
