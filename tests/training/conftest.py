"""The tiny model of `tiny.py` as a fixture; programs are compiled only once."""

import importlib.util
import pathlib

import jax
import pytest

from genrec_jax.training import partitioning


@pytest.fixture(scope='session')
def tiny():
  path = pathlib.Path(__file__).with_name('tiny.py')
  spec = importlib.util.spec_from_file_location('tiny', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture(scope='session', autouse=True)
def compilation_cache(tmp_path_factory):
  names = (
    'jax_compilation_cache_dir',
    'jax_persistent_cache_min_compile_time_secs',
  )
  before = {name: getattr(jax.config, name) for name in names}
  yield partitioning.use_compilation_cache(tmp_path_factory.mktemp('xla'))
  for name, value in before.items():
    jax.config.update(name, value)


@pytest.fixture(scope='session')
def undisturbed(tiny, tmp_path_factory):
  """The directory of a run that nothing interrupted."""
  run_dir = tmp_path_factory.mktemp('undisturbed') / 'run'
  tiny.train(run_dir)
  return run_dir
