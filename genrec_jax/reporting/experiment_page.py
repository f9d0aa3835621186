"""The page of an experiment: pictures, tables, and what made them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from genrec_jax.experiments.tables import Table
from genrec_jax.reporting import figures, page


def render(
  found: Mapping[str, Any],
  tables: Sequence[Table],
  plots: Sequence[Sequence[str]],
) -> str:
  """Returns the page as HTML that asks nothing of the network.

  Args:
    found: what `experiment.json` says.
    tables: in the order of the page.
    plots: of each, columns of `measured`: across, up, and what makes a line.
  """
  pictures = [
    {
      'title': f'{found["metric"]}, {scores["split"]}',
      'note': 'Mean and 95 % interval over examples.',
      'figure': figures.intervals(
        {
          name: (
            sum(seed[found['metric']] for seed in seeds) / len(seeds),
            *scores['intervals'][name],
          )
          for name, seeds in scores['means'].items()
        },
        found['metric'],
      ),
    }
    for scores in reversed(found['scores'])
    if scores['rows']
  ]
  pictures += [
    {
      'title': f'{plot[1]} by {plot[0]}',
      'note': '',
      'figure': measured_lines(found['measured'], plot),
    }
    for plot in plots
    if found['measured']
  ]
  facts = [
    (name, value)
    for name, value in (
      ('arms start from', found['base']),
      ('settings of all', '; '.join(found['settings'])),
      *(
        (f'arm {name}', '; '.join(entries) or 'nothing more')
        for name, entries in found['arms'].items()
      ),
      ('seeds', ', '.join(map(str, found['seeds']))),
      *((k, v[:16]) for k, v in found['fingerprints'].items()),
      ('code', json.dumps(found['code'])),
      ('hardware', json.dumps(found['hardware'])),
      ('time', found['time']),
    )
    if value
  ]
  return page.render(
    {
      'title': found['title'],
      'subtitle': found['question'],
      'pictures': pictures,
      'tables': tables,
      'facts': facts,
    },
    'experiment_page.html',
  )


def measured_lines(
  rows: Sequence[Mapping[str, Any]], plot: Sequence[str]
) -> go.Figure:
  """Draws a column of measured rows against another.

  Args:
    rows: as in `experiment.json`.
    plot: across, up, and what makes a line each, 'arm' if it is left out.
  """
  across, up, line = (*plot, 'arm')[:3]
  lines: dict[str, list[tuple[Any, Any]]] = {}
  for row in rows:
    if row.get(across) is not None and row.get(up) is not None:
      lines.setdefault(str(row.get(line)), []).append((row[across], row[up]))
  return figures.lines(
    {name: sorted(points) for name, points in lines.items()}, across, up
  )
