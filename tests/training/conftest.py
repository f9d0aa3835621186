"""A run of the tiny model of `tiny.py`."""

import json

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from genrec_jax.training import checkpoints


@pytest.fixture(scope='session')
def compilation_cache():
  """The directory of the programs that this call of pytest compiled."""
  return jax.config.jax_compilation_cache_dir


@pytest.fixture(scope='session')
def undisturbed(tiny, tmp_path_factory):
  """The directory of a run that nothing interrupted."""
  run_dir = tmp_path_factory.mktemp('undisturbed') / 'run'
  tiny.train(run_dir)
  return run_dir


@pytest.fixture(scope='session')
def last_state():
  """Returns all that the last checkpoint of a run holds, as NumPy arrays."""
  return _last_state


def _last_state(run_dir):
  step = checkpoints.find_checkpoint(run_dir / 'checkpoints', 'last')
  path = run_dir / 'checkpoints' / f'checkpoint_{step}'
  tree = ocp.PyTreeCheckpointHandler().metadata(path / 'state').tree
  as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
  state = ocp.PyTreeCheckpointer().restore(
    path / 'state', restore_args=jax.tree.map(lambda _: as_numpy, tree)
  )
  position = json.loads((path / 'dataset' / 'metadata').read_text())
  progress = json.loads((path / 'progress' / 'metadata').read_text())
  return state, position, progress


@pytest.fixture(scope='session')
def assert_same_end():
  """Holds the last checkpoints of two runs against each other."""
  return _assert_same_end


def _assert_same_end(run_dir, expected_dir):
  state, position, progress = _last_state(run_dir)
  expected, expected_position, expected_progress = _last_state(expected_dir)
  assert position == expected_position
  assert progress == expected_progress
  jax.tree.map(np.testing.assert_array_equal, state, expected)
