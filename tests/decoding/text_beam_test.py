"""The search over texts finds what brute force and a textbook search find."""

import functools
import itertools

import jax
import numpy as np
import pytest

from genrec_jax.decoding.text_beam import (
  length_penalty,
  make_text_beam_fn,
  text_beam_search,
)
from genrec_jax.decoding.texts import ANY_TOKENS, AllowedTokens
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import T5Config, Transformer
from genrec_jax.types import EOS_ID, PAD_ID, GenrecError


def search(model, length, num_beams, alpha, grammar=ANY_TOKENS):
  run = jax.jit(
    functools.partial(
      text_beam_search,
      model.tokens_to_logits,
      batch_size=len(model.start),
      length=length,
      num_beams=num_beams,
    )
  )
  found = run(model.cache(), alpha=alpha, grammar=grammar)
  return jax.tree.map(np.asarray, found)


def texts_of(found, request):
  """The tokens of each text up to eos, as lists."""
  return [
    tokens[: list(tokens).index(EOS_ID) + 1] if ended else tokens
    for tokens, ended in zip(
      found.tokens[request].tolist(), found.ended[request]
    )
  ]


def penalty(length, alpha):
  return ((5 + length) / 6) ** alpha


@pytest.mark.parametrize('alpha', [0.0, 0.6, 2.0])
def test_a_wide_beam_equals_scoring_every_text(toy_model, alpha):
  vocab_size, length = 3, 4
  model = toy_model(batch_size=2, vocab_size=vocab_size, seed=1)
  scored = {}
  for request in range(2):
    for text in itertools.product(range(vocab_size), repeat=length):
      stop = text.index(EOS_ID) + 1 if EOS_ID in text else length
      text = text[:stop]
      scored[request, text] = sum(
        model.log_probabilities(request, text[:place])[token]
        for place, token in enumerate(text)
      )
  num_texts = len(scored) // 2  # 15 end, 16 are cut
  found = search(model, length, num_texts + 2, alpha)
  for request in range(2):
    expected = sorted(
      (EOS_ID not in text, -score / penalty(len(text), alpha), list(text))
      for (asked, text), score in scored.items()
      if asked == request
    )
    texts = texts_of(found, request)
    assert texts[:num_texts] == [text for _, _, text in expected]
    np.testing.assert_allclose(
      found.log_probabilities[request, :num_texts],
      [scored[request, tuple(text)] for text in texts[:num_texts]],
      rtol=1e-5,
    )
  # There are no more texts than these.
  assert (found.log_probabilities[:, num_texts:] == -np.inf).all()
  assert (found.tokens[:, num_texts:] == PAD_ID).all()
  assert not found.ended[:, 15:].any()


def textbook(model, request, length, num_beams, alpha, allowed):
  """(score, text), best first; a text of the best that ended or was cut."""
  live, ended = [(0.0, [])], []
  for _ in range(length):
    grown = [
      (score + more, text + [token])
      for score, text in live
      for token, more in enumerate(model.log_probabilities(request, text))
      if allowed[token]
    ]
    grown = sorted(grown, key=lambda beam: -beam[0])[: 2 * num_beams]
    ended += [
      (score / penalty(len(text), alpha), text)
      for score, text in grown
      if text[-1] == EOS_ID
    ]
    live = [beam for beam in grown if beam[1][-1] != EOS_ID][:num_beams]
  ended = sorted(ended, key=lambda beam: -beam[0])
  return [text for _, text in (ended + live)[:num_beams]]


@pytest.mark.parametrize(
  ('seed', 'length', 'num_beams'), [(0, 12, 1), (1, 12, 4), (2, 3, 6)]
)
def test_a_narrow_beam_equals_a_textbook_search(
  toy_model, seed, length, num_beams
):
  """The textbook search goes on to the end; stopping early loses nothing."""
  vocab_size = 20
  model = toy_model(batch_size=3, vocab_size=vocab_size, seed=seed)
  model.head[:, EOS_ID] += 1.0
  allowed = np.ones(vocab_size, bool)
  allowed[[PAD_ID, 7, 8]] = False
  for alpha in (0.0, 0.6):
    grammar = AllowedTokens(allowed)
    found = search(model, length, num_beams, alpha, grammar)
    for request in range(3):
      expected = textbook(model, request, length, num_beams, alpha, allowed)
      assert texts_of(found, request) == expected


def test_scores_are_those_of_a_model_without_a_cache():
  vocab_size, length, num_beams = 16, 6, 3
  model = EncoderDecoder(
    Transformer(
      T5Config(
        vocab_size=vocab_size,
        emb_dim=16,
        num_heads=2,
        head_dim=8,
        mlp_dim=32,
        num_encoder_layers=1,
        num_decoder_layers=1,
      )
    )
  )
  inputs = np.array([[4, 9, 7, 1, 0], [5, 0, 0, 0, 0]], np.int32)
  shapes = {
    name: (1, 4) for name in ('encoder_input_tokens', 'decoder_input_tokens')
  }
  params = jax.jit(
    lambda: model.get_initial_variables(jax.random.key(0), shapes)['params']
  )()
  params = jax.tree.map(lambda x: 2 * x, params)
  run = make_text_beam_fn(model, length=length, num_beams=num_beams)
  found = run(
    params,
    {'encoder_input_tokens': inputs},
    grammar=AllowedTokens(np.arange(vocab_size) != PAD_ID),
  )
  targets = np.asarray(found.tokens).reshape(-1, length)
  scores = jax.jit(model.score_batch)(
    params,
    {
      'encoder_input_tokens': np.repeat(inputs, num_beams, axis=0),
      'decoder_input_tokens': np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
      'decoder_target_tokens': targets,
      'decoder_loss_weights': (targets != PAD_ID).astype(np.int32),
    },
  )
  np.testing.assert_allclose(
    found.log_probabilities.reshape(-1), scores, rtol=1e-5
  )
  with pytest.raises(GenrecError, match='alpha=-1'):
    run(params, {'encoder_input_tokens': inputs}, alpha=-1)


def test_the_length_penalty_is_that_of_wu_et_al():
  assert length_penalty(1, 0.6) == 1.0
  assert length_penalty(7, 0.5) == pytest.approx(2**0.5)
  assert length_penalty(100, 0.0) == 1.0
