"""The model class: losses, scores, predictions, and the sizes in gin."""

import types

import gin
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.models import losses
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import T5Config, Transformer
from genrec_jax.types import GenrecError

MODULE = Transformer(
  T5Config(
    vocab_size=16,
    emb_dim=8,
    num_heads=2,
    head_dim=4,
    mlp_dim=8,
    num_encoder_layers=1,
    num_decoder_layers=1,
  )
)
TARGETS = np.array([[4, 9, 5], [7, 3, 0]], np.int32)
BATCH = {
  'encoder_input_tokens': np.array([[5, 6, 7], [9, 3, 0]], np.int32),
  'decoder_input_tokens': np.array([[0, 4, 9], [0, 7, 3]], np.int32),
  'decoder_target_tokens': TARGETS,
  'decoder_loss_weights': (TARGETS != 0).astype(np.int32),
}
SHAPES = {name: value.shape for name, value in BATCH.items()}


@pytest.fixture(scope='module')
def params():
  model = EncoderDecoder(MODULE)
  return jax.jit(
    lambda: model.get_initial_variables(jax.random.key(0), SHAPES)['params']
  )()


@pytest.fixture(scope='module')
def log_probabilities(params):
  logits = jax.jit(lambda: EncoderDecoder(MODULE).logits(params, BATCH))()
  return np.asarray(jax.nn.log_softmax(logits), np.float64)


def picked(log_probabilities):
  """Returns log p of each target token [B, T], 0 for padding."""
  chosen = np.take_along_axis(log_probabilities, TARGETS[..., None], axis=2)
  return chosen[..., 0] * (TARGETS != 0)


@pytest.mark.parametrize(
  ('factor', 'expected'),
  [
    (None, lambda token_losses: token_losses.sum()),
    (2.0, lambda token_losses: token_losses.sum() / 2),
    ('NUM_REAL_TARGET_TOKENS', lambda token_losses: token_losses.sum() / 5),
    ('NUM_TOTAL_TARGET_TOKENS', lambda token_losses: token_losses.sum() / 6),
    (
      'AVERAGE_PER_SEQUENCE',
      lambda token_losses: (token_losses.sum(1) / [3, 2]).mean(),
    ),
  ],
)
def test_loss_is_normalized_as_asked(
  params, log_probabilities, factor, expected
):
  model = EncoderDecoder(MODULE, loss_normalizing_factor=factor)
  loss, metrics = jax.jit(lambda: model.eval_fn(params, BATCH))()
  np.testing.assert_allclose(
    loss, expected(-picked(log_probabilities)), rtol=1e-5
  )
  # Metrics are means over tokens however the loss is normalised.
  if factor != 'AVERAGE_PER_SEQUENCE':
    np.testing.assert_allclose(
      metrics['loss'].compute(), -picked(log_probabilities).sum() / 5, rtol=1e-5
    )


def test_average_per_sequence_sees_the_segments_of_packed_rows():
  batch = {
    'decoder_target_tokens': jnp.array([[4, 5, 6, 7, 0]]),
    'decoder_segment_ids': jnp.array([[1, 1, 1, 2, 0]]),
  }
  weights, total = losses.weights_and_normalizer(batch, 'AVERAGE_PER_SEQUENCE')
  np.testing.assert_allclose(weights, [[1 / 3, 1 / 3, 1 / 3, 1, 0]], rtol=1e-6)
  np.testing.assert_allclose(total, 2.0, rtol=1e-6)


def test_label_smoothing_and_z_loss_equal_their_definitions(
  params, log_probabilities
):
  model = EncoderDecoder(
    MODULE, label_smoothing=0.1, z_loss=0.01, loss_normalizing_factor=None
  )

  @jax.jit
  def run():
    logits = model.logits(params, BATCH)
    return model.eval_fn(params, BATCH)[0], jax.nn.logsumexp(logits, axis=-1)

  loss, log_z = run()
  soft = np.where(np.arange(16) == TARGETS[..., None], 0.9, 0.1 / 15)
  divergence = (soft * (np.log(soft) - log_probabilities)).sum(-1)
  per_token = divergence + 0.01 * np.square(np.asarray(log_z))
  np.testing.assert_allclose(loss, per_token[TARGETS != 0].sum(), rtol=1e-5)


