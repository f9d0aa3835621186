"""Pictures that one points into, of IDs, as Plotly figures."""

from __future__ import annotations

import html
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
# For a title beneath Plotly's buttons, and no axes.
ROOM_ABOVE = dict(margin=dict(l=10, r=10, t=70, b=10))


def id_space(
  positions: Float[np.ndarray, 'N 2'],
  codes: Int[np.ndarray, 'N L'],
  names: Sequence[str],
  title: str | None = None,
) -> go.Figure:
  """Draws items on a plane, coloured by the first code of their IDs.

  Args:
    positions: where.
    codes: -1 after the end of an id.
    names: shown where one points.
    title: of the picture.
  """
  figure = go.Figure()
  figure.add_scattergl(
    x=positions[:, 0],
    y=positions[:, 1],
    mode='markers',
    text=[_told(name, code) for name, code in zip(names, codes)],
    hoverinfo='text',
    marker=dict(size=5, opacity=0.8, color=_colours(codes[:, 0])),
  )
  figure.update_xaxes(visible=False)
  figure.update_yaxes(visible=False, scaleanchor='x')
  figure.update_layout(
    **{**LAYOUT, **ROOM_ABOVE, 'height': 520}, title=title, showlegend=False
  )
  return figure


def reliability_diagram(
  curves: Mapping[str, Sequence[Mapping[str, float]]],
) -> go.Figure:
  """Draws what came true against what was said, a line an event.

  Args:
    curves: by event, bins with the means 'probability' and 'outcome' and the
      number of their examples 'n'.
  """
  figure = go.Figure()
  for name, bins in curves.items():
    said, came, sizes = (
      np.array([one[key] for one in bins])
      for key in ('probability', 'outcome', 'n')
    )
    # Two standard errors of a share, so that small bins do not mislead.
    error = 2 * np.sqrt(came * (1 - came) / sizes)
    figure.add_scatter(
      x=said,
      y=came,
      name=name,
      mode='lines+markers',
      text=[f'{n:,} examples' for n in sizes],
      error_y=dict(array=error, thickness=1),
    )
  figure.add_scatter(
    x=[0, 1],
    y=[0, 1],
    name='calibrated',
    mode='lines',
    line=dict(color='#98a2b3', dash='dot'),
  )
  figure.update_layout(
    xaxis_title='probability said', yaxis_title='share come true', **LAYOUT
  )
  figure.update_xaxes(range=[0, 1])
  figure.update_yaxes(range=[0, 1])
  return figure


def change_and_loss(
  points: Mapping[str, Sequence[Mapping[str, Any]]],
  *,
  change: str,
  loss: str,
) -> go.Figure:
  """Draws what is lost of accuracy against how far answers change.

  Above the line of 0 a change costs accuracy: what was changed personalised.
  On it, what was changed moved the answers and helped nobody: it biased them.

  Args:
    points: by series, points with a 'label' and the means 'x' and 'y', each a
      mapping of 'mean', 'low' and 'high'.
    change: what x is.
    loss: what y is.
  """
  figure = go.Figure()
  for name, of_series in points.items():
    axes = {}
    for axis in ('x', 'y'):
      mean, low, high = (
        np.array([point[axis][key] for point in of_series])
        for key in ('mean', 'low', 'high')
      )
      axes[axis] = mean
      axes[f'error_{axis}'] = dict(
        array=high - mean, arrayminus=mean - low, thickness=1
      )
    figure.add_scatter(
      name=name,
      mode='markers',
      marker_size=9,
      text=[point['label'] for point in of_series],
      hovertemplate='%{text}<br>%{x:.3f}, %{y:.4f}',
      **axes,
    )
  figure.add_hline(y=0, line=dict(color='#98a2b3', dash='dot'))
  figure.update_layout(
    xaxis_title=change,
    yaxis_title=loss,
    showlegend=True,
    **{**LAYOUT, 'height': 460},
  )
  figure.update_xaxes(rangemode='tozero')
  return figure


def _told(name: str, code: Int[np.ndarray, 'L']) -> str:
  """Returns what is said of an item; Plotly would take tags for its own."""
  codes = ' · '.join(str(number) for number in code if number >= 0)
  return f'{html.escape(name)}<br>codes {codes}'


def _colours(numbers: Int[np.ndarray, 'N']) -> list[str]:
  """Returns a colour for each number, different ones for near numbers."""
  return [
    f'hsl({number * 137.508 % 360:.0f},{65 + 20 * (number % 2)}%,'
    f'{(42, 62, 52)[number % 3]}%)'
    for number in numbers.tolist()
  ]


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
