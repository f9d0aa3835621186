"""The one split that all tasks share, and the examples that follow from it.

A split gives every interaction a part. IDs, vocabularies and baselines see
`train_interactions` alone. The history of an example is always all earlier
rows of its user, whatever their part: what is known at that moment.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int8, Int32, Int64

from genrec_jax import artifacts
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.dialogues import mention_pairs
from genrec_jax.data.token_cache import Ragged
from genrec_jax.types import GenrecError, PathLike

TRAIN, VALIDATION, TEST, UNUSED = 0, 1, 2, 3
PART_NAMES = ('train', 'validation', 'test', 'unused')


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
  """A part for every interaction and every dialogue of a dataset.

  Attributes:
    protocol: a key of `SPLITS`.
    part: TRAIN, VALIDATION, TEST or UNUSED for each of the M interactions. An
      unused one is neither trained on nor a target, but stays in histories.
    dataset_fingerprint: of the dataset it was made for.
    settings: the arguments it was made with, JSON values.
    cold_items: the items that train never saw, ascending, where items were
      held out (`hold_out_items`); else empty, whatever train saw.
    dialogue_part: the part of each dialogue (`dialogue_split`), or empty.
  """

  protocol: str
  part: Int8[np.ndarray, 'M']
  dataset_fingerprint: str
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  cold_items: Int32[np.ndarray, 'C'] = dataclasses.field(
    default_factory=lambda: np.zeros(0, np.int32)
  )
  dialogue_part: Int8[np.ndarray, 'D'] = dataclasses.field(
    default_factory=lambda: np.zeros(0, np.int8)
  )

  @functools.cached_property
  def fingerprint(self) -> str:
    """The sha256 of parts and dataset; of cold items and dialogues if any."""
    dataset = np.frombuffer(self.dataset_fingerprint.encode(), np.uint8)
    others = [x for x in (self.cold_items, self.dialogue_part) if len(x)]
    return artifacts.arrays_sha256(self.part, dataset, *others)


def leave_one_out(dataset: Dataset, *, min_train: int = 1) -> Split:
  """Splits off each user's last row for test and the last but one before it.

  Users with fewer than `min_train` + 2 rows stay wholly in train.
  """
  if min_train < 1:
    raise GenrecError(
      f'min_train={min_train} would leave targets without a history; it must'
      ' be at least 1.'
    )
  ends = dataset.user_offsets[1:]
  ends = ends[np.diff(dataset.user_offsets) >= min_train + 2]
  part = np.full(dataset.num_interactions, TRAIN, np.int8)
  part[ends - 1] = TEST
  part[ends - 2] = VALIDATION
  return Split(
    'leave_one_out', part, dataset.fingerprint, {'min_train': min_train}
  )


def global_temporal(
  dataset: Dataset,
  *,
  validation_fraction: float = 0.1,
  test_fraction: float = 0.1,
) -> Split:
  """Splits all users at two moments: train, then validation, then test.

  A moment is a time that occurs, so that interactions of the same time stay
  together; it is the one that comes nearest to the fraction asked for. A row
  of validation or test that is its user's first has no history to go by and
  is unused. Targets that train never saw stay targets (see `count_split`).
  """
  if dataset.facts.get('clock') == 'order':
    raise GenrecError(
      f'Dataset {dataset.name!r} has no clock (only the order of each user),'
      ' so there is no moment to split all users at; use the split'
      " 'leave_one_out'."
    )
  fractions = validation_fraction, test_fraction
  if min(fractions) <= 0 or sum(fractions) >= 1:
    raise GenrecError(
      f'Got validation_fraction={validation_fraction} and'
      f' test_fraction={test_fraction}, expected positive fractions with a'
      ' sum below 1.'
    )
  times, counts = np.unique(dataset.time, return_counts=True)
  if len(times) < 3:
    raise GenrecError(
      f'Dataset {dataset.name!r} has {len(times)} distinct times, too few to'
      " split into three parts; use the split 'leave_one_out'."
    )
  since = np.cumsum(counts[::-1])[::-1]  # rows at or after each time
  wanted = test_fraction * dataset.num_interactions
  test = 2 + np.argmin(np.abs(since[2:] - wanted))
  wanted += validation_fraction * dataset.num_interactions
  validation = 1 + np.argmin(np.abs(since[1:test] - wanted))
  part = np.full(dataset.num_interactions, TRAIN, np.int8)
  part[dataset.time >= times[validation]] = VALIDATION
  part[dataset.time >= times[test]] = TEST
  first = dataset.user_offsets[:-1][np.diff(dataset.user_offsets) > 0]
  part[first[part[first] != TRAIN]] = UNUSED
  settings = {
    'validation_fraction': validation_fraction,
    'test_fraction': test_fraction,
    'validation_from': int(times[validation]),
    'test_from': int(times[test]),
  }
  return Split('global_temporal', part, dataset.fingerprint, settings)


SPLITS = {'leave_one_out': leave_one_out, 'global_temporal': global_temporal}


def hold_out_items(
  dataset: Dataset, split: Split, *, share: float, seed: int = 0
) -> tuple[Dataset, Split]:
  """Takes items out of training, as if they were added after it.

  Drawn among the items that are a target. Of such an item only the rows of
  validation and test stay: all others are dropped from the data, so that no
  training example has it as its target or in its history, and neither ids nor
  vocabularies nor baselines can learn of it. In the history of a test example
  it may stand, as its user's validation row: by then it is in the catalogue.

  Args:
    dataset: the dataset.
    split: its split, made before items are held out: the targets are the same
      with and without.
    share: of all items, how many to hold out.
    seed: of the draw.

  Returns:
    The dataset without those rows, and the split of what is left.

  Raises:
    GenrecError: if that is no item, or more than there are targets.
  """
  is_target = np.isin(split.part, (VALIDATION, TEST))
  targets = np.unique(dataset.item[is_target])
  count = round(share * dataset.num_items)
  if not 1 <= count <= len(targets):
    raise GenrecError(
      f'A share of {share} of {dataset.num_items} items to hold out is {count}'
      f' items; expected from 1 to {len(targets)}, the items that are targets.'
      ' Change cold_items.'
    )
  chosen = np.random.default_rng(seed).choice(targets, count, replace=False)
  kept = is_target | ~np.isin(dataset.item, chosen)
  if not (split.part[kept] == TRAIN).any():
    raise GenrecError(
      f'Holding out {count} of {dataset.num_items} items leaves nothing to'
      ' train on; lower cold_items.'
    )
  dropped = dataset.facts.get('dropped_rows', {})
  held = dataclasses.replace(
    dataset,
    interactions=dataset.interactions.filter(pa.array(kept)).combine_chunks(),
    facts={
      **dataset.facts,
      'dropped_rows': {**dropped, 'cold_items': int((~kept).sum())},
    },
  )
  part = split.part[kept]
  seen = np.bincount(held.item[part == TRAIN], minlength=held.num_items) > 0
  return held, Split(
    split.protocol,
    part,
    held.fingerprint,
    {**split.settings, 'cold_share': share, 'cold_seed': seed},
    np.flatnonzero(~seen).astype(np.int32),
  )


def train_interactions(
  dataset: Dataset, split: Split
) -> tuple[Int32[np.ndarray, 'R'], Int32[np.ndarray, 'R']]:
  """Returns users and items of the train rows, in order: what IDs may see.

  Where there are dialogues alone, what the train dialogues mention: a dialogue
  is then a user.
  """
  if not dataset.num_interactions and len(split.dialogue_part):
    dialogue, item = mention_pairs(dataset.dialogues)
    seen = split.dialogue_part[dialogue] == TRAIN
    return dialogue[seen], item[seen]
  rows = split.part == TRAIN
  return dataset.user[rows], dataset.item[rows]


def train_fingerprint(dataset: Dataset, split: Split) -> str:
  """Returns the sha256 of exactly the `train_interactions`."""
  return artifacts.arrays_sha256(*train_interactions(dataset, split))


def count_split(dataset: Dataset, split: Split) -> dict[str, Any]:
  """Returns what a reader of a result must know of the split.

  For each part its rows and users; for validation and test also the targets
  that train never saw (`cold_items`), those of users whom train never saw
  (`cold_users`) and those that are tied in time with their predecessor.
  """
  train_user, train_item = train_interactions(dataset, split)
  seen_user = np.zeros(dataset.num_users, bool)
  seen_item = np.zeros(dataset.num_items, bool)
  seen_user[train_user] = True
  seen_item[train_item] = True
  counts = {}
  for part, name in enumerate(PART_NAMES):
    rows = split.part == part
    counts[name] = {
      'rows': int(rows.sum()),
      'users': len(np.unique(dataset.user[rows])),
    }
    if part in (VALIDATION, TEST):
      counts[name] |= {
        'cold_items': int((~seen_item[dataset.item[rows]]).sum()),
        'cold_users': int((~seen_user[dataset.user[rows]]).sum()),
        'tied': int(examples(dataset, split, part).tied.sum()),
      }
  return counts


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
  """The E examples of a part: to predict one interaction from the earlier.

  Attributes:
    rows: the interaction that is the target.
    starts: the first interaction of its user: the history is the contiguous
      slice starts[i]:rows[i] of `items`.
    user: row of the user.
    target: row of the item.
    tied: whether the target has the same time as its predecessor.
    items: the item of every interaction of the dataset, [M].
  """

  rows: Int64[np.ndarray, 'E']
  starts: Int64[np.ndarray, 'E']
  user: Int32[np.ndarray, 'E']
  target: Int32[np.ndarray, 'E']
  tied: Bool[np.ndarray, 'E']
  items: Int32[np.ndarray, 'M']

  def __len__(self) -> int:
    return len(self.rows)

  def history(self, example: int) -> Int32[np.ndarray, 'T']:
    """Returns the items of the user before the target, oldest first."""
    return self.items[self.starts[example] : self.rows[example]]

  def padded_histories(self, max_items: int) -> Int32[np.ndarray, 'E T']:
    """Returns the last `max_items` of each history, -1 on the left."""
    padding = np.full(max_items, -1, np.int32)
    windows = np.lib.stride_tricks.sliding_window_view(
      np.concatenate([padding, self.items]), max_items
    )
    histories = windows[self.rows]
    missing = max_items - (self.rows - self.starts)
    histories[np.arange(max_items) < missing[:, None]] = -1
    return histories

  def ragged_histories(self, max_items: int | None = None) -> Ragged:
    """Returns the histories, or the last `max_items` of each."""
    starts = self.starts
    if max_items is not None:
      starts = np.maximum(starts, self.rows - max_items)
    lengths = self.rows - starts
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    places = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
    return Ragged(self.items[places], offsets)


def examples(dataset: Dataset, split: Split, part: int) -> Examples:
  """Returns the examples of a part, in the order of the dataset.

  Every row of the part is a target, but for a user's first: it has no
  history.
  """
  rows = np.flatnonzero(split.part == part)
  first = dataset.user_offsets[dataset.user[rows]]
  return examples_at(dataset, rows[rows > first])


def examples_at(dataset: Dataset, rows: Int64[np.ndarray, 'E']) -> Examples:
  """Returns the examples of interactions; a user's first has no history."""
  user = dataset.user[rows]
  starts = dataset.user_offsets[user]
  tied = (rows > starts) & (dataset.time[rows] == dataset.time[rows - 1])
  if dataset.facts.get('clock') == 'order':
    tied = np.zeros(len(rows), bool)
  return Examples(rows, starts, user, dataset.item[rows], tied, dataset.item)


