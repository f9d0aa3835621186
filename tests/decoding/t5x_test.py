"""T5X's own models, searches and inference run on our parts, and agree.

The rest of the suite holds our side of T5X's contracts; here both sides are
real. T5X is in no package registry, so this is skipped where it is absent.
"""

import importlib.util
import warnings

import flax.core
import gin
import jax
import jax.numpy as jnp
import numpy as np
import pytest

if importlib.util.find_spec('t5x') is None:
  pytest.skip('t5x is not installed', allow_module_level=True)

from genrec_jax.decoding.beam_search import reorder_cache
from genrec_jax.decoding.t5x import make_decode_fn
from genrec_jax.decoding.text_beam import length_penalty, make_text_beam_fn
from genrec_jax.decoding.trie_builder import build_trie
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import T5Config, Transformer

# From here on nothing is skipped: a T5X that is there must work.
with warnings.catch_warnings():
  warnings.simplefilter('ignore')
  import seqio
  import t5x.decoding
  import t5x.models
  import t5x.partitioning
  import t5x.train_state
  import t5x.utils
  import tensorflow as tf
  from t5x.examples.scalable_t5 import network as scalable
  from t5x.examples.t5 import network as minimal

# Neither T5X nor what it imports is ours to mend.
pytestmark = pytest.mark.filterwarnings('ignore')

VOCAB_SIZE, NUM_ITEMS, NUM_LEVELS, LENGTH = 16, 30, 3, 5
SIZES = {
  'vocab_size': VOCAB_SIZE,
  'emb_dim': 8,
  'num_heads': 2,
  'head_dim': 4,
  'mlp_dim': 16,
  'num_encoder_layers': 1,
  'num_decoder_layers': 2,
  'mlp_activations': ('gelu', 'linear'),
  'logits_via_embedding': False,
}
BATCH = {
  'encoder_input_tokens': np.array(
    [[5, 6, 7, 1], [9, 3, 1, 0], [4, 4, 1, 0]], np.int32
  ),
  'decoder_input_tokens': np.zeros((3, LENGTH), np.int32),
}
VOCABULARY = seqio.PassThroughVocabulary(VOCAB_SIZE, eos_id=1)


@pytest.fixture(autouse=True)
def settings():
  """T5X promotes ranks."""
  with jax.numpy_rank_promotion('allow'):
    yield
  gin.clear_config()


@pytest.fixture(scope='module')
def item_tokens(draw_catalogue):
  return draw_catalogue(7, NUM_ITEMS, NUM_LEVELS, VOCAB_SIZE, variable=True)


@pytest.fixture(params=['unscanned', 'scanned'])
def module(request):
  if request.param == 'scanned':
    return scalable.Transformer(scalable.T5Config(**SIZES))
  return minimal.Transformer(minimal.T5Config(**SIZES))


def t5x_model(module, decode_fn, num_decodes):
  return t5x.models.EncoderDecoderModel(
    module,
    input_vocabulary=VOCABULARY,
    output_vocabulary=VOCABULARY,
    optimizer_def=None,
    decode_fn=decode_fn,
    default_decoder_params=t5x.models.DecoderParams(
      return_all_decodes=True, num_decodes=num_decodes
    ),
  )


def our_model(decode_fn, num_decodes):
  return EncoderDecoder(
    Transformer(T5Config(**SIZES)),
    input_vocabulary=VOCABULARY,
    output_vocabulary=VOCABULARY,
    decode_fn=decode_fn,
    num_decodes=num_decodes,
    return_all_decodes=True,
  )


def init(model):
  """Draws parameters that make some items far likelier than others."""
  variables = jax.jit(
    lambda: model.get_initial_variables(
      jax.random.key(0),
      {name: value.shape for name, value in BATCH.items()},
      {name: value.dtype for name, value in BATCH.items()},
    )
  )()
  return flax.core.freeze(
    {**variables, 'params': jax.tree.map(lambda x: 2 * x, variables['params'])}
  )


def predict(model, params):
  decodes, aux = jax.jit(model.predict_batch_with_aux)(params, BATCH)
  return np.asarray(decodes), np.asarray(aux['scores'])


def prefix_scores(model, params, tokens):
  """Scores the first 1, 2, .. tokens by T5X's teacher forcing.

  Args:
    model: has T5X's `score_batch`.
    params: its parameters.
    tokens: [B, N, L], N sequences for each request.

  Returns:
    Log-probabilities [B, N, L].
  """
  num_requests, num_sequences, length = tokens.shape
  tokens = tokens.reshape(-1, length)
  weights = np.tri(length)[:, None] * (tokens != 0)
  batch = {
    'encoder_input_tokens': np.repeat(
      BATCH['encoder_input_tokens'], num_sequences, axis=0
    ),
    'decoder_input_tokens': np.pad(tokens, ((0, 0), (1, 0)))[:, :-1],
    'decoder_target_tokens': tokens,
  }
  score = jax.jit(
    lambda weights: model.score_batch(
      params, {**batch, 'decoder_loss_weights': weights}
    )
  )
  scores = np.stack([score(level.astype(np.float32)) for level in weights], 1)
  return scores.reshape(num_requests, num_sequences, length)


