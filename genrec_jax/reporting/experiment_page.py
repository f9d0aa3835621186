"""The page of an experiment: pictures, tables, and what made them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from genrec_jax.experiments.tables import Table
from genrec_jax.reporting import charts, page


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
    charts.interval_chart(
      {
        name: [
          charts.Mark(
            'mean and 95 % interval over examples',
            sum(seed[found['metric']] for seed in seeds) / len(seeds),
            *scores['intervals'][name],
          )
        ]
        for name, seeds in scores['means'].items()
      },
      title=f'{found["metric"]}, {scores["split"]}',
      x_title=found['metric'],
    )
    for scores in reversed(found['scores'])
    if scores['rows']
  ]
  pictures += [measured_chart(found['measured'], plot) for plot in plots]
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


def measured_chart(
  rows: Sequence[Mapping[str, Any]], plot: Sequence[str]
) -> Markup:
  """Draws a column of measured rows against another.

  Sizes that go by factors are drawn by their logarithms.

  Args:
    rows: as in `experiment.json`.
    plot: across, up, and what makes a line each, 'arm' if it is left out.

  Returns:
    A <figure>; '' where no row has both as numbers.
  """
  across, up, line = (*plot, 'arm')[:3]
  lines: dict[str, list[tuple[float, float]]] = {}
  for row in rows:
    x, y = row.get(across), row.get(up)
    if isinstance(x, (int, float)) and isinstance(y, (int, float)):
      lines.setdefault(str(row.get(line)), []).append((x, y))
  ends = [x for points in lines.values() for x, _ in points] or [0]
  by_factors = min(ends) > 0 and max(ends) >= 20 * min(ends)

  def place(x: float) -> float:
    return math.log10(x) if by_factors else x

  return charts.line_chart(
    {
      name: [(place(x), y) for x, y in sorted(points)]
      for name, points in lines.items()
    },
    title=f'{up} by {across}',
    x_title=across,
    y_title=up,
    write_x=lambda x: charts.write_number(10**x if by_factors else x),
  )
