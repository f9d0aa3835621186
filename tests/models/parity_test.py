"""The same weights give the same numbers as Hugging Face's T5.

The golden file is made by tools/make_t5_golden.py.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from genrec_jax.exchange.t5_names import from_hugging_face
from genrec_jax.models import layers
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import T5Config, Transformer

GOLDEN = pathlib.Path(__file__).parent / 'testdata/t5_golden.npz'
CHOICES = {
  't5_1_0': dict(mlp_activations=('relu',), logits_via_embedding=True),
  't5_1_1': dict(
    mlp_activations=('gelu', 'linear'), logits_via_embedding=False
  ),
}


@pytest.fixture(scope='module')
def golden():
  with np.load(GOLDEN) as arrays:
    return dict(arrays)


@pytest.fixture(scope='module', params=list(CHOICES))
def variant(request, golden):
  """One variant's model, parameters, batch and expected arrays."""
  prefix = request.param + '/'
  arrays = {
    name.removeprefix(prefix): value
    for name, value in golden.items()
    if name.startswith(prefix)
  }
  params = unflatten_dict(
    dict(
      from_hugging_face(name.removeprefix('weights/'), value)
      for name, value in arrays.items()
      if name.startswith('weights/')
    ),
    sep='/',
  )
  config = T5Config(
    vocab_size=64,
    emb_dim=16,
    num_heads=3,
    head_dim=4,
    mlp_dim=24,
    num_encoder_layers=2,
    num_decoder_layers=2,
    relative_attention_num_buckets=8,
    relative_attention_max_distance=10,
    **CHOICES[request.param],
  )
  targets = arrays['targets']
  batch = {
    'encoder_input_tokens': arrays['inputs'],
    'decoder_input_tokens': np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
    'decoder_target_tokens': targets,
    'decoder_loss_weights': (targets != 0).astype(np.int32),
  }
  return EncoderDecoder(Transformer(config)), params, batch, arrays


def test_logits_and_loss_equal_hugging_face(variant):
  model, params, batch, arrays = variant

  @jax.jit
  def run(params, batch):
    return model.logits(params, batch), model.eval_fn(params, batch)[0]

  logits, loss = run(params, batch)
  np.testing.assert_allclose(logits, arrays['logits'], atol=1e-4)
  np.testing.assert_allclose(loss, arrays['loss'], atol=1e-4)


def test_cached_greedy_decoding_equals_hugging_face(variant):
  model, params, batch, arrays = variant
  num_steps = arrays['generated'].shape[1]

  @jax.jit
  def generate(params, batch):
    # A scan wants a cache of one shape.
    step, cache = model.start_decoding(params, batch, length=num_steps)
    first = jnp.zeros((len(batch['encoder_input_tokens']), 1), jnp.int32)

    def advance(state, _):
      logits, cache = step(*state)
      # Hugging Face was told to generate all steps: no end before.
      token = jnp.argmax(logits[:, 0].at[:, 1].set(-jnp.inf), axis=-1)
      return (token[:, None].astype(jnp.int32), cache), token

    _, tokens = jax.lax.scan(advance, (first, cache), length=num_steps)
    return tokens.T

  np.testing.assert_array_equal(generate(params, batch), arrays['generated'])


@pytest.mark.parametrize('bidirectional', [True, False])
def test_position_buckets_equal_hugging_face(golden, bidirectional):
  buckets = layers.relative_position_bucket(
    jnp.arange(-200, 201),
    bidirectional=bidirectional,
    num_buckets=32,
    max_distance=128,
  )
  np.testing.assert_array_equal(buckets, golden[f'buckets/{bidirectional}'])