def textbook_search(item_tokens, scores, num_beams):
  """Returns the items of a beam search over prefixes, best first."""
  beams = {(): 0.0}
  for level in range(item_tokens.shape[1]):
    grown = {
      tuple(tokens[: level + 1]): score[level]
      for tokens, score in zip(item_tokens.tolist(), scores)
      if tuple(tokens[:level]) in beams
    }
    kept = sorted(grown, key=grown.get, reverse=True)[:num_beams]
    beams = {prefix: grown[prefix] for prefix in kept}
  return list(beams)


@pytest.mark.parametrize('num_decodes', [4, NUM_ITEMS + 2])
def test_a_model_of_t5x_finds_the_items_that_it_scores_highest(
  module, item_tokens, num_decodes
):
  """Narrow: as a textbook search; wide: all items; scores teacher-forced."""
  decode_fn = make_decode_fn(build_trie(item_tokens))
  model = t5x_model(module, decode_fn, num_decodes)
  params = init(model)['params']
  decodes, scores = predict(model, params)
  assert decodes.shape == (3, num_decodes, LENGTH)
  assert not decodes[..., NUM_LEVELS:].any()
  exact = prefix_scores(
    model, params, np.broadcast_to(item_tokens, (3, *item_tokens.shape))
  )
  for request in range(3):
    expected = textbook_search(item_tokens, exact[request], num_decodes)
    best_first = decodes[request, ::-1, :NUM_LEVELS].tolist()
    found = [tuple(tokens) for tokens in best_first[: len(expected)]]
    assert found == expected
    items = [item_tokens.tolist().index(list(tokens)) for tokens in found]
    np.testing.assert_allclose(
      scores[request, ::-1][: len(items)],
      exact[request, items, -1],
      rtol=1e-4,
      atol=1e-4,
    )
  # What no item fills comes first, as the worst.
  missing = max(num_decodes - NUM_ITEMS, 0)
  assert (scores[:, :missing] == -np.inf).all()
  assert not decodes[:, :missing].any()
  assert (np.diff(scores[:, missing:]) >= 0).all()


def test_the_same_weights_find_the_same_items_in_our_model(item_tokens):
  decode_fn = make_decode_fn(build_trie(item_tokens))
  theirs = t5x_model(
    minimal.Transformer(minimal.T5Config(**SIZES)), decode_fn, 4
  )
  params = init(theirs)['params']
  decodes, scores = predict(theirs, params)
  our_decodes, our_scores = predict(our_model(decode_fn, 4), params)
  np.testing.assert_array_equal(our_decodes, decodes)
  np.testing.assert_allclose(our_scores, scores, rtol=1e-4)


def test_the_search_of_t5x_drives_our_model():
  """It reads and reorders our cache, and finds what it finds in its own."""

  def decode_fn(**arguments):
    return t5x.decoding.beam_search(**arguments, alpha=0.0)

  theirs = t5x_model(
    minimal.Transformer(minimal.T5Config(**SIZES)), decode_fn, 4
  )
  params = init(theirs)['params']
  decodes, scores = predict(theirs, params)
  our_decodes, our_scores = predict(our_model(decode_fn, 4), params)
  np.testing.assert_array_equal(our_decodes, decodes)
  np.testing.assert_allclose(our_scores, scores, rtol=1e-4)


@pytest.mark.parametrize('alpha', [0.0, 0.6, 3.0])
def test_text_beams_are_those_of_t5x(alpha):
  """But for texts that were cut, which T5X gives only where none has ended."""

  def decode_fn(**arguments):
    return t5x.decoding.beam_search(**arguments, alpha=alpha)

  model = our_model(decode_fn, 4)
  params = init(model)['params']
  decodes, scores = predict(model, params)
  search = make_text_beam_fn(model, length=LENGTH, num_beams=4)
  found = jax.tree.map(np.asarray, search(params, BATCH, alpha=alpha))
  assert found.ended.sum() > 4
  length = 1 + np.argmax(found.tokens == 1, axis=-1)
  ours = found.log_probabilities / np.where(
    found.ended, length_penalty(length, alpha), 1.0
  )
  for request, ended in enumerate(found.ended):
    same = ended if ended.any() else ~ended
    np.testing.assert_array_equal(
      found.tokens[request, same], decodes[request, ::-1][same]
    )
    np.testing.assert_allclose(
      ours[request, same], scores[request, ::-1][same], rtol=1e-5
    )


