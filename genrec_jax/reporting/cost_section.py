"""What a request costs, as a report and the ledger show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from genrec_jax.reporting import charts

_COLUMNS = {
  'p50_ms': ('p50, ms', 1),
  'p95_ms': ('p95, ms', 1),
  'requests_per_second': ('requests/s', 1),
  'cpu_ms_per_request': ('CPU, ms each', 1),
  'flops_per_request': ('MFLOP each', 1e-6),
  'bytes_held': ('MiB held', 2**-20),
  'bytes_peak': ('MiB at peak', 2**-20),
}
_NOTE = (
  '{requests:,} requests on {items:,} items, {beams} beams, from tokens to'
  ' lists; all take turns, {rounds} rounds. p50 and p95: of a batch; CPU:'
  ' seconds of a core; MFLOP: what the compiler counts; held: what stays in'
  ' memory for any request.'
)


def cost_section(cost: Mapping[str, Any] | None) -> dict[str, Any] | None:
  """Returns a table and a picture of what `genrec measure_cost` wrote.

  None of none.
  """
  if cost is None:
    return None
  rows = [
    (f'{method}, {size} at once', method == 'model', found)
    for size, methods in cost['costs'].items()
    for method, found in methods.items()
  ]
  table = {
    'title': 'Time and memory',
    'note': _NOTE.format(
      requests=cost['requests']['examples'],
      items=cost['items'],
      beams=cost['search']['num_beams'],
      rounds=cost['rounds'],
    ),
    'head': 'method, requests at once',
    'columns': [name for name, _ in _COLUMNS.values()],
    'rows': [
      {
        'name': name,
        'model': model,
        'values': [
          None if found[key] is None else charts.write_number(found[key] * unit)
          for key, (_, unit) in _COLUMNS.items()
        ],
      }
      for name, model, found in rows
    ],
  }
  return {
    'title': 'What a request costs',
    'tables': [table],
    'figures': [_picture(cost)],
  }


def _picture(cost: Mapping[str, Any]) -> Markup:
  """Draws the CPU time of a request, by how many are answered at once."""
  marks: dict[str, list[charts.Mark]] = {}
  for size, methods in cost['costs'].items():
    for method, found in methods.items():
      mark = charts.Mark(f'{size} at once', found['cpu_ms_per_request'])
      marks.setdefault(method, []).append(mark)
  return charts.interval_chart(
    marks, title='Time of a core for a request', x_title='CPU, ms each'
  )
