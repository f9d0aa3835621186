"""The data that the run of all tasks was made from."""

import pytest

from genrec_jax.measuring.train_data import load_train_data


@pytest.fixture(scope='session')
def data(run):
  return load_train_data(run)
