"""Models in Hugging Face's files, without its library."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from genrec_jax.exchange import hugging_face
from genrec_jax.exchange.t5_names import EMBEDDING, HEAD
from genrec_jax.models.transformer import T5Config
from genrec_jax.types import GenrecError

CONFIG = T5Config(vocab_size=8, emb_dim=4)


@pytest.fixture
def written(tmp_path):
  """A directory with a model of two weights."""
  rng = np.random.default_rng(0)
  weights = {
    EMBEDDING: rng.normal(size=(8, 4)).astype(np.float32),
    'encoder/layers_0/attention/query/kernel': np.arange(
      12, dtype=np.float32
    ).reshape(4, 3),
  }
  hugging_face.write_model(tmp_path, CONFIG, weights, max_new_tokens=3)
  return tmp_path, weights


def assert_same(found, weights):
  assert found.keys() == weights.keys()
  for name, weight in weights.items():
    np.testing.assert_array_equal(found[name], weight)


def test_what_is_written_is_read(written):
  directory, weights = written
  assert_same(hugging_face.read_weights(directory), weights)


def test_weights_in_several_files_are_read_through_their_index(written):
  directory, weights = written
  arrays = load_file(directory / 'model.safetensors')
  (directory / 'model.safetensors').unlink()
  index = {}
  for number, (name, array) in enumerate(arrays.items()):
    index[name] = f'model-{number}-of-2.safetensors'
    save_file({name: array}, directory / index[name])
  (directory / 'model.safetensors.index.json').write_text(
    json.dumps({'weight_map': index})
  )
  assert_same(hugging_face.read_weights(directory), weights)


@pytest.mark.parametrize(
  'said, scale',
  [
    ({'tie_word_embeddings': True}, 4**-0.5),
    ({'tie_word_embeddings': False}, 1.0),
    # As Transformers 5 writes a T5 1.1.
    ({'tie_word_embeddings': True, 'scale_decoder_outputs': False}, 1.0),
  ],
)
def test_a_head_gives_the_logits_that_it_gives_there(written, said, scale):
  directory, _ = written
  head = np.random.default_rng(1).normal(size=(8, 4)).astype(np.float32)
  arrays = load_file(directory / 'model.safetensors')
  save_file(arrays | {'lm_head.weight': head}, directory / 'model.safetensors')
  config = json.loads((directory / 'config.json').read_text())
  (directory / 'config.json').write_text(json.dumps(config | said))
  found = hugging_face.read_weights(directory)
  np.testing.assert_allclose(found[HEAD], head.T * scale, rtol=1e-6)


def test_other_models_are_refused_by_name(written):
  directory, _ = written
  arrays = load_file(directory / 'model.safetensors')
  save_file(
    arrays | {'encoder.layer.0.adapter': np.ones(2)},
    directory / 'model.safetensors',
  )
  with pytest.raises(GenrecError, match='adapter'):
    hugging_face.read_weights(directory)
  (directory / 'config.json').write_text('{"model_type": "bart"}')
  with pytest.raises(GenrecError, match="'bart'"):
    hugging_face.read_weights(directory)
  (directory / 'config.json').unlink()
  with pytest.raises(GenrecError, match='config.json'):
    hugging_face.read_weights(directory)


def test_a_half_copied_file_is_refused(written):
  directory, _ = written
  path = directory / 'model.safetensors'
  path.write_bytes(path.read_bytes()[:-8])
  with pytest.raises(GenrecError, match='fetch it again'):
    hugging_face.read_weights(directory)
