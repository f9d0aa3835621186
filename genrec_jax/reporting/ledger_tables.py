"""The ledger's tables: what was measured, by whom, and what may be compared.

Two measurements stand in one table only if they are of the same dataset, split,
task, part and examples. A floor that several runs measured alike has one row.
"""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from genrec_jax.evaluation import intervals
from genrec_jax.evaluation.significance import Interval
from genrec_jax.reporting.run_records import Measurement, RunRecord
from genrec_jax.reporting.task_sections import (
  LOWER_IS_BETTER,
  SLICES,
  tell_part,
  tell_sample,
)
from genrec_jax.types import GenrecError

# The metric of a kind of answer that stands first, and has an interval.
_FIRST = {
  'rating': 'rmse',
  'yes_no': 'auc',
  'text': 'rouge_l',
  'reply': 'rouge_l',
}
_OF_DIALOGUES = 'recall@10'
HASH = 8  # digits of a sha256 that are shown


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
  """Measurements that may be compared.

  Attributes:
    key: of the group, for links.
    data: letter of dataset and split.
    task: of the measurements.
    part: 'validation' or 'test'.
    members: models first.
    metric: that stands first.
  """

  key: str
  data: str
  task: str
  part: str
  members: list[Measurement]
  metric: str

  def title(self) -> str:
    """Returns what the group is of, in words."""
    return f'{self.task}: {tell_part(self.members[0].result)}'


class Ledger:
  """Runs, with what of them may be compared, and the intervals of it."""

  def __init__(
    self,
    runs: Sequence[RunRecord],
    *,
    metric: str,
    num_resamples: int,
    seed: int,
  ):
    """Sorts out runs.

    Args:
      runs: as read.
      metric: of lists of items, that stands first.
      num_resamples: of the bootstrap.
      seed: of the bootstrap.
    """
    self.runs = list(runs)
    self.warnings: list[str] = []
    self._metric = metric
    self.drawn = {'num_resamples': num_resamples, 'seed': seed}
    self._found: dict[int, dict[str, Interval]] = {}
    self._by_name = {run.name: run for run in runs}
    self.data = _letters(runs)
    self.groups = self._groups()

  def run(self, name: str) -> RunRecord:
    """Returns the run of a name."""
    return self._by_name[name]

  def letter(self, measured: Measurement) -> str:
    """Returns the letter of its dataset and split."""
    pair = measured.fingerprint('dataset'), measured.fingerprint('split')
    return self.data[pair]['letter']

  def first_metric(self, measured: Measurement) -> str:
    """Returns the metric of a measurement that stands first."""
    columns = measured.result.get('columns', [])
    wanted = _FIRST.get(measured.result.get('answer', 'item'), self._metric)
    if 'turns' in measured.result:
      wanted = _OF_DIALOGUES
    known = _of_all(measured, _row_names(measured)[0])
    for name in (wanted, *columns):
      if name in known:
        return name
    return next(iter(k for k in known if k != 'n'), 'n')

  def intervals(self, measured: Measurement) -> Mapping[str, Interval]:
    """Returns the first metric of each row with its interval."""
    if id(measured) not in self._found:
      self._found[id(measured)] = {}
      try:
        if measured.arrays:
          self._found[id(measured)] = intervals.intervals(
            measured.result,
            measured.arrays,
            self.first_metric(measured),
            **self.drawn,
          )
      except (GenrecError, KeyError, IndexError, ValueError) as error:
        told = error if isinstance(error, GenrecError) else repr(error)
        self.warnings.append(
          f'{measured.run}, {measured.method or measured.task},'
          f' {measured.part}: no interval, as the answers beside the result do'
          f' not fit it ({told})'
        )
    return self._found[id(measured)]

  def rows(self) -> Iterator[dict[str, Any]]:
    """Yields the table of runs: a row a measurement."""
    for run in self.runs:
      for measured in run.measurements:
        yield self._row(run, measured)

  def _row(self, run: RunRecord, measured: Measurement) -> dict[str, Any]:
    result, metric = measured.result, self.first_metric(measured)
    name = measured.method or 'model'
    made = result.get('fingerprints', {})
    checkpoint = result.get('checkpoint', {})
    code = result.get('code') or {}
    commit = code.get('commit')
    tasks = [g.task for g in self.groups if measured in g.members]
    return {
      'run': run.name,
      'method': name,
      'task': measured.task,
      'tasks': tasks,
      'part': measured.part,
      'part_told': tell_part(result),
      'sample': bool(result.get('subset')),
      'sample_told': tell_sample(result),
      'looks': measured.looks,
      'metric': metric,
      'cell': self.cell(measured, name, metric),
      'n': result.get('n'),
      'data': self.letter(measured),
      'data_name': self.data_name(measured),
      'dataset': made.get('dataset', '')[:HASH],
      'split': made.get('split', '')[:HASH],
      'ids': (made.get('ids') or '')[:HASH],
      'ids_method': _ids_method(run, made.get('ids')),
      'commit': commit[:HASH] if commit else '',
      'changed': bool(code.get('changed')),
      'seed': checkpoint.get('training_seed', result.get('seed')),
      'parameters': result.get('num_parameters'),
      'settings': _settings(result),
      'steps': checkpoint.get('step'),
      'time': str(result.get('time', ''))[:16].replace('T', ' '),
    }

  def data_name(self, measured: Measurement) -> str:
    """Returns what its dataset is called, as far as a run knows it."""
    pair = measured.fingerprint('dataset'), measured.fingerprint('split')
    return self.data[pair]['name']

  def cell(self, measured: Measurement, row: str, metric: str):
    """Returns a metric of a row, with its interval where there is one."""
    value = _of_all(measured, row).get(metric)
    found = None
    if metric == self.first_metric(measured):
      found = self.intervals(measured).get(row)
    return {
      'value': value,
      'low': found and found.low,
      'high': found and found.high,
      'n': found and found.n,
    }

  def _groups(self) -> list[Group]:
    measured = [m for run in self.runs for m in run.measurements]
    models: dict[tuple, list[Measurement]] = {}
    for one in measured:
      if one.method is None:
        models.setdefault(one.of_same, []).append(one)
    for one in (m for m in measured if m.method):
      # Baselines are beside each task that asks the same of the same.
      alike = [
        key
        for key in models
        if (*key[:2], *key[3:]) == (*one.of_same[:2], *one.of_same[3:])
      ]
      for key in alike or [one.of_same]:
        models.setdefault(key, []).append(one)
    return [
      Group(
        key=f'group-{number}',
        data=self.letter(members[0]),
        task=key[2],
        part=key[3],
        members=members,
        metric=self.first_metric(members[0]),
      )
      for number, (key, members) in enumerate(models.items())
    ]

  def table(self, group: Group) -> dict[str, Any]:
    """Returns the rows of a group, all of whose numbers may be compared."""
    columns = [group.metric]
    for member in group.members:
      told = member.result.get('columns', [])
      columns += [c for c in told if c not in columns]
    rows, known = [], {}
    for member in group.members:
      for name in _row_names(member):
        values = _of_all(member, name)
        if not values:
          continue
        told = (name, tuple(values.get(column) for column in columns))
        if name != 'model' and told in known:
          first = known[told]
          if member.run not in (first['run'], *first['also']):
            first['also'].append(member.run)
          continue
        row = {
          'run': member.run,
          'method': name,
          'model': name == 'model',
          'also': [],
          'sample': member.result.get('subset'),
          'cells': [self.cell(member, name, column) for column in columns],
        }
        known.setdefault(told, row)
        rows.append(row)
    lower = [name for name in columns if name in LOWER_IS_BETTER]
    return {'columns': columns, 'rows': rows, 'lower': lower}

  def slices(self, group: Group) -> dict[str, Any] | None:
    """Returns the first metric by slice; None where there are no slices."""
    counts = {}
    for member in group.members:
      for of_row in member.result['metrics'].values():
        for name, found in of_row.items():
          if found.get('n') and group.metric in found:
            counts.setdefault(name, found['n'])
    whole = counts.get('all')
    counts = {k: n for k, n in counts.items() if k == 'all' or n != whole}
    if len(counts) < 2:
      return None
    rows = []
    for member in group.members:
      for name in _row_names(member)[:1]:
        found = member.result['metrics'][name]
        rows.append(
          {
            'name': member.run if name == 'model' else name,
            'model': name == 'model',
            'values': [found.get(s, {}).get(group.metric) for s in counts],
          }
        )
    return {
      'title': f'{group.metric} by slice',
      'note': '',
      'head': 'method',
      'columns': [
        f'{SLICES.get(name, name)} ({n:,})' for name, n in counts.items()
      ],
      'rows': rows,
    }


