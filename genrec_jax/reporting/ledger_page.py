"""The ledger's page: what its template shows, from what runs hold."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from genrec_jax.answering.items import name_user
from genrec_jax.reporting import (
  bias_section,
  cost_section,
  page,
  published,
  training_curves,
)
from genrec_jax.reporting.ledger_tables import HASH, Group, Ledger
from genrec_jax.reporting.run_records import Measurement, RunRecord

MOST_USERS = 3  # of recommendations.jsonl


def render(ledger: Ledger, *, title: str, num_examples: int) -> str:
  """Returns the page of a ledger.

  Args:
    ledger: the runs.
    title: of the page.
    num_examples: worked examples shown of each task and run.
  """
  rows = list(ledger.rows())
  groups = [_group(ledger, group) for group in ledger.groups]
  context = {
    'title': title,
    'subtitle': (
      f'{_count(len(ledger.runs), "run")}, {_count(len(rows), "result")} on'
      f' {_count(len(ledger.data), "pair")} of data and split.'
    ),
    'rows': rows,
    'choices': _choices(rows),
    'data': [*ledger.data.values()],
    'groups': groups,
    # The pictures of one group are open, as there may be many.
    'opened': next((g['key'] for g in groups if g['slice_figures']), None),
    'curves': list(_curves(ledger)),
    'comparisons': list(_comparisons(ledger)),
    'costs': list(_costs(ledger)),
    'published': list(_published(ledger)),
    'worked_examples': _worked(ledger, num_examples),
    'lists': _lists(ledger),
    'runs': [_facts(run) for run in ledger.runs],
    'drawn': ledger.drawn,
    # Last: intervals are found on the way.
    'warnings': ledger.warnings,
  }
  return page.render(context, 'ledger_page.html')


def _count(number: int, noun: str) -> str:
  return f'{number:,} {noun}{"s" * (number != 1)}'


def _choices(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
  """Returns what one may choose by, where there is a choice."""
  found = {
    name: list(dict.fromkeys(row[name] for row in rows))
    for name in ('run', 'part', 'data', 'method')
  }
  found['task'] = list(dict.fromkeys(t for row in rows for t in row['tasks']))
  return {name: values for name, values in found.items() if len(values) > 1}


def _group(ledger: Ledger, group: Group) -> dict[str, Any]:
  first = group.members[0]
  return {
    'key': group.key,
    'title': group.title(),
    'task': group.task,
    'part': group.part,
    'data': group.data,
    'data_name': ledger.data_name(first),
    'metric': group.metric,
    'looks': _looks(group),
    'table': ledger.table(group),
    'slices': ledger.slices(group),
    **_hidden(group),
  }


def _looks(group: Group) -> int:
  """Returns how often the members' runs looked at the test part for it."""
  return sum(member.looks for member in group.members)


def _label(measured: Measurement) -> str:
  return measured.run if measured.method is None else measured.method


def _hidden(group: Group) -> dict[str, Any]:
  """Returns pictures of slices, of groups, and what else accuracy hides.

  One row a model or baseline: floors stand in each run's own report.
  """
  rows, shares, curves, places = {}, {}, {}, 10
  groups: dict[str, dict[str, Any]] = {}
  models, seen, missing = [], set(), []
  for member in group.members:
    own = member.method or 'model'
    result, name = member.result, _label(member)
    if 'bias' not in result:  # measured without the floors, or long ago
      missing.append(name)
      continue
    if name in seen:
      continue
    seen.add(name)
    models.append(name)
    measured = result['bias']
    places = measured['k']
    for found, of_member in (
      (rows, measured['rows']),
      (shares, measured['shares']),
    ):
      found[name] = of_member[own]
      # Of targets, items and train interactions, the same for all.
      of_all = ('the targets', 'train interactions', 'items')
      found |= {k: v for k, v in of_member.items() if k in of_all}
    curves[name] = measured['lorenz'][own]
    for kind, of_kind in (result.get('groups') or {}).items():
      groups.setdefault(kind, {})[name] = of_kind[own]
  if not rows:
    return {
      'hidden': None,
      'slice_figures': [],
      'fairness': [],
      'missing': [],
    }
  last = [k for k in rows if k not in models]
  rows |= {k: rows.pop(k) for k in last}
  shares |= {k: shares.pop(k) for k in [*shares] if k not in models}
  section = bias_section.bias_section(
    {
      'bias': {'k': places, 'rows': rows, 'shares': shares, 'lorenz': curves},
      'groups': groups,
    },
    models,
    pictures=False,
  )
  by_slice, by_people = (
    {k: v for k, v in groups.items() if (k in bias_section.SLICES) == slices}
    for slices in (True, False)
  )
  return {
    'missing': missing,
    'hidden': section,
    'slice_figures': _group_figures(by_slice, group.metric),
    'fairness': _group_figures(by_people, group.metric),
  }


