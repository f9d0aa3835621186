"""What accuracy hides, as a report shows it: tables and two pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from genrec_jax.evaluation.bias import POPULARITY_GROUPS
from genrec_jax.reporting.figures import LAYOUT

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
_GROUP_COLUMNS = {
  'lowest': None,
  'highest': None,
  'difference': 'difference',
  'by chance': 'difference_by_chance',
  'p': 'p_value',
  'ratio': 'ratio',
}


def bias_section(
  result: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any] | None:
  """Returns tables and figures; None of a result that does not have them.

  Args:
    result: of a task.
    others: results of other runs by name.
  """
  # Results of older versions, and of what was measured without the dataset.
  if 'bias' not in result:
    return None
  measured = result['bias']
  rows = dict(measured['rows'])
  for name, other in others.items():
    if 'bias' in other:
      rows[f'model of {name}'] = other['bias']['rows']['model']
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
    ),
    _table(
      'Who is shown: shares of exposure',
      'The head are the most popular items that have a fifth of the train'
      ' interactions, the tail the least popular that have the last fifth.',
      list(POPULARITY_GROUPS),
      measured['shares'],
    ),
  ]
  figures = [lorenz_curves(measured['lorenz'])]
  if result['groups']:
    metric = _first_metric(result['groups'])
    tables.append(_group_table(result['groups'], metric))
    figures.append(group_means(result['groups'], metric))
  return {'tables': tables, 'figures': figures}


def lorenz_curves(curves: Mapping[str, list[float]]) -> go.Figure:
  """Draws the share of exposure that the least exposed items have."""
  figure = go.Figure()
  for name, curve in curves.items():
    at = np.linspace(0, 1, len(curve))
    figure.add_scatter(x=at, y=curve, name=name, mode='lines')
  figure.add_scatter(
    x=[0, 1],
    y=[0, 1],
    name='all alike',
    mode='lines',
    line=dict(color='#98a2b3', dash='dot'),
  )
  figure.update_layout(
    xaxis_title='share of the items, the least exposed first',
    yaxis_title='share of all places',
    **LAYOUT,
  )
  figure.update_xaxes(tickformat='.0%', range=[0, 1])
  figure.update_yaxes(tickformat='.0%', range=[0, 1])
  return figure


def group_means(groups: Mapping[str, Any], metric: str) -> go.Figure:
  """Draws a metric by group and method, the model's with its intervals."""
  figure = go.Figure()
  names = dict.fromkeys(name for found in groups.values() for name in found)
  for name in names:
    kinds, labels, means, above, below = [], [], [], [], []
    for kind, found in groups.items():
      for label, of_group in found[name][metric]['groups'].items():
        kinds.append(kind)
        labels.append(f'{label} ({of_group["n"]:,})')
        means.append(of_group['mean'])
        above.append(of_group['high'] - of_group['mean'])
        below.append(of_group['mean'] - of_group['low'])
    figure.add_scatter(
      x=[kinds, labels],
      y=means,
      name=name,
      mode='markers',
      marker=dict(size=9 if name == 'model' else 6),
      error_y=dict(array=above, arrayminus=below, visible=name == 'model'),
    )
  figure.update_layout(yaxis_title=metric, **{**LAYOUT, 'height': 460})
  figure.update_yaxes(rangemode='tozero')
  return figure


def _group_table(groups: Mapping[str, Any], metric: str) -> dict[str, Any]:
  rows = {}
  for kind, of_kind in groups.items():
    found = of_kind['model'][metric]
    means = [of_group['mean'] for of_group in found['groups'].values()]
    shown = dict(found, lowest=min(means), highest=max(means))
    rows[f'{kind} ({len(means)} groups)'] = [
      shown[key or name] for name, key in _GROUP_COLUMNS.items()
    ]
  return _table(
    f'Who is served: {metric} of the model by group',
    'The difference of the best and the worst group; by chance: of groups of'
    ' the same sizes that were drawn from everyone; p: how often those differ'
    ' as much. Each group with a bootstrap interval (95 %) is in the picture.',
    list(_GROUP_COLUMNS),
    rows,
    head='groups by',
  )


def _first_metric(groups: Mapping[str, Any]) -> str:
  return next(iter(next(iter(groups.values()))['model']))


def _table(
  title: str,
  note: str,
  columns: list[str],
  rows: Mapping[str, list[float | None]],
  head: str = 'method',
) -> dict[str, Any]:
  return {
    'title': title,
    'note': note,
    'head': head,
    'columns': columns,
    'rows': [
      {'name': name, 'model': name == 'model', 'values': list(values)}
      for name, values in rows.items()
    ],
  }
