"""Properties that every method of making ids has, or says that it has."""

import functools

import jax
import numpy as np
import pytest

from genrec_jax.build_ids import METHODS, make_ids
from genrec_jax.data.dataset import build_dataset
from genrec_jax.data.simulator import simulate
from genrec_jax.data.simulator_world import LINE_SIZE
from genrec_jax.data.splits import leave_one_out
from genrec_jax.ids.collaborative import collaborative_indexing
from genrec_jax.ids.residual_quantization import residual_kmeans
from genrec_jax.ids.svd import item_factors

CLAIM_NOTHING = {'random_ids', 'atomic_ids', 'sequential_ids'}
SLOW = {'rq_vae'}  # rq_vae_test.py plants clusters for it
near_items = functools.partial(
  item_factors, matrix='cooccurrence', weighting='ppmi', rank=16
)
QUANTIZED = {'item_vectors': near_items, 'num_levels': 2, 'codebook_size': 16}
SETTINGS = {
  'residual_kmeans': QUANTIZED,
  'product_quantization': QUANTIZED,
  'optimised_product_quantization': QUANTIZED,
  'quantile_svd': QUANTIZED,
  'collaborative_indexing': {'num_clusters': 8},
  'textual_ids': {},
  'hybrid_ids': {'shared': functools.partial(residual_kmeans, **QUANTIZED)},
}


@functools.cache
def shop():
  """A small simulated shop; items of one line are taken together."""
  dataset = build_dataset('shop', simulate(num_users=400, num_dialogues=1))
  return dataset, leave_one_out(dataset)


@pytest.mark.parametrize('name', sorted(set(METHODS) - CLAIM_NOTHING - SLOW))
def test_items_of_a_line_share_their_first_code(name):
  dataset, split = shop()
  method = functools.partial(METHODS[name], **SETTINGS[name])
  line = dataset.items['world_row'].to_numpy() // LINE_SIZE
  first = make_ids(dataset, split, method=method).codes[:, 0]
  other = np.random.default_rng(0).permutation(first)
  same = np.equal.outer(line, line) & ~np.eye(len(line), dtype=bool)
  shared, by_chance = (
    np.equal.outer(codes, codes)[same].mean() for codes in (first, other)
  )
  assert shared > 1.5 * by_chance


@pytest.mark.parametrize('tree', ['spectral', 'balanced'])
def test_the_number_of_devices_does_not_change_a_tree_of_clusters(tree):
  method = functools.partial(collaborative_indexing, num_clusters=8, tree=tree)
  meshes = (None, jax.make_mesh((8,), ('data',)))
  one, many = (
    make_ids(*shop(), method=functools.partial(method, mesh=mesh))
    for mesh in meshes
  )
  assert one.fingerprint == many.fingerprint
