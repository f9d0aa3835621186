"""Lists and views leave exactly the items that may be recommended."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.decoding.beam_search import beam_search
from genrec_jax.decoding.constraints import level_filters, make_views
from genrec_jax.decoding.trie_builder import build_trie
from genrec_jax.types import GenrecError

NUM_ITEMS, VOCAB_SIZE = 60, 80


def _search(model, trie, num_beams, **filters):
  """Compiled once for all filters of the same shapes."""

  @jax.jit
  def run(trie, cache, filters):
    return beam_search(
      trie,
      model.tokens_to_logits,
      cache,
      len(model.start),
      num_beams,
      **filters,
    )

  return run, run(trie, model.cache(), filters)


@pytest.mark.parametrize(
  'kind', ['default', 'dense', 'sparse', 'exceptions', 'hybrid']
)
def test_lists_and_views_together_are_exact(
  toy_model, reference, draw_catalogue, trie_kinds, kind
):
  """A prefix dies when some of its items are excluded and the others unseen."""
  item_tokens = draw_catalogue(1, NUM_ITEMS, 3, VOCAB_SIZE, variable=True)
  trie = build_trie(item_tokens, thresholds=trie_kinds[kind])
  model = toy_model(batch_size=3, vocab_size=VOCAB_SIZE)
  slow = reference(model, item_tokens)
  rng = np.random.default_rng(0)
  allowed = rng.random((2, NUM_ITEMS)) < 0.4
  exclude = rng.integers(-1, NUM_ITEMS + 5, (3, 25)).astype(np.int32)
  view = np.array([1, -1, 0])
  run = None
  for shift in range(2):
    filters = {
      'exclude': np.roll(exclude, shift, axis=0),
      'views': make_views(trie, jnp.asarray(np.roll(allowed, shift, axis=0))),
      'view': np.roll(view, shift),
    }
    if run is None:
      run, found = _search(model, trie, 7, **filters)
    else:
      found = run(trie, model.cache(), filters)
    for request in range(3):
      forbidden = set(filters['exclude'][request].tolist())
      if filters['view'][request] >= 0:
        seen = np.roll(allowed, shift, axis=0)[filters['view'][request]]
        forbidden |= set(np.flatnonzero(~seen).tolist())
      wanted = slow.search(request, 7, forbidden)
      valid = np.asarray(found.valid[request])
      assert found.items[request][valid].tolist() == [i for _, i in wanted]
      np.testing.assert_allclose(
        found.scores[request][valid], [s for s, _ in wanted], rtol=1e-4
      )
  assert run._cache_size() == 1  # other lists and views do not recompile


def test_a_view_without_items_gives_none(toy_model, draw_catalogue):
  trie = build_trie(draw_catalogue(1, 20, 3, 12))
  model = toy_model(batch_size=2, vocab_size=12)
  _, found = _search(
    model,
    trie,
    30,
    views=make_views(trie, jnp.zeros((1, 20), bool)),
    view=np.array([0, -1]),
  )
  np.testing.assert_array_equal(found.valid.sum(axis=1), [0, 20])


def test_a_view_of_fewer_numbers_holds_no_others(toy_model, draw_catalogue):
  trie = build_trie(draw_catalogue(1, 20, 3, 12))
  model = toy_model(batch_size=1, vocab_size=12)
  _, found = _search(
    model,
    trie,
    20,
    views=make_views(trie, jnp.ones((1, 5), bool)),
    view=np.array([0]),
  )
  assert set(found.items[0][found.valid[0]].tolist()) == set(range(5))


def test_items_that_share_tokens_are_excluded_one_by_one(
  toy_model, draw_catalogue
):
  item_tokens = np.repeat(draw_catalogue(2, 10, 3, 12), 3, axis=0)
  trie = build_trie(item_tokens, shared_leaves=True)
  model = toy_model(batch_size=1, vocab_size=12)
  _, found = _search(model, trie, 30, exclude=np.array([[0, 1, 2, 4, 29]]))
  assert set(found.items[0].tolist()) == set(range(30)) - {0, 1, 2, 4, 29} | {
    -1
  }


def test_refuses_half_a_view(draw_catalogue):
  trie = build_trie(draw_catalogue(1, 20, 3, 12))
  with pytest.raises(GenrecError, match='expected both'):
    level_filters(trie, view=np.array([0]))
  other = build_trie(draw_catalogue(1, 20, 2, 30))
  views = make_views(other, jnp.ones((1, 20), bool))
  with pytest.raises(GenrecError, match='views of 2 levels for a trie of 3'):
    level_filters(trie, views=views, view=np.array([0]))
