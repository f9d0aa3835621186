import json
import pathlib
import re
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.training import checkpoints, optimizers, partitioning, steps
from genrec_jax.types import GenrecError

# Where one array fails, TensorStore's work on others may end when Orbax has
# closed its event loop.
AFTER_THE_LOOP = pytest.mark.filterwarnings(
  'ignore::pytest.PytestUnraisableExceptionWarning'
)


@pytest.fixture
def copied(undisturbed, tmp_path) -> pathlib.Path:
  """Checkpoints 15 (the best) and 30 of a run."""
  return shutil.copytree(undisturbed / 'checkpoints', tmp_path / 'checkpoints')


def abstract_state(tiny, optimizer=None):
  mesh = partitioning.make_mesh(1, jax.devices()[:1])
  return steps.abstract_state(tiny.make_model(optimizer), mesh)


def test_the_tree_on_disk_is_t5x(tiny, copied):
  state, position, progress = checkpoints.Checkpoints(copied).restore(
    abstract_state(tiny), 30
  )
  assert int(state.step) == 30
  assert position['next_batch'] == 30
  expected = {'best_step': 15, 'best_value': 0.5, 'stale': 3}
  assert progress == expected | {'pending': False}
  metadata = json.loads((copied / 'checkpoint_30/state/_METADATA').read_text())
  names = {
    '/'.join(key['key'] for key in leaf['key_metadata'])
    for leaf in metadata['tree_metadata'].values()
  }
  assert 'target/token_embedder/embedding' in names
  assert 'state/step' in names
  assert 'state/param_states/1/0/mu/token_embedder/embedding' in names
  assert {name.split('/')[0] for name in names} == {'target', 'state'}


def test_a_restored_state_has_the_saved_bits_on_another_mesh(tiny, copied):
  saved, _, _ = checkpoints.Checkpoints(copied).restore(
    abstract_state(tiny), 30
  )
  other = steps.abstract_state(tiny.make_model(), partitioning.make_mesh(2))
  restored, _, _ = checkpoints.Checkpoints(copied).restore(other, 30)
  embedding = restored.params['token_embedder']['embedding']
  assert embedding.addressable_shards[0].data.shape == (64, 16)
  jax.tree.map(np.testing.assert_array_equal, saved, restored)


def test_find_checkpoint(copied):
  assert checkpoints.find_checkpoint(copied) == 15
  assert checkpoints.find_checkpoint(copied, 'last') == 30
  assert checkpoints.find_checkpoint(copied, 15) == 15
  with pytest.raises(GenrecError, match='No checkpoint 20 .* steps 15, 30'):
    checkpoints.find_checkpoint(copied, 20)
  with pytest.raises(GenrecError, match='No checkpoint newest'):
    checkpoints.find_checkpoint(copied, 'newest')
  shutil.rmtree(copied / 'checkpoint_15')
  with pytest.raises(GenrecError, match=r'No checkpoint 15 \(best\)'):
    checkpoints.find_checkpoint(copied)
  with pytest.raises(GenrecError, match='run `genrec train` first'):
    checkpoints.find_checkpoint(copied.parent / 'nowhere')


def test_a_half_written_checkpoint_is_never_taken(tiny, copied, caplog):
  shutil.copytree(
    copied / 'checkpoint_30',
    copied / 'checkpoint_40.orbax-checkpoint-tmp-1',
  )
  shutil.copytree(copied / 'checkpoint_30', copied / 'checkpoint_50')
  (copied / 'checkpoint_50/state/manifest.ocdbt').unlink()
  assert checkpoints.find_checkpoint(copied, 'last') == 30
  assert 'checkpoint_50 is incomplete' in caplog.text


def flip_bit(content):
  middle = len(content) // 2
  return (
    content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]
  )


