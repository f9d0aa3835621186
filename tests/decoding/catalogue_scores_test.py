"""Exact scores of all items equal a slow reference, and a wide beam."""

import functools

import jax
import numpy as np
import pytest

from genrec_jax.decoding.beam_search import NORMALIZATIONS, beam_search
from genrec_jax.decoding.catalogue_scores import score_catalogue
from genrec_jax.decoding.trie_builder import build_trie
from genrec_jax.types import GenrecError

VOCAB_SIZE = 12


@pytest.mark.parametrize('normalization', NORMALIZATIONS)
def test_is_the_log_probability_of_every_item(
  toy_model, reference, draw_catalogue, normalization
):
  item_tokens = draw_catalogue(6, 33, 3, VOCAB_SIZE, variable=True)
  model = toy_model(batch_size=2, vocab_size=VOCAB_SIZE)
  trie = build_trie(item_tokens)
  run = functools.partial(score_catalogue, batch_size=2, chunk_size=5)
  scores = jax.jit(
    lambda cache: run(
      trie, model.tokens_to_logits, cache, normalization=normalization
    )
  )(model.cache())
  slow = reference(model, item_tokens, normalization)
  for request in range(2):
    exact = [slow.score(request, item) for item in range(33)]
    np.testing.assert_allclose(scores[request], exact, rtol=1e-5, atol=1e-5)


def test_items_that_share_their_tokens_share_their_score(
  toy_model, draw_catalogue
):
  item_tokens = np.repeat(draw_catalogue(6, 9, 3, VOCAB_SIZE), 2, axis=0)
  model = toy_model(batch_size=1, vocab_size=VOCAB_SIZE)
  trie = build_trie(item_tokens, shared_leaves=True)

  @jax.jit
  def run(cache):
    arguments = trie, model.tokens_to_logits, cache, 1
    return score_catalogue(*arguments), beam_search(*arguments, 18)

  scores, found = run(model.cache())
  np.testing.assert_array_equal(scores[:, ::2], scores[:, 1::2])
  np.testing.assert_allclose(
    found.scores, np.take_along_axis(scores, found.items, 1), rtol=1e-5
  )
  np.testing.assert_array_equal(found.items[0, ::2] + 1, found.items[0, 1::2])


def test_refuses_an_unknown_normalization(toy_model, draw_catalogue):
  trie = build_trie(draw_catalogue(0, 5, 3, VOCAB_SIZE))
  with pytest.raises(GenrecError, match='children, level, vocabulary'):
    score_catalogue(trie, None, {}, 1, normalization='none')
