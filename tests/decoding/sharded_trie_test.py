"""A trie cut over a mesh finds what the whole one finds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.decoding.beam_search import beam_search
from genrec_jax.decoding.child_ranges import Identity
from genrec_jax.decoding.levels import Hybrid
from genrec_jax.decoding.sharded_trie_builder import build_sharded_trie
from genrec_jax.decoding.trie_builder import build_trie
from genrec_jax.types import GenrecError

VOCAB_SIZE = 40
NUM_ITEMS = 200


def _mesh(num_shards, num_batch_parts=1):
  devices = np.array(jax.devices()[: num_shards * num_batch_parts])
  return jax.sharding.Mesh(
    devices.reshape(num_batch_parts, num_shards), ('data', 'model')
  )


@functools.cache
def _jitted(tokens_to_logits, batch_size, num_beams, normalization):
  """One function for all tests, which share what is compiled for it."""
  return jax.jit(
    lambda trie, cache, exclude: beam_search(
      trie,
      tokens_to_logits,
      cache,
      batch_size,
      num_beams,
      normalization=normalization,
      exclude=exclude,
    )
  )


def _search(
  model, trie, num_beams, exclude=None, cache=None, normalization='vocabulary'
):
  run = _jitted(
    model.tokens_to_logits, len(model.start), num_beams, normalization
  )
  cache = model.cache() if cache is None else cache
  return jax.tree.map(np.asarray, run(trie, cache, exclude))


def _assert_equal(found, expected, tolerance=0.0):
  for name in ('items', 'valid', 'tokens'):
    np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
  np.testing.assert_allclose(found.scores, expected.scores, rtol=tolerance)


@pytest.fixture(scope='module')
def model(toy_model):
  return toy_model(batch_size=4, vocab_size=VOCAB_SIZE)


@pytest.fixture(scope='module')
def uniform():
  """Codes that are all as frequent as the others."""
  number = np.random.default_rng(0).choice(20**2, NUM_ITEMS, replace=False)
  return (3 + np.stack([number // 20, number % 20], axis=1)).astype(np.int32)


def _draw_excluded(seed):
  """Lists of most items, as long as one of all but one."""
  rng = np.random.default_rng(seed)
  return rng.integers(-1, NUM_ITEMS, (4, NUM_ITEMS - 1)).astype(np.int32)


@pytest.mark.parametrize('num_top_levels', [None, 1, 2])
def test_two_shards_find_what_one_trie_finds(model, uniform, num_top_levels):
  """With all levels on all devices (2) the rows alone are cut."""
  sharded = build_sharded_trie(
    uniform, _mesh(2), 'model', num_top_levels=num_top_levels
  )
  assert sharded.num_top_levels == (num_top_levels or 1)
  exclude = _draw_excluded(0)
  expected = _search(model, build_trie(uniform), 30, exclude)
  _assert_equal(_search(model, sharded, 30, exclude), expected)


@pytest.mark.parametrize(
  'num_shards, kind, variable',
  [(4, 'sparse', False), (8, 'hybrid', True)],
)
def test_skewed_catalogues(
  model, draw_catalogue, trie_kinds, num_shards, kind, variable
):
  """More beams than a shard has items, too."""
  item_tokens = draw_catalogue(1, NUM_ITEMS, 3, VOCAB_SIZE, variable=variable)
  sharded = build_sharded_trie(
    item_tokens, _mesh(num_shards), 'model', thresholds=trie_kinds[kind]
  )
  exclude = _draw_excluded(1)
  expected = _search(model, build_trie(item_tokens), 60, exclude)
  _assert_equal(_search(model, sharded, 60, exclude), expected)


@pytest.mark.parametrize('normalization', ['level', 'children'])
def test_other_normalizations(model, uniform, normalization):
  """Over children up to rounding: a sum may be in another order."""
  sharded = build_sharded_trie(uniform, _mesh(4), 'model')
  expected = _search(
    model, build_trie(uniform), 12, normalization=normalization
  )
  found = _search(model, sharded, 12, normalization=normalization)
  tolerance = 1e-6 if normalization == 'children' else 0.0
  _assert_equal(found, expected, tolerance)


def test_shards_of_unlike_kinds_share_a_plan(model, trie_kinds):
  """Nodes of one shard have 30 children, those of the other 3."""
  number = np.arange(90)
  item_tokens = np.concatenate(
    [
      np.stack([0 * number, number // 30, number % 30], axis=1),
      np.stack([0 * number + 1, number // 3, number % 3], axis=1),
    ]
  )
  item_tokens = (3 + item_tokens).astype(np.int32)
  sharded = build_sharded_trie(
    item_tokens, _mesh(2), 'model', thresholds=trie_kinds['hybrid']
  )
  assert isinstance(sharded.levels[-1], Hybrid)
  expected = _search(model, build_trie(item_tokens), 20)
  _assert_equal(_search(model, sharded, 20), expected)


def test_levels_of_only_children(model, trie_kinds):
  """Nothing is chosen there, and the beams stay where they are."""
  item_tokens = np.stack([np.arange(30), np.arange(30) % 7], axis=1)
  item_tokens = (3 + item_tokens).astype(np.int32)
  sharded = build_sharded_trie(
    item_tokens, _mesh(4), 'model', thresholds=trie_kinds['sparse']
  )
  assert isinstance(sharded.levels[-1].ranges, Identity)
  expected = _search(model, build_trie(item_tokens), 40)
  _assert_equal(_search(model, sharded, 40), expected)


def test_requests_and_items_are_cut_at_once(model, draw_catalogue, trie_kinds):
  item_tokens = draw_catalogue(6, NUM_ITEMS, 2, VOCAB_SIZE)
  mesh = _mesh(2, num_batch_parts=4)
  exclude = _draw_excluded(6)
  expected = _search(model, build_trie(item_tokens), 9, exclude)
  sharded = build_sharded_trie(
    item_tokens, mesh, 'model', thresholds=trie_kinds['exceptions']
  )
  over_batch = jax.sharding.NamedSharding(mesh, jax.P('data'))
  cache = model.cache()
  cache['layer']['state'] = jax.device_put(cache['layer']['state'], over_batch)
  exclude = jax.device_put(exclude, over_batch)
  found = _search(model, sharded, 9, exclude, cache)
  # Rows of a smaller batch may be multiplied in another order.
  _assert_equal(found, expected, 1e-5)


def test_equal_scores_come_in_the_order_of_rows(draw_catalogue):
  item_tokens = draw_catalogue(4, 50, 3, VOCAB_SIZE)

  def constant_logits(tokens, cache, block):
    return jnp.zeros((*tokens.shape, VOCAB_SIZE)), cache

  sharded = build_sharded_trie(item_tokens, _mesh(4), 'model')
  found = jax.jit(lambda trie: beam_search(trie, constant_logits, {}, 1, 20))(
    sharded
  )
  np.testing.assert_array_equal(
    found.items[0], build_trie(item_tokens).row_to_item[:20]
  )


def test_a_request_that_excludes_all_but_one_gets_it(model, uniform):
  sharded = build_sharded_trie(uniform, _mesh(2), 'model')
  exclude = np.stack([np.delete(np.arange(NUM_ITEMS), i) for i in range(4)])
  found = _search(model, sharded, 30, exclude.astype(np.int32))
  np.testing.assert_array_equal(found.items[:, 0], np.arange(4))
  np.testing.assert_array_equal(found.valid.sum(axis=1), [1, 1, 1, 1])


def test_each_device_holds_its_share(draw_catalogue):
  item_tokens = draw_catalogue(8, 4000, 4, VOCAB_SIZE)
  whole = build_trie(item_tokens)
  sharded = build_sharded_trie(item_tokens, _mesh(8), 'model')
  assert sharded.device_bytes < whole.nbytes / 3
  for leaf in jax.tree.leaves(sharded.shards):
    assert leaf.addressable_shards[0].data.nbytes * 8 == leaf.nbytes


@pytest.mark.parametrize(
  'num_items, options, message',
  [
    (50, {'axis': 'items'}, "expected one of the mesh: \\('data', 'model'\\)"),
    (5, {}, '5 items for 8 shards'),
    (50, {'num_top_levels': 4}, 'expected 1 to 3'),
    (8, {'num_top_levels': 1}, 'leaving one empty'),
  ],
)
def test_refuses_impossible_cuts(draw_catalogue, num_items, options, message):
  item_tokens = draw_catalogue(0, num_items, 3, VOCAB_SIZE)
  arguments = {'axis': 'model', **options}
  with pytest.raises(GenrecError, match=message):
    build_sharded_trie(item_tokens, _mesh(8), **arguments)


def test_refuses_equal_items(draw_catalogue):
  item_tokens = draw_catalogue(0, 50, 3, VOCAB_SIZE)
  item_tokens[[7, 31]] = item_tokens[3]
  with pytest.raises(GenrecError, match='2 of 50 items .* for example items'):
    build_sharded_trie(item_tokens, _mesh(4), 'model')


def test_refuses_views(draw_catalogue):
  sharded = build_sharded_trie(
    draw_catalogue(0, 50, 3, VOCAB_SIZE), _mesh(4), 'model'
  )
  with pytest.raises(GenrecError, match='expected views=None'):
    sharded.filters(view=jnp.zeros(1, jnp.int32))
