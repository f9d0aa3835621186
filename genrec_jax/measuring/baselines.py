"""Measures baselines of lists of items, and keeps what was measured.

baselines/PART/METHOD.json   metrics by slice, and everything that made them
baselines/PART/METHOD.npz    items (lists), user, target, tied of each example
baselines/chosen.json        hyper-parameters chosen on validation
baselines/test_log.jsonl     a line for each look at the test part
"""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genrec_jax import artifacts
from genrec_jax.baselines import protocol
from genrec_jax.baselines.methods import DEFAULT_STAGES, Method
from genrec_jax.data import splits
from genrec_jax.data.dataset import Dataset
from genrec_jax.evaluation import ranking, results
from genrec_jax.measuring import audit, tuning
from genrec_jax.measuring.bias import (
  TARGETS,
  SplitExamples,
  measure_bias,
  measure_groups,
)
from genrec_jax.measuring.measured import Measured
from genrec_jax.measuring.train_data import TrainData
from genrec_jax.types import GenrecError, PathLike

PARTS = {'validation': splits.VALIDATION, 'test': splits.TEST}
COLUMNS = ('recall@5', 'recall@10', 'ndcg@5', 'ndcg@10', 'mrr')


def load_data(run_dir: PathLike) -> TrainData:
  """Loads the dataset and split of a run.

  Raises:
    GenrecError: if they are not there, or there are no interactions.
  """
  directory = pathlib.Path(run_dir) / 'dataset'
  dataset = Dataset.load(directory)
  if not dataset.num_interactions:
    raise GenrecError(
      f'The dataset at {directory} has dialogues alone; these methods learn'
      ' from interactions of users and items. `genrec evaluate` measures the'
      ' baselines of dialogues.'
    )
  return TrainData(dataset, splits.load_split(directory, dataset))


def fingerprints(data: TrainData) -> dict[str, str]:
  """Returns the sha256 of dataset, split and train interactions."""
  return {
    'dataset': data.dataset.fingerprint,
    'split': data.split.fingerprint,
    'train': splits.train_fingerprint(data.dataset, data.split),
  }


def choose(
  run_dir: PathLike,
  method: Method,
  data: TrainData,
  *,
  exclude_seen: bool,
  max_examples: int,
  seed: int,
  again: bool,
) -> Method:
  """Tunes a method, keeps the choice in chosen.json, and returns it.

  A choice that was made from the same is not made again. A method without a
  grid is returned as it is.
  """
  if list(method.grid()) == [({}, [{}])]:
    return method
  method = method.in_run(run_dir)
  path = _directory(run_dir) / 'chosen.json'
  made_from = _json(
    {
      **method.describe(),
      'grid': list(method.grid()),
      'exclude_seen': exclude_seen,
      'max_examples': max_examples,
      'seed': seed,
      'fingerprints': fingerprints(data),
      'code_sha256': method.code_sha256(),
    }
  )
  known = _read(path)
  found = known.get(method.name)
  if not again and found and found['made_from'] == made_from:
    return method.replace(**found['settings'])
  choice = tuning.tune(
    method,
    data,
    exclude_seen=exclude_seen,
    max_examples=max_examples,
    seed=seed,
  )
  known[method.name] = {
    'settings': dict(choice.method.settings),
    'metric': tuning.METRIC,
    'value': choice.value,
    'examples': choice.examples,
    'time': results.now(),
    'made_from': made_from,
    'code': results.describe_code(),
    'tried': choice.tried,
  }
  artifacts.write_json(path, known)
  return choice.method


def chosen(run_dir: PathLike, method: Method, data: TrainData) -> Method:
  """Returns a method with what was chosen for it, if anything was.

  Raises:
    GenrecError: if that was chosen on other data.
  """
  path = _directory(run_dir) / 'chosen.json'
  found = _read(path).get(method.name)
  if found is None:
    return method
  if found['made_from']['fingerprints'] != _json(fingerprints(data)):
    raise GenrecError(
      f'What {path} says of {method.name} was chosen on another dataset or'
      ' split than the one at hand; choose again with --tune=True, on'
      ' validation.'
    )
  return method.replace(**found['settings'])


def with_chosen(
  run_dir: PathLike,
  name: str,
  data: TrainData,
  *,
  stages: Sequence[str] = DEFAULT_STAGES,
  given: Mapping[str, Mapping[str, Any]] | None = None,
) -> Method:
  """Returns a method by name, and its stages, with what was chosen for them.

  Args:
    run_dir: the run.
    name: of the method.
    data: the data.
    stages: of multi_stage, the methods that retrieve and rank.
    given: hyper-parameters by method, which go before what was chosen.

  Raises:
    GenrecError: if what was chosen was chosen on other data.
  """
  given = given or {}
  parts = chosen_stages(run_dir, name, data, stages=stages, given=given)
  method = chosen(run_dir, Method(name, {}, parts), data)
  return method.replace(**given.get(name, {}))


def chosen_stages(
  run_dir: PathLike,
  name: str,
  data: TrainData,
  *,
  stages: Sequence[str],
  given: Mapping[str, Mapping[str, Any]],
) -> tuple[Method, ...]:
  """Returns the stages of a method, none of one that has none.

  The arguments are those of `with_chosen`.
  """
  return tuple(
    with_chosen(run_dir, stage, data, given=given)
    for stage in stages
    if name == 'multi_stage'
  )


