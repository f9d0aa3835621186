"""Settings of every test: eight CPU devices, and strict array arithmetic."""

import importlib.util
import os
import pathlib

# Set before JAX is imported: the same program must run on one device and on
# several, and most tests here are too small to notice.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['XLA_FLAGS'] = (
  os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8'
)
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('CUDA_VISIBLE_DEVICES', '-1')

import jax
import pytest

jax.config.update('jax_numpy_rank_promotion', 'raise')


@pytest.fixture(scope='session')
def all_tasks_run(tmp_path_factory):
  """A small run of all tasks, and its model; tests must not change it."""
  path = pathlib.Path(__file__).parent / 'all_tasks.py'
  spec = importlib.util.spec_from_file_location('all_tasks', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  directory = tmp_path_factory.mktemp('all_tasks')
  return directory, module.write_run(directory)