def test_accuracy_counts_target_tokens(params, log_probabilities):
  _, metrics = EncoderDecoder(MODULE).eval_fn(params, BATCH)
  best = log_probabilities.argmax(-1)
  expected = (best == TARGETS)[TARGETS != 0].mean()
  np.testing.assert_allclose(metrics['accuracy'].compute(), expected)


def test_scores_are_log_probabilities_of_the_targets(params, log_probabilities):
  scores, tree = EncoderDecoder(MODULE).score_batch(
    params, BATCH, return_intermediates=True
  )
  np.testing.assert_allclose(
    scores, picked(log_probabilities).sum(1), rtol=1e-5
  )
  np.testing.assert_allclose(tree['decoder']['token_scores'][0].sum(1), scores)


def two_first_tokens(*, inputs, cache, tokens_to_logits, num_decodes, **_):
  """Decodes, by T5X's contract, one step: the best tokens, best last."""
  state = types.SimpleNamespace(cur_token=inputs[:, :1], cache=cache)
  logits, _ = tokens_to_logits(state)
  scores, tokens = jax.lax.top_k(jax.nn.log_softmax(logits), num_decodes)
  return tokens[:, ::-1, None], scores[:, ::-1]


@pytest.mark.parametrize('return_all_decodes', [True, False])
def test_predictions_come_best_last_and_the_best_alone_on_request(
  params, log_probabilities, return_all_decodes
):
  model = EncoderDecoder(
    MODULE,
    decode_fn=two_first_tokens,
    num_decodes=2,
    return_all_decodes=return_all_decodes,
  )
  tokens, aux = jax.jit(model.predict_batch_with_aux)(params, BATCH)
  expected = log_probabilities[:, 0].argsort(axis=1)[:, -2:]
  best = log_probabilities[:, 0].max(axis=1)
  if return_all_decodes:
    np.testing.assert_array_equal(tokens[..., 0], expected)
    np.testing.assert_allclose(aux['scores'][:, -1], best, rtol=1e-5)
  else:
    np.testing.assert_array_equal(tokens[:, 0], expected[:, -1])
    np.testing.assert_allclose(aux['scores'], best, rtol=1e-5)


def test_predicting_without_a_decode_fn_says_what_to_pass(params):
  with pytest.raises(GenrecError, match='make_decode_fn'):
    EncoderDecoder(MODULE).predict_batch(params, BATCH)


@pytest.mark.parametrize(
  ('size', 'num_parameters'),
  [
    # The sizes of the published T5 1.1 checkpoints.
    ('small', 76_961_152),
    ('base', 247_577_856),
    ('large', 783_150_080),
    ('xl', 2_849_757_184),
    ('xxl', 11_135_332_352),
    # Two and four layers of a kind, and the tied embedding.
    ('tiger', 4_456_448 + 32128 * 128 + 128 * (8 + 12 + 2) + 2 * 32 * 6),
    ('tiny', 229_376 + 32128 * 64 + 64 * (4 + 6 + 2) + 2 * 32 * 4),
  ],
)
def test_gin_sizes_have_the_published_number_of_parameters(
  size, num_parameters, request
):
  gin.clear_config()
  request.addfinalizer(gin.clear_config)
  root = request.config.rootpath
  gin.parse_config_files_and_bindings(
    [str(root / f'gin/models/{size}.gin')], ['VOCAB_SIZE = 32128']
  )
  model = gin.query_parameter('%MODEL').scoped_configurable_fn()
  variables = jax.eval_shape(
    lambda: model.get_initial_variables(jax.random.key(0), SHAPES)
  )
  leaves = jax.tree.leaves(variables['params'])
  assert sum(leaf.size for leaf in leaves) == num_parameters
