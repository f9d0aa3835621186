"""Results on disk: numbers with everything that made them.

  evaluation/validation.json, test.json    the metrics and their circumstances
  evaluation/..._subset.json               the same of a sample of the examples
  evaluation/recommendations_....npz       the lists behind each of them
  evaluation/test_log.jsonl                a line for each look at the test part

Every file says inside which part it is of, and reading checks that.
"""

from __future__ import annotations

import datetime
import io
import json
import os
import pathlib
import subprocess
from collections.abc import Mapping
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
  lists: Mapping[str, np.ndarray],
) -> pathlib.Path:
  """Writes a result and its lists, and logs it if it is of the test part.

  Args:
    run_dir: the run.
    result: JSON values; names its 'split', and its 'subset' (None for all).
    lists: arrays for significance tests and the report.

  Returns:
    The JSON's path.
  """
  path, lists_path = _paths(run_dir, result['split'], bool(result['subset']))
  path.parent.mkdir(parents=True, exist_ok=True)
  if result['split'] == 'test':
    _log_test(path.parent / 'test_log.jsonl', result)
  # Lists first: a result on disk always has the lists that it was made from.
  temporary = lists_path.with_suffix('.npz.tmp')
  packed = io.BytesIO()
  np.savez_compressed(packed, split=np.array(result['split']), **lists)
  with artifacts.disk_errors(lists_path):
    temporary.write_bytes(packed.getbuffer())
    os.replace(temporary, lists_path)
  artifacts.write_json(path, result)
  return path


def read_result(
  run_dir: PathLike, split: str, *, subset: bool = False
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Reads what `write_result` wrote of a split.

  Raises:
    GenrecError: if there is none, or the file is of another split.
  """
  path, lists_path = _paths(run_dir, split, subset)
  if not path.exists():
    raise GenrecError(
      f'No result at {path}; run `genrec evaluate --split={split}` first.'
    )
  result = json.loads(path.read_text(encoding='utf-8'))
  with np.load(lists_path) as file:
    lists = dict(file)
  for where, found in ((path, result['split']), (lists_path, lists['split'])):
    if str(found) != split:
      raise GenrecError(
        f'{where} holds the result of the {found} part, expected {split}; run'
        f' `genrec evaluate --split={split}` again.'
      )
  return result, lists


def format_table(result: Mapping[str, Any]) -> str:
  """Returns the metrics of all rows as text."""
  metrics = result['metrics']
  wanted = ('recall@5', 'recall@10', 'ndcg@5', 'ndcg@10', 'mrr')
  names = [name for name in wanted if name in metrics['model']['all']]
  subset = result['subset']
  sample = f' (a sample of {subset["of"]:,})' if subset else ''
  width = max(len(name) for name in metrics)
  lines = [
    f'{result["split"]}, {result["n"]:,} examples{sample}, step'
    f' {result["checkpoint"]["step"]},'
    f' {result["examples_per_second"]:,.0f} examples/s, invalid items'
    f' {result["invalid_share"]:.0%}',
    ' ' * width + ''.join(f'{name:>11}' for name in names),
  ]
  for part in ('all', 'cold'):
    n = metrics['model'].get(part, {'n': 0})['n']
    if part == 'cold' and n:
      lines.append(f'the {n:,} targets that were held out of training:')
    for name, slices in metrics.items() if n else ():
      values = ''.join(f'{slices[part][metric]:11.4f}' for metric in names)
      lines.append(f'{name:<{width}}{values}')
  return '\n'.join(lines)


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


def _paths(
  run_dir: PathLike, split: str, subset: bool
) -> tuple[pathlib.Path, pathlib.Path]:
  if split not in SPLITS:
    raise unknown_name('split', split, SPLITS)
  name = f'{split}_subset' if subset else split
  directory = pathlib.Path(run_dir) / 'evaluation'
  return directory / f'{name}.json', directory / f'recommendations_{name}.npz'


def _log_test(path: pathlib.Path, result: Mapping[str, Any]) -> None:
  now = datetime.datetime.now(datetime.UTC)
  entry = {'time': now.isoformat(timespec='seconds')}
  for name in ('task', 'n', 'subset', 'checkpoint', 'search', 'fingerprints'):
    entry[name] = result[name]
  with artifacts.disk_errors(path), open(path, 'a', encoding='utf-8') as file:
    file.write(json.dumps(entry) + '\n')
  looks = len(path.read_text(encoding='utf-8').splitlines())
  print(
    f'The test part was looked at (look {looks} of this run, logged in'
    f' {path}); choose nothing by these numbers.'
  )
