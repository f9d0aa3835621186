import itertools
import json

import numpy as np
import pytest
import seqio

from genrec_jax.tasks import registry
from genrec_jax.tasks.online import TaskBatches
from genrec_jax.tokenize import tokenize
from genrec_jax.types import GenrecError

SETTINGS = dict(
  batch_size=8,
  max_input_length=96,
  max_target_length=2,
  bucket_boundaries=(8, 16),
  seed=3,
)


@pytest.fixture
def task(run_dir):
  tokenize(run_dir=run_dir, templates=('plain', 'next'))
  name = registry.register_tasks(run_dir, name='online')[0]
  yield name
  seqio.TaskRegistry.reset()
  seqio.MixtureRegistry.reset()


def same(a, b):
  return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def test_resuming_gives_the_batches_of_an_uninterrupted_run(task):
  batches = TaskBatches(task, **SETTINGS)
  seen, states = [], []
  for _ in range(40):
    states.append(json.loads(json.dumps(batches.get_state())))
    seen.append(next(batches))
  assert states[-1]['epoch'] >= 1
  for place in (5, 38):
    resumed = TaskBatches(task, **SETTINGS)
    resumed.set_state(states[place])
    assert same(next(resumed), seen[place])
  assert not any(same(seen[0], other) for other in seen[1:])


def test_a_batch_is_padded_to_its_bucket(task):
  for batch in itertools.islice(TaskBatches(task, **SETTINGS), 20):
    length = batch['encoder_input_tokens'].shape[1]
    longest = (batch['encoder_input_tokens'] > 0).sum(axis=1).max()
    shorter = [b for b in (0, 8, 16, 96) if b < length]
    assert length in (8, 16, 96) and shorter[-1] < longest <= length
    targets = batch['decoder_target_tokens']
    assert (targets > 0).all() and targets.shape == (8, 2)
    np.testing.assert_array_equal(
      batch['decoder_input_tokens'],
      np.stack([0 * targets[:, 0], targets[:, 0]], 1),
    )
    np.testing.assert_array_equal(batch['decoder_loss_weights'], 1)


def test_processes_share_the_global_batch(task):
  whole = next(TaskBatches(task, **SETTINGS))
  shares = [
    next(TaskBatches(task, **SETTINGS, process_index=i, process_count=2))
    for i in range(2)
  ]
  for name, rows in whole.items():
    np.testing.assert_array_equal(
      rows, np.concatenate([share[name] for share in shares])
    )


def test_what_does_not_fit_says_so(task):
  short = TaskBatches(task, **SETTINGS | {'max_input_length': 17})
  with pytest.raises(GenrecError, match='max_input_length=17'):
    for _ in range(40):
      next(short)
  with pytest.raises(GenrecError, match='lower batch_size'):
    next(TaskBatches(task, **SETTINGS | {'batch_size': 10_000}))
  with pytest.raises(GenrecError, match='seed=4'):
    batches = TaskBatches(task, **SETTINGS)
    batches.set_state({**batches.get_state(), 'seed': 4})
