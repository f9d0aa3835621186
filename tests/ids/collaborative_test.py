"""Tests of collaborative indexing."""

import functools

import numpy as np
import pyarrow as pa
import pytest

from genrec_jax.data.audit import audit_builder
from genrec_jax.data.dataset import RawTables, build_dataset
from genrec_jax.data.splits import leave_one_out, train_interactions
from genrec_jax.ids.collaborative import (
  collaborative_indexing,
  spectral_embedding,
)
from genrec_jax.ids.cooccurrence import count_cooccurrences, normalized_cut
from genrec_jax.types import GenrecError

NUM_GROUPS, GROUP, NUM_USERS = 4, 12, 240


def planted(seed=0):
  """Users who take items of one group, and now and then of another."""
  generator = np.random.default_rng(seed)
  group = np.repeat(np.arange(NUM_USERS) % NUM_GROUPS, 6)
  group = np.where(
    generator.random(len(group)) < 0.05,
    generator.integers(NUM_GROUPS, size=len(group)),
    group,
  )
  item = group * GROUP + generator.integers(GROUP, size=len(group))
  return np.repeat(np.arange(NUM_USERS), 6), item


def planted_ids(num_items=NUM_GROUPS * GROUP, **kwargs):
  kwargs = {'num_clusters': NUM_GROUPS, 'leaf_size': GROUP, **kwargs}
  return collaborative_indexing(*planted(), NUM_USERS, num_items, **kwargs)


@pytest.mark.parametrize('tree', ['spectral', 'balanced'])
def test_planted_groups_share_their_first_code(tree):
  codes = planted_ids(tree=tree).codes[:, 0].reshape(NUM_GROUPS, GROUP)
  assert (codes == codes[:, :1]).all()
  assert len(set(codes[:, 0])) == NUM_GROUPS


@pytest.mark.parametrize('tree', ['spectral', 'balanced'])
@pytest.mark.parametrize('leaf_size', [1, 3, 5])
def test_no_leaf_is_larger_than_its_limit(tree, leaf_size):
  ids = planted_ids(tree=tree, num_clusters=3, leaf_size=leaf_size)
  _, counts = np.unique(ids.codes[:, :-1], axis=0, return_counts=True)
  assert counts.max() <= leaf_size
  assert ids.codebook_sizes[-1] == counts.max()
  assert ids.facts['leaves'] == len(counts)


def test_a_tree_that_is_all_but_full_holds_all_items():
  ids = planted_ids(num_clusters=2, leaf_size=12, max_depth=2)
  _, counts = np.unique(ids.codes[:, :2], axis=0, return_counts=True)
  assert counts.tolist() == [12] * 4


@pytest.mark.parametrize('tree', ['spectral', 'balanced'])
def test_the_same_seed_gives_the_same_ids(tree):
  first, second = (planted_ids(tree=tree, leaf_size=4, seed=3) for _ in '12')
  assert first.fingerprint == second.fingerprint


def test_tokens_of_a_leaf_follow_the_frequency_of_items():
  ids = planted_ids()
  frequency = np.bincount(planted()[1], minlength=ids.num_items)
  for code in range(NUM_GROUPS):
    leaf = np.flatnonzero(ids.codes[:, 0] == code)
    ordered = leaf[np.argsort(ids.codes[leaf, -1])]
    assert (np.diff(frequency[ordered]) <= 0).all()
  other = planted_ids(leaf_order='random')
  assert (other.codes[:, -1] != ids.codes[:, -1]).any()


def test_items_without_an_edge_have_branches_of_their_own():
  ids = planted_ids(num_items=NUM_GROUPS * GROUP + 30, leaf_size=12)
  isolated = ids.codes[NUM_GROUPS * GROUP :, 0]
  assert ids.facts['isolated'] == 30
  assert isolated.min() == NUM_GROUPS
  assert (ids.codes[: NUM_GROUPS * GROUP, 0] < NUM_GROUPS).all()
  assert not ids.vectors[NUM_GROUPS * GROUP :].any()


def test_few_items_make_one_leaf():
  ids = planted_ids(leaf_size=100)
  assert sorted(ids.codes[:, 0].tolist()) == list(range(NUM_GROUPS * GROUP))


def test_small_catalogues_get_small_leaves_by_default():
  user, item = planted()
  ids = collaborative_indexing(user, item, NUM_USERS, NUM_GROUPS * GROUP)
  assert ids.num_levels == 2 and ids.codebook_sizes[-1] <= 7


def test_the_cut_is_as_good_as_that_of_scikit_learn():
  cluster = pytest.importorskip('sklearn.cluster')
  user, item = planted()
  graph = count_cooccurrences(user, item, NUM_GROUPS * GROUP)
  peer = cluster.SpectralClustering(
    NUM_GROUPS, affinity='precomputed', n_init=1, random_state=0
  ).fit_predict(graph.toarray())
  ours = planted_ids().codes[:, 0]
  assert normalized_cut(graph, ours) <= normalized_cut(graph, peer) + 1e-6


def test_sparse_and_dense_eigenvectors_span_the_same_space():
  user, item = planted()
  graph = count_cooccurrences(user, item, NUM_GROUPS * GROUP)
  dense = spectral_embedding(graph, dimensions=NUM_GROUPS * GROUP)[:, :4]
  dense /= np.linalg.norm(dense, axis=1, keepdims=True)
  sparse = spectral_embedding(graph, dimensions=4)
  np.testing.assert_allclose(sparse @ sparse.T, dense @ dense.T, atol=1e-2)


def test_a_tree_without_room_is_refused():
  with pytest.raises(GenrecError, match='room for 8 items, but there are 48'):
    planted_ids(num_clusters=2, leaf_size=2, max_depth=2)


def test_no_pair_of_items_is_refused():
  one_each = np.arange(5)
  with pytest.raises(GenrecError, match='has no edge'):
    collaborative_indexing(one_each, one_each, 5, 5)


def test_ids_do_not_depend_on_held_out_interactions():
  user, item = planted()
  table = pa.table({'user': user.astype(str), 'item': item.astype(str)})
  dataset = build_dataset('planted', RawTables(interactions=table))
  method = functools.partial(collaborative_indexing, num_clusters=3)

  def build(dataset, split):
    users_and_items = train_interactions(dataset, split)
    return method(*users_and_items, dataset.num_users, dataset.num_items).codes

  audit_builder(build, dataset, leave_one_out(dataset))
