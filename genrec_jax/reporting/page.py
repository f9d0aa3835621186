"""Pages: one HTML file each, that asks nothing of the network.

All have one stylesheet, style.css, which travels inside of them, and a policy
that forbids a browser to load anything. What comes from data is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import jinja2
import plotly.graph_objects as go
import plotly.offline
from markupsafe import Markup

# What runs in a page with Plotly: each figure is a script, and WebGL compiles.
_PLOTLY_SOURCE = Markup("'unsafe-inline' 'unsafe-eval'")


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
  script = _read('ledger.js')
  return environment.get_template(template).render(
    style=_read('style.css'),
    ledger_script=script,
    # No other script runs in the ledger, whatever its data hold.
    ledger_source=Markup(f"'sha256-{_digest(script)}'"),
    plotly_source=_PLOTLY_SOURCE,
    follow_colours=_read('follow_colours.js'),
    # Plotly's own library travels inside the page: 5 MB, and no request.
    plotly_js=Markup(plotly.offline.get_plotlyjs()),
    **context,
  )


def _read(name: str) -> Markup:
  """Returns a file beside this one, as it stands."""
  path = pathlib.Path(__file__).with_name(name)
  return Markup(path.read_text(encoding='utf-8').strip())


def _digest(script: str) -> str:
  digest = hashlib.sha256(script.encode()).digest()
  return base64.b64encode(digest).decode()


def _figure_html(figure: go.Figure | Markup) -> Markup:
  """Returns a figure of Plotly, or one of charts.py, as HTML."""
  if isinstance(figure, Markup):
    return figure
  return Markup(
    figure.to_html(
      full_html=False,
      include_plotlyjs=False,
      config={'displaylogo': False, 'responsive': True},
    )
    + '<noscript><p class="note">This picture needs JavaScript.</p></noscript>'
  )


def _metric(value: Any) -> str:
  """Writes a metric with four digits, an absent one as a dash."""
  return '–' if value is None else f'{value:.4f}'
