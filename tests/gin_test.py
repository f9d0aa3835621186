"""Every gin file under gin/ parses, and makes what it is for."""

import pathlib
import types

import gin
import pytest

from genrec_jax import arguments, main, train
from genrec_jax.data import token_cache
from genrec_jax.experiments.arms import Arm
from genrec_jax.ids.item_ids import TokenLayout

ROOT = pathlib.Path(main.__file__).resolve().parent.parent / 'gin'
EXPERIMENTS = sorted(path.name for path in ROOT.glob('experiments/*.gin'))
MODELS = sorted(path.name for path in ROOT.glob('models/*.gin'))
STUDIES = sorted(path.name for path in ROOT.glob('studies/*.gin'))
MESHES = sorted(path.name for path in ROOT.glob('meshes/*.gin'))


@pytest.fixture(autouse=True)
def cleared():
  yield
  gin.clear_config()


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_an_experiment_configures_every_command(name, tmp_path):
  configured, config = main.configure(
    str(tmp_path),
    [f'experiments/{name}'],
    ["DATASET = 'simulator'"],
    {command: main.entry_function(command) for command in main.PIPELINE},
  )
  assert set(configured) == set(main.PIPELINE)
  (tmp_path / 'config.gin').write_text(config)
  stored, again = main.configure(
    str(tmp_path), [], [], {'train': main.entry_function('train')}
  )
  assert set(stored) == {'train'} and again == config


@pytest.mark.parametrize('name', STUDIES)
def test_a_study_has_arms_that_configure_every_command(name, tmp_path):
  main.configure(
    str(tmp_path),
    [f'studies/{name}'],
    [],
    {'experiment': main.entry_function('experiment')},
  )
  bound = main.bound_values(main.entry_function('experiment'))
  bound = {key.rpartition('.')[2]: value for key, value in bound.items()}
  common = [
    f'{key} = {main._follow(value)[1]!r}'
    for key, value in bound['common'].items()
  ]
  for command in bound.get('commands', ()):
    step, *words = command.split()
    for flag, text in arguments.parse(words)[0].items():
      arguments.read_flag(
        step, main.entry_function(step), flag, text.format(split='test')
      )
  for arm, entries in bound['arms'].items():
    arm = Arm.parse(arm, entries)
    main.configure(
      str(tmp_path),
      [bound['base'], *arm.gin_files],
      [*common, *arm.bindings, 'SEED = 1'],
      {command: main.entry_function(command) for command in main.PIPELINE},
    )


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


@pytest.mark.parametrize('name', MESHES)
def test_a_mesh_is_that_of_every_command_that_runs_the_model(name, tmp_path):
  commands = ('train', 'evaluate', 'recommend')
  main.configure(
    str(tmp_path),
    ['experiments/tiny.gin', f'meshes/{name}'],
    ["DATASET = 'simulator'", 'MODEL_PARALLEL = 3'],
    {command: main.entry_function(command) for command in commands},
  )
  for command in commands:
    bound = main.bound_values(main.entry_function(command))
    assert bound[f'{command}.{command}.model_parallel'] == 3
    assert ('batch', 'data') in bound[f'{command}.{command}.axis_rules']


def test_the_settings_of_a_run_are_its_values_and_not_its_places(tmp_path):
  main.configure(
    str(tmp_path),
    ['experiments/tiny.gin'],
    ["DATASET = 'simulator'", 'BATCH_SIZE = 32', 'WEIGHT_DECAY = 0.0'],
    {'train': train.train},
  )
  settings = main.bound_values(train.train)
  assert settings['train.cached_batches.batch_size'] == 32
  assert settings['training.optimizers.cosine.num_steps'] == 2000
  assert settings['models.transformer.T5Config.emb_dim'] == 64
  assert (
    settings['training.optimizers.adamw.learning_rate']
    == '@optimizers.cosine()'
  )
  # At its default, a place, and nothing that training looks at.
  assert 'training.optimizers.adamw.weight_decay' not in settings
  assert not {name for name in settings if 'run_dir' in name}
  assert not {name for name in settings if 'tokenize' in name}
  assert set(train.HARMLESS) & set(settings) == {
    'train.train.num_steps',
    'train.train.eval_period',
    'train.train.checkpoint_period',
    'train.train.log_period',
  }


def test_nothing_in_gin_is_a_package():
  """An __init__.py there would shadow gin-config from the root."""
  assert not list(ROOT.rglob('*.py'))


def test_blocks_are_where_the_ids_of_the_run_say(tmp_path, monkeypatch):
  layout = TokenLayout(codebook_sizes=(8, 9), variable_length=True)
  monkeypatch.setattr(
    train.evaluation,
    'load_tokens',
    lambda run_dir: types.SimpleNamespace(layout=layout.as_dict()),
  )
  monkeypatch.setattr(token_cache, 'vocab_size', lambda directory: 128)
  main.configure(
    str(tmp_path),
    ['experiments/tiny.gin', 'serving/block_local.gin'],
    ["DATASET = 'simulator'"],
    {'train': train.train},
  )
  model = gin.query_parameter('train.train.model').scoped_configurable_fn()
  config = model.module.config
  assert config.num_block_local_layers == config.items_per_block == 1
  assert config.item_token_ranges == ((3, 11), (11, 20))
