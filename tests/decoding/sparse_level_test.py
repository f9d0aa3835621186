"""Dealing children out to beams changes what is gathered, not what is found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.decoding.beam_search import beam_search
from genrec_jax.decoding.constraints import LevelFilter
from genrec_jax.decoding.level_logits import NORMALIZATIONS, LevelLogits
from genrec_jax.decoding.trie_builder import Thresholds, build_trie

VOCAB_SIZE = 200


@pytest.fixture(scope='module')
def item_tokens():
  """One prefix with 150 items, and 150 prefixes with one to three."""
  rng = np.random.default_rng(0)
  heavy = np.stack([np.full(150, 9), rng.permutation(190)[:150] + 5], axis=1)
  light = np.stack([rng.integers(10, 200, 300), rng.integers(5, 200, 300)], 1)
  return rng.permutation(np.unique(np.concatenate([heavy, light]), axis=0))


@pytest.fixture(scope='module')
def trie(item_tokens):
  return build_trie(item_tokens, thresholds=Thresholds(child_cost=0))


def test_children_of_any_beams_find_room(trie):
  level = trie.levels[1]
  counts = np.asarray(level.ranges.count(np.arange(trie.capacities[1])))
  for size, bounds in zip(
    (1, 2, 4, 8), np.split(np.array(level.chunk_bounds), 4)
  ):
    largest = np.sort(-(-counts // size))[::-1]
    for power in range(8):
      assert bounds[power] == largest[: 1 << power].sum()
  assert level.chunks(1) is None  # a beam may need all of the width
  number, size = level.chunks(40)
  assert number * size < 40 * level.width / 8


@pytest.mark.parametrize('normalization', NORMALIZATIONS)
def test_dealt_out_equals_equal_shares(trie, normalization):
  """For beams on the heaviest node and on others, one of them dead."""
  level, rng = trie.levels[1], np.random.default_rng(1)
  node = np.sort(rng.permutation(trie.capacities[1])[:40])[None]
  node[0, 0] = 0
  score = rng.standard_normal((1, 40)).astype(np.float32)
  score[0, 5] = -np.inf
  logits = LevelLogits.normalized_over(
    normalization,
    jnp.asarray(rng.standard_normal((1, 40, VOCAB_SIZE)), jnp.float32),
    level.alphabet,
    is_block=False,
  )
  node, score = jnp.asarray(node), jnp.asarray(score)
  wide, *others = (
    level.candidates(logits, score, node, LevelFilter(), chunks)
    for chunks in (None, (level.chunk_bounds[6], 1), (60, 8))
  )
  for dealt in others:
    assert dealt.score.size < wide.score.size / 5
    kept = [np.flatnonzero(x.score[0] > -np.inf) for x in (wide, dealt)]
    for a, b in zip(wide, dealt):
      np.testing.assert_allclose(
        np.asarray(a)[0, kept[0]], np.asarray(b)[0, kept[1]], rtol=1e-5
      )


def test_a_search_over_skewed_items_is_exact(
  toy_model, reference, item_tokens, trie
):
  model = toy_model(batch_size=2, vocab_size=VOCAB_SIZE)
  exclude = np.random.default_rng(2).integers(0, len(item_tokens), (2, 60))
  found = jax.jit(
    lambda trie, cache: beam_search(
      trie, model.tokens_to_logits, cache, 2, 40, exclude=exclude
    )
  )(trie, model.cache())
  slow = reference(model, item_tokens)
  for request in range(2):
    scores, items = zip(*slow.search(request, 40, set(exclude[request])))
    assert found.items[request].tolist() == list(items)
    np.testing.assert_allclose(found.scores[request], scores, rtol=1e-5)
