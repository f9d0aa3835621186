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
from markupsafe import Markup

from genrec_jax.reporting.task_sections import write_metric


def render(context: Mapping[str, Any], template: str = 'page.html') -> str:
  """Fills a page's template.

  Args:
    context: what the template reads.
    template: a file beside this one; those of pages extend base.html.
  """
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader(__package__, '.'),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
  )
  environment.filters['metric'] = write_metric
  script = _read('ledger.js')
  return environment.get_template(template).render(
    style=_read('style.css'),
    ledger_script=script,
    # No other script runs in the ledger, whatever its data hold.
    ledger_source=Markup(f"'sha256-{_digest(script)}'"),
    **context,
  )


def _read(name: str) -> Markup:
  """Returns a file beside this one, as it stands."""
  path = pathlib.Path(__file__).with_name(name)
  return Markup(path.read_text(encoding='utf-8').strip())


def _digest(script: str) -> str:
  digest = hashlib.sha256(script.encode()).digest()
  return base64.b64encode(digest).decode()
