"""Names of T5's weights, here and in Hugging Face's library."""

import numpy as np
import pytest

from genrec_jax.exchange import t5_names
from genrec_jax.exchange.architecture import parameter_shapes
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import T5Config, Transformer


def shapes_of(**choices):
  """Returns the names and shapes of a model's parameters."""
  config = T5Config(
    vocab_size=16,
    emb_dim=8,
    num_heads=2,
    head_dim=3,
    mlp_dim=12,
    num_encoder_layers=2,
    num_decoder_layers=3,
    **choices,
  )
  return parameter_shapes(EncoderDecoder(Transformer(config)))


@pytest.fixture(scope='module')
def weights():
  """Each weight of a gated model with a head of its own, of other numbers."""
  shapes = shapes_of(
    mlp_activations=('gelu', 'linear'), logits_via_embedding=False
  )
  rng = np.random.default_rng(0)
  return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def test_every_weight_comes_back_from_hugging_face(weights):
  there = dict(t5_names.to_hugging_face(*entry) for entry in weights.items())
  assert len(there) == len(weights)
  back = dict(t5_names.from_hugging_face(*entry) for entry in there.items())
  assert back.keys() == weights.keys()
  for name, weight in weights.items():
    np.testing.assert_array_equal(back[name], weight)


def test_a_scanned_model_has_the_same_layers(weights):
  scanned = shapes_of(
    mlp_activations=('gelu', 'linear'),
    logits_via_embedding=False,
    scan_layers=True,
  )
  stacked = t5_names.stack_layers(weights, scanned)
  assert {name: array.shape for name, array in stacked.items()} == scanned
  back = t5_names.unstack_layers(stacked)
  assert back.keys() == weights.keys()
  for name, weight in weights.items():
    np.testing.assert_array_equal(back[name], weight)


def test_a_foreign_name_is_no_name():
  with pytest.raises(KeyError):
    t5_names.from_hugging_face('decoder.block.0.adapter.weight', np.ones(2))
