"""Reads the raw files of a data set and splits its interactions."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import numpy as np

from genrec_jax import artifacts
from genrec_jax.data import catalogue
from genrec_jax.data.dataset import Dataset, build_dataset
from genrec_jax.data.splits import SPLITS, Split, count_split, save_split
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
  seed: int = 0,
) -> None:
  """Reads a data set, orders and filters it, splits it, and writes it.

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
    seed: of random ties, and of the simulator.

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
  for part, counts in count_split(dataset, split).items():
    tied = f', {counts["tied"]:,} tied in time' if counts.get('tied') else ''
    lines.append(f'  {part:<10} {counts["rows"]:>9,} rows{tied}')
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
