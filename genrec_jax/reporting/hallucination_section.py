"""What answers say that is not so, as a report shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from genrec_jax.evaluation.hallucination import KINDS
from genrec_jax.reporting.figures import LAYOUT
from genrec_jax.reporting.hallucination_tables import hallucination_tables


def hallucination_section(result: Mapping[str, Any]) -> dict[str, Any] | None:
  """Returns tables and figures; None of a result that does not have them."""
  tables = hallucination_tables(result)
  if not tables:
    return None
  figures = []
  if 'items' in result['hallucination']:
    figures.append(kinds_of_ids(result['hallucination']['items']['rows']))
  return {'tables': tables, 'figures': figures}


def kinds_of_ids(rows: Mapping[str, Mapping[str, Any]]) -> go.Figure:
  """Draws what each way of decoding writes: items, and what is none."""
  figure = go.Figure()
  names = list(rows)
  for kind in ('an item', *KINDS):
    shares = [
      1 - row['no_item']['mean'] if kind == 'an item' else row['kinds'][kind]
      for row in rows.values()
      if row['no_item']['mean'] is not None
    ]
    if any(shares):
      figure.add_bar(
        y=names,
        x=shares,
        name=kind.replace('_', ' '),
        orientation='h',
        marker_color='#98a2b3' if kind == 'an item' else None,
      )
  figure.update_layout(
    barmode='stack', xaxis_title='share of what is written', **LAYOUT
  )
  figure.update_xaxes(tickformat='.0%', range=[0, 1])
  figure.update_yaxes(autorange='reversed')
  return figure
