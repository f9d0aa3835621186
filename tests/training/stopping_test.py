"""A signal stops a run in order, whatever it is doing."""

import os
import signal
import time

import pytest

from genrec_jax.training import checkpoints, stopping, writers


def test_a_signal_breaks_off_an_evaluation_which_is_made_up_for(
  tiny, undisturbed, tmp_path, capsys, assert_same_end
):
  def interrupted(params, step):
    if step == 15:
      os.kill(os.getpid(), signal.SIGTERM)
      pytest.fail('the evaluation went on after the signal')
    return tiny.evaluate(params, step)

  with pytest.raises(SystemExit) as stopped:
    tiny.train(tmp_path, evaluate=interrupted)
  assert stopped.value.code == 128 + signal.SIGTERM
  assert 'Stopped by SIGTERM at step 15' in capsys.readouterr().out
  # Broken off once more, it still waits to be made.
  with pytest.raises(SystemExit):
    tiny.train(tmp_path, evaluate=interrupted)
  assert checkpoints.list_checkpoints(tmp_path / 'checkpoints')[-1] == 15
  progress = tiny.train(tmp_path)
  assert progress.best_step == 15
  assert_same_end(tmp_path, undisturbed)
  rows = [
    (row['step'], row['split'])
    for row in writers.read_rows(tmp_path / 'logs' / 'metrics.jsonl')
  ]
  expected = writers.read_rows(undisturbed / 'logs' / 'metrics.jsonl')
  assert rows == [(row['step'], row['split']) for row in expected]


def test_a_second_signal_interrupts_at_once():
  before = signal.getsignal(signal.SIGINT)
  with pytest.raises(KeyboardInterrupt), stopping.StopRequest() as stop:
    assert not stop.seen_at(1)
    os.kill(os.getpid(), signal.SIGINT)
    assert stop.seen_at(2)
    assert stop.signal is signal.SIGINT
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)
  assert signal.getsignal(signal.SIGINT) is before
