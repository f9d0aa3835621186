"""T5X's own programs train, evaluate and infer what ours do.

Its mains run as a user runs them, in processes of their own; ours run here.
T5X is in no package registry, so this is skipped where it is absent;
docs/t5x.md says how to install it.
"""

import importlib.util
import json
import os
import subprocess
import sys

import gin
import jax
import numpy as np
import pytest

from genrec_jax import configuration, main, tokenize, train
from genrec_jax.data import simulator

if importlib.util.find_spec('t5x') is None:
  pytest.skip(
    't5x is not installed; docs/t5x.md says how', allow_module_level=True
  )

import seqio
import t5x.train_state
from tensorboard.backend.event_processing.event_file_loader import (
  EventFileLoader,
)
from tensorboard.util import tensor_util

from genrec_jax.answering.run import load_run
from genrec_jax.decoding.recommend import make_recommend_fn, recommend_examples
from genrec_jax.evaluation.ranking import ranking_metrics
from genrec_jax.tasks import run_tasks
from genrec_jax.training import optimizers
from genrec_jax.training.checkpoints import restore_params
from genrec_jax.training.t5x import wrap_optimizer

# Neither T5X nor what it imports is ours to mend.
pytestmark = pytest.mark.filterwarnings('ignore')

TASK, BATCH_SIZE, NUM_STEPS = 'shop_sequential', 16, 20
LENGTHS = {'inputs': 64, 'targets': 16}
ONE_DEVICE = ' --xla_force_host_platform_device_count=1'
# Both sides: one configuration of the model and its optimizer.
BINDINGS = [
  'T5Config.emb_dim = 16',
  'T5Config.mlp_dim = 32',
  'T5Config.num_encoder_layers = 1',
  'T5Config.num_decoder_layers = 1',
  'DROPOUT_RATE = 0.1',
  'WARMUP_STEPS = 5',
  # Where the schedule ends, however often the run goes on.
  'optimizers.cosine.num_steps = 40',
]


def make_shop(data, directory):
  """Returns a run directory with these data, and nothing trained."""
  directory.mkdir(parents=True)
  for name in ('dataset', 'ids', 'tokens'):
    (directory / name).symlink_to(data / name)
  return directory


def run_t5x(program, gin_file, shop, **bindings):
  """Runs a program of T5X from the directory that holds the shop."""
  values = [f'{name} = {value!r}' for name, value in bindings.items()]
  command = [
    *(sys.executable, '-m', f't5x.{program}'),
    f'--gin_search_paths={configuration.gin_search_paths()[0]}',
    *('--gin_file=models/tiny.gin', f'--gin_file=t5x/{gin_file}.gin'),
    *(
      f'--gin.{binding}'
      for binding in (
        *(b for b in BINDINGS if program == 'train' or 'T5Config' in b),
        "RUN_DIR = 'shop'",
        f'MIXTURE_OR_TASK_NAME = {TASK!r}',
        f'BATCH_SIZE = {BATCH_SIZE}',
        *values,
      )
    ),
  ]
  # T5X's mesh on a CPU gives all devices of a process to the model.
  flags = os.environ['XLA_FLAGS'] + ONE_DEVICE
  done = subprocess.run(
    command,
    cwd=shop.parent,
    env=os.environ | {'XLA_FLAGS': flags},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-3000:]


def t5x_trains(gin_file, shop, num_steps, **bindings):
  run_t5x(
    'train',
    gin_file,
    shop,
    MODEL_DIR=str(shop / 'checkpoints'),
    TASK_FEATURE_LENGTHS=LENGTHS,
    TRAIN_STEPS=num_steps,
    STATS_PERIOD=1,
    **bindings,
  )


def t5x_losses(shop):
  """Returns the loss of each step that T5X has logged."""
  return {
    event.step: float(tensor_util.make_ndarray(value.tensor))
    for path in sorted((shop / 'checkpoints' / 'train').glob('events*'))
    for event in EventFileLoader(str(path)).Load()
    for value in event.summary.value
    if value.tag == 'loss'
  }