def measure(
  run_dir: PathLike,
  method: Method,
  data: TrainData,
  split: str,
  *,
  top_k: int,
  exclude_seen: bool,
  seed: int,
  again: bool,
) -> tuple[dict[str, Any], bool]:
  """Fits a method on train and measures its lists; or reads what is known.

  A result is known if data, split, method, hyper-parameters, seed, length of
  lists and the source of the method are those that it was made from. Looks at
  the test part are logged; reading a known result is none.

  Args:
    run_dir: the run.
    method: with its hyper-parameters.
    data: the data.
    split: 'validation' or 'test'.
    top_k: the length of lists.
    exclude_seen: leave out the items of each history.
    seed: of the method.
    again: measure even if the result is known.

  Returns:
    The result as in the JSON, and whether it was known.
  """
  method = method.in_run(run_dir)
  path = result_path(run_dir, split, method.name)
  made_from = _json(
    {
      **method.describe(),
      'split': split,
      'top_k': top_k,
      'exclude_seen': exclude_seen,
      'seed': seed,
      'fingerprints': fingerprints(data),
      'code_sha256': method.code_sha256(),
    }
  )
  if not again and path.with_suffix('.npz').exists():
    known = _read(path)
    if known.get('made_from') == made_from:
      return known, True
  examples = splits.examples(data.dataset, data.split, PARTS[split])
  if not len(examples):
    raise GenrecError(
      f'The {split} part has no examples; prepare the data with another split.'
    )
  start = time.perf_counter()
  baseline = method.make(seed=seed, exclude_seen=exclude_seen)
  baseline.fit(*data.interactions(), data.dataset.num_items)
  fitted = time.perf_counter()
  lists = protocol.recommend(
    baseline,
    examples.ragged_histories(),
    top_k=top_k,
    exclude_seen=exclude_seen,
  )
  ranked = time.perf_counter()
  arrays = {
    'items': lists,
    'user': examples.user,
    'target': examples.target,
    'tied': examples.tied,
  }
  cold = data.split.cold_items
  asked = SplitExamples.of(examples)
  rows = {method.name: lists}
  result = {
    'split': split,
    'method': method.name,
    'n': len(examples),
    'time': results.now(),
    'metrics': ranking.measure_lists(
      lists,
      examples.target,
      examples.tied,
      np.isin(examples.target, cold) if len(cold) else None,
    ),
    'columns': list(COLUMNS),
    'bias': measure_bias(rows, asked, data, exclude_seen=exclude_seen),
    'groups': measure_groups(rows, asked, data),
    'audit': _audit(method.name, lists, examples, data.dataset),
    'made_from': made_from,
    'fingerprints': made_from['fingerprints'],
    'seed': seed,
    'code': results.describe_code(),
    'hardware': results.describe_hardware(),
    'fit_seconds': fitted - start,
    'rank_seconds': ranked - fitted,
    'examples_per_second': len(examples) / (ranked - fitted),
  }
  if split == 'test':
    log = _directory(run_dir) / 'test_log.jsonl'
    looked = ('method', 'n', 'time', 'made_from')
    results.log_test(log, {name: result[name] for name in looked})
  results.write_files(path, result, arrays, ('split', 'method'))
  return result, False


def result_path(run_dir: PathLike, split: str, method: str) -> pathlib.Path:
  """Returns where the JSON of a baseline's result is."""
  return _directory(run_dir) / split / f'{method}.json'


def format_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
  """Returns the means over all examples and the seconds, a line a method."""
  columns = [
    c for c in COLUMNS if all(c in r['metrics']['all'] for r in rows.values())
  ]
  width = max(map(len, rows))
  seconds = ('fit_seconds', 'rank_seconds')
  head = (*columns, *(name.replace('_seconds', ' s') for name in seconds))
  lines = [' ' * width + ''.join(f'{name:>11}' for name in head)]
  for name, result in rows.items():
    values = [f'{result["metrics"]["all"][column]:.4f}' for column in columns]
    values += [f'{result[column]:.1f}' for column in seconds]
    lines.append(f'{name:<{width}}' + ''.join(f'{v:>11}' for v in values))
  return '\n'.join(lines)


def format_bias(rows: Mapping[str, Mapping[str, Any]]) -> str:
  """Returns what lists show of the catalogue, a line a method.

  Of those whose results say it: older ones do not.
  """
  found = [row['bias'] for row in rows.values() if 'bias' in row]
  merged = {name: row for bias in found for name, row in bias['rows'].items()}
  if not found:
    return ''
  merged[TARGETS] = merged.pop(TARGETS)  # the last line
  return results.format_bias({'bias': {**found[0], 'rows': merged}})


def _audit(name, lists, examples, dataset) -> dict[str, str]:
  """Returns what came of the checks of lists that `evaluate` makes."""
  arrays = {f'items_{name}': lists, 'target': examples.target}
  measured = Measured({}, COLUMNS, arrays, read_out=[])
  return audit.audit_lists(measured, dataset.num_items)


def _directory(run_dir: PathLike) -> pathlib.Path:
  return pathlib.Path(run_dir) / 'baselines'


def _read(path: pathlib.Path) -> dict[str, Any]:
  if not path.exists():
    return {}
  try:
    return json.loads(path.read_text(encoding='utf-8'))
  except ValueError as error:
    raise GenrecError(
      f'{path} is damaged ({error}); remove it and run `genrec baselines`'
      ' again.'
    ) from error


def _json(value: Any) -> Any:
  """Returns a value as it comes back from JSON, to compare with what did."""
  return json.loads(json.dumps(value))
