"""The audit of an evaluation passes what is sound and finds what is planted."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from genrec_jax import artifacts
from genrec_jax.data.audit import LeakError
from genrec_jax.data.token_cache import Ragged
from genrec_jax.evaluation import ranking
from genrec_jax.measuring.audit import PASSED, audit_examples, audit_lists
from genrec_jax.measuring.measured import Measured
from genrec_jax.types import GenrecError

TASK = 'sequential'


@pytest.fixture
def check(run, data):
  """Audits the validation examples of the task, or others in their place."""

  def check(*, split='validation', run=run, **replaced):
    examples = run.cache.examples(TASK, 'validation')
    return audit_examples(
      run,
      run.facts(TASK),
      split,
      dataclasses.replace(examples, **replaced),
      data,
    )

  return check


@pytest.fixture
def copied_run(run, tmp_path):
  """The run with ids and tokens of its own, to spoil."""
  for name in ('ids', 'tokens'):
    shutil.copytree(run.directory / name, tmp_path / name)
  cache = dataclasses.replace(run.cache, directory=tmp_path / 'tokens')
  return dataclasses.replace(run, directory=tmp_path, cache=cache)


def test_a_sound_run_passes(check):
  assert set(check().values()) == {PASSED}


def test_every_task_says_what_was_checked(run, data):
  for task in run.cache.tasks():
    found = audit_examples(
      run, run.facts(task), 'test', run.cache.examples(task, 'test'), data
    )
    assert found['part'] == found['ids'] == found['train'] == PASSED
    assert all(
      value == PASSED or 'checked' in value for value in found.values()
    )


def test_a_target_in_its_input_is_found(run, check):
  examples = run.cache.examples(TASK, 'validation')
  rows = [examples.inputs[row] for row in range(len(examples))]
  target = run.cache.item_tokens[examples.target[3]]
  rows[3] = np.concatenate([target, rows[3]])
  with pytest.raises(LeakError, match=r'hold tokens of their target.*\[3\]'):
    check(inputs=Ragged.from_rows(rows))


def test_another_part_is_found(check):
  with pytest.raises(LeakError, match='measured as test are of the validation'):
    check(split='test')


def test_a_history_that_knows_later_items_is_found(run, check):
  history = run.cache.examples(TASK, 'validation').history
  later = np.array(history.values)
  row = int(np.flatnonzero(history.lengths > 1)[0])
  later[history.offsets[row]] += 1
  with pytest.raises(LeakError, match=f'history of example {row} '):
    check(history=Ragged(later, history.offsets))


def test_ids_that_saw_held_out_interactions_are_found(copied_run, data, check):
  path = copied_run.directory / 'ids' / artifacts.MANIFEST
  manifest = json.loads(path.read_text())
  manifest['inputs']['train'] = artifacts.arrays_sha256(
    data.dataset.user, data.dataset.item
  )
  path.write_text(json.dumps(manifest))
  with pytest.raises(LeakError, match='built from all interactions'):
    check(run=copied_run)


def test_train_examples_of_held_out_interactions_are_found(copied_run, check):
  folder = copied_run.directory / 'tokens' / TASK
  shutil.rmtree(folder / 'train')
  shutil.copytree(folder / 'test', folder / 'train')
  with pytest.raises(LeakError, match='of no train interaction'):
    check(run=copied_run)


def measured(items, targets):
  arrays = {'items_model': np.array(items), 'target': np.array(targets)}
  return Measured(metrics={}, columns=(), arrays=arrays, read_out=[])


@pytest.mark.parametrize(
  'items, error',
  [
    ([[1, 2, 1], [0, 3, 4]], 'hold an item twice, such as that of example 0'),
    ([[1, 2, 0], [0, 3, 9]], 'none of the 5 items, such as that of example 1'),
  ],
)
def test_lists_that_cannot_be_are_found(items, error):
  with pytest.raises(GenrecError, match=error):
    audit_lists(measured(items, [2, 2]), 5)


def test_metrics_equal_those_of_scikit_learn(monkeypatch):
  pytest.importorskip('sklearn')
  random = np.random.default_rng(0)
  items = np.stack([random.permutation(40)[:20] for _ in range(300)])
  items[5, 4:] = -1
  found = measured(items, random.integers(40, size=300))
  assert set(audit_lists(found, 40).values()) == {PASSED}
  right = ranking.ranking_metrics

  def optimistic(*arguments):
    return {k: v * 1.01 for k, v in right(*arguments).items()}

  monkeypatch.setattr(ranking, 'ranking_metrics', optimistic)
  with pytest.raises(GenrecError, match=r'by scikit-learn; one of them'):
    audit_lists(found, 40)
