"""What accuracy hides, as a report shows it: tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from genrec_jax.evaluation.bias import POPULARITY_GROUPS
from genrec_jax.reporting import charts

# What a name of the result is called in a table's head.
COLUMNS = {
  'coverage': 'coverage',
  'gini': 'Gini',
  'arp': 'popularity',
  'lift': 'lift',
  'tail_share': 'tail',
  'first_token': 'first token',
  'novelty': 'novelty',
  'diversity': 'diversity',
  'personalisation': 'personal',
  'serendipity': 'serendipity',
  'miscalibration': 'miscalibrated',
}
_NOTE = (
  'Of the first {k} places. Coverage: share of the catalogue that is listed at'
  ' all. Gini: how unequally items are shown, 1 where one has it all.'
  ' Popularity: train interactions of a listed item; lift: how much more that'
  ' is than in the histories of the same users (0 is as much). Tail: share of'
  ' the least popular items that have a fifth of the interactions. First token:'
  ' how far the first ID tokens listed are from those of train (total'
  ' variation). Novelty in bits; diversity: 1 - cosine of two items of a list'
  ' by who had them; personal: 1 - overlap of two lists; serendipity: recall of'
  ' targets that the most popular items do not hold. Miscalibrated: how far'
  ' attributes of lists are from those of histories (KL). The targets are what'
  ' users chose.'
)
# Kinds of groups whose name does not say it.
_KINDS = {
  'activity': 'train interactions of the user',
  'history': 'length of the history',
  'target': 'popularity of the target',
  'time': 'time of the target: later than the item before it, or tied with it',
}
_MOST_GROUPS = 8  # columns of a table of exposure
_GROUP_COLUMNS = {
  'lowest': None,
  'highest': None,
  'difference': 'difference',
  'by chance': 'difference_by_chance',
  'p': 'p_value',
  'ratio': 'ratio',
}


# Kinds of groups that are slices of the examples, not of the people.
SLICES = ('target', 'history', 'time')


def bias_section(
  result: Mapping[str, Any],
  models: Sequence[str] = ('model',),
  *,
  pictures: bool = True,
) -> dict[str, Any] | None:
  """Returns tables and figures; None of a result that does not have them.

  Args:
    result: of a task; what is read are `bias` and `groups`.
    models: the rows of models, which are marked, and whose groups are shown.
    pictures: whether groups are drawn, too.
  """
  # Results of older versions, and of what was measured without the dataset.
  if 'bias' not in result:
    return None
  measured = result['bias']
  rows = measured['rows']
  columns = [n for n in COLUMNS if any(n in found for found in rows.values())]
  tables = [
    _table(
      'Popularity and variety',
      _NOTE.format(k=measured['k']),
      [COLUMNS[name] for name in columns],
      {
        name: [found.get(column) for column in columns]
        for name, found in rows.items()
      },
      models,
    ),
    _table(
      'Who is shown: shares of exposure',
      'The head are the most popular items that have a fifth of the train'
      ' interactions, the tail the least popular that have the last fifth.',
      list(POPULARITY_GROUPS),
      measured['shares'],
      models,
    ),
  ]
  # Results of older versions have no exposure.
  tables += [
    _exposure_table(kind, found, models)
    for kind, found in measured.get('exposure', {}).items()
  ]
  figures = [lorenz_curves(measured['lorenz'])]
  if result.get('groups'):
    metric = _first_metric(result['groups'])
    tables.append(_group_table(result['groups'], metric, models))
    figures += group_means(result['groups'], metric) if pictures else []
  return {'tables': tables, 'figures': figures}


def lorenz_curves(curves: Mapping[str, Sequence[float]]) -> Markup:
  """Draws the share of exposure that the least exposed items have."""
  return charts.line_chart(
    {
      name: list(zip(np.linspace(0, 1, len(curve)).tolist(), curve))
      for name, curve in curves.items()
    },
    title='How unequally items are shown',
    x_title='share of the items, the least exposed first',
    y_title='share of all places',
    write_x=charts.write_percent,
    write_y=charts.write_percent,
    x_range=(0, 1),
    y_range=(0, 1),
    dotted={'all alike': [(0, 0), (1, 1)]},
    dots=False,
  )


def group_means(
  groups: Mapping[str, Any],
  metric: str,
  rows: Sequence[str] | None = None,
) -> list[Markup]:
  """Draws a metric by group, a picture a kind of groups.

  Args:
    groups: of a result: by kind, row and metric.
    metric: to draw.
    rows: which; by default all.
  """
  figures = []
  for kind, found in groups.items():
    marks: dict[str, list[charts.Mark]] = {}
    for name in found if rows is None else rows:
      for label, one in found.get(name, {metric: {'groups': {}}})[metric][
        'groups'
      ].items():
        mark = charts.Mark(name, one['mean'], one['low'], one['high'], one['n'])
        marks.setdefault(f'{label} ({one["n"]:,})', []).append(mark)
    figures.append(
      charts.interval_chart(
        marks, title=f'{metric} by {_KINDS.get(kind, kind)}', x_title=metric
      )
    )
  return figures


def _group_table(
  groups: Mapping[str, Any], metric: str, models: Sequence[str]
) -> dict[str, Any]:
  rows = {}
  for kind, of_kind in groups.items():
    for model in models:
      if model not in of_kind:
        continue
      found = of_kind[model][metric]
      means = [of_group['mean'] for of_group in found['groups'].values()]
      shown = dict(found, lowest=min(means), highest=max(means))
      name = f'{kind} ({len(means)} groups)'
      if len(models) > 1:
        name += f', {model}'
      rows[name] = [shown[key or name] for name, key in _GROUP_COLUMNS.items()]
  return _table(
    f'Who is served: {metric} of the model by group',
    'The difference of the best and the worst group; by chance: of groups of'
    ' the same sizes that were drawn from everyone; p: how often those differ'
    ' as much. Each group with a bootstrap interval (95 %) is in the pictures.',
    list(_GROUP_COLUMNS),
    rows,
    head='groups by',
  )


def _exposure_table(
  kind: str, found: Mapping[str, Any], models: Sequence[str]
) -> dict[str, Any]:
  """Returns the ratios of groups of items by method, those with most first."""
  merit = found['merit']
  labels = sorted(merit, key=lambda label: -merit[label]['n'])[:_MOST_GROUPS]
  return _table(
    f'What is shown for its merit: by {kind}',
    'The share of the exposure that a group of items has, places discounted by'
    ' log2(1 + rank), by its share of the targets (beside its name): 1 is in'
    ' proportion. DTR: the highest by the lowest ratio of groups with enough'
    ' targets; apart: total variation of exposure and targets.',
    [
      'DTR',
      'apart',
      *(f'{label} ({merit[label]["share"]:.1%})' for label in labels),
    ],
    {
      name: [
        of_row['dtr'],
        of_row['total_variation'],
        *(of_row['groups'][label]['ratio'] for label in labels),
      ]
      for name, of_row in found['rows'].items()
    },
    models,
  )


def _first_metric(groups: Mapping[str, Any]) -> str:
  of_kind = next(iter(groups.values()))
  return next(iter(next(iter(of_kind.values()))))


def _table(
  title: str,
  note: str,
  columns: list[str],
  rows: Mapping[str, Sequence[float | None]],
  models: Sequence[str] = (),
  head: str = 'method',
) -> dict[str, Any]:
  return {
    'title': title,
    'note': note,
    'head': head,
    'columns': columns,
    'rows': [
      {'name': name, 'model': name in models, 'values': list(values)}
      for name, values in rows.items()
    ],
  }
