"""The audit of an evaluation: what fails it before a number is written.

audit_examples, before a task is measured:
  ids        were built from the train interactions of this split alone
  part       every example is of the part that is measured
  train      no train example of the task is of a held-out interaction
  histories  are what the user had before the target, and nothing else
  inputs     do not hold their target, but where the history explains it
audit_lists, after it:
  lists      hold no item twice and none that does not exist
  metrics    equal those of scikit-learn on a sample of the same lists

A check that cannot be made says why; one that fails raises LeakError, or a
GenrecError where nothing leaks but a number is wrong.
"""

from __future__ import annotations

import importlib.util

import numpy as np
from jaxtyping import Int

from genrec_jax import artifacts
from genrec_jax.answering.facts import TaskFacts
from genrec_jax.answering.run import Run
from genrec_jax.data import audit, splits
from genrec_jax.data.audit import LeakError
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.evaluation import ranking
from genrec_jax.measuring.measured import Measured
from genrec_jax.measuring.train_data import TrainData, interaction_rows
from genrec_jax.types import GenrecError

PASSED = 'passed'
# Slots that show no item but those of the history.
_OF_HISTORY = ('user', 'profile', 'history', 'dialogue', 'mentioned')
_SAMPLE = 200
_TOLERANCE = 1e-9


def audit_examples(
  run: Run,
  facts: TaskFacts,
  split: str,
  examples: TokenExamples,
  data: TrainData | None,
) -> dict[str, str]:
  """Returns what came of each check: 'passed', or why it was not made.

  Args:
    run: the run that is measured.
    facts: of the task.
    split: the part that is measured, 'validation' or 'test'.
    examples: those that are measured.
    data: the dataset and its split; None where there is none.

  Raises:
    LeakError: if a check fails.
  """
  if data is None:
    return {'examples': 'not checked: measured without the dataset'}
  return {
    'ids': _audit_ids(run, data),
    'part': _audit_part(facts, split, examples, data),
    'train': _audit_train(run, facts, data),
    'histories': _audit_histories(facts, examples, data),
    'inputs': _audit_inputs(run, facts, examples),
  }


def audit_lists(measured: Measured, num_items: int) -> dict[str, str]:
  """Returns what came of the checks of lists; none where there are no lists.

  Args:
    measured: of a task; its arrays `items_ROW` are lists, `target` what was
      to be found.
    num_items: of the catalogue.

  Raises:
    GenrecError: if a check fails.
  """
  lists = {
    name.removeprefix('items_'): items
    for name, items in measured.arrays.items()
    if name.startswith('items_')
  }
  for name, items in lists.items():
    _audit_list(name, items, num_items)
  found = {'lists': PASSED} if lists else {}
  targets = measured.arrays.get('target')
  if not lists or targets is None:
    return found
  if importlib.util.find_spec('sklearn') is None:
    return found | {'metrics': 'not checked: scikit-learn is not installed'}
  for name, items in lists.items():
    _compare_metrics(name, items, targets)
  return found | {'metrics': PASSED}


def _audit_ids(run: Run, data: TrainData) -> str:
  directory = run.directory / 'ids'
  if not (directory / artifacts.MANIFEST).exists():
    return f'not checked: {directory} is not there'
  manifest = artifacts.read_manifest(directory, 'ids')
  artifacts.check_input(
    run.cache.manifest,
    'ids',
    manifest['fingerprint'],
    'run `genrec tokenize` again',
  )
  audit.audit_ids(manifest, data.dataset, data.split)
  return PASSED


def _audit_part(
  facts: TaskFacts, split: str, examples: TokenExamples, data: TrainData
) -> str:
  if facts.of_dialogues:
    parts = data.split.dialogue_part[examples.user]
  else:
    parts = data.split.part[interaction_rows(data.dataset, examples)]
  wrong = np.flatnonzero(parts != splits.PART_NAMES.index(split))
  if len(wrong):
    raise LeakError(
      f'{len(wrong)} of {len(parts)} examples that are measured as {split} are'
      f' of the {splits.PART_NAMES[parts[wrong[0]]]} part, such as example'
      f' {wrong[0]} of {facts.name}; run `genrec tokenize` again.'
    )
  return PASSED