class PackedBatches:
  """T5X's batches for our trainer: the same pipeline, the same seed."""

  tasks = None

  def __init__(self, shop):
    run_tasks.register(shop)
    self._batches = seqio.get_dataset(
      mixture_or_task_name=TASK,
      task_feature_lengths=LENGTHS,
      dataset_split='train',
      shuffle=True,
      num_epochs=None,
      feature_converter=seqio.EncDecFeatureConverter(pack=True),
      seed=0,
      batch_size=BATCH_SIZE,
    ).as_numpy_iterator()

  def __iter__(self):
    return self

  def __next__(self):
    return next(self._batches)

  def get_state(self):
    return {}


def configured(shop, num_steps):
  """Returns our train function and model, bound as T5X's are."""
  bound, _ = main.configure(
    str(shop),
    ['models/tiny.gin', 'runs/train.gin'],
    [*BINDINGS, f'TRAIN_STEPS = {num_steps}'],
    {'train': train.train},
  )
  model = gin.query_parameter('train.train.model').scoped_configurable_fn()
  return bound['train'], model


def we_train(shop, num_steps):
  """Trains with our trainer, or goes on; returns the loss of each step."""
  forget_tasks()
  run_train, _ = configured(shop, num_steps)
  run_train(
    run_dir=shop,
    make_train_batches=lambda **_: PackedBatches(shop),
    make_evaluate_fn=None,
    log_period=1,
  )
  lines = (shop / 'logs' / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  return {row['step']: row['loss'] for row in rows if row['split'] == 'train'}


def we_recommend(shop, num_beams):
  """Returns the test examples and our lists for them, seen items included."""
  _, model = configured(shop, NUM_STEPS)
  run = load_run(shop, model, checkpoint=NUM_STEPS)
  examples = run.cache.examples('sequential', 'test')
  with run.partitioned():
    lists = recommend_examples(
      make_recommend_fn(model, run.trie, num_beams=num_beams),
      run.params,
      examples,
      batch_size=BATCH_SIZE,
      exclude_seen=False,
      place=run.place,
    )
  return run, examples, lists


def forget_tasks():
  seqio.TaskRegistry.reset()
  seqio.MixtureRegistry.reset()


@pytest.fixture(autouse=True)
def settings():
  """T5X promotes ranks."""
  with jax.numpy_rank_promotion('allow'):
    yield
  gin.clear_config()
  forget_tasks()


@pytest.fixture(scope='module')
def data(save_shop, tmp_path_factory):
  """A directory with dataset, ids and tokens."""
  directory = tmp_path_factory.mktemp('data')
  save_shop(directory, simulator.simulate(seed=1, num_users=40))
  tokenize.tokenize(run_dir=directory, templates='plain', max_history=6)
  return directory


@pytest.fixture(scope='module')
def theirs(data, tmp_path_factory):
  """A shop whose model T5X has trained."""
  shop = make_shop(data, tmp_path_factory.mktemp('theirs') / 'shop')
  t5x_trains('pretrain', shop, NUM_STEPS)
  return shop


@pytest.fixture(scope='module')
def ours(data, tmp_path_factory):
  """A shop whose model we have trained, and the loss of each step."""
  shop = make_shop(data, tmp_path_factory.mktemp('ours') / 'shop')
  return shop, we_train(shop, NUM_STEPS)


def test_t5x_trains_as_we_do(theirs, ours):
  """From the same seed: initial parameters, dropout, data, every update."""
  shop, losses = ours
  found = t5x_losses(theirs)
  assert list(found) == list(losses) == list(range(1, NUM_STEPS + 1))
  np.testing.assert_allclose([*found.values()], [*losses.values()], rtol=1e-5)
  trained = [
    restore_params(directory / 'checkpoints', step=NUM_STEPS)
    for directory in (theirs, shop)
  ]
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
    *trained,
  )


