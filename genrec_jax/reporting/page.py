"""A report as one HTML file that asks nothing of the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2
import plotly.graph_objects as go
import plotly.offline


def render(context: Mapping[str, Any], template: str = 'page.html') -> str:
  """Fills a page's template.

  Args:
    context: what the template reads; figures are drawn where it says
      `{{ name | figure }}`.
    template: a file beside this one; those of pages extend base.html.
  """
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader(__package__, '.'),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
  )
  environment.filters['figure'] = _figure_html
  environment.filters['metric'] = _metric
  # Plotly's own library travels inside the page: 5 MB, and no request.
  return environment.get_template(template).render(
    **context,
    plotly_js=jinja2.utils.markupsafe.Markup(plotly.offline.get_plotlyjs()),
  )


def _figure_html(figure: go.Figure) -> str:
  return jinja2.utils.markupsafe.Markup(
    figure.to_html(
      full_html=False,
      include_plotlyjs=False,
      config={'displaylogo': False, 'responsive': True},
    )
  )


def _metric(value: Any) -> str:
  """Writes a metric with four digits, an absent one as a dash."""
  return '–' if value is None else f'{value:.4f}'