@pytest.mark.parametrize('whose', ['t5x', 'ours'])
def test_t5x_infers_on_a_mesh_what_one_device_predicts(item_tokens, whose):
  """The way of `t5x.infer`: a dataset, a partitioner, a mesh of 4 x 2."""
  decode_fn = make_decode_fn(build_trie(item_tokens))
  theirs = t5x_model(
    minimal.Transformer(minimal.T5Config(**SIZES)), decode_fn, 4
  )
  variables = init(theirs)
  model = theirs if whose == 't5x' else our_model(decode_fn, 4)
  decodes, scores = predict(model, variables['params'])

  partitioner = t5x.partitioning.PjitPartitioner(model_parallel_submesh=(1, 2))
  assert dict(partitioner.mesh.shape) == {'data': 4, 'model': 2}
  state = t5x.train_state.InferenceState.create(variables)
  infer = t5x.utils.get_infer_fn(
    model.predict_batch_with_aux,
    batch_size=4,
    train_state_axes=partitioner.get_mesh_axes(state),
    partitioner=partitioner,
  )
  with partitioner.mesh:
    found, aux = infer(
      tf.data.Dataset.from_tensor_slices(BATCH).enumerate(), state
    )
  assert [index for index, _ in found] == [0, 1, 2]
  np.testing.assert_array_equal([tokens for _, tokens in found], decodes)
  np.testing.assert_allclose(aux['scores'], scores, rtol=1e-4)


def test_gin_gives_t5x_the_search():
  """As users of T5X write it."""
  gin.parse_config("""
    from __gin__ import dynamic_registration
    import seqio
    from genrec_jax.decoding import t5x as genrec
    from genrec_jax.decoding import trie_builder
    from t5x import models
    from t5x.examples.t5 import network

    models.EncoderDecoderModel:
      module = @network.Transformer()
      input_vocabulary = @seqio.PassThroughVocabulary()
      output_vocabulary = @seqio.PassThroughVocabulary()
      optimizer_def = None
      decode_fn = @genrec.make_decode_fn()
    models.EncoderDecoderModel.predict_batch_with_aux:
      num_decodes = 2
      return_all_decodes = True
    genrec.make_decode_fn.trie = @trie_builder.build_trie()
    trie_builder.build_trie.item_tokens = [[3, 5, 4], [3, 6, 4], [7, 6, 4]]
    network.Transformer.config = @network.T5Config()
    network.T5Config:
      vocab_size = 16
      emb_dim = 8
      num_heads = 2
      head_dim = 4
      mlp_dim = 16
      num_encoder_layers = 1
      num_decoder_layers = 1
    seqio.PassThroughVocabulary.size = 16
  """)
  model = gin.get_configurable('t5x.models.EncoderDecoderModel')()
  decodes, scores = predict(model, init(model)['params'])
  assert scores.shape == (3, 2)
  items = [[3, 5, 4], [3, 6, 4], [7, 6, 4]]
  assert all(row in items for row in decodes[..., :3].reshape(-1, 3).tolist())


def cache(offset):
  """All kinds of leaves that caches of T5X have, of 3 x 2 rows."""
  layers = (2,) * offset
  count = np.arange(np.prod(layers, dtype=int) * 6 * 4 * 5.0)
  tree = {
    'decoder': {
      'self_attention': {
        'cached_key': count.reshape(*layers, 6, 4, 5),
        'cached_value': -count.reshape(*layers, 6, 4, 5),
        'cache_index': np.full(layers, 3, np.int32),
      },
      'relpos_bias': {'cached_bias': np.ones((*layers, 1, 2, 4, 4))},
      'position_embedder': {'position_embedder_index': np.array(-1)},
    }
  }
  return jax.tree.map(jnp.asarray, tree)


@pytest.mark.parametrize('freeze', [flax.core.freeze, flax.core.unfreeze])
@pytest.mark.parametrize('offset', [0, 1])
def test_a_cache_is_reordered_as_t5x_reorders_it(offset, freeze):
  rows = freeze(cache(offset))
  parent = jnp.array([[1, 0, 1], [0, 0, 0], [1, 1, 0]])
  beams = t5x.decoding.cache_map(
    lambda x: t5x.decoding.unflatten_beam_dim(x, 3, 2, offset), rows
  )
  gathered = t5x.decoding.cache_gather_beams(
    beams, parent, 3, 2, 3, one_hot=False, offset=offset
  )
  expected = t5x.decoding.cache_map(
    lambda x: t5x.decoding.flatten_beam_dim(x, offset), gathered
  )
  jax.tree.map(
    np.testing.assert_array_equal,
    reorder_cache(rows, parent, offset),
    expected,
  )
