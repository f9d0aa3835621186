"""Settings of every test: eight CPU devices, and strict array arithmetic.

What tests share, be it in several processes, lies in a directory that is new
for each call of pytest: compiled programs, and a run of all tasks.
"""

import atexit
import fcntl
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

# Programs are small here and run a few times: most of the time went into
# optimizing them. end_to_end_test.py runs optimized ones; so do all tests with
# XLA_FLAGS='--xla_backend_optimization_level=3
#   --xla_llvm_disable_expensive_passes=false
#   --xla_cpu_use_fusion_emitters=true'
QUICK_TO_COMPILE = (
  '--xla_backend_optimization_level=0',
  '--xla_llvm_disable_expensive_passes=true',
  '--xla_cpu_use_fusion_emitters=false',
)
SESSION = 'GENREC_JAX_TEST_SESSION'


def choose_flags():
  """Returns the flags for XLA, the quick ones where it knows them all."""
  devices = '--xla_force_host_platform_device_count=8'
  own = os.environ.get('XLA_FLAGS', '')
  quick = ' '.join([*QUICK_TO_COMPILE, own, devices])  # the last one holds
  # An unknown flag ends the process.
  known = subprocess.run(
    [sys.executable, '-c', 'import jax; jax.devices()'],
    env=os.environ | {'XLA_FLAGS': quick},
    capture_output=True,
  )
  return quick if known.returncode == 0 else f'{own} {devices}'


# Set before JAX is imported: the same program must run on one device and on
# several, and most tests here are too small to notice.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('CUDA_VISIBLE_DEVICES', '-1')
if SESSION not in os.environ:  # the workers of pytest-xdist inherit it
  os.environ['XLA_FLAGS'] = choose_flags()
  os.environ[SESSION] = tempfile.mkdtemp(prefix='genrec_jax_tests_')
  atexit.register(shutil.rmtree, os.environ[SESSION], ignore_errors=True)
  os.environ['JAX_COMPILATION_CACHE_DIR'] = f'{os.environ[SESSION]}/xla'
  os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.1'


def pytest_configure():
  import jax

  jax.config.update('jax_numpy_rank_promotion', 'raise')


def load_module(path):
  """Returns the module of a file that several tests share."""
  path = pathlib.Path(__file__).parent / path
  spec = importlib.util.spec_from_file_location(path.stem, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture(scope='session')
def save_shop():
  """The function that saves dataset, split and ids of raw tables."""
  return load_module('all_tasks.py').save_shop


@pytest.fixture(scope='session')
def tiny():
  """The module of a tiny model, its batches and its training."""
  return load_module('training/tiny.py')


@pytest.fixture(scope='session')
def pages():
  """The module that reads pages, and opens them in a browser."""
  return load_module('reporting/pages.py')


@pytest.fixture(scope='session')
def run(tmp_path_factory):
  """A small run of all tasks, with its last checkpoint.

  Every process has its own directory, to which it may add; what was prepared,
  tokenized and trained is the same for all, and must not be changed.
  """
  from genrec_jax.answering.run import load_run

  all_tasks = load_module('all_tasks.py')
  shared = pathlib.Path(os.environ[SESSION]) / 'all_tasks'
  shared.mkdir(exist_ok=True)
  with open(shared / 'lock', 'w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not (shared / 'run').exists():
      all_tasks.write_run(shared / 'unfinished')
      (shared / 'unfinished').rename(shared / 'run')
  directory = tmp_path_factory.mktemp('all_tasks')
  for made in (shared / 'run').iterdir():
    (directory / made.name).symlink_to(made)
  return load_run(directory, all_tasks.load_model(directory), checkpoint='last')
