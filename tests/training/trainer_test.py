import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.data import batches
from genrec_jax.training import checkpoints, optimizers, writers
from genrec_jax.types import GenrecError


def deterministic_rows(run_dir):
  timed = ('_per_second', 'wait', 'seconds', 'per_step')
  return [
    {k: v for k, v in row.items() if not k.endswith(timed)}
    for row in writers.read_rows(run_dir / 'logs' / 'metrics.jsonl')
  ]


def test_a_run_learns_and_keeps_the_latest_and_the_best(undisturbed):
  rows = deterministic_rows(undisturbed)
  losses = [row['loss'] for row in rows if row['split'] == 'train']
  assert losses[-1] < losses[0] - 0.3
  rates = {row['learning_rate'] for row in rows if row['split'] == 'train'}
  assert rates == {1e-2}
  assert [row['step'] for row in rows] == sorted(2 * [5, 10, 15, 20, 25, 30])
  steps = checkpoints.list_checkpoints(undisturbed / 'checkpoints')
  assert steps == [15, 30]


def test_resumed_equals_uninterrupted(
  tiny, undisturbed, tmp_path, capsys, assert_same_end
):
  class InterruptedBatches(batches.TrainBatches):
    """Sends what a scheduler sends, when batch 12 is read."""

    def __next__(self):
      if self.get_state()['next_batch'] == 12:
        os.kill(os.getpid(), signal.SIGTERM)
      return super().__next__()

  with pytest.raises(SystemExit) as stopped:
    tiny.train(
      tmp_path,
      make_train_batches=lambda: tiny.make_batches(cls=InterruptedBatches),
    )
  assert stopped.value.code == 128 + signal.SIGTERM
  saved = checkpoints.find_checkpoint(tmp_path / 'checkpoints', 'last')
  assert f'Stopped by SIGTERM at step {saved}' in capsys.readouterr().out
  assert 9 <= saved <= 13
  tiny.train(tmp_path)
  assert_same_end(tmp_path, undisturbed)


def test_a_killed_run_ends_with_the_same_bits(
  tiny, undisturbed, compilation_cache, tmp_path, assert_same_end
):
  script = pathlib.Path(tiny.__file__)
  command = [sys.executable, script, tmp_path / 'run', compilation_cache]
  environment = os.environ | {'PYTHONPATH': os.getcwd()}
  metrics = tmp_path / 'run' / 'logs' / 'metrics.jsonl'
  saved = tmp_path / 'run' / 'checkpoints'
  killed = subprocess.Popen(
    [*command, '0.1'], env=environment, stdout=subprocess.DEVNULL
  )
  # Checkpoints are written beside the steps, and may be later than their rows.
  while len(writers.read_rows(metrics)) < 4 or not (
    saved.exists() and checkpoints.list_checkpoints(saved)
  ):
    assert killed.poll() is None
    time.sleep(0.01)
  # The run is now at step 10 or soon after; it has about two seconds to go.
  moment = random.uniform(0, 0.9)
  time.sleep(moment)
  killed.kill()
  killed.wait()
  assert checkpoints.find_checkpoint(saved, 'last') < 30
  finished = subprocess.run(
    [*command, '0'], env=environment, capture_output=True, text=True
  )
  assert finished.returncode == 0, finished.stderr
  assert 'Going on at step' in finished.stdout, f'killed after {moment} s'
  assert_same_end(tmp_path / 'run', undisturbed)
  assert deterministic_rows(tmp_path / 'run') == deterministic_rows(undisturbed)


