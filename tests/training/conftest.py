"""A run of the tiny model of `tiny.py`."""

import jax
import pytest


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
