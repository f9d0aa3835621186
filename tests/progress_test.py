"""Tests of the progress bar, on a terminal and without one."""

import os
import pty
import subprocess
import sys
import termios

SCRIPT = """
from genrec_jax import progress
progress.PATIENCE = 0
assert sum(progress.bar(range(4), 'counting')) == 6
"""


def run(stderr):
  subprocess.run([sys.executable, '-c', SCRIPT], stderr=stderr, check=True)


def test_a_terminal_shows_how_far_it_is():
  terminal, other_end = pty.openpty()
  termios.tcsetwinsize(other_end, (24, 80))
  run(other_end)
  os.set_blocking(terminal, False)
  shown = os.read(terminal, 2**16).decode()
  os.close(terminal)
  os.close(other_end)
  assert 'counting' in shown
  assert '0/4' in shown


def test_a_file_gets_nothing(tmp_path):
  path = tmp_path / 'stderr'
  with open(path, 'w') as file:
    run(file)
  assert path.read_text() == ''
