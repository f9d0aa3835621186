"""The tiny model of `tiny.py` as a fixture, and a run of it."""

import importlib.util
import pathlib

import jax
import pytest


@pytest.fixture(scope='session')
def tiny():
  path = pathlib.Path(__file__).with_name('tiny.py')
  spec = importlib.util.spec_from_file_location('tiny', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


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
