"""Every gin file under gin/ parses, and makes what it is for."""

import pathlib

import gin
import pytest

from genrec_jax import main, train
from genrec_jax.data import token_cache

ROOT = pathlib.Path(main.__file__).resolve().parent.parent / 'gin'
EXPERIMENTS = sorted(path.name for path in ROOT.glob('experiments/*.gin'))
MODELS = sorted(path.name for path in ROOT.glob('models/*.gin'))


@pytest.fixture(autouse=True)
def cleared():
  yield
  gin.clear_config()


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_an_experiment_configures_every_command(name, tmp_path):
  configured = main.configure(
    str(tmp_path),
    [f'experiments/{name}'],
    ["DATASET = 'simulator'"],
    {command: main.entry_function(command) for command in main.PIPELINE},
  )
  assert set(configured) == set(main.PIPELINE)
  stored = main.configure(
    str(tmp_path), [], [], {'train': main.entry_function('train')}
  )
  assert set(stored) == {'train'}


@pytest.mark.parametrize('name', MODELS)
def test_a_model_has_an_optimizer_and_its_vocabulary(
  name, tmp_path, monkeypatch
):
  monkeypatch.setattr(token_cache, 'vocab_size', lambda directory: 1152)
  main.configure(
    str(tmp_path),
    [f'models/{name}', 'runs/train.gin'],
    ['TRAIN_STEPS = 1000'],
    {'train': train.train},
  )
  model = gin.query_parameter('train.train.model').scoped_configurable_fn()
  assert model.module.config.vocab_size == 1152
  assert model.optimizer_def is not None


def test_nothing_in_gin_is_a_package():
  """An __init__.py there would shadow gin-config from the root."""
  assert not list(ROOT.rglob('*.py'))
