"""The search with the real model: exact, whatever is batched or sharded."""

import functools

import jax
import numpy as np
import pytest

from genrec_jax.data.token_cache import Ragged, TokenExamples
from genrec_jax.decoding.catalogue_scores import score_catalogue
from genrec_jax.decoding.recommend import (
  make_recommend_fn,
  recommend_examples,
  seen_items,
  take_examples,
)
from genrec_jax.decoding.t5x import make_decode_fn
from genrec_jax.decoding.trie_builder import build_trie
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import T5Config, Transformer

NUM_ITEMS, NUM_LEVELS, VOCAB_SIZE = 50, 3, 32


INPUTS = np.array([[4, 9, 7, 1, 0], [5, 0, 0, 0, 0]], np.int32)


def _make_model(dtype='float32', **options):
  config = T5Config(
    vocab_size=VOCAB_SIZE,
    dtype=dtype,
    emb_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=32,
    num_encoder_layers=1,
    num_decoder_layers=1,
  )
  return EncoderDecoder(Transformer(config), **options)


# One instance each, so that tests share what is compiled for it.
MODELS = {dtype: _make_model(dtype) for dtype in ('float32', 'bfloat16')}


@pytest.fixture(scope='module')
def params():
  shapes = {
    name: (1, 4) for name in ('encoder_input_tokens', 'decoder_input_tokens')
  }
  init = jax.jit(
    lambda key: MODELS['float32'].get_initial_variables(key, shapes)['params']
  )
  return init(jax.random.PRNGKey(0))


@pytest.fixture(scope='module')
def item_tokens(draw_catalogue):
  return draw_catalogue(0, NUM_ITEMS, NUM_LEVELS, 12)


def _draw_examples(count, seed=0):
  rng = np.random.default_rng(seed)
  histories = [
    rng.permutation(NUM_ITEMS)[: rng.integers(1, 12)] for _ in range(count)
  ]
  return TokenExamples(
    inputs=Ragged.from_rows([3 + h % 20 for h in histories]),
    targets=Ragged.from_rows([[3, 4, 5]] * count),
    user=np.arange(count, dtype=np.int32),
    target=rng.integers(0, NUM_ITEMS, count).astype(np.int32),
    tied=rng.random(count) < 0.5,
    history=Ragged.from_rows(histories),
  )


@pytest.mark.parametrize(
  'dtype, tolerance', [('float32', 1e-5), ('bfloat16', 0.05)]
)
def test_a_wide_beam_equals_teacher_forcing(
  params, item_tokens, dtype, tolerance
):
  """`score_batch` knows no cache and no trie.

  In bfloat16 a cached step rounds otherwise than a whole sequence does.
  """
  model = MODELS[dtype]
  exclude = np.array([[3, 17, 40, -1], [-1, -1, -1, -1]], np.int32)
  recommend = make_recommend_fn(
    model, build_trie(item_tokens), num_beams=NUM_ITEMS
  )
  found = recommend(params, {'encoder_input_tokens': INPUTS}, exclude)
  np.testing.assert_array_equal(found.valid.sum(axis=1), [47, 50])
  score_batch = jax.jit(model.score_batch)
  for request in range(2):
    exact = score_batch(
      params,
      {
        'encoder_input_tokens': np.repeat(INPUTS[[request]], NUM_ITEMS, 0),
        'decoder_input_tokens': np.pad(item_tokens, ((0, 0), (1, 0)))[:, :-1],
        'decoder_target_tokens': item_tokens,
        'decoder_loss_weights': np.ones_like(item_tokens),
      },
    )
    items = np.asarray(found.items[request])[np.asarray(found.valid[request])]
    excluded = set(exclude[request]) - {-1}
    assert set(items) == set(range(NUM_ITEMS)) - excluded
    np.testing.assert_allclose(
      found.scores[request, : len(items)],
      exact[items],
      rtol=tolerance,
      atol=tolerance,
    )


def test_score_catalogue_equals_a_wide_beam(params, item_tokens):
  """Also in bfloat16 exactly: both score through the same cached steps."""
  model = MODELS['bfloat16']
  trie = build_trie(item_tokens)
  batch = {'encoder_input_tokens': INPUTS}

  @jax.jit
  def score(params):
    step, cache = model.start_decoding(params, batch)
    return score_catalogue(trie, step, cache, 2, chunk_size=16)

  recommend = make_recommend_fn(model, trie, num_beams=NUM_ITEMS)
  found = recommend(params, batch, np.full((2, 4), -1, np.int32))
  scores = np.take_along_axis(np.asarray(score(params)), found.items, axis=1)
  np.testing.assert_allclose(found.scores, scores, rtol=1e-4, atol=1e-4)


def test_predict_batch_searches_the_trie(params, item_tokens):
  """The model class drives `make_decode_fn` by T5X's contract."""
  trie = build_trie(item_tokens)
  model = _make_model(
    decode_fn=make_decode_fn(trie), num_decodes=6, return_all_decodes=True
  )
  batch = {
    'encoder_input_tokens': INPUTS,
    'decoder_input_tokens': np.zeros((2, 4), np.int32),
  }
  decodes, aux = jax.jit(model.predict_batch_with_aux)(params, batch)
  found = make_recommend_fn(model, trie, num_beams=6)(params, batch)
  np.testing.assert_array_equal(decodes[:, ::-1, :NUM_LEVELS], found.tokens)
  np.testing.assert_allclose(
    aux['scores'][:, ::-1], found.scores, rtol=1e-5, atol=1e-5
  )


def test_lists_do_not_depend_on_batches_or_devices(params, item_tokens):
  examples = _draw_examples(21)
  recommend = make_recommend_fn(
    MODELS['float32'], build_trie(item_tokens), num_beams=7
  )
  run = functools.partial(recommend_examples, recommend)
  alone = run(params, examples, batch_size=21, num_buckets=2)
  mesh = jax.sharding.Mesh(np.array(jax.devices()), ('data',))
  over_rows = jax.sharding.NamedSharding(mesh, jax.P('data'))
  whole = jax.sharding.NamedSharding(mesh, jax.P())
  sharded = run(
    jax.device_put(params, whole),
    examples,
    batch_size=8,
    num_buckets=1,
    place=lambda batch: jax.device_put(dict(batch), over_rows),
  )
  np.testing.assert_array_equal(sharded.items, alone.items)
  np.testing.assert_allclose(sharded.scores, alone.scores, rtol=1e-5)
  part = run(params, take_examples(examples, [3, 20]), batch_size=21)
  np.testing.assert_array_equal(part.items, alone.items[[3, 20]])


def test_seen_items_are_the_history_and_nothing_else():
  history = Ragged.from_rows([[0, 4], [], [7, 0, 9]])
  seen = seen_items(history, [2, -1, 0, 1])
  assert seen.shape == (4, 8)
  listed = [sorted(row[row >= 0].tolist()) for row in seen]
  assert listed == [[0, 7, 9], [], [0, 4], []]
