"""Models that come from elsewhere, and models that went there and come back."""

import dataclasses
import json
import pathlib

import flax.traverse_util
import jax
import numpy as np
import optax
import pytest

from genrec_jax.data.token_cache import TokenCache
from genrec_jax.exchange import hugging_face
from genrec_jax.exchange.architecture import parameter_shapes
from genrec_jax.exchange.t5_names import EMBEDDING, HEAD, unstack_layers
from genrec_jax.export import export
from genrec_jax.import_model import import_model
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import Transformer
from genrec_jax.train import train
from genrec_jax.training import parameters
from genrec_jax.training.checkpoints import restore_params
from genrec_jax.types import GenrecError


def flatten(params):
  return flax.traverse_util.flatten_dict(params, sep='/')


def assert_same(found, expected):
  found, expected = flatten(found), flatten(expected)
  assert found.keys() == expected.keys()
  for name, array in expected.items():
    np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.fixture
def fresh(run, tmp_path):
  """The tokens of the run, without its checkpoints: a run to be trained."""
  (tmp_path / 'fresh').mkdir()
  for name in ('tokens', 'ids', 'dataset'):
    (tmp_path / 'fresh' / name).symlink_to(run.directory / name)
  return tmp_path / 'fresh'


def with_config(model, **choices):
  """Returns a model like another one, with some choices changed."""
  config = dataclasses.replace(model.module.config, **choices)
  return EncoderDecoder(Transformer(config), optimizer_def=optax.sgd(0.0))


def read_imported(run_dir):
  return parameters.read_parameters(
    run_dir / parameters.INITIAL / 'checkpoint_0'
  )


@pytest.mark.parametrize('format', ['hugging_face', 't5x'])
def test_what_is_exported_comes_back(run, fresh, tmp_path, format):
  source = export(
    run_dir=run.directory,
    model=run.model,
    format=format,
    output=tmp_path / 'exported',
    checkpoint='last',
  )
  import_model(run_dir=fresh, model=run.model, source=source)
  assert_same(read_imported(fresh), jax.device_get(run.params))


def test_training_starts_from_what_is_imported(run, fresh, tmp_path):
  source = export(
    run_dir=run.directory,
    model=run.model,
    format='t5x',
    output=tmp_path / 'exported',
    checkpoint='last',
  )
  # Trained by steps of no length, which leave the parameters as they were.
  model = with_config(run.model, scan_layers=True)
  import_model(run_dir=fresh, model=model, source=source)
  settings = dict(
    run_dir=fresh,
    model=model,
    make_evaluate_fn=None,
    make_train_batches=one_batch,
  )
  train(num_steps=1, **settings)
  trained = unstack_layers(
    flatten(restore_params(fresh / 'checkpoints', step='last'))
  )
  expected = flatten(jax.device_get(run.params))
  assert trained.keys() == expected.keys()
  for name, array in expected.items():
    np.testing.assert_array_equal(trained[name], array, err_msg=name)

  with pytest.raises(GenrecError, match='was trained already, to step 1'):
    import_model(run_dir=fresh, model=model, source=source)
  # Other parameters than those that its checkpoints began with.
  parameters.write_initial(
    fresh, {'x': np.ones(1)}, vocabulary=run.cache.vocabulary_fingerprint
  )
  with pytest.raises(GenrecError, match='made from the initial_params'):
    train(num_steps=2, **settings)


class one_batch:
  """One small batch for ever."""

  def __init__(self, **settings):
    tokens = np.full((8, 4), 5, np.int32)
    self._batch = {
      name: tokens
      for name in (
        'encoder_input_tokens',
        'decoder_input_tokens',
        'decoder_target_tokens',
        'decoder_loss_weights',
      )
    }

  def __next__(self):
    return self._batch

  def get_state(self):
    return {}

  def set_state(self, state):
    assert state == {}


@pytest.fixture
def foreign(run, tmp_path):
  """A T5 1.1 of more tokens than the text of the run has, in other files."""
  model = with_config(
    run.model, mlp_activations=('gelu', 'linear'), logits_via_embedding=False
  )
  config = dataclasses.replace(model.module.config, vocab_size=800)
  shapes = parameter_shapes(EncoderDecoder(Transformer(config)))
  rng = np.random.default_rng(0)
  weights = {
    name: rng.normal(size=shape).astype(np.float32)
    for name, shape in shapes.items()
  }
  directory = tmp_path / 'foreign'
  directory.mkdir()
  hugging_face.write_model(directory, config, weights, max_new_tokens=4)
  (directory / 'spiece.model').write_bytes(run.cache.text_model.read_bytes())
  return directory, model, weights


def test_a_foreign_model_keeps_its_text_and_gets_rows_for_ids(fresh, foreign):
  directory, model, weights = foreign
  import_model(run_dir=fresh, model=model, source=directory, seed=3)
  found = flatten(read_imported(fresh))
  num_text = TokenCache.load(fresh / 'tokens').layout['num_text_tokens']
  assert found.keys() == weights.keys()
  for name, weight in weights.items():
    if name in (EMBEDDING, HEAD):
      table = found[name] if name == EMBEDDING else found[name].T
      weight = weight if name == EMBEDDING else weight.T
      np.testing.assert_array_equal(table[:num_text], weight[:num_text])
      assert len(table) == model.module.config.vocab_size
      assert len(np.unique(table[num_text:], axis=0)) == len(table) - num_text
    else:
      np.testing.assert_array_equal(found[name], weight)
  manifest = json.loads(
    (fresh / parameters.INITIAL / 'manifest.json').read_text()
  )
  assert manifest['kept_tokens'] == num_text and manifest['seed'] == 3


def test_a_model_of_other_sizes_is_told_which_file_to_use(fresh, run, foreign):
  directory, _, _ = foreign
  refused = r'decoder/layers_0/mlp/wi/kernel is absent there .*emb_dim = 16'
  other = with_config(run.model, logits_via_embedding=False)
  (directory / 'config.json').write_text(
    json.dumps(
      json.loads((directory / 'config.json').read_text())
      | {'feed_forward_proj': 'relu'}
    )
  )
  with pytest.raises(GenrecError, match=refused):
    import_model(run_dir=fresh, model=other, source=directory)
  assert not (fresh / parameters.INITIAL).exists()


def test_other_activations_are_refused(fresh, run, foreign):
  directory, model, _ = foreign
  other = with_config(model, mlp_activations=('silu', 'linear'))
  with pytest.raises(GenrecError, match="'gated-gelu' and the model of this"):
    import_model(run_dir=fresh, model=other, source=directory)


def test_a_model_that_does_not_tell_its_pieces_is_refused(fresh, foreign):
  directory, model, _ = foreign
  pieces = directory / 'spiece.model'
  aside = pathlib.Path(str(pieces) + '.aside')
  pieces.rename(aside)
  with pytest.raises(GenrecError, match='--text_model=FILE'):
    import_model(run_dir=fresh, model=model, source=directory)
  import_model(run_dir=fresh, model=model, source=directory, text_model=aside)
  assert (fresh / parameters.INITIAL).exists()


def test_an_empty_directory_is_no_model(fresh, run, tmp_path):
  with pytest.raises(GenrecError, match='No model in'):
    import_model(run_dir=fresh, model=run.model, source=tmp_path)
