"""How training went: pictures of what its log holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from genrec_jax.reporting import charts

_FIRST = ('log_likelihood', 'recall@10', 'ndcg@10', 'rmse', 'auc')
_NO_METRICS = ('n', 'n_liked', 'turns', 'fallback')
Rows = Sequence[Mapping[str, Any]]


def logged(rows: Rows, split: str, name: str) -> list[tuple[float, float]]:
  """Returns the steps at which a metric was logged, with its values.

  Args:
    rows: the run's metric log, one mapping a line ('step', 'split', metrics).
    split: whose rows to take, 'train' or 'validation'.
    name: of the metric.
  """
  return [
    (row['step'], row[name])
    for row in rows
    if row.get('split') == split and row.get(name) is not None
  ]


def curve(
  lines: Mapping[str, Sequence[tuple[float, float]]], title: str, name: str
) -> Markup:
  """Draws metrics against the step; '' where nothing was logged."""
  return charts.line_chart(
    {of: points for of, points in lines.items() if points},
    title=title,
    x_title='step',
    y_title=name,
    write_x=lambda step: f'{step:,.0f}',
  )


def watched_metrics(rows: Rows) -> list[str]:
  """Returns the validation metrics that were logged, the usual ones first."""
  names: dict[str, None] = {}
  for row in rows:
    if row.get('split') == 'validation':
      names |= dict.fromkeys(
        name
        for name, value in row.items()
        if name not in ('step', 'split') and isinstance(value, int | float)
      )
  last = {name: name.split('/')[-1] for name in names}
  shown = [name for name in names if last[name] not in _NO_METRICS]
  return sorted(shown, key=lambda name: last[name] not in _FIRST)
