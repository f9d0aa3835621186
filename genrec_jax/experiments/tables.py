"""An experiment's tables, as cells: for the terminal, markdown and the page."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from genrec_jax.experiments.arms import ArmRun
from genrec_jax.experiments.measures import Row
from genrec_jax.experiments.runner import Outcome
from genrec_jax.experiments.scores import Scores

METRICS = ('recall@5', 'ndcg@5', 'recall@10', 'ndcg@10')


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of texts.

  Attributes:
    title: above it.
    columns: their heads; the first is that of the rows' names.
    rows: as long as there are columns.
    note: how to read it.
  """

  title: str
  columns: list[str]
  rows: list[list[str]]
  note: str = ''

  def markdown(self) -> str:
    """Returns it in markdown, its title and note above."""
    lines = [
      f'| {" | ".join(self.columns)} |',
      f'|{"---|" * len(self.columns)}',
      *(f'| {" | ".join(row)} |' for row in self.rows),
    ]
    return '\n'.join([f'**{self.title}.** {self.note}'.strip(), '', *lines])

  def text(self) -> str:
    """Returns it for the terminal."""
    widths = [max(map(len, column)) for column in zip(self.columns, *self.rows)]
    lines = [
      '  '.join(
        cell.ljust(width) if not place else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths))
      )
      for cells in (self.columns, *self.rows)
    ]
    return '\n'.join([self.title, *lines])


def outcome_tables(outcome: Outcome, metric: str) -> list[Table]:
  """Returns all tables of an experiment."""
  tables = [
    table
    for scores in reversed(outcome.scores)
    for table in score_tables(scores, metric)
  ]
  if outcome.measured:
    tables.append(measured_table(outcome.measured))
  tables.append(cost_table(outcome.runs))
  failed = [done for done in outcome.runs if done.error is not None]
  if failed:
    tables.append(
      Table(
        'What failed',
        ['arm', 'seed', 'error'],
        [[done.arm.name, str(done.seed), str(done.error)] for done in failed],
      )
    )
  return tables


def score_tables(scores: Scores, metric: str) -> list[Table]:
  """Returns the means of a part, and where arms are compared, its slices."""
  compared = {row.name: row for row in scores.rows if row.slice == 'all'}
  deviations = any(len(seeds) > 1 for seeds in scores.means.values())
  shown = [m for m in METRICS if all(m in v[0] for v in scores.means.values())]
  head = ['', *shown, f'{metric}, 95 %']
  head += ['seeds ±'] * deviations
  if compared:
    head += ['less than the first', '95 %', 'p (Holm)']
  rows = []
  for name, seeds in scores.means.items():
    low, high = scores.intervals[name]
    row = [name]
    row += [f'{sum(v[m] for v in seeds) / len(seeds):.4f}' for m in shown]
    row.append(f'{low:.4f} – {high:.4f}')
    if deviations:
      row.append(_number(compared[name].seed_deviation if compared else None))
    if compared:
      row += _difference(compared[name])
    rows.append(row)
  count = f'{scores.rows[0].n:,} examples' if scores.rows else ''
  tables = [
    Table(
      f'{scores.split.capitalize()}{", " * bool(count)}{count}',
      head,
      rows,
      'Whole catalogue ranked, seen items left out. Intervals are of the'
      ' bootstrap over examples, differences paired.',
    )
  ]
  counts = {row.slice: row.n for row in scores.rows}
  slices = [name for name, n in counts.items() if n < counts['all']]
  if slices:
    cells = {(row.name, row.slice): row for row in scores.rows}
    tables.append(
      Table(
        f'{metric} by slice, {scores.split}',
        ['', *(f'{name} ({counts[name]:,})' for name in slices)],
        [
          [name, *(f'{cells[name, s].mean:.4f}' for s in slices)]
          for name in scores.means
        ],
        'Tied: the target has the time of the item before it, so that their'
        ' order is arbitrary.',
      )
    )
  return tables


def measured_table(rows: Sequence[Row]) -> Table:
  """Returns what a measure says of the runs."""
  columns = list(dict.fromkeys(name for row in rows for name in row))
  if len({row['seed'] for row in rows}) == 1:
    columns.remove('seed')
  return Table(
    'What was measured of the runs',
    columns,
    [[_cell(row.get(name)) for name in columns] for row in rows],
  )


def cost_table(runs: Sequence[ArmRun]) -> Table:
  """Returns seconds and memory of each run's commands."""
  names = list(
    dict.fromkeys(name.split()[0] for done in runs for name in done.costs)
  )
  rows = []
  for done in runs:
    row = [done.arm.name, str(done.seed)]
    for name in names:
      seconds = [
        cost['seconds']
        for command, cost in done.costs.items()
        if command.split()[0] == name
      ]
      row.append(f'{sum(seconds):.1f}' if seconds else '–')
    peak = max((cost['peak_gb'] for cost in done.costs.values()), default=None)
    rows.append([*row, '–' if peak is None else f'{peak:.2f}'])
  return Table(
    'What it cost',
    ['arm', 'seed', *(f'{name}, s' for name in names), 'peak, GB'],
    rows,
    'By the clock, each command a process of its own, whose start is in it.',
  )


def tell_run(done: ArmRun) -> str:
  """Returns a line that says what a run cost, or why it failed."""
  costs = ', '.join(
    f'{name.split()[0]} {cost["seconds"]:.0f} s'
    for name, cost in done.costs.items()
  )
  failed = f'FAILED: {done.error}' if done.error is not None else ''
  told = '; '.join(part for part in (costs, failed) if part)
  return f'{done.arm.name}, seed {done.seed}: {told}'


def _difference(row) -> list[str]:
  if row.difference is None:
    return ['–'] * 3
  return [
    f'{row.difference:+.4f}',
    f'{row.low:+.4f} to {row.high:+.4f}',
    f'{row.corrected:.4f}',
  ]


def _number(value: float | None) -> str:
  return '–' if value is None else f'{value:.4f}'


def _cell(value: Any) -> str:
  if value is None:
    return '–'
  if isinstance(value, float):
    return f'{value:.4f}' if abs(value) < 100 else f'{value:,.0f}'
  return f'{value:,}' if isinstance(value, int) else str(value)
