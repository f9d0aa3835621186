"""Says which differences between models are more than chance."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool

from genrec_jax import artifacts
from genrec_jax.data import splits
from genrec_jax.evaluation import comparison, results
from genrec_jax.evaluation.comparison import Compared
from genrec_jax.measuring.baselines import PARTS, load_data
from genrec_jax.measuring.bias import SplitExamples, example_groups
from genrec_jax.types import GenrecError, PathLike, unknown_name

_LISTS = 'items_'
_EXAMPLES = ('user', 'target', 'tied')


def compare(
  *,
  run_dir: PathLike,
  seeds: Sequence[PathLike] = (),
  runs: Sequence[PathLike] = (),
  task: str = 'sequential',
  split: str = 'validation',
  metric: str = 'ndcg@10',
  groups: Sequence[str] = ('target',),
  num_resamples: int = 5000,
  seed: int = 0,
) -> list[Compared]:
  """Compares a run's model with all that was measured on the same examples.

  These are the floors of its evaluation, what `genrec baselines` measured in
  the run directory, and the models of other runs. For each of them: the mean
  difference over examples with its 95 % interval and p-value by the paired
  bootstrap, corrected for the number of comparisons (Holm 1979), on all
  examples and on slices: targets with the time of the item before them
  ('tied'), whose order is arbitrary, and the others; short and long histories,
  cut at the median; and, where the run has its dataset, groups of users and
  targets. Nothing is measured anew. Prints a table a slice and writes
  `comparison/<split>/<task>.json`.

  Args:
    run_dir: the run whose model is compared with the others.
    seeds: runs of the same configuration with other seeds: its metric is the
      mean over them, example by example, and their spread is told.
    runs: runs of other models on the same data.
    task: whose answer is an item of a user's history.
    split: 'validation' or 'test'.
    metric: recall@k, ndcg@k, precision@k, of 1, 5, 10, 20 as far as lists
      reach, or mrr.
    groups: kinds of groups to compare on, too: 'target' (of the head, the
      middle and the tail, and those that train never saw), 'activity', or a
      column of the users.
    num_resamples: of the bootstrap.
    seed: of the bootstrap.

  Returns:
    The rows, slice by slice; the first of each is the run's own.

  Raises:
    GenrecError: if a result is missing, is of a sample or of other examples,
      has no lists, or the metric is unknown.
  """
  run_dir = pathlib.Path(run_dir)
  seeds, runs, groups = (
    [v] if isinstance(v, str) else v for v in (seeds, runs, groups)
  )
  result, own = _read(run_dir, split, task)
  models = [own, *(_read(path, split, task)[1] for path in seeds)]
  lists = {'model': [arrays[f'{_LISTS}model'] for arrays in models]}
  for name, items in own.items():
    if name.startswith(_LISTS) and name != f'{_LISTS}model':
      lists[name.removeprefix(_LISTS)] = [items]
  examples = dict(zip(('', *map(str, seeds)), models))
  for path in sorted((run_dir / 'baselines' / split).glob('*.npz')):
    with np.load(path) as file:
      examples[str(path)] = dict(file)
    lists[path.stem] = [examples[str(path)]['items']]
  for path in runs:
    other = examples[str(path)] = _read(path, split, task)[1]
    lists[str(path)] = [other[f'{_LISTS}model']]
  for source, arrays in examples.items():
    comparison.check_same_examples(own, arrays, source, str(run_dir))
  rows = comparison.compare(
    {
      name: np.stack(
        [
          comparison.list_metric(items, own['target'], metric)
          for items in of_method
        ]
      )
      for name, of_method in lists.items()
    },
    comparison.example_slices(own) | _groups(run_dir, split, own, groups),
    reference='model',
    num_resamples=num_resamples,
    seed=seed,
  )
  path = run_dir / 'comparison' / split / f'{task}.json'
  artifacts.write_json(
    path,
    {
      'metric': metric,
      'seeds': [str(run_dir), *map(str, seeds)],
      'num_resamples': num_resamples,
      'fingerprints': result['fingerprints'],
      'code': results.describe_code(),
      'time': results.now(),
      'rows': [dataclasses.asdict(row) for row in rows],
    },
  )
  print(f'{task}, {split}: the model minus each of the others.\n')
  print(comparison.format_comparison(rows, metric))
  print(f'\nWritten to {path}.')
  return rows


def _read(run_dir: PathLike, split: str, task: str):
  result, arrays = results.read_result(run_dir, split, task)
  missing = {f'{_LISTS}model', *_EXAMPLES} - arrays.keys()
  if missing:
    raise GenrecError(
      f'The result of {task} in {run_dir} has no {", ".join(sorted(missing))};'
      ' expected a task that asks for an item of a user, such as sequential.'
    )
  return result, arrays


def _groups(
  run_dir: pathlib.Path,
  split: str,
  own: Mapping[str, np.ndarray],
  kinds: Sequence[str],
) -> dict[str, Bool[np.ndarray, 'E']]:
  """Returns which examples are of a group; nothing without a dataset."""
  if not kinds or not (run_dir / 'dataset' / artifacts.MANIFEST).exists():
    return {}
  data = load_data(run_dir)
  found = splits.examples(data.dataset, data.split, PARTS[split])
  examples = SplitExamples.of(found)
  if not np.array_equal(examples.target, own['target']):
    raise GenrecError(
      f'The result of {run_dir} is not of the examples of its dataset; groups'
      ' of them are not known: pass --groups="()".'
    )
  groups = {
    kind: (group, labels)
    for kind, group, labels in example_groups(examples, data)
    if kind not in ('time', 'history')  # these are always compared
  }
  slices = {}
  for kind in kinds:
    if kind not in groups:
      raise unknown_name('kind of group', kind, groups)
    group, labels = groups[kind]
    for number, label in enumerate(labels):
      slices[f'{kind}: {label}'] = group == number
  if 'target' in kinds:
    _, item = data.interactions()
    slices['target: never in train'] = ~np.isin(examples.target, item)
  return slices