def _group_figures(groups: Mapping[str, Any], metric: str):
  if not groups:
    return []
  known = next(iter(next(iter(groups.values())).values()))
  metric = metric if metric in known else next(iter(known))
  return bias_section.group_means(groups, metric)


def _curves(ledger: Ledger) -> Iterator[dict[str, Any]]:
  """Yields curves by dataset and split, the runs on them in one picture."""
  by_data: dict[tuple[str, str], list[RunRecord]] = {}
  for run in ledger.runs:
    if run.log:
      split = run.dataset.get('split', {})
      pair = run.dataset.get('fingerprint', ''), split.get('fingerprint', '')
      # Of a run without its data it is not known that another has the same.
      key = pair if all(pair) else (run.name, '')
      by_data.setdefault(key, []).append(run)
  for key, runs in by_data.items():
    names = dict.fromkeys(
      name for run in runs for name in training_curves.watched_metrics(run.log)
    )
    wanted = [('train', 'loss'), *(('validation', name) for name in names)]
    figures = [
      training_curves.curve(
        {
          run.name: training_curves.logged(run.log, split, name) for run in runs
        },
        f'{name}, {split}',
        name,
      )
      for split, name in wanted
    ]
    data = ledger.data.get(key, {'letter': '', 'name': ''})
    yield {
      'data': data['letter'],
      'name': data['name'] or runs[0].dataset.get('name', ''),
      'runs': [run.name for run in runs],
      'figures': [figure for figure in figures if figure],
    }


def _comparisons(ledger: Ledger) -> Iterator[dict[str, Any]]:
  """Yields what `genrec compare` wrote, a table a slice."""
  names = {str(run.path): run.name for run in ledger.runs}
  for run in ledger.runs:
    for (part, task), found in run.comparisons.items():
      slices: dict[str, list[dict[str, Any]]] = {}
      for row in found['rows']:
        name = _run_name(row['name'], names)
        if name == 'model':
          name = f'{run.name} (the model)'
        shown = {**row, 'name': name, 'verdict': _verdict(row)}
        slices.setdefault(row['slice'], []).append(shown)
      yield {
        'run': run.name,
        'task': task,
        'part': part,
        'metric': found.get('metric', ''),
        'resamples': found.get('num_resamples'),
        'seeds': [_run_name(one, names) for one in found.get('seeds', [])],
        'slices': slices,
        'outdated': _is_outdated(run, part, task, found),
      }


def _costs(ledger: Ledger) -> Iterator[dict[str, Any]]:
  """Yields what requests cost, of each run and task."""
  for run in ledger.runs:
    for task, cost in run.costs.items():
      section = cost_section.cost_section(cost)
      yield {'run': run.name, 'task': task, **section}


def _run_name(name: str, names: Mapping[str, str]) -> str:
  return names.get(str(pathlib.Path(name).resolve()), name)


def _verdict(row: Mapping[str, Any]) -> str:
  if row.get('difference') is None:
    return ''
  if row['corrected'] >= 0.05 or row['low'] <= 0 <= row['high']:
    return 'not told apart'
  return 'the model is better' if row['low'] > 0 else 'the model is worse'


def _is_outdated(run, part: str, task: str, found: Mapping[str, Any]) -> bool:
  """Returns whether the model was measured again after it was compared."""
  return any(
    str(one.result.get('time', '')) > str(found.get('time', ''))
    for one in run.measurements
    if (one.part, one.task, one.method) == (part, task, None)
    and not one.result.get('subset')
  )


