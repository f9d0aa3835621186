"""Lists of a part of the catalogue hold that part, ranked as before."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.data.token_cache import Ragged, TokenExamples
from genrec_jax.decoding.beam_search import beam_search
from genrec_jax.decoding.catalogue_views import only_items, recommend_wished
from genrec_jax.decoding.constraints import make_views
from genrec_jax.decoding.trie_builder import build_trie
from genrec_jax.types import GenrecError

NUM_ITEMS, VOCAB_SIZE, EXAMPLES = 40, 24, 11
ALLOWED = np.arange(NUM_ITEMS) % 3 == 0


@pytest.fixture(scope='module')
def trie(draw_catalogue):
  return build_trie(draw_catalogue(0, NUM_ITEMS, 2, 12))


@pytest.fixture(scope='module')
def recommend(trie):
  """Ranks all items, by what token follows which: exact, as wide as it is."""
  logits = jnp.asarray(
    np.random.default_rng(0).normal(size=(VOCAB_SIZE, VOCAB_SIZE)), jnp.float32
  )

  @jax.jit
  def search(params, batch, exclude=None, views=None, view=None):
    del params
    rows = len(batch['encoder_input_tokens'])
    return beam_search(
      trie,
      lambda tokens, cache, block=None: (
        logits[tokens][..., block.start : block.stop]
        if block is not None
        else logits[tokens],
        cache,
      ),
      {'row': jnp.zeros((rows, 1))},
      rows,
      NUM_ITEMS,
      exclude=exclude,
      views=views,
      view=view,
    )

  return search


@pytest.fixture(scope='module')
def examples():
  random = np.random.default_rng(1)
  histories = [random.permutation(NUM_ITEMS)[:5] for _ in range(EXAMPLES)]
  return TokenExamples(
    inputs=Ragged.from_rows([[3, 4, 5]] * EXAMPLES),
    targets=Ragged.from_rows([[3, 4]] * EXAMPLES),
    user=np.arange(EXAMPLES, dtype=np.int32),
    target=np.zeros(EXAMPLES, np.int32),
    tied=np.zeros(EXAMPLES, bool),
    history=Ragged.from_rows(histories),
  )


def test_only_allowed_items_are_listed_in_their_order(recommend, trie):
  batch = {'encoder_input_tokens': np.zeros((2, 3), np.int32)}
  exclude = np.array([[0, 6], [-1, -1]])
  everything = np.asarray(recommend(None, batch, exclude).items)
  some = np.asarray(
    only_items(recommend, trie, ALLOWED)(None, batch, exclude).items
  )
  for request in range(2):
    ranked = everything[request][everything[request] >= 0]
    listed = some[request][some[request] >= 0]
    assert listed.tolist() == ranked[ALLOWED[ranked]].tolist()
    assert len(listed) == ALLOWED.sum() - 2 * (request == 0)


def test_two_views_at_once_are_refused(recommend, trie):
  views = make_views(trie, ALLOWED[None])
  with pytest.raises(GenrecError, match='one view of the catalogue'):
    only_items(recommend, trie, ALLOWED)(
      None,
      {'encoder_input_tokens': np.zeros((1, 3), np.int32)},
      None,
      views,
      np.zeros(1, np.int32),
    )


def test_each_example_gets_what_it_wishes_for(recommend, trie, examples):
  has = np.arange(NUM_ITEMS) % 2 == np.arange(2)[:, None]
  wish = np.arange(EXAMPLES) % 3 - 1
  lists = recommend_wished(
    recommend,
    None,
    examples,
    trie=trie,
    has=has,
    wish=wish,
    batch_size=4,
  )
  for row in range(EXAMPLES):
    expected = (
      np.ones(NUM_ITEMS, bool) if wish[row] < 0 else has[wish[row]].copy()
    )
    expected[examples.history[row]] = False
    listed = lists.items[row][lists.items[row] >= 0]
    assert sorted(listed.tolist()) == np.flatnonzero(expected).tolist()
  with pytest.raises(GenrecError, match='65 views'):
    recommend_wished(
      recommend,
      None,
      examples,
      trie=trie,
      has=np.ones((65, NUM_ITEMS), bool),
      wish=wish,
      batch_size=4,
    )
