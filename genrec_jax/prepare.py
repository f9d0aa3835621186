"""Reads the raw files of a data set and splits its interactions."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import numpy as np

from genrec_jax import artifacts
from genrec_jax.data import catalogue
from genrec_jax.data.dataset import Dataset, build_dataset
from genrec_jax.data.dialogue_split import count_dialogues, split_dialogues
from genrec_jax.data.splits import (
  SPLITS,
  Split,
  count_split,
  hold_out_items,
  save_split,
)
from genrec_jax.data.text_audit import audit_texts, count_copies
from genrec_jax.types import GenrecError, PathLike, unknown_name


def prepare(
  *,
  run_dir: PathLike,
  dataset: str,
  data_dir: PathLike | None = None,
  layout: str | None = None,
  expected: str | None = None,
  on_bad_row: str = 'error',
  split: str | Callable[[Dataset], Split] | None = None,
  ties: str | None = None,
  duplicates: str | None = None,
  k_core: int | None = None,
  cold_items: float = 0.0,
  seed: int = 0,
) -> None:
  """Reads a data set, orders and filters it, splits it, and writes it.

  Dialogues are split as wholes (data/dialogue_split.py). Fails if texts leak.
  Writes RUN_DIR/dataset: Parquet tables, manifest.json, and the one split
  that all tasks share. What is not given here is as the data set's
  description says.

  Args:
    run_dir: the run's directory.
    dataset: a name of configs/datasets, or the path of a .toml of your own
      (configs/datasets/README.md).
    data_dir: the directory of the raw files, or of the data set's folder.
    layout: which of the description's layouts the files are in; None takes
      the first whose files are all there.
    expected: which expected counts and sha256 to check: a variant of the
      description, or 'off'. None: 'published', or the only one.
    on_bad_row: 'error' names the first bad row; 'skip' leaves bad rows out
      and counts them.
    split: leave_one_out, global_temporal, or a function of a Dataset.
    ties: the order of equal times: source, random (seeded) or item.
    duplicates: of a (user, item) pair: keep, first or last.
    k_core: fewest interactions of a user and of an item.
    cold_items: share of the items to hold out of training, to measure what
      becomes of items that are added after it (docs/cold_start.md).
    seed: of random ties, of the simulator, of the items held out and of the
      dialogues held out.

  Raises:
    GenrecError: if files are missing, bad or not the expected ones, or the
      split leaves nothing to validate or to test on.
  """
  description = catalogue.describe(dataset)
  protocol = {
    **description.protocol,
    **{
      key: value
      for key, value in {
        'ties': ties,
        'duplicates': duplicates,
        'k_core': k_core,
        'split': split,
      }.items()
      if value is not None
    },
  }
  split_by = protocol.pop('split', 'leave_one_out')
  if not callable(split_by):
    if split_by not in SPLITS:
      raise unknown_name('split', split_by, SPLITS)
    split_by = SPLITS[split_by]
  variant = catalogue.choose_variant(description, expected)

  raw = catalogue.read_raw(
    description,
    data_dir=data_dir,
    layout=layout,
    on_bad_row=on_bad_row,
    seed=seed,
  )
  built = build_dataset(description.name, raw, **protocol, seed=seed)
  catalogue.check_expected(
    description, built.counts, built.facts['sources'], variant
  )
  built.facts['expected'] = variant
  parts = split_by(built)
  _check_held_out(built, parts)
  if cold_items:
    built, parts = hold_out_items(built, parts, share=cold_items, seed=seed)
  if built.dialogues.num_rows and not len(parts.dialogue_part):
    parts = split_dialogues(built, parts, seed=seed)
    _check_dialogues(built, parts)
  audit_texts(built, parts)
  directory = pathlib.Path(run_dir) / 'dataset'
  # The tables and their split appear together, or not at all.
  with artifacts.write_directory(directory) as temporary:
    built.write(temporary)
    save_split(parts, built, temporary)
  print(_summary(built, parts))
  print(f'The data set is in {directory}', flush=True)


def _check_held_out(dataset: Dataset, split: Split) -> None:
  """Refuses a split of interactions with no validation or no test rows."""
  rows = {part: n['rows'] for part, n in count_split(dataset, split).items()}
  if not dataset.num_interactions or (rows['validation'] and rows['test']):
    return
  lengths = np.diff(dataset.user_offsets)
  raise GenrecError(
    f'The split {split.protocol} of {dataset.name} leaves'
    f' {rows["validation"]:,} validation rows and {rows["test"]:,} test rows of'
    f' {dataset.num_interactions:,} interactions: there would be nothing to'
    f' measure. Of {dataset.num_users:,} users {(lengths >= 3).sum():,} have 3'
    ' interactions or more, which is what leave_one_out holds out from. Pass'
    ' another split (--split=global_temporal, where there are times), or data'
    ' with longer histories; --duplicates and --k_core decide what is kept.'
  )


def _check_dialogues(dataset: Dataset, split: Split) -> None:
  """Refuses a split of dialogues alone with nothing to measure on."""
  counts = count_dialogues(dataset, split)
  if dataset.num_interactions or all(n['examples'] for n in counts.values()):
    return
  found = ', '.join(f'{n["examples"]} {part}' for part, n in counts.items())
  raise GenrecError(
    f'The dialogues of {dataset.name} have {found} examples (turns in which the'
    ' recommender names an item after another turn): expected some in each'
    ' part. Pass data with more dialogues.'
  )


def _summary(dataset: Dataset, split: Split) -> str:
  """Returns what was read and kept, for people."""
  facts = dataset.facts
  lines = [
    f'{dataset.name} ({facts["layout"]}): {dataset.num_users:,} users,'
    f' {dataset.num_items:,} items, {dataset.num_interactions:,} interactions;'
    f' checked against: {facts["expected"]}',
    f'clock: {facts["clock"]}; equal times in {facts["ties"]} order; split:'
    f' {split.protocol}',
  ]
  parts = count_split(dataset, split) if dataset.num_interactions else {}
  for part, counts in parts.items():
    told = ''.join(
      f', {counts[name]:,} {what}'
      for name, what in (
        ('tied', 'tied in time'),
        ('cold_items', 'of items that train never saw'),
      )
      if counts.get(name)
    )
    lines.append(f'  {part:<10} {counts["rows"]:>9,} rows{told}')
  lines += _summary_of_texts(dataset, split)
  lines += [
    f'skipped {skipped["count"]} bad rows of {name}, for example'
    f' {skipped["examples"][0]}'
    for name, skipped in facts['skipped_rows'].items()
  ]
  lines += [
    f'dropped {count:,} rows: {reason}'
    for reason, count in facts['dropped_rows'].items()
    if count
  ]
  return '\n'.join(lines)


def _summary_of_texts(dataset: Dataset, split: Split) -> list[str]:
  """Returns lines on dialogues, explanations and texts, where there are any."""
  facts, lines = dataset.facts, []
  if len(split.dialogue_part):
    for part, n in count_dialogues(dataset, split).items():
      lines.append(
        f'  {part:<10} {n["dialogues"]:>9,} dialogues, {n["examples"]:,} turns'
        f' that recommend: {n["repeated"]:,} name nothing new, {n["cold"]:,}'
        ' an item that train dialogues do not'
      )
  if 'explanations' in facts:
    n = facts['explanations']
    lines.append(
      f'{n["joined"]:,} interactions have an explanation, of {n["rows"]:,}:'
      f' {n["further"]:,} are further ones of the same interaction,'
      f' {n["unmatched"]:,} of none'
    )
  for name, n in count_copies(dataset, split).items():
    lines.append(
      f'{n["rows"]:,} rows have {name} text; {n["copies"]:,} of these are word'
      f' for word that of another row, {n["held_out"]:,} held out ones that of'
      ' a train row'
    )
  for kind in ('unknown_mentions', 'unplaced_mentions'):
    lines += [
      f'{count:,} {kind.replace("_", " ")} stay text in {name}'
      for name, count in facts.get(kind, {}).items()
      if count
    ]
  return lines + [
    f'{name}: {n["blank"]:,} blank ones left out, characters replaced in'
    f' {n["replaced"]:,}'
    for name, n in facts['texts'].items()
    if any(n.values())
  ]
