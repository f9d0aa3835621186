"""Changes make the trie that would be built anew, without compiling again."""

import jax
import numpy as np
import pytest

from genrec_jax.decoding.beam_search import beam_search
from genrec_jax.decoding.live_catalogue import LiveCatalogue
from genrec_jax.types import GenrecError

VOCAB_SIZE = 40
BLOCKS = [range(3, VOCAB_SIZE)] * 3


@pytest.mark.parametrize('variable', [False, True])
def test_a_changed_catalogue_is_exact_and_compiles_once(
  toy_model, reference, draw_catalogue, variable
):
  drawn = draw_catalogue(0, 120, 3, VOCAB_SIZE, variable=variable)
  model = toy_model(batch_size=1, vocab_size=VOCAB_SIZE)
  catalogue = LiveCatalogue(drawn[:80], capacity=120, blocks=BLOCKS)
  tokens = dict(enumerate(drawn[:80]))
  spare, rng = list(drawn[80:]), np.random.default_rng(1)

  @jax.jit
  def run(trie, cache):
    return beam_search(trie, model.tokens_to_logits, cache, 1, 9)

  for _ in range(4):
    before, old = catalogue.trie, run(catalogue.trie, model.cache())
    remove = rng.permutation(list(tokens))[:15]
    for item in remove:
      spare.append(tokens.pop(item))
    free = [item for item in range(120) if item not in tokens]
    add = rng.permutation(free)[:20]
    tokens |= {item: spare.pop(0) for item in add}
    trie = catalogue.update(
      add=add, tokens=np.array([tokens[i] for i in add]), remove=remove
    )
    assert trie is catalogue.trie and trie.num_items == len(tokens)
    numbers = sorted(tokens)
    slow = reference(model, np.array([tokens[item] for item in numbers]))
    found = run(trie, model.cache())
    scores, items = zip(*slow.search(0, 9))
    assert found.items[0].tolist() == [numbers[item] for item in items]
    np.testing.assert_allclose(found.scores[0], scores, rtol=1e-5)
    # Who searches the old trie is undisturbed.
    again = run(before, model.cache())
    np.testing.assert_array_equal(again.items, old.items)
  assert run._cache_size() == 1


def test_grows_to_its_capacity(draw_catalogue):
  drawn = draw_catalogue(0, 50, 3, VOCAB_SIZE)
  catalogue = LiveCatalogue(drawn[:10], capacity=50, blocks=BLOCKS)
  for first in range(10, 50, 10):
    rows = np.arange(first, first + 10)
    catalogue.update(add=rows, tokens=drawn[rows])
  np.testing.assert_array_equal(catalogue.trie.tokens(np.arange(50)), drawn)


@pytest.mark.parametrize(
  'change, message',
  [
    ({'remove': [12]}, 'item 12, is not there'),
    ({'remove': [3, 3]}, 'item 3, is named twice'),
    ({'remove': [20]}, r'numbers in \[0, 20\)'),
    ({'add': [4], 'tokens': [[9, 9, 9]]}, 'item 4, is there already'),
    ({'add': [14], 'tokens': [[9, 9]]}, 'items of 2 tokens'),
    ({'add': [14], 'tokens': [[9, 9, 99]]}, 'outside'),
    ({'add': [14, 15], 'tokens': [[9, 9, 9]]}, 'numbers for 2'),
    ({'add': [14, 15], 'tokens': [[9, 9, 9]] * 2}, 'tokens of another item'),
    ({'remove': list(range(10))}, 'no items'),
  ],
)
def test_refused_changes_change_nothing(draw_catalogue, change, message):
  drawn = draw_catalogue(0, 10, 3, VOCAB_SIZE)
  catalogue = LiveCatalogue(drawn, capacity=20, blocks=BLOCKS)
  before = catalogue.trie
  with pytest.raises(GenrecError, match=message):
    catalogue.update(**change)
  assert catalogue.trie is before
  catalogue.update(remove=[0])
  assert catalogue.trie.num_items == 9


def test_says_when_a_change_does_not_fit(draw_catalogue):
  """All new items under one prefix, where prefixes had few."""
  drawn = draw_catalogue(0, 30, 3, VOCAB_SIZE)
  catalogue = LiveCatalogue(drawn, capacity=500, blocks=[range(3, 400)] * 3)
  tokens = np.array([[399, 398, token] for token in range(3, 300)])
  with pytest.raises(GenrecError, match='build it anew'):
    catalogue.update(add=np.arange(30, 327), tokens=tokens)


def test_needs_room_for_its_items(draw_catalogue):
  with pytest.raises(GenrecError, match='capacity=5 for 10 items'):
    LiveCatalogue(draw_catalogue(0, 10, 3, VOCAB_SIZE), capacity=5)