def _row_names(measured: Measurement) -> list[str]:
  """Returns the rows of a result, the one that it is of first."""
  names = list(measured.result['metrics'])
  return sorted(names, key=lambda name: name != 'model')


def _of_all(measured: Measurement, row: str) -> Mapping[str, float]:
  return measured.result['metrics'].get(row, {}).get('all', {})


def _letters(
  runs: Sequence[RunRecord],
) -> dict[tuple[str, str], dict[str, str]]:
  """Returns a letter and a name for each dataset and split."""
  found: dict[tuple[str, str], dict[str, str]] = {}
  for run in runs:
    split = run.dataset.get('split', {})
    for one in run.measurements:
      pair = one.fingerprint('dataset'), one.fingerprint('split')
      if pair not in found:
        number = len(found)
        letters = string.ascii_uppercase
        letter = letters[number % 26] + str(number // 26) * (number > 25)
        found[pair] = {
          'letter': letter,
          'name': '',
          'split_name': '',
          'dataset': pair[0][:HASH] or 'not said',
          'split': pair[1][:HASH] or 'not said',
        }
      if run.dataset.get('fingerprint') == pair[0]:
        found[pair]['name'] = str(run.dataset.get('name', ''))
      if split.get('fingerprint') == pair[1]:
        found[pair]['split_name'] = str(split.get('protocol', ''))
  return found


def _ids_method(run: RunRecord, fingerprint: str | None) -> str:
  if not fingerprint or run.ids.get('fingerprint') != fingerprint:
    return ''
  return str(run.ids.get('facts', {}).get('method', ''))


def _settings(result: Mapping[str, Any]) -> str:
  settings = result.get('made_from', {}).get('settings') or {}
  told = (f'{k} {v}' for k, v in settings.items() if v is not None)
  return ', '.join(told)