def test_either_goes_on_from_the_checkpoint_of_the_other(data, theirs, ours):
  """T5X from ours in a directory of its own, we in that of T5X."""
  apart = make_shop(data, theirs.parent / 'apart' / 'shop')
  t5x_trains(
    'finetune',
    apart,
    NUM_STEPS + 4,
    INITIAL_CHECKPOINT_PATH=str(
      ours[0] / 'checkpoints' / f'checkpoint_{NUM_STEPS}'
    ),
    DATASET_SEED=0,
    NUM_DECODES=10,
  )
  found = t5x_losses(apart)
  continued = we_train(theirs, NUM_STEPS + 4)
  assert [*found] == [*continued] == [21, 22, 23, 24]
  np.testing.assert_allclose(
    [*found.values()], [*continued.values()], rtol=1e-5
  )


@pytest.mark.parametrize('whose', ['theirs', 'ours'])
def test_t5x_infers_the_items_and_scores_that_we_recommend(
  whose, theirs, ours, tmp_path
):
  shop = theirs if whose == 'theirs' else ours[0]
  run_t5x(
    'infer',
    'infer',
    shop,
    CHECKPOINT_PATH=str(shop / 'checkpoints' / f'checkpoint_{NUM_STEPS}'),
    INFER_OUTPUT_DIR=str(tmp_path),
    TASK_FEATURE_LENGTHS=LENGTHS,
    NUM_DECODES=10,
  )
  run, _, lists = we_recommend(shop, num_beams=10)
  names = run_tasks.vocabulary(shop).decode(run.cache.item_tokens)
  path = tmp_path / f'{TASK}-predict_with_aux.jsonl-00000-of-00001'
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  # T5X gives the best last.
  found = [row['prediction'][::-1] for row in rows]
  assert found == [[names[item] for item in items] for items in lists.items]
  np.testing.assert_allclose(
    [row['aux']['scores'][::-1] for row in rows], lists.scores, rtol=1e-5
  )


def test_t5x_measures_what_we_do(ours, tmp_path):
  shop, _ = ours
  run_t5x(
    'eval',
    'eval',
    shop,
    CHECKPOINT_PATH=str(shop / 'checkpoints' / f'checkpoint_{NUM_STEPS}'),
    EVAL_OUTPUT_DIR=str(tmp_path),
    NUM_DECODES=50,
  )
  path = tmp_path / 'inference_eval' / f'{TASK}-metrics.jsonl'
  found = json.loads(path.read_text().splitlines()[-1])
  _, examples, lists = we_recommend(shop, num_beams=50)
  expected = ranking_metrics(lists.items, examples.target)
  assert expected['mrr'] > 0
  for name, value in expected.items():
    assert found[name] == pytest.approx(value), name


@pytest.mark.parametrize('name', ['adamw', 'adafactor'])
def test_an_optimizer_lies_where_its_parameters_lie(name, tiny):
  """Moments and averages; what T5X's own wrapper does not know, too."""
  optimizer = getattr(optimizers, name)(learning_rate=0.1, average_decay=0.9)
  model = tiny.make_model(optimizer)
  state = jax.eval_shape(
    lambda: t5x.train_state.FlaxOptimTrainState.create(
      wrap_optimizer(optimizer),
      model.get_initial_variables(
        jax.random.PRNGKey(0),
        {'encoder_input_tokens': (2, 8), 'decoder_input_tokens': (2, 8)},
      ),
    )
  )
  axes = state.as_logical_axes().state_dict()
  embedding = ('token_embedder', 'embedding')
  average = axes['state']['param_states'][str(len(state.param_states) - 1)]

  def at(tree, path):
    return at(tree[path[0]], path[1:]) if path else tree

  assert tuple(at(axes['target'], embedding)) == ('vocab', 'embed')
  assert tuple(at(average['average_of_params'], embedding)) == (
    'vocab',
    'embed',
  )
  assert average['count'] is None
