"""What runs hold, as the ledger reads it: everything that is there.

A run may be half done, of an older version or damaged. What is not there or
cannot be read is said in a line and left out; nothing else is lost by it.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from genrec_jax import artifacts
from genrec_jax.evaluation import results
from genrec_jax.training import writers
from genrec_jax.types import GenrecError, PathLike

# What only the directory of a run holds.
_MARKS = ('evaluation', 'baselines', 'checkpoints', 'tokens', 'dataset')
# What it holds besides, and no runs; an experiment holds those of its arms.
_WITHIN = (*_MARKS, 'ids', 'logs', 'comparison', 'cost', 'new_items')
_OF_COSTS = ('costs', 'requests', 'items', 'rounds', 'search', 'fingerprints')
EXAMPLES = 'examples.json'
# What tells examples apart: two results that share these are of the same ones.
_OF_EXAMPLES = ('user', 'item', 'dialogue', 'target', 'targets', 'truth')
_DAMAGED = (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile)


@dataclasses.dataclass(frozen=True, eq=False)
class Measurement:
  """A result of a run: of a task, or of one of `genrec baselines`.

  Attributes:
    run: the run's name.
    part: 'validation' or 'test'.
    task: of the run; of baselines the one that they are measured like.
    method: of baselines; None for a model.
    result: the JSON.
    arrays: those beside it; empty where they cannot be read.
    examples: sha256 of what was asked, the same for the same examples.
    looks: how often the run looked at the test part for it.
  """

  run: str
  part: str
  task: str
  method: str | None
  result: dict[str, Any]
  arrays: dict[str, np.ndarray]
  examples: str
  looks: int

  @property
  def of_same(self) -> tuple[str, ...]:
    """What two measurements must share to stand in one table."""
    data = (self.fingerprint('dataset'), self.fingerprint('split'))
    return (*data, self.task, self.part, self.examples)

  def fingerprint(self, kind: str) -> str:
    """Returns the sha256 of what it was made from; '' if it is not said."""
    return str(self.result.get('fingerprints', {}).get(kind) or '')


@dataclasses.dataclass(frozen=True, eq=False)
class RunRecord:
  """A run, as far as it has come.

  Attributes:
    name: short, and different from that of other runs.
    path: the directory.
    dataset: manifest of the dataset, with `split`; {} where there is none.
    ids: manifest of the ids.
    measurements: all results, of test first.
    comparisons: of `genrec compare`, by part and task.
    costs: of `genrec measure_cost`, by task.
    log: rows of the metrics of training.
    worked: examples of `genrec try --page`, by task.
    recommendations: of `genrec recommend`.
    config: text of config.gin.
    notes: what is missing or damaged.
  """

  name: str
  path: pathlib.Path
  dataset: dict[str, Any]
  ids: dict[str, Any]
  measurements: list[Measurement]
  comparisons: dict[tuple[str, str], dict[str, Any]]
  costs: dict[str, dict[str, Any]]
  log: list[dict[str, Any]]
  worked: dict[str, Any]
  recommendations: list[dict[str, Any]]
  config: str | None
  notes: list[str]


def find_runs(paths: Sequence[PathLike]) -> list[pathlib.Path]:
  """Returns the runs among directories, and those inside of them.

  Raises:
    GenrecError: if a directory is none, or holds no run.
  """
  found = []
  for path in map(pathlib.Path, paths):
    if not path.is_dir():
      raise GenrecError(
        f'There is no directory {path}; pass runs, or a directory of runs.'
      )
    inside = list(_runs_inside(path))
    if not inside:
      raise GenrecError(
        f'{path} holds no run: expected {", ".join(_MARKS)} or one of them,'
        ' there or in a directory inside; pass runs, or a directory of runs.'
      )
    found += [run.resolve() for run in inside]
  return list(dict.fromkeys(found))


def _runs_inside(path: pathlib.Path) -> Iterator[pathlib.Path]:
  is_run = any((path / mark).is_dir() for mark in _MARKS)
  if is_run:
    yield path
  for inside in sorted(path.iterdir()):
    if inside.name.startswith('.') or (is_run and inside.name in _WITHIN):
      continue
    if inside.is_dir():
      yield from _runs_inside(inside)


def short_names(paths: Sequence[PathLike]) -> dict[str, pathlib.Path]:
  """Returns paths by the fewest last folders that tell them all apart."""
  whole = list(dict.fromkeys(pathlib.Path(path).resolve() for path in paths))
  for depth in range(1, max((len(p.parts) for p in whole), default=0) + 1):
    names = ['/'.join(path.parts[-depth:]) for path in whole]
    if len(set(names)) == len(whole):
      return dict(zip(names, whole))
  return {}


def read_runs(paths: Sequence[PathLike]) -> list[RunRecord]:
  """Reads runs; see `find_runs` for which.

  Raises:
    GenrecError: as `find_runs`.
  """
  named = short_names(find_runs(paths))
  return [read_run(name, path) for name, path in named.items()]


def read_run(name: str, path: pathlib.Path) -> RunRecord:
  """Reads what a run holds."""
  reader = _Reader(name, path)
  dataset = reader.json('dataset/manifest.json', 'genrec prepare')
  split = reader.json('dataset/split.json') if dataset else {}
  measurements = [*reader.results(), *reader.baselines()]
  if not measurements:
    reader.notes.append(
      'nothing is measured yet; run `genrec evaluate` or `genrec baselines`'
    )
  log = reader.lines('logs/metrics.jsonl')
  if not log:
    reader.notes.append('no log of training; run `genrec train`')
  ids = reader.json('ids/manifest.json', 'genrec build_ids')
  worked = reader.json(EXAMPLES)
  if not worked:
    reader.notes.append('no worked examples; run `genrec try --page`')
  config = path / 'config.gin'
  return RunRecord(
    name=name,
    path=path,
    dataset={**dataset, 'split': split} if dataset else {},
    ids=ids,
    measurements=measurements,
    comparisons=dict(reader.comparisons()),
    costs=dict(reader.costs()),
    log=log,
    worked=worked,
    recommendations=reader.lines('recommendations.jsonl'),
    config=config.read_text(encoding='utf-8') if config.exists() else None,
    notes=reader.notes,
  )


class _Reader:
  """Reads files of a run, and notes those that it cannot read."""

  def __init__(self, name: str, path: pathlib.Path):
    self.name, self.path = name, path
    self.notes: list[str] = []

  def json(self, file: str, command: str = '') -> dict[str, Any]:
    """Returns the values of a file, {} where there are none.

    Args:
      file: within the run.
      command: what makes it, if its absence is worth a note.
    """
    path = self.path / file
    if not path.exists():
      if command:
        self.notes.append(f'no {file}; run `{command}`')
      return {}
    try:
      found = json.loads(path.read_text(encoding='utf-8'))
      if not isinstance(found, dict):
        raise ValueError('it holds no object')
    except (ValueError, OSError) as error:
      self._damaged(file, error)
      return {}
    return found

  def lines(self, file: str) -> list[dict[str, Any]]:
    """Returns the lines of a file of JSON lines."""
    try:
      return writers.read_rows(self.path / file)
    except (ValueError, OSError) as error:
      self._damaged(file, error)
      return []

  def results(self) -> Iterator[Measurement]:
    """Yields the results of tasks, test first, samples last."""
    looks = self.lines('evaluation/test_log.jsonl')
    for part in reversed(results.SPLITS):
      for subset in (False, True):
        folder = results.result_path(self.path, part, '_', subset=subset).parent
        for path in sorted(folder.glob('*.json')):
          looked = sum(line.get('task') == path.stem for line in looks)
          yield from self._measurement(path, part, path.stem, None, looked)

  def baselines(self) -> Iterator[Measurement]:
    """Yields the results of `genrec baselines`."""
    looks = self.lines('baselines/test_log.jsonl')
    for part in reversed(results.SPLITS):
      for path in sorted((self.path / 'baselines' / part).glob('*.json')):
        looked = sum(line.get('method') == path.stem for line in looks)
        yield from self._measurement(path, part, None, path.stem, looked)

  def comparisons(self) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    for part in reversed(results.SPLITS):
      for path in sorted((self.path / 'comparison' / part).glob('*.json')):
        found = self.json(str(path.relative_to(self.path)))
        if found.get('rows'):
          yield (part, path.stem), found

  def costs(self) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((self.path / 'cost').glob('*.json')):
      found = self.json(str(path.relative_to(self.path)))
      lacking = [name for name in _OF_COSTS if name not in found]
      if not lacking:
        yield path.stem, found
      elif found:
        self.notes.append(
          f'cost/{path.name} is left out: it has no {", ".join(lacking)}; run'
          ' `genrec measure_cost` again'
        )

  def _measurement(
    self,
    path: pathlib.Path,
    part: str,
    task: str | None,
    method: str | None,
    looks: int,
  ) -> Iterator[Measurement]:
    file = str(path.relative_to(self.path))
    result = self.json(file)
    if not result:
      return
    named = {'split': part, 'method' if method else 'task': method or task}
    wrong = {k: v for k, v in named.items() if result.get(k) != v}
    if wrong or not isinstance(result.get('metrics'), Mapping):
      told = ', '.join(f'{k} {result.get(k)}' for k in wrong) or 'no metrics'
      self.notes.append(
        f'{file} is left out: it holds {told}, expected'
        f' {", ".join(f"{k} {v}" for k, v in named.items())} with metrics'
      )
      return
    if method:  # by row, as those of a task
      result['metrics'] = {method: result['metrics']}
    arrays = self._arrays(path.with_suffix('.npz'), named)
    yield Measurement(
      run=self.name,
      part=part,
      # Of users and targets as `sequential` has them, unless another task of
      # the run shares these; see ledger_tables.
      task=task or 'sequential',
      method=method,
      result=result,
      arrays=arrays,
      examples=_digest(arrays) or f'unknown {self.name} {result.get("n")}',
      looks=looks if part == 'test' else 0,
    )

  def _arrays(
    self, path: pathlib.Path, named: Mapping[str, str | None]
  ) -> dict[str, np.ndarray]:
    file = str(path.relative_to(self.path))
    if not path.exists():
      self.notes.append(f'no {file}: its metrics have no intervals')
      return {}
    try:
      with np.load(path) as opened:
        arrays = dict(opened)
      for name, expected in named.items():
        if str(arrays[name]) != expected:
          raise ValueError(f'it is of {name} {arrays[name]}')
    except _DAMAGED as error:
      self._damaged(file, error)
      return {}
    return arrays

  def _damaged(self, file: str, error: Exception) -> None:
    self.notes.append(f'{file} cannot be read and is left out ({error})')


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
  """Returns the sha256 of the examples; '' where they are not known."""
  kept = [arrays[name] for name in _OF_EXAMPLES if name in arrays]
  if not kept:
    return ''
  return artifacts.arrays_sha256(*(one.astype(np.float64) for one in kept))
