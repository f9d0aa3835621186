"""The leakage audit: what fails a run whose targets can be known beforehand.

audit_split    parts stand in the order of time, and no record is in two
audit_ids      ids were built from the train interactions of this split
audit_builder  a method of building ids looks at nothing else
audit_inputs   no input holds its target but where the history explains it
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int, Int32

from genrec_jax import artifacts
from genrec_jax.data import splits
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.splits import TEST, TRAIN, UNUSED, VALIDATION, Split
from genrec_jax.data.token_cache import Ragged
from genrec_jax.types import PAD_ID, GenrecError

# Tokens looked at in one go: bounds the memory of `audit_inputs`.
CHUNK = 1 << 22


class LeakError(GenrecError):
  """What is to be predicted can be known beforehand."""


def audit_split(dataset: Dataset, split: Split) -> None:
  """Checks that train comes before validation and validation before test.

  Within each user by the order of rows; under 'leave_one_out' also that a
  user has at most one target of each kind; under 'global_temporal' also over
  all users by time. Items held out of training have no rows but targets. Where
  the clock has seconds, no record (user, item, time) may be both in train and
  held out.

  Raises:
    LeakError: if a check fails, naming interactions.
  """
  part, user, time = split.part, dataset.user, dataset.time
  if split.dataset_fingerprint != dataset.fingerprint or len(part) != len(user):
    raise LeakError(
      f'The split was made for the dataset {split.dataset_fingerprint[:12]}'
      f' ({len(part)} interactions), but the dataset at hand is'
      f' {dataset.fingerprint[:12]} ({len(user)}); run `genrec prepare` again.'
    )
  _refuse(
    np.flatnonzero((part < TRAIN) | (part > UNUSED)),
    'interactions have a part that is none',
  )
  _refuse(
    np.flatnonzero(
      np.isin(dataset.item, split.cold_items)
      & ~np.isin(part, (VALIDATION, TEST))
    ),
    'interactions of items that are held out of training are not targets',
  )
  same_user = user[1:] == user[:-1]
  _refuse(
    1 + np.flatnonzero(same_user & (time[1:] < time[:-1])),
    'interactions are earlier in time than the row before them',
  )
  used = np.flatnonzero(part != UNUSED)
  earlier, later = used[:-1], used[1:]
  neighbours = user[earlier] == user[later]
  _refuse(
    later[neighbours & (part[later] < part[earlier])],
    'interactions come after one of the same user that is to be predicted'
    ' later (train must come before validation, validation before test)',
  )
  if split.protocol == 'leave_one_out':
    repeated = neighbours & (part[later] == part[earlier])
    _refuse(
      later[repeated & (part[later] != TRAIN)],
      'interactions are a second target of one user in the same part',
    )
  if split.protocol == 'global_temporal':
    for before, after in ((TRAIN, VALIDATION), (VALIDATION, TEST)):
      if (part == after).any():
        _refuse(
          np.flatnonzero(
            (part == before) & (time >= time[part == after].min())
          ),
          f'{splits.PART_NAMES[before]} interactions are not before the first'
          f' {splits.PART_NAMES[after]} interaction',
        )
  if dataset.facts.get('clock') == 'seconds':
    _audit_copies(dataset, split)


def _audit_copies(dataset: Dataset, split: Split) -> None:
  order = np.lexsort(
    (split.part, dataset.time, dataset.item, dataset.user)
  ).astype(np.int64)
  earlier, later = order[:-1], order[1:]
  same = np.ones(len(later), bool)
  for column in (dataset.user, dataset.item, dataset.time):
    same &= column[earlier] == column[later]
  held_out = np.isin(split.part[later], (VALIDATION, TEST))
  _refuse(
    later[same & held_out & (split.part[earlier] != split.part[later])],
    'held-out interactions are copies of one in another part (prepare with'
    " duplicates='first')",
  )


def audit_ids(
  manifest: Mapping[str, Any], dataset: Dataset, split: Split
) -> None:
  """Checks that ids were built from exactly the train interactions.

  Args:
    manifest: of the ids; its inputs are the fingerprints of 'dataset',
      'split' and 'train', the interactions that the method really saw.
    dataset: the dataset at hand.
    split: the split at hand.

  Raises:
    LeakError: if they were built from anything else.
  """
  inputs = manifest['inputs']
  seen = inputs.get('train')
  expected = splits.train_fingerprint(dataset, split)
  everything = artifacts.arrays_sha256(dataset.user, dataset.item)
  if seen == everything != expected:
    raise LeakError(
      'The ids were built from all interactions, the held-out ones included;'
      ' build them from the train interactions (`genrec build_ids`).'
    )
  for kind, found, at_hand in (
    ('dataset', inputs.get('dataset'), dataset.fingerprint),
    ('split', inputs.get('split'), split.fingerprint),
    ('train interactions', seen, expected),
  ):
    if found != at_hand:
      raise LeakError(
        f'The ids were built from the {kind} {str(found)[:12]}, but at hand'
        f' are {at_hand[:12]}; run `genrec build_ids` again.'
      )


def audit_builder(
  build: Callable[[Dataset, Split], Int[np.ndarray, 'N L']],
  dataset: Dataset,
  split: Split,
  *,
  seed: int = 0,
) -> None:
  """Checks a method of building ids by what it does, not by what it says.

  It is run three times: on the data; with other items in the held-out
  interactions, which must not change any code; and with the items numbered
  anew. Items of neighbouring numbers are used one after the other (numbers
  follow the file), so that numbers know the future: if such items share the
  beginning of their ids more often than after the renumbering, the method
  looked at the numbers.

  Args:
    build: from dataset and split to the codes of the items.
    dataset: the dataset.
    split: the split.
    seed: of the changes.

  Raises:
    LeakError: if the codes depend on held-out interactions or on numbers.
  """
  random = np.random.default_rng(seed)
  codes = build(dataset, split)
  item = dataset.item.copy()
  held_out = split.part != TRAIN
  item[held_out] = random.integers(dataset.num_items, size=held_out.sum())
  changed = _with_items(dataset, item)
  rebuilt = build(*_moved(changed, split))
  different = np.flatnonzero((codes != rebuilt).any(axis=1))
  if different.size:
    raise LeakError(
      f'The ids of {different.size} of {len(codes)} items (such as'
      f' {different[:5].tolist()}) change when held-out interactions change;'
      ' the method must look at the train interactions alone.'
    )
  number = random.permutation(dataset.num_items).astype(np.int32)
  renumbered = dataclasses.replace(
    _with_items(dataset, number[dataset.item]),
    items=dataset.items.take(np.argsort(number)),
    dialogues=dataset.dialogues.slice(0, 0),
  )
  rebuilt = build(*_moved(renumbered, split))[number]
  shared, expected = (
    (ids[1:, :-1] == ids[:-1, :-1]).cumprod(axis=1).sum(axis=1)
    for ids in (codes, rebuilt)
  )
  difference = shared - expected
  deviation = difference.std() / np.sqrt(len(difference))
  # Clusterings differ a little from run to run, in all pairs at once.
  much_more = shared.mean() > 1.5 * expected.mean()
  if much_more and difference.mean() > 5 * deviation:
    raise LeakError(
      f'Items of neighbouring numbers share {shared.mean():.3f} leading codes,'
      f' but {expected.mean():.3f} when items are numbered at random: the'
      ' method looks at item numbers, which know the held-out interactions.'
    )


def _with_items(dataset: Dataset, item: Int32[np.ndarray, 'M']) -> Dataset:
  table = dataset.interactions
  place = table.column_names.index('item')
  table = table.set_column(place, 'item', pa.array(item, pa.int32()))
  return dataclasses.replace(dataset, interactions=table)


def _moved(dataset: Dataset, split: Split) -> tuple[Dataset, Split]:
  return dataset, dataclasses.replace(
    split, dataset_fingerprint=dataset.fingerprint
  )


def audit_inputs(
  *,
  inputs: Ragged,
  target: Int[np.ndarray, 'E'],
  item_tokens: Int[np.ndarray, 'N L'],
  history: Ragged,
  candidates: Ragged | None = None,
  name: str = 'the task',
) -> None:
  """Checks that no input holds more of its target than the known items do.

  Every token of the target's ID may occur in the input as often as the items
  of the history and the candidates bring it along, and the whole ID as often
  as the target itself is among them (a repeated item, a choice).

  Args:
    inputs: tokens of each of the E inputs.
    target: the item to be found.
    item_tokens: the ID of every item, PAD_ID at the tail.
    history: the items that each input shows (or all earlier items: the check
      is then a little weaker for tokens, the same for whole ids).
    candidates: the items that each input offers to choose from.
    name: what to call it in the error.

  Raises:
    LeakError: if an input holds its target, naming examples.
  """
  known = [history] if candidates is None else [history, candidates]
  starts = _chunk_starts([inputs, *known])
  leaks = np.concatenate(
    [
      start
      + _leaks(
        inputs=_rows(inputs, start, stop),
        target=target[start:stop],
        item_tokens=item_tokens,
        known=[_rows(ragged, start, stop) for ragged in known],
      )
      for start, stop in zip(starts, [*starts[1:], len(inputs)])
    ]
  )
  if leaks.size:
    example = leaks[0]
    raise LeakError(
      f'{leaks.size} of {len(inputs)} inputs of {name} hold tokens of their'
      ' target that neither history nor candidates explain: examples'
      f' {leaks[:5].tolist()}; example {example} has the target'
      f' {target[example]} = {item_tokens[target[example]].tolist()} and the'
      f' input {inputs[example].tolist()}. Take the target out of the input.'
    )


def _leaks(
  *,
  inputs: Ragged,
  target: Int[np.ndarray, 'E'],
  item_tokens: Int[np.ndarray, 'N L'],
  known: Sequence[Ragged],
) -> Int[np.ndarray, 'leaks']:
  count = len(inputs)
  example = np.repeat(np.arange(count), inputs.lengths)
  expected = item_tokens[target]
  known_example = np.concatenate(
    [np.repeat(np.arange(count), ragged.lengths) for ragged in known]
  )
  known_items = np.concatenate([ragged.values for ragged in known])
  leaking = np.zeros(count, bool)
  # whole[p]: the ID of the target of p's example starts at flat position p.
  whole = np.ones(len(inputs.values), bool)
  for level in range(item_tokens.shape[1]):
    tokens = expected[:, level]
    absent = tokens == PAD_ID
    here = inputs.values == tokens[example]
    brought = item_tokens[known_items, level] == tokens[known_example]
    found = np.bincount(example[here], minlength=count)
    explained = np.bincount(known_example[brought], minlength=count)
    leaking |= (found > explained) & ~absent
    stop = max(len(whole) - level, 0)
    shifted = np.zeros_like(whole)
    shifted[:stop] = here[level:] & (example[level:] == example[:stop])
    whole &= shifted | absent[example]
  repeats = known_items == target[known_example]
  found = np.bincount(example[whole], minlength=count)
  explained = np.bincount(known_example[repeats], minlength=count)
  return np.flatnonzero(leaking | (found > explained))


def _rows(ragged: Ragged, start: int, stop: int) -> Ragged:
  offsets = ragged.offsets[start : stop + 1]
  values = ragged.values[offsets[0] : offsets[-1]]
  return Ragged(values, offsets - offsets[0])


def _chunk_starts(raggeds: Sequence[Ragged]) -> list[int]:
  """Returns where to cut examples into chunks of about `CHUNK` values."""
  ends = sum(ragged.offsets for ragged in raggeds)
  cuts = np.searchsorted(ends, np.arange(0, ends[-1] + 1, CHUNK))
  return np.unique(np.minimum(cuts, len(ends) - 1)).tolist()


def _refuse(rows: Int[np.ndarray, 'rows'], what: str) -> None:
  if rows.size:
    raise LeakError(
      f'{rows.size} {what}: rows {rows[:5].tolist()}. Make the split again'
      ' (`genrec prepare`).'
    )
