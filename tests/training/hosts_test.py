"""Several processes on this machine do together what one does alone."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from genrec_jax.training import checkpoints, hosts, writers
from genrec_jax.types import GenrecError

WORKER = pathlib.Path(__file__).with_name('hosts_worker.py')


@pytest.fixture
def start(compilation_cache):
  """The function that starts processes, which end with the test."""
  processes = []

  def start(run_dir, count, seconds):
    started = launch(run_dir, compilation_cache, count, seconds)
    processes.extend(started)
    return started

  yield start
  for process in processes:
    process.kill()
    process.communicate()


def launch(run_dir, cache, count, seconds):
  """Starts processes of two devices each."""
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{free.getsockname()[1]}'
  flags = f'{os.environ["XLA_FLAGS"]} --xla_force_host_platform_device_count=2'
  return [
    subprocess.Popen(
      [sys.executable, WORKER, run_dir, cache, str(seconds)]
      + ([address, str(count), str(number)] if count > 1 else []),
      env=os.environ | {'PYTHONPATH': os.getcwd(), 'XLA_FLAGS': flags},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for number in range(count)
  ]


def wait_for_rows(run_dir, step):
  """Waits until a row of a step is logged and a checkpoint is whole."""
  metrics = run_dir / 'logs' / 'metrics.jsonl'
  for _ in range(3000):
    rows = writers.read_rows(metrics) if metrics.exists() else []
    saved = (run_dir / 'checkpoints').exists() and (
      checkpoints.list_checkpoints(run_dir / 'checkpoints')
    )
    if saved and any(row['step'] >= step for row in rows):
      return
    time.sleep(0.1)
  pytest.fail(f'no row of step {step} in five minutes')


def test_processes_that_come_and_go_end_as_one_that_is_left_alone(
  tmp_path, start
):
  alone, shared = tmp_path / 'alone', tmp_path / 'shared'
  (one,) = start(alone, 1, 0)
  output = one.communicate()
  assert one.returncode == 0, output

  # Two, of which one is killed: the other says so and stops.
  first, second = start(shared, 2, 0.3)
  wait_for_rows(shared, 10)
  second.kill()
  began = time.monotonic()
  _, error = first.communicate()
  assert time.monotonic() - began < 60
  assert first.returncode not in (0, None)
  assert 'has lost another one' in error or 'another task died' in error
  second.communicate()
  expected, found = np.load(f'{alone}.npz'), np.load(f'{shared}.npz')
  np.testing.assert_array_equal(found['items'], expected['items'])
  np.testing.assert_allclose(found['scores'], expected['scores'], rtol=1e-5)

  # Four go on, and one of them is told to stop: all do, at the same step.
  last = checkpoints.find_checkpoint(shared / 'checkpoints', 'last')
  four = start(shared, 4, 0.3)
  wait_for_rows(shared, 20)
  four[2].send_signal(signal.SIGTERM)
  outputs = [process.communicate() for process in four]
  assert [p.returncode for p in four] == 4 * [128 + signal.SIGTERM], outputs
  said = [output for output, _ in outputs]
  assert f'Going on at step {last} of 30' in said[0]
  assert 'Stopped by SIGTERM at step' in said[0]
  assert not any('step' in text for text in said[1:])

  # And one alone makes an end of it.
  (one,) = start(shared, 1, 0)
  output = one.communicate()
  assert one.returncode == 0, output
  expected, found = read_losses(alone), read_losses(shared)
  # Where it stopped there is a row more, and the next is the mean of fewer.
  both = sorted(expected.keys() & found.keys())
  assert {(0, 5), (5, 10), (25, 30)} <= {*both}
  for steps in both:
    assert found[steps] == pytest.approx(expected[steps], rel=1e-4), steps


def read_losses(run_dir):
  """Returns the mean losses of a run, by the rows that they lie between."""
  losses, before = {}, 0
  for row in writers.read_rows(run_dir / 'logs' / 'metrics.jsonl'):
    if row['split'] == 'train':
      losses[before, row['step']] = row['loss']
      before = row['step']
  return losses


@pytest.mark.parametrize(
  ('flags', 'complaint'),
  [
    ({'distributed': 'yes'}, 'expected auto'),
    ({'process_id': 'one'}, 'expected a whole number'),
    ({'process_id': '0'}, 'without --coordinator_address'),
    (
      {
        'coordinator_address': 'localhost:1',
        'num_processes': '2',
        'process_id': '2',
      },
      'from 0 to num_processes - 1 = 1',
    ),
  ],
)
def test_flags_that_do_not_fit_are_refused(flags, complaint):
  with pytest.raises(GenrecError, match=complaint):
    hosts.read_flags(flags)
