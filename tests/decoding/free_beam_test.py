"""Decoding without the trie, and the mass outside of it, by brute force."""

import functools
import itertools

import jax
import numpy as np
import pytest

from genrec_jax.decoding.catalogue_scores import catalogue_mass, score_catalogue
from genrec_jax.decoding.free_beam import free_beam_search, make_free_beam_fn
from genrec_jax.decoding.item_grammar import item_grammar
from genrec_jax.decoding.live_catalogue import LiveCatalogue
from genrec_jax.decoding.sampling import Sampling, generate, request_keys
from genrec_jax.decoding.trie_builder import build_trie
from genrec_jax.types import EOS_ID, PAD_ID, GenrecError

VOCAB_SIZE = 6
LENGTH = 3


def all_sequences(model, request):
  """Every sequence that the model may write: {tokens: log-probability}."""
  found = {}
  for tokens in itertools.product(range(VOCAB_SIZE), repeat=LENGTH):
    if EOS_ID in tokens:
      end = tokens.index(EOS_ID) + 1
      tokens = tokens[:end] + (PAD_ID,) * (LENGTH - end)
    if tokens not in found:
      found[tokens] = 0.0
      for place, token in enumerate(tokens):
        scores = model.log_probabilities(request, tokens[:place])
        found[tokens] += scores[token]
        if token == EOS_ID:
          break
  return found


def test_a_wide_beam_finds_the_likeliest_of_all_sequences(toy_model):
  model = toy_model(batch_size=2, vocab_size=VOCAB_SIZE)
  num_beams = VOCAB_SIZE ** (LENGTH - 1)
  result = jax.jit(
    lambda cache: free_beam_search(
      model.tokens_to_logits, cache, 2, LENGTH, num_beams
    )
  )(model.cache())
  for request in range(2):
    known = all_sequences(model, request)
    assert np.exp(list(known.values())).sum() == pytest.approx(1)
    best = sorted(known.values(), reverse=True)[:num_beams]
    np.testing.assert_allclose(
      result.log_probabilities[request], best, rtol=1e-4, atol=1e-4
    )
    tokens = [tuple(row) for row in np.asarray(result.tokens[request]).tolist()]
    assert len(set(tokens)) == num_beams
    for row, score, ended in zip(
      tokens, result.log_probabilities[request], result.ended[request]
    ):
      assert known[row] == pytest.approx(float(score), abs=1e-4)
      assert (EOS_ID in row) == bool(ended)


def test_more_beams_than_sequences_are_marked(toy_model):
  model = toy_model(batch_size=1, vocab_size=VOCAB_SIZE)
  result = jax.jit(
    lambda cache: free_beam_search(
      model.tokens_to_logits, cache, 1, 1, VOCAB_SIZE + 3
    )
  )(model.cache())
  assert np.isneginf(result.log_probabilities[0, VOCAB_SIZE:]).all()
  assert np.isfinite(result.log_probabilities[0, :VOCAB_SIZE]).all()
  assert (result.tokens[0, VOCAB_SIZE:] == PAD_ID).all()
  with pytest.raises(GenrecError, match='num_beams=0'):
    make_free_beam_fn(model, length=1, num_beams=0)


@pytest.mark.parametrize('variable', [False, True])
def test_the_mass_of_the_catalogue_is_that_of_its_sequences(
  toy_model, draw_catalogue, variable
):
  items = draw_catalogue(3, 9, LENGTH, VOCAB_SIZE, variable=variable)
  model = toy_model(batch_size=2, vocab_size=VOCAB_SIZE)
  trie = build_trie(items)
  run = functools.partial(catalogue_mass, batch_size=2, chunk_size=2)
  mass = jax.jit(lambda cache: run(trie, model.tokens_to_logits, cache))(
    model.cache()
  )
  paths = {tuple(row) for row in items.tolist()}
  for request in range(2):
    known = all_sequences(model, request)
    for depth in range(1, LENGTH + 1):
      begun = {path[:depth] for path in paths}
      outside = sum(
        np.exp(score)
        for tokens, score in known.items()
        if tokens[:depth] not in begun
      )
      assert 1e-3 < outside < 1 - 1e-6
      assert mass[request, depth - 1] == pytest.approx(1 - outside, rel=1e-3)


def test_items_that_come_and_go_leave_no_mass_behind(toy_model, draw_catalogue):
  """Of a trie with room for more items, the room counts for nothing."""
  items = draw_catalogue(3, 9, LENGTH, VOCAB_SIZE)
  model = toy_model(batch_size=1, vocab_size=VOCAB_SIZE)
  roomy = LiveCatalogue(
    items, capacity=40, blocks=[range(3, VOCAB_SIZE)] * LENGTH
  )
  mass = jax.jit(
    lambda trie, cache: catalogue_mass(trie, model.tokens_to_logits, cache, 1)
  )
  masses = [
    mass(trie, model.cache()) for trie in (build_trie(items), roomy.trie)
  ]
  np.testing.assert_allclose(*masses, rtol=1e-5)


@pytest.mark.parametrize('variable', [False, True])
def test_under_the_trie_items_alone_are_drawn_as_often_as_they_are_likely(
  toy_model, draw_catalogue, variable
):
  """And those that a request must not get are not."""
  items = draw_catalogue(3, 9, LENGTH, VOCAB_SIZE, variable=variable)
  model = toy_model(batch_size=2, vocab_size=VOCAB_SIZE)
  trie = build_trie(items)
  num_samples = 4000
  grammar = item_grammar(
    trie, VOCAB_SIZE, exclude=np.array([[4, -1], [-1, -1]], np.int32)
  )
  drawn = jax.jit(
    lambda cache: (
      generate(
        model.tokens_to_logits,
        cache,
        2,
        LENGTH,
        keys=request_keys(jax.random.key(0), np.arange(2)),
        sampling=Sampling(temperature=1.0),
        num_samples=num_samples,
        grammar=grammar,
      ).tokens
    )
  )(model.cache())
  number = {tuple(row): item for item, row in enumerate(items.tolist())}
  for request, allowed in enumerate((np.delete(np.arange(9), 4), np.arange(9))):
    scores = jax.jit(
      lambda trie, cache: score_catalogue(
        trie, model.tokens_to_logits, cache, 2, normalization='children'
      )
    )(build_trie(items[allowed]), model.cache())
    expected = np.zeros(9)
    expected[allowed] = np.exp(scores[request])
    counts = np.zeros(9)
    for row in np.asarray(drawn[request]).tolist():
      counts[number[tuple(row)]] += 1
    np.testing.assert_allclose(counts / num_samples, expected, atol=0.03)
    assert counts.sum() == counts[allowed].sum()


def test_whoever_has_everything_gets_no_item(toy_model, draw_catalogue):
  items = draw_catalogue(3, 5, LENGTH, VOCAB_SIZE)
  model = toy_model(batch_size=1, vocab_size=VOCAB_SIZE)
  grammar = item_grammar(
    build_trie(items), VOCAB_SIZE, exclude=np.arange(5, dtype=np.int32)[None]
  )
  found = jax.jit(
    lambda cache: generate(
      model.tokens_to_logits, cache, 1, LENGTH, grammar=grammar
    )
  )(model.cache())
  assert (found.tokens == PAD_ID).all()
