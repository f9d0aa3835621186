"""Drawn texts: the model's distribution, cut as asked, the same everywhere."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from genrec_jax.decoding import sampling as sampling_module
from genrec_jax.decoding.sampling import (
  Sampling,
  generate,
  make_generate_fn,
  request_keys,
)
from genrec_jax.decoding.texts import AllowedTokens, text_tokens
from genrec_jax.ids.item_ids import TokenLayout
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import T5Config, Transformer
from genrec_jax.types import EOS_ID, PAD_ID, GenrecError

VOCAB_SIZE, LENGTH, NUM_SAMPLES = 16, 8, 3
MODEL = EncoderDecoder(
  Transformer(
    T5Config(
      vocab_size=VOCAB_SIZE,
      emb_dim=16,
      num_heads=2,
      head_dim=8,
      mlp_dim=32,
      num_encoder_layers=1,
      num_decoder_layers=1,
    )
  )
)
INPUTS = np.array([[4, 9, 7, 1, 0], [5, 0, 0, 0, 0], [8, 8, 3, 2, 1]], np.int32)
BATCH = {'encoder_input_tokens': INPUTS}
KEYS = request_keys(jax.random.key(7), np.arange(3))
NO_PAD = AllowedTokens(np.arange(VOCAB_SIZE) != PAD_ID)
GREEDY = make_generate_fn(MODEL, length=LENGTH)
DRAW = functools.partial(
  make_generate_fn(MODEL, length=LENGTH, num_samples=NUM_SAMPLES),
  grammar=NO_PAD,
)
SAMPLING = Sampling(temperature=3.0, top_k=9, top_p=0.95)


@pytest.fixture(scope='module')
def params():
  shapes = {
    name: (1, 4) for name in ('encoder_input_tokens', 'decoder_input_tokens')
  }
  init = jax.jit(lambda key: MODEL.get_initial_variables(key, shapes)['params'])
  # Peaked enough that greedy decoding is not one token again and again.
  return jax.tree.map(lambda x: 2 * x, init(jax.random.key(0)))


def bigrams(table):
  """A model that knows the last token alone."""

  def tokens_to_logits(tokens, cache, block=None):
    return jnp.asarray(table, jnp.float32)[tokens], cache

  return tokens_to_logits


def test_texts_are_those_of_a_model_without_a_cache(params):
  """Greedy texts are its likeliest tokens, and all have its log-probabilities:
  of the whole vocabulary and untempered, with eos and without padding.
  """
  greedy = GREEDY(params, BATCH, grammar=NO_PAD)
  drawn = DRAW(params, BATCH, keys=KEYS, sampling=SAMPLING)
  pairs = zip(jax.tree.leaves(greedy), jax.tree.leaves(drawn))
  tokens, scores, ended = (np.concatenate(pair, axis=1) for pair in pairs)
  ends = tokens == EOS_ID
  np.testing.assert_array_equal(ended, ends.any(axis=-1))
  assert 0 < ended.sum() < ended.size
  after = np.cumsum(ends, axis=-1) - ends > 0
  np.testing.assert_array_equal(tokens == PAD_ID, after)

  targets = tokens.reshape(-1, LENGTH)
  logits = jax.jit(MODEL.logits)(
    params,
    {
      'encoder_input_tokens': np.repeat(INPUTS, 1 + NUM_SAMPLES, axis=0),
      'decoder_input_tokens': np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
      'decoder_target_tokens': targets,
    },
  )
  logits = np.asarray(logits).reshape(*tokens.shape, VOCAB_SIZE)
  likeliest = 1 + logits[:, 0, :, 1:].argmax(axis=-1)
  np.testing.assert_array_equal(
    tokens[:, 0], np.where(after[:, 0], PAD_ID, likeliest)
  )
  each = scipy.special.log_softmax(logits.astype(np.float64), axis=-1)
  each = np.take_along_axis(each, tokens[..., None], axis=-1)[..., 0]
  expected = np.where(after, 0.0, each).sum(axis=-1)
  np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_texts_come_with_their_probabilities():
  """All texts of up to three tokens, against their exact probabilities."""
  temperature, count = 1.7, 20_000
  table = np.random.default_rng(0).normal(size=(4, 4)) * 2
  run = jax.jit(
    functools.partial(generate, bigrams(table), {}, 1, 3, num_samples=count)
  )
  keys = request_keys(jax.random.key(3), [0])
  texts = run(keys=keys, sampling=Sampling(temperature=temperature))
  tempered = np.exp(table / temperature)
  tempered /= tempered.sum(axis=1, keepdims=True)
  expected = {}
  for text in itertools.product(range(4), repeat=3):
    stop = text.index(EOS_ID) + 1 if EOS_ID in text else 3
    text = text[:stop]
    steps = zip((PAD_ID, *text), text)
    probability = np.prod([tempered[step] for step in steps])
    expected[(*text, *[PAD_ID] * (3 - stop))] = probability
  # 1 0 0 and the like: pad is a token here, but nothing follows eos.
  assert sum(expected.values()) == pytest.approx(1.0)
  found, counts = np.unique(texts.tokens[0], axis=0, return_counts=True)
  counts = dict(zip(map(tuple, found.tolist()), counts))
  assert set(counts) <= set(expected)
  observed = [counts.get(text, 0) for text in expected]
  result = scipy.stats.chisquare(
    observed, np.array(list(expected.values())) * count
  )
  assert result.pvalue > 1e-3


def test_tokens_of_a_wide_vocabulary_come_with_their_probabilities():
  """More than one chunk of tokens, the last one not full, top_k in force."""
  size, count, top_k = 300, 5_000, 200
  logits = np.random.default_rng(1).normal(size=size)
  run = jax.jit(
    functools.partial(
      generate,
      bigrams(np.tile(logits, (size, 1))),
      {},
      1,
      1,
      num_samples=count,
    )
  )
  keys = request_keys(jax.random.key(5), [0])
  drawn = run(keys=keys, sampling=Sampling(top_k=top_k)).tokens.reshape(-1)
  counts = np.bincount(drawn, minlength=size)
  kept = np.sort(np.argsort(logits)[-top_k:])
  assert counts[kept].sum() == count
  expected = np.exp(logits[kept])
  expected *= count / expected.sum()
  assert scipy.stats.chisquare(counts[kept], expected).pvalue > 1e-3


CUT = jax.jit(Sampling.logits)


@pytest.mark.parametrize(
  ('sampling', 'kept'),
  [
    (Sampling(top_k=1), {0}),
    (Sampling(top_k=3), {0, 1, 2, 3}),  # 2 and 3 are equally likely
    (Sampling(top_k=99), {0, 1, 2, 3, 4}),
    (Sampling(top_p=0.3), {0}),
    (Sampling(top_p=0.41), {0, 1}),
    (Sampling(top_p=0.7), {0, 1, 2, 3}),
    (Sampling(top_p=1.0), {0, 1, 2, 3, 4}),
    # .4 and .25 are .62 and .38 of what top_k leaves.
    (Sampling(top_k=2, top_p=0.6), {0}),
    (Sampling(top_k=2, top_p=0.65), {0, 1}),
    # Probabilities .29 .23 .18 .18 .12: temperature comes first.
    (Sampling(temperature=2.0, top_p=0.4), {0, 1}),
    (Sampling(temperature=1e-3, top_p=0.99), {0}),
  ],
)
def test_what_is_drawn_from(sampling, kept):
  probabilities = np.array([0.4, 0.25, 0.14, 0.14, 0.07, 0.0])
  order = [3, 5, 0, 4, 1, 2]  # in no order
  with np.errstate(divide='ignore'):
    logits = np.log(probabilities)[order].astype(np.float32)
  found = np.asarray(CUT(sampling, jnp.asarray([logits, logits - 50.0])))
  for row in found:
    assert {order[n] for n in np.flatnonzero(row > -np.inf)} == kept


def test_a_nucleus_of_everything_keeps_what_rounding_hides():
  logits = jnp.asarray([[40.0] + [0.0] * 500])
  found = CUT(Sampling(top_p=1.0), logits)
  np.testing.assert_array_equal(found, logits)


def test_a_text_depends_on_its_request_alone(params):
  """Not on the rest of the batch, nor on its place there."""
  draw = functools.partial(DRAW, params, sampling=SAMPLING)
  texts = np.asarray(draw(BATCH, keys=KEYS).tokens)
  np.testing.assert_array_equal(texts, draw(BATCH, keys=KEYS).tokens)
  order = np.array([2, 0, 1])
  inputs = INPUTS[order]
  inputs[1] = 3  # another neighbour
  moved = draw({'encoder_input_tokens': inputs}, keys=KEYS[order]).tokens
  np.testing.assert_array_equal(texts[2], moved[0])
  np.testing.assert_array_equal(texts[1], moved[2])
  # Draws differ, and other keys draw others.
  assert len(np.unique(texts[0], axis=0)) == NUM_SAMPLES
  assert (draw(BATCH, keys=KEYS[order]).tokens != texts).any()


def test_the_first_of_many_texts_are_those_of_few():
  table = np.random.default_rng(2).normal(size=(9, 9))
  keys = request_keys(jax.random.key(0), [4, 5])
  few, many = (
    jax.jit(
      functools.partial(
        generate, bigrams(table), {}, 2, 6, num_samples=num_samples
      )
    )(keys=keys, sampling=Sampling()).tokens
    for num_samples in (2, 7)
  )
  np.testing.assert_array_equal(few, many[:, :2])


def test_other_numbers_do_not_compile_again(params):
  def draw(**numbers):
    DRAW(params, BATCH, keys=KEYS, sampling=Sampling(**numbers))
    return sampling_module._generate._cache_size()

  compiled = draw(temperature=1.0, top_k=3, top_p=0.5)
  assert draw(temperature=0.3, top_k=7, top_p=0.9) == compiled


def test_text_alone_where_the_grammar_says_so():
  layout = TokenLayout(
    num_text_tokens=6, codebook_sizes=(4,), user_codebook_sizes=(2,)
  )
  size = layout.vocab_size
  run = jax.jit(
    functools.partial(
      generate,
      bigrams(np.zeros((size, size))),
      {},
      1,
      20,
      num_samples=50,
      grammar=AllowedTokens(text_tokens(layout)),
    )
  )
  keys = request_keys(jax.random.key(0), [0])
  tokens = np.asarray(run(keys=keys, sampling=Sampling()).tokens)
  is_padding = np.cumsum(tokens == EOS_ID, axis=-1) - (tokens == EOS_ID) > 0
  assert set(tokens[~is_padding].tolist()) == {EOS_ID, 3, 4, 5}


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'sampling': Sampling()}, 'without keys'),
    ({'sampling': Sampling(temperature=0.0), 'keys': KEYS}, 'temperature=0.0'),
    ({'sampling': Sampling(top_k=0), 'keys': KEYS}, 'top_k=0'),
    ({'sampling': Sampling(top_p=1.5), 'keys': KEYS}, 'top_p=1.5'),
    ({'grammar': AllowedTokens(np.ones(9, bool))}, 'grammar is of 9 tokens'),
  ],
)
def test_errors_say_what_is_wrong(params, arguments, message):
  with pytest.raises(GenrecError, match=message):
    GREEDY(params, BATCH, **arguments)