def _published(ledger: Ledger) -> Iterator[dict[str, Any]]:
  """Yields published rows beside ours, for each group that has them."""
  for group in ledger.groups:
    name = ledger.data_name(group.members[0])
    references = published.read_references(name) if name else None
    theirs = [
      row
      for row in (references or {'rows': []})['rows']
      if row.get('task', 'sequential') == group.task
    ]
    if not theirs:
      continue
    ours = []
    for member in group.members:
      dataset = ledger.run(member.run).dataset
      own = published.own_protocol(dataset, member.result)
      row = member.method or 'model'
      ours.append(
        {
          'name': _label(member),
          'run': member.run,
          'cells': [ledger.cell(member, row, c) for c in published.COLUMNS],
          'reasons': published.differences(own, references['protocol']),
        }
      )
    yield {
      'key': group.key,
      'task': group.task,
      'part': group.part,
      'data': group.data,
      'title': references['title'],
      'group': group.title(),
      'protocol': references['protocol'],
      'columns': published.COLUMNS,
      'ours': ours,
      'theirs': [
        {
          'name': row['method'],
          'paper': row.get('paper', ''),
          'read_in': row['read_in'],
          'note': row.get('note', ''),
          'values': [row['metrics'].get(c) for c in published.COLUMNS],
          'reasons': published.own_deviations(row),
        }
        for row in theirs
      ],
    }


def _worked(ledger: Ledger, num_examples: int) -> dict[str, list[Any]]:
  """Returns worked examples by task, of each run.

  Of runs without those of `genrec try --page`, what `evaluate` read out.
  """
  found: dict[str, list[Any]] = {}
  for run in ledger.runs:
    for task, examples in run.worked.get('tasks', {}).items():
      found.setdefault(task, []).append(
        {
          'run': run.name,
          'facts': run.worked.get('facts', {}),
          'examples': examples[:num_examples],
          'read_out': [],
        }
      )
    told = set(run.worked.get('tasks', {}))
    for measured in run.measurements:
      shown = measured.result.get('read_out')
      if shown and measured.task not in told:
        told.add(measured.task)
        found.setdefault(measured.task, []).append(
          {
            'run': run.name,
            'facts': {'read out of': measured.part},
            'examples': [],
            'read_out': shown[:num_examples],
          }
        )
  return found


def _lists(ledger: Ledger) -> list[dict[str, Any]]:
  """Returns lists of recommendations.jsonl with their paths, by run."""
  return [
    {
      'run': run.name,
      'records': [
        {
          'told': name_user(record),
          'recommendations': record['recommendations'],
        }
        for record in run.recommendations[:MOST_USERS]
        if 'who' in record  # else of an older version
      ],
      'of': len(run.recommendations),
    }
    for run in ledger.runs
    if run.recommendations
  ]


def _facts(run: RunRecord) -> dict[str, Any]:
  """Returns what made a run's numbers, and what it lacks."""
  facts = [('directory', str(run.path))]
  if run.dataset:
    counts = run.dataset.get('counts', {})
    told = ', '.join(f'{v:,} {k.replace("_", " ")}' for k, v in counts.items())
    facts.append(
      (
        'dataset',
        f'{run.dataset.get("name")} {run.dataset.get("fingerprint", "")[:HASH]}'
        f' ({told})',
      )
    )
  if run.ids:
    facts += [
      ('ids', json.dumps(run.ids.get('facts', {}), ensure_ascii=False)),
      ('codebooks', ' × '.join(map(str, run.ids.get('codebook_sizes', [])))),
    ]
  for name in ('hardware', 'code'):
    told = {json.dumps(one.result.get(name)): None for one in run.measurements}
    facts += [(name, text) for text in told]
  audits = {
    f'{check}: {outcome}'
    for one in run.measurements
    for check, outcome in one.result.get('audit', {}).items()
    if outcome != 'passed'
  }
  if audits:
    facts.append(('audit, not made', '; '.join(sorted(audits))))
  return {
    'name': run.name,
    'facts': facts,
    'notes': run.notes,
    'config': run.config,
  }