def save_split(split: Split, dataset: Dataset, directory: PathLike) -> None:
  """Writes split.npy and split.json into the directory of its dataset.

  And dialogue_split.npy, where it has dialogues.
  """
  directory = pathlib.Path(directory)
  arrays = {'split.npy': split.part, 'dialogue_split.npy': split.dialogue_part}
  for name, array in arrays.items():
    if len(array) or name == 'split.npy':
      with artifacts.disk_errors(directory / name):
        with open(directory / f'.{name}', 'wb') as file:
          np.save(file, array)
        os.replace(directory / f'.{name}', directory / name)
  facts = {
    'protocol': split.protocol,
    'settings': dict(split.settings),
    'dataset': split.dataset_fingerprint,
    'fingerprint': split.fingerprint,
    'counts': count_split(dataset, split),
    'cold_items': split.cold_items.tolist(),
  }
  artifacts.write_json(directory / 'split.json', facts)


def held_out_items(directory: PathLike) -> Int32[np.ndarray, 'C']:
  """Returns the `cold_items` of the split beside a dataset; none without."""
  path = pathlib.Path(directory) / 'split.json'
  if not path.exists():
    return np.zeros(0, np.int32)
  facts = json.loads(path.read_text(encoding='utf-8'))
  return np.asarray(facts.get('cold_items', []), np.int32)


