"""The report's pictures, as interactive Plotly figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int

LAYOUT = dict(
  template='simple_white',
  margin=dict(l=60, r=20, t=30, b=50),
  height=380,
  font=dict(family='system-ui, sans-serif', size=13),
)


def curves(
  rows: Sequence[Mapping[str, Any]], split: str, names: Sequence[str]
) -> go.Figure | None:
  """Draws metrics against the step.

  Args:
    rows: the run's metric log, one mapping a line ('step', 'split', metrics).
    split: whose rows to draw, 'train' or 'validation'.
    names: metrics to draw, one line each; those never logged are left out.

  Returns:
    The figure, or None when nothing of it was logged.
  """
  figure = go.Figure()
  for name in names:
    points = [
      (row['step'], row[name])
      for row in rows
      if row.get('split') == split and row.get(name) is not None
    ]
    if points:
      steps, values = zip(*points)
      figure.add_scatter(x=steps, y=values, name=name, mode='lines+markers')
  if not figure.data:
    return None
  figure.update_traces(marker_size=4)
  figure.update_layout(
    xaxis_title='step', showlegend=True, hovermode='x unified', **LAYOUT
  )
  return figure


def id_space(
  positions: Float[np.ndarray, 'N 2'],
  codes: Int[np.ndarray, 'N L'],
  names: Sequence[str],
) -> go.Figure:
  """Draws items on a plane, coloured by the first code of their IDs."""
  first = codes[:, 0]
  # Neighbouring code numbers mean nothing: spread them over the colours.
  order = np.random.default_rng(0).permutation(int(first.max()) + 1)
  text = [
    f'{name}<br>codes {" · ".join(str(c) for c in code if c >= 0)}'
    for name, code in zip(names, codes)
  ]
  figure = go.Figure(
    go.Scattergl(
      x=positions[:, 0],
      y=positions[:, 1],
      mode='markers',
      text=text,
      hoverinfo='text',
      marker=dict(size=5, opacity=0.75, color=order[first], colorscale='HSV'),
    )
  )
  figure.update_xaxes(visible=False)
  figure.update_yaxes(visible=False, scaleanchor='x')
  figure.update_layout(**{**LAYOUT, 'height': 560})
  return figure


def plane(
  vectors: Float[np.ndarray, 'N D'], *, seed: int = 0
) -> Float[np.ndarray, 'N 2']:
  """Lays vectors out on a plane by t-SNE, neighbours beside neighbours."""
  from sklearn import manifold

  if len(vectors) < 4:
    return np.pad(vectors, ((0, 0), (0, 2)))[:, :2]
  return manifold.TSNE(
    n_components=2,
    init='pca',
    perplexity=min(30.0, (len(vectors) - 1) / 3),
    random_state=seed,
  ).fit_transform(vectors)