def _audit_train(run: Run, facts: TaskFacts, data: TrainData) -> str:
  if 'train' not in run.cache.parts(facts.name):
    return 'not checked: the task has no train examples'
  examples = run.cache.examples(facts.name, 'train')
  if facts.of_dialogues:
    allowed = data.split.dialogue_part[examples.user] == splits.TRAIN
  else:
    user, item = data.interactions()
    num_items = data.dataset.num_items
    allowed = np.isin(
      np.asarray(examples.user, np.int64) * num_items + examples.target,
      np.asarray(user, np.int64) * num_items + item,
    )
  wrong = np.flatnonzero(~allowed)
  if len(wrong):
    raise LeakError(
      f'{len(wrong)} of {len(examples)} train examples of {facts.name} are of'
      f' no train interaction, such as example {wrong[0]}: the model has been'
      ' shown what is to be found. Run `genrec tokenize` and `genrec train`'
      ' again.'
    )
  return PASSED


def _audit_histories(
  facts: TaskFacts, examples: TokenExamples, data: TrainData
) -> str:
  if facts.of_dialogues:
    return 'not checked: histories of dialogues are what they mention'
  rows = interaction_rows(data.dataset, examples)
  lengths = examples.history.lengths
  first = np.repeat(rows - lengths, lengths)
  inside = np.arange(len(first)) - np.repeat(
    examples.history.offsets[:-1], lengths
  )
  wrong = np.flatnonzero(
    data.dataset.item[first + inside] != examples.history.values
  )
  if len(wrong):
    example = np.searchsorted(examples.history.offsets, wrong[0], 'right') - 1
    raise LeakError(
      f'The history of example {example} of {facts.name} is not what user'
      f' {examples.user[example]} had before the target; run `genrec tokenize`'
      ' again.'
    )
  return PASSED


def _audit_inputs(run: Run, facts: TaskFacts, examples: TokenExamples) -> str:
  if facts.kind != 'item':
    return 'not checked: the answer is no item'
  known = run.cache.manifest.get('settings', {}).get('tasks', {})
  prompt = known.get(facts.name, {}).get('prompt')
  if prompt is None:
    return 'not checked: the prompt is made by code of its own'
  others = [
    part for part in prompt if isinstance(part, str) and part not in _OF_HISTORY
  ]
  if others:
    return f'checked by `genrec tokenize`: the prompt shows {others[0]}'
  audit.audit_inputs(
    inputs=examples.inputs,
    target=examples.target,
    item_tokens=run.cache.item_tokens,
    history=examples.history,
    name=facts.name,
  )
  return PASSED


def _audit_list(
  name: str, items: Int[np.ndarray, 'E K'], num_items: int
) -> None:
  ordered = np.sort(items, axis=1)
  repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
  unknown = (items >= num_items) | (items < -1)
  for wrong, what in (
    (repeated, 'hold an item twice'),
    (unknown, f'hold what is none of the {num_items:,} items'),
  ):
    rows = np.flatnonzero(wrong.any(axis=1))
    if len(rows):
      raise GenrecError(
        f'{len(rows)} lists of {name} {what}, such as that of example'
        f' {rows[0]}: {items[rows[0]].tolist()}. Mend what made them; they'
        ' cannot be measured.'
      )


def _compare_metrics(
  name: str, items: Int[np.ndarray, 'E K'], targets: Int[np.ndarray, 'E']
) -> None:
  """Holds our metrics of some examples against those of scikit-learn."""
  from sklearn import metrics

  rows = np.unique(
    np.linspace(0, len(items) - 1, min(_SAMPLE, len(items))).astype(int)
  )
  items, targets = items[rows], targets[rows]
  cutoff = min(10, items.shape[1])
  # One column more, ranked last: the target, where the list lacks it.
  hits = items == targets[:, None]
  relevant = np.concatenate([hits, ~hits.any(axis=1, keepdims=True)], axis=1)
  scores = np.tile(-np.arange(relevant.shape[1], dtype=float), (len(rows), 1))
  expected = {
    f'ndcg@{cutoff}': metrics.ndcg_score(relevant, scores, k=cutoff),
    f'recall@{cutoff}': metrics.top_k_accuracy_score(
      relevant.argmax(axis=1),
      scores,
      k=cutoff,
      labels=np.arange(relevant.shape[1]),
    ),
  }
  ours = ranking.ranking_metrics(items, targets, [cutoff])
  for metric, value in expected.items():
    if abs(ours[metric] - value) > _TOLERANCE:
      raise GenrecError(
        f'{metric} of {name} on {len(rows)} examples is {ours[metric]:.6f},'
        f' and {value:.6f} by scikit-learn; one of them is wrong, so nothing'
        ' is reported.'
      )