@AFTER_THE_LOOP
@pytest.mark.parametrize(
  ('files', 'damage', 'reason'),
  [
    ('state/**/d/*', lambda b: b[: len(b) // 2], ''),
    ('state/**/d/*', flip_bit, ''),
    ('state/_METADATA', lambda b: b'', ''),
    ('dataset/metadata', lambda b: b.replace(b'30', b'31'), 'checksums'),
  ],
)
def test_a_damaged_checkpoint_is_passed_over_and_named(
  tiny, copied, caplog, files, damage, reason
):
  for path in (copied / 'checkpoint_30').glob(files):
    path.write_bytes(damage(path.read_bytes()))
  saved = checkpoints.Checkpoints(copied, keep=2)
  step, state, position, progress = saved.restore_last(abstract_state(tiny))
  assert step == position['next_batch'] == int(state.step) == 15
  assert re.search(f'checkpoint_30 is passed over: .*({reason})', caplog.text)
  # Its name is free for the checkpoint that takes its place.
  saved.save(state, step=30, position=position, progress=progress)
  saved.close()
  assert checkpoints.list_checkpoints(copied) == [15, 30]
  assert (copied / 'unreadable_checkpoint_30').is_dir()


def test_of_incomplete_checkpoints_only_later_ones_are_set_aside(tiny, copied):
  shutil.copytree(copied / 'checkpoint_30', copied / 'checkpoint_50')
  for step in (15, 50):
    (copied / f'checkpoint_{step}' / 'state' / '_METADATA').unlink()
  saved = checkpoints.Checkpoints(copied, keep=2)
  assert saved.restore_last(abstract_state(tiny))[0] == 30
  saved.close()
  names = {path.name for path in copied.glob('*checkpoint_*')}
  assert names >= {'checkpoint_30', 'unreadable_checkpoint_50'}
  assert not names & {'checkpoint_50', 'unreadable_checkpoint_15'}


def test_an_average_is_what_evaluation_gets(tiny, copied):
  state, _, _ = checkpoints.Checkpoints(copied).restore(
    abstract_state(tiny), 15
  )
  average = optimizers.evaluation_params(state.params, state.opt_state)
  restored = checkpoints.restore_params(copied, step=15)
  assert restored.keys() == state.params.keys()
  jax.tree.map(np.testing.assert_array_equal, restored, average)


def test_checkpoints_of_other_tokens_are_refused(tmp_path):
  checkpoints.Checkpoints(tmp_path, inputs={'tokens': 'a' * 64}).close()
  checkpoints.Checkpoints(tmp_path, inputs={'tokens': 'a' * 64}).close()
  with pytest.raises(GenrecError, match='made from the tokens aaaaaaaaaaaa'):
    checkpoints.Checkpoints(tmp_path, inputs={'tokens': 'b' * 64})
  with pytest.raises(GenrecError, match='but the tokens at hand is bbbbbb'):
    checkpoints.check_inputs(tmp_path, {'tokens': 'b' * 64})


def test_checkpoints_of_another_optimizer_are_refused(tiny, copied):
  other = abstract_state(tiny, optimizers.adafactor(learning_rate=1e-3))
  with pytest.raises(GenrecError, match='another model or optimizer: state/'):
    checkpoints.Checkpoints(copied).restore(other, 30)


@pytest.fixture
def small_disk(tmp_path):
  """A disk of 200 kB."""
  mounted = subprocess.run(
    ['mount', '-t', 'tmpfs', '-o', 'size=200k', 'tmpfs', tmp_path],
    capture_output=True,
  )
  if mounted.returncode:
    pytest.skip('mounting a small disk takes root')
  yield tmp_path
  subprocess.run(['umount', '--lazy', tmp_path], check=True)


@AFTER_THE_LOOP
def test_a_full_disk_is_a_clean_error(small_disk):
  saver = checkpoints.Checkpoints(small_disk / 'checkpoints')
  noise = np.random.default_rng(0).normal(size=50_000).astype(np.float32)
  state = steps.TrainState(jnp.int32(1), {'a': jnp.array(noise)}, ())
  with pytest.raises(GenrecError, match='the disk is full'):
    saver.save(state, step=1, position={}, progress={'best_step': None})
    saver.wait()
  saver.close()
  assert checkpoints.list_checkpoints(small_disk / 'checkpoints') == []
