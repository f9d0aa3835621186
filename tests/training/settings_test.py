import json

import pytest

from genrec_jax import artifacts
from genrec_jax.training.settings import keep_settings
from genrec_jax.types import GenrecError

SETTINGS = {'cosine.learning_rate': 0.004, 'cached_batches.tasks': ('a', 'b')}


@pytest.fixture
def directory(tmp_path):
  artifacts.write_manifest(
    tmp_path, kind='checkpoints', fingerprint='', inputs={}
  )
  assert keep_settings(tmp_path, SETTINGS, step=0) == []
  return tmp_path


def manifest(directory):
  return json.loads((directory / artifacts.MANIFEST).read_text())


def test_the_same_settings_go_on(directory):
  before = manifest(directory)
  assert keep_settings(directory, SETTINGS, step=5) == []
  assert manifest(directory) == before


def test_before_the_first_checkpoint_settings_may_change(directory):
  assert keep_settings(directory, {'a': 1}, step=0) == []
  assert manifest(directory)['settings'] == {'a': 1}


def test_changed_settings_are_named_and_refused(directory):
  before = manifest(directory)
  changed = SETTINGS | {'cosine.learning_rate': 0.001, 'train.seed': 1}
  with pytest.raises(GenrecError) as raised:
    keep_settings(directory, changed, step=5)
  error = str(raised.value)
  assert 'cosine.learning_rate was 0.004 and is 0.001' in error
  assert 'train.seed was at its default and is 1' in error
  assert 'tasks' not in error and '--accept_changes' in error
  assert manifest(directory) == before


def test_accepted_changes_are_said_and_kept(directory):
  before = manifest(directory)['settings']
  lines = keep_settings(directory, {'a': 1}, step=5, accept=True)
  assert 'After step 5: a was at its default and is 1.' in lines
  after = manifest(directory)
  assert after['settings'] == {'a': 1}
  assert after['changes'] == [{'step': 5, 'from': before}]


def test_checkpoints_without_recorded_settings_go_on(tmp_path):
  artifacts.write_manifest(
    tmp_path, kind='checkpoints', fingerprint='', inputs={}
  )
  assert keep_settings(tmp_path, SETTINGS, step=5) == []
  assert keep_settings(tmp_path, None, step=5) == []
