"""A trie cut over a mesh finds what the whole one finds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.decoding.beam_search import NORMALIZATIONS, beam_search
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


def _search(model, trie, num_beams, cache=None, **options):
  run = jax.jit(
    functools.partial(
      beam_search,
      tokens_to_logits=model.tokens_to_logits,
      batch_size=len(model.start),
      num_beams=num_beams,
      **options,
    )
  )
  cache = model.cache() if cache is None else cache
  return jax.tree.map(np.asarray, run(trie, cache=cache))


def _assert_equal(found, expected, tolerance=0.0):
  for name in ('items', 'valid', 'tokens'):
    np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
  np.testing.assert_allclose(found.scores, expected.scores, rtol=tolerance)


def _draw_uniform(seed):
  """Codes that are all as frequent as the others."""
  rng = np.random.default_rng(seed)
  rows = (
    3
    + rng.choice(12**3, NUM_ITEMS, replace=False)[:, None]
    // (12 ** np.arange(3))
    % 12
  )
  return rows.astype(np.int32)


@pytest.mark.parametrize('num_shards', [2, 4, 8])
@pytest.mark.parametrize('catalogue', ['uniform', 'skewed', 'variable'])
def test_results_are_those_of_the_whole_trie(
  toy_model, draw_catalogue, catalogue, num_shards
):
  """With more beams than a shard has items, and lists of excluded items."""
  if catalogue == 'uniform':
    item_tokens = _draw_uniform(0)
  else:
    item_tokens = draw_catalogue(
      1, NUM_ITEMS, 3, VOCAB_SIZE, variable=catalogue == 'variable'
    )
  model = toy_model(batch_size=3, vocab_size=VOCAB_SIZE)
  exclude = np.random.default_rng(0).integers(-1, NUM_ITEMS, (3, 90))
  sharded = build_sharded_trie(item_tokens, _mesh(num_shards), 'model')
  options = {'num_beams': 30, 'exclude': exclude.astype(np.int32)}
  expected = _search(model, build_trie(item_tokens), **options)
  _assert_equal(_search(model, sharded, **options), expected)


@pytest.mark.parametrize('normalization', NORMALIZATIONS)
def test_every_normalization(toy_model, draw_catalogue, normalization):
  """Over children up to rounding: a sum may be in another order."""
  item_tokens = draw_catalogue(2, NUM_ITEMS, 3, VOCAB_SIZE)
  model = toy_model(batch_size=2, vocab_size=VOCAB_SIZE)
  sharded = build_sharded_trie(item_tokens, _mesh(4), 'model')
  options = {'num_beams': 12, 'normalization': normalization}
  expected = _search(model, build_trie(item_tokens), **options)
  tolerance = 1e-6 if normalization == 'children' else 0.0
  _assert_equal(_search(model, sharded, **options), expected, tolerance)


@pytest.mark.parametrize('num_top_levels', [1, 2, 3])
def test_a_cut_at_every_depth(toy_model, num_top_levels):
  """Down to all levels on all devices, when only the rows are cut."""
  item_tokens = _draw_uniform(3)
  model = toy_model(batch_size=2, vocab_size=VOCAB_SIZE)
  exclude = np.arange(NUM_ITEMS, dtype=np.int32).reshape(2, -1)
  sharded = build_sharded_trie(
    item_tokens, _mesh(2), 'model', num_top_levels=num_top_levels
  )
  assert sharded.num_top_levels == num_top_levels
  expected = _search(model, build_trie(item_tokens), 20, exclude=exclude)
  _assert_equal(_search(model, sharded, 20, exclude=exclude), expected)


@pytest.mark.parametrize('kind', ['dense', 'sparse', 'exceptions', 'hybrid'])
def test_shards_of_every_kind(toy_model, draw_catalogue, trie_kinds, kind):
  item_tokens = draw_catalogue(4, NUM_ITEMS, 4, VOCAB_SIZE)
  model = toy_model(batch_size=2, vocab_size=VOCAB_SIZE)
  exclude = np.random.default_rng(1).integers(-1, NUM_ITEMS, (2, 40))
  sharded = build_sharded_trie(
    item_tokens, _mesh(4), 'model', thresholds=trie_kinds[kind]
  )
  options = {'num_beams': 10, 'exclude': exclude.astype(np.int32)}
  expected = _search(model, build_trie(item_tokens), **options)
  _assert_equal(_search(model, sharded, **options), expected)


def test_shards_of_unlike_kinds_share_a_plan(toy_model, trie_kinds):
  """One first code has nodes with many children, the other with few."""
  rng = np.random.default_rng(5)
  wide = np.stack([np.arange(100) // 30, np.arange(100) % 30], axis=1)
  narrow = np.stack([np.arange(100) % 34, np.arange(100) // 34], axis=1)
  item_tokens = 3 + np.concatenate(
    [
      np.pad(wide, ((0, 0), (1, 0))),
      np.pad(narrow, ((0, 0), (1, 0)), constant_values=1),
    ]
  )
  item_tokens[100:, 0] = 4
  item_tokens[100:, 1:] = 3 + narrow
  item_tokens = item_tokens[rng.permutation(200)].astype(np.int32)
  model = toy_model(batch_size=2, vocab_size=VOCAB_SIZE)
  sharded = build_sharded_trie(
    item_tokens, _mesh(2), 'model', thresholds=trie_kinds['hybrid']
  )
  expected = _search(model, build_trie(item_tokens), 20)
  _assert_equal(_search(model, sharded, 20), expected)


def test_requests_and_items_are_cut_at_once(toy_model, draw_catalogue):
  item_tokens = draw_catalogue(6, NUM_ITEMS, 3, VOCAB_SIZE)
  mesh = _mesh(2, num_batch_parts=4)
  model = toy_model(batch_size=8, vocab_size=VOCAB_SIZE)
  exclude = np.random.default_rng(0).integers(-1, NUM_ITEMS, (8, 90))
  exclude = exclude.astype(np.int32)
  expected = _search(model, build_trie(item_tokens), 9, exclude=exclude)
  over_batch = jax.sharding.NamedSharding(mesh, jax.P('data'))
  cache = model.cache()
  cache['layer']['state'] = jax.device_put(cache['layer']['state'], over_batch)
  found = _search(
    model,
    build_sharded_trie(item_tokens, mesh, 'model'),
    9,
    cache,
    exclude=jax.device_put(exclude, over_batch),
  )
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


def test_a_request_that_excludes_all_but_one_gets_it(toy_model):
  model = toy_model(batch_size=1, vocab_size=VOCAB_SIZE)
  sharded = build_sharded_trie(_draw_uniform(7), _mesh(4), 'model')
  exclude = np.delete(np.arange(NUM_ITEMS, dtype=np.int32), 77)[None]
  found = _search(model, sharded, 3, exclude=exclude)
  np.testing.assert_array_equal(found.items, [[77, -1, -1]])


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