def load_split(directory: PathLike, dataset: Dataset) -> Split:
  """Reads the split that `save_split` wrote beside a dataset.

  Raises:
    GenrecError: if there is none, it was made for another dataset, or its two
      files do not belong together.
  """
  directory = pathlib.Path(directory)
  facts_path = directory / 'split.json'
  if not facts_path.exists():
    raise GenrecError(
      f'No split at {directory}: expected {facts_path}; run `genrec prepare`.'
    )
  facts = json.loads(facts_path.read_text(encoding='utf-8'))
  if facts['dataset'] != dataset.fingerprint:
    raise GenrecError(
      f'The split at {directory} was made for the dataset'
      f' {facts["dataset"][:12]}, but the dataset at hand is'
      f' {dataset.fingerprint[:12]}; run `genrec prepare` again.'
    )
  arrays = {}
  for name in ('split.npy', 'dialogue_split.npy'):
    if name == 'split.npy' or (directory / name).exists():
      try:
        arrays[name] = np.load(directory / name)
      except (OSError, ValueError, EOFError) as error:
        raise GenrecError(
          f'Cannot read {directory / name} ({error}); run `genrec prepare`'
          ' again.'
        ) from error
  split = Split(
    facts['protocol'],
    arrays['split.npy'],
    facts['dataset'],
    facts['settings'],
    held_out_items(directory),
    arrays.get('dialogue_split.npy', np.zeros(0, np.int8)),
  )
  if split.fingerprint != facts['fingerprint']:
    raise GenrecError(
      f'split.npy and split.json at {directory} do not belong together; run'
      ' `genrec prepare` again.'
    )
  return split