def test_kills_while_saving_lose_no_more_than_a_step_or_two(
  tiny, undisturbed, compilation_cache, tmp_path, assert_same_end
):
  """GENREC_KILLS=50 kills oftener than the suite has time for."""
  script = pathlib.Path(tiny.__file__)
  command = [sys.executable, script, tmp_path / 'run', compilation_cache]
  environment = os.environ | {'PYTHONPATH': os.getcwd()}
  saved = tmp_path / 'run' / 'checkpoints'

  def last_step():
    steps = checkpoints.list_checkpoints(saved) if saved.exists() else []
    return max(steps, default=0)

  for _ in range(int(os.environ.get('GENREC_KILLS', '3'))):
    before = last_step()
    # A checkpoint each step: it is nearly always saving.
    killed = subprocess.Popen(
      [*command, '0.05', '1'],
      env=environment,
      stdout=subprocess.PIPE,
      text=True,
    )
    while last_step() <= before and killed.poll() is None:
      time.sleep(0.005)
    time.sleep(random.uniform(0, 0.2))
    killed.kill()
    said = killed.communicate()[0]
    assert f'at step {before} of 30' in said or before == 30, said
    logged = [int(n) for n in re.findall(r'^step +(\d+)/', said, re.MULTILINE)]
    # The last row may be of the step whose checkpoint was being written.
    assert last_step() >= max(logged) - 2, said
  finished = subprocess.run(
    [*command, '0', '1'], env=environment, capture_output=True, text=True
  )
  assert finished.returncode == 0, finished.stderr
  assert not list(saved.glob('unreadable_*'))
  assert_same_end(tmp_path / 'run', undisturbed)


def test_a_finished_run_has_nothing_to_do(tiny, undisturbed, capsys):
  before = deterministic_rows(undisturbed)
  progress = tiny.train(undisturbed, evaluate=None)
  assert 'Training is done' in capsys.readouterr().out
  assert (progress.best_step, progress.best_value) == (15, 0.5)
  assert deterministic_rows(undisturbed) == before


def test_early_stopping_stops_and_stays_stopped(tiny, tmp_path, capsys):
  settings = {'early_stopping_patience': 2}
  assert tiny.train(tmp_path, **settings).best_step == 15
  assert 'done at step 25 (2 evaluations' in capsys.readouterr().out
  assert checkpoints.list_checkpoints(tmp_path / 'checkpoints') == [15, 25]
  tiny.train(tmp_path, **settings)
  assert 'nothing to do' in capsys.readouterr().out


def test_what_is_not_finite_names_the_step_and_is_not_saved(tiny, tmp_path):
  # Loss and gradients of step 11 are finite, its update is not.
  model = tiny.make_model(
    optimizers.adamw(learning_rate=lambda n: jnp.where(n == 10, jnp.nan, 0.01))
  )
  with pytest.raises(GenrecError, match=r'at step 11;.*checkpoint_8\.'):
    tiny.train(
      tmp_path,
      model=model,
      make_train_batches=lambda: tiny.make_batches(bucket_boundaries=()),
      checkpoint_period=4,
      evaluate=None,
      log_period=20,
    )
  assert checkpoints.list_checkpoints(tmp_path / 'checkpoints') == [8]


def test_evaluation_gets_the_average_of_the_parameters(
  tiny, tmp_path, last_state
):
  seen = {}

  def evaluate(params, step):
    seen[step] = jax.device_get(params)
    return {'recall@10': 0.0}

  tiny.train(tmp_path, num_steps=4, evaluate=evaluate)
  directory = tmp_path / 'checkpoints'
  restored = checkpoints.restore_params(directory, step='best')
  jax.tree.map(np.testing.assert_array_equal, restored, seen[4])
  last = last_state(tmp_path)[0]['target']
  embedding = last['token_embedder']['embedding']
  assert np.any(embedding != restored['token_embedder']['embedding'])


def test_an_unknown_best_metric_lists_the_known(tiny, tmp_path):
  with pytest.raises(GenrecError, match="'ndcg'; expected one of: recall@10"):
    tiny.train(tmp_path, num_steps=4, best_metric='ndcg')


def test_an_error_of_the_input_comes_out(tiny, tmp_path):
  class BrokenBatches(batches.TrainBatches):
    def __next__(self):
      raise OSError('the disk is gone')

  with pytest.raises(OSError, match='the disk is gone'):
    tiny.train(
      tmp_path,
      make_train_batches=lambda: tiny.make_batches(cls=BrokenBatches),
    )
