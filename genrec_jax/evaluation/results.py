"""Results on disk: numbers with everything that made them.

  evaluation/PART/TASK.json        the metrics of a task and their circumstances
  evaluation/PART/TASK.npz         the answers behind them
  evaluation/PART_subset/TASK.*    the same of a sample of the examples
  evaluation/test_log.jsonl        a line for each look at the test part

PART is validation or test. Every file says inside which part and task it is
of, and reading checks that.
"""

from __future__ import annotations

import datetime
import io
import json
import os
import pathlib
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import jax
import numpy as np

from genrec_jax import artifacts
from genrec_jax.types import GenrecError, PathLike, unknown_name

SPLITS = ('validation', 'test')


def write_result(
  run_dir: PathLike,
  result: Mapping[str, Any],
  arrays: Mapping[str, np.ndarray],
) -> pathlib.Path:
  """Writes a task's result, and logs it if it is of the test part.

  Args:
    run_dir: the run.
    result: JSON values; names its 'split', its 'task', its 'subset' (None for
      all examples), and what was measured: 'checkpoint', 'fingerprints' and
      the 'time'.
    arrays: of the examples, for significance tests and the report.

  Returns:
    The JSON's path.
  """
  path = result_path(
    run_dir, result['split'], result['task'], subset=bool(result['subset'])
  )
  if result['split'] == 'test':
    looked = ('task', 'n', 'subset', 'checkpoint', 'search', 'text_decoding')
    log_test(
      path.parent.parent / 'test_log.jsonl',
      {k: result[k] for k in (*looked, 'fingerprints') if k in result},
    )
  write_files(path, result, arrays, ('split', 'task'))
  return path


def write_files(
  path: pathlib.Path,
  result: Mapping[str, Any],
  arrays: Mapping[str, np.ndarray],
  names: Sequence[str],
) -> None:
  """Writes a result: `path` of JSON, and the arrays beside it as .npz.

  Args:
    path: of the JSON.
    result: JSON values.
    arrays: of the examples.
    names: the values of the result that tell what it is of; they go among the
      arrays, too.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  # Arrays first: a result on disk always has those that it was made from.
  arrays_path = path.with_suffix('.npz')
  temporary = arrays_path.with_suffix('.npz.tmp')
  packed = io.BytesIO()
  made = {name: np.array(result[name]) for name in names}
  np.savez_compressed(packed, **made, **arrays)
  with artifacts.disk_errors(arrays_path):
    temporary.write_bytes(packed.getbuffer())
    os.replace(temporary, arrays_path)
  artifacts.write_json(path, result)


def read_result(
  run_dir: PathLike, split: str, task: str, *, subset: bool = False
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Reads what `write_result` wrote of a part and a task.

  Raises:
    GenrecError: if there is none, or a file is of another part or task.
  """
  path = result_path(run_dir, split, task, subset=subset)
  if not path.exists():
    raise GenrecError(
      f'No result at {path}; run `genrec evaluate --split={split}'
      f' --tasks={task}` first.'
    )
  result = _read(path)
  arrays_path = path.with_suffix('.npz')
  with np.load(arrays_path) as file:
    arrays = dict(file)
  for where, found in ((path, result), (arrays_path, arrays)):
    for name, expected in (('split', split), ('task', task)):
      if str(found[name]) != expected:
        raise GenrecError(
          f'{where} holds the result of the {name} {found[name]}, expected'
          f' {expected}; run `genrec evaluate --split={split} --tasks={task}`'
          ' again.'
        )
  return result, arrays


def measured_tasks(run_dir: PathLike, split: str) -> dict[str, bool]:
  """Returns the tasks with a result of a part: whether it is of a subset.

  A result of all examples goes before one of a subset, but not if that was
  measured later, of another checkpoint or other tokens.
  """
  directory = pathlib.Path(run_dir) / 'evaluation'
  whole, sample = (
    {
      path.stem: path
      for path in (directory / _folder(split, subset)).glob('*.json')
    }
    for subset in (False, True)
  )
  tasks = {task: task not in whole for task in sorted({*whole, *sample})}
  for task in whole.keys() & sample.keys():
    tasks[task] = _is_outdated(*(_read(p[task]) for p in (whole, sample)))
  return tasks


def _is_outdated(whole: Mapping[str, Any], sample: Mapping[str, Any]) -> bool:
  """Returns whether a sample was measured later, and of another model."""
  models = [
    {**result['checkpoint'], 'chosen': None, **result['fingerprints']}
    for result in (whole, sample)
  ]
  # Results of older versions do not say when they were measured.
  times = [result.get('time', '') for result in (whole, sample)]
  return models[0] != models[1] and times[0] < times[1]


def _read(path: pathlib.Path) -> dict[str, Any]:
  return json.loads(path.read_text(encoding='utf-8'))


def result_path(
  run_dir: PathLike, split: str, task: str, *, subset: bool = False
) -> pathlib.Path:
  """Returns where the JSON of a result is."""
  directory = pathlib.Path(run_dir) / 'evaluation' / _folder(split, subset)
  return directory / f'{task}.json'


def format_table(result: Mapping[str, Any]) -> str:
  """Returns the metrics of all rows as text, a table a slice."""
  metrics, columns = result['metrics'], result['columns']
  subset = result['subset']
  sample = f' (a sample of {subset["of"]:,})' if subset else ''
  facts = [
    f'{result["split"]}, {result["n"]:,} examples{sample}',
    f'step {result["checkpoint"]["step"]}',
    f'{result["examples_per_second"]:,.0f} examples/s',
  ]
  if 'invalid_share' in result:
    facts.append(f'invalid items {result["invalid_share"]:.0%}')
  if 'audit' in result:
    passed = sum(found == 'passed' for found in result['audit'].values())
    facts.append(f'audit: {passed} checks passed')
  if 'failures' in result:
    facts.append(f'failed answers {result["failures"]["failed_share"]:.1%}')
  columns = [
    name
    for name in columns
    if any(name in slices['all'] for slices in metrics.values())
  ]
  width = max(len(name) for name in metrics)
  lines = [
    f'{result["task"]}: {", ".join(facts)}',
    ' ' * width + ''.join(_right(name) for name in columns),
  ]
  for part, title in (
    ('all', None),
    ('cold', 'targets that were held out of training'),
    ('new', 'targets that the dialogue had not named'),
  ):
    n = metrics['model'].get(part, {'n': 0})['n']
    if title and n == metrics['model']['all']['n']:
      continue
    if title and n:
      lines.append(f'the {n:,} {title}:')
    for name, slices in metrics.items() if n else ():
      found = slices.get(part, {})
      values = ''.join(
        _right(f'{found[c]:.4f}' if c in found else '-', c) for c in columns
      )
      lines.append(f'{name:<{width}}{values}')
  return '\n'.join(lines)


# Of bias: what a table of one line a row has room for.
_BIAS_COLUMNS = (
  'coverage',
  'gini',
  'arp',
  'lift',
  'novelty',
  'diversity',
  'tail_share',
)


def format_bias(result: Mapping[str, Any]) -> str:
  """Returns what lists show of the catalogue as text; '' if not measured."""
  if 'bias' not in result:
    return ''
  places = result['bias']['k']
  return _format_rows(
    f'What the first {places} places show (docs/evaluation.md):',
    result['bias']['rows'],
    _BIAS_COLUMNS,
    '.4g',
  )


_CALIBRATION_COLUMNS = (
  'probability',
  'outcome',
  'ece',
  'ece_by_chance',
  'brier',
  'reliability',
  'resolution',
)


def format_calibration(result: Mapping[str, Any]) -> str:
  """Returns whether probabilities are what happens; '' if not measured."""
  if 'calibration' not in result:
    return ''
  return _format_rows(
    "Are the model's probabilities what happens (docs/fairness.md)?",
    result['calibration'],
    _CALIBRATION_COLUMNS,
    '.4f',
  )


def _format_rows(
  title: str,
  rows: Mapping[str, Mapping[str, float]],
  columns: Sequence[str],
  digits: str,
) -> str:
  """Returns a table as text, a row a line, an absent number as a dash."""
  width = max(len(name) for name in rows)
  lines = [title, ' ' * width + ''.join(_right(name) for name in columns)]
  for name, found in rows.items():
    values = (found.get(column) for column in columns)
    cells = ('-' if value is None else f'{value:{digits}}' for value in values)
    lines.append(
      f'{name:<{width}}'
      + ''.join(_right(cell, column) for cell, column in zip(cells, columns))
    )
  return '\n'.join(lines)


def _right(text: str, column: str = '') -> str:
  return f'{text:>{max(10, len(column or text)) + 1}}'


def now() -> str:
  """Returns the time, as results and logs have it: UTC, in order as texts."""
  return datetime.datetime.now(datetime.UTC).isoformat(timespec='milliseconds')


def describe_code() -> dict[str, Any]:
  """Returns the package's version, and its commit where git tracks it."""
  here = pathlib.Path(__file__).resolve()
  try:
    version = metadata.version('genrec_jax')
  except metadata.PackageNotFoundError:
    version = None

  def git(*arguments):
    try:
      return subprocess.run(
        ['git', *arguments],
        cwd=here.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
      ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
      return None

  # An installed copy may lie inside a repository that is not ours.
  if git('ls-files', '--error-unmatch', here.name) is None:
    return {'version': version, 'commit': None, 'changed': None}
  return {
    'version': version,
    'commit': git('rev-parse', 'HEAD'),
    'changed': bool(git('status', '--porcelain', '--untracked-files=no')),
  }


def describe_hardware() -> dict[str, Any]:
  """Returns what computes."""
  devices = jax.devices()
  return {
    'device': devices[0].device_kind,
    'num_devices': len(devices),
    'platform': devices[0].platform,
    'host_cpus': os.cpu_count(),
    'jax': jax.__version__,
  }


def log_test(path: pathlib.Path, facts: Mapping[str, Any]) -> None:
  """Adds a look at the test part to a log, and says which one it is.

  Args:
    path: of the log, a line of JSON a look.
    facts: what was measured, and how.
  """
  artifacts.append_json(path, {'time': now(), **facts})
  looks = len(path.read_text(encoding='utf-8').splitlines())
  print(
    f'The test part was looked at (look {looks} of this run, logged in'
    f' {path}); choose nothing by these numbers.'
  )


def _folder(split: str, subset: bool) -> str:
  if split not in SPLITS:
    raise unknown_name('split', split, SPLITS)
  return f'{split}_subset' if subset else split
