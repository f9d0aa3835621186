"""Whether probabilities are what happens, as a report shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genrec_jax.reporting.figures import reliability_diagram

# What a name of the result is called in a table's head.
_COLUMNS = {
  'probability': 'probability',
  'outcome': 'come true',
  'ece': 'ECE',
  'ece_by_chance': 'by chance',
  'p_value': 'p',
  'brier': 'Brier',
  'reliability': 'reliability',
  'resolution': 'resolution',
  'uncertainty': 'uncertainty',
}
_NOTE = (
  'The mean probability that the model gives, and the share that came true; for'
  ' lists the sum of the probabilities of its items, against whether it holds'
  ' the target. ECE: how far the two are apart, over bins of equally many'
  ' examples; by chance: that of outcomes drawn by the probabilities; p: how'
  ' often that is as high. Brier = reliability - resolution + uncertainty, up'
  ' to what bins hide; a low reliability and a high resolution are good. The'
  ' picture has two standard errors.'
)


def calibration_section(result: Mapping[str, Any]) -> dict[str, Any] | None:
  """Returns a table and a picture; None of a result that does not have them."""
  # Results of older versions, and of tasks whose answers are texts.
  if 'calibration' not in result:
    return None
  rows = result['calibration']
  table = {
    'title': 'Calibration',
    'note': _NOTE,
    'head': 'event',
    'columns': list(_COLUMNS.values()),
    'rows': [
      {
        'name': name,
        'model': True,
        'values': [found[column] for column in _COLUMNS],
      }
      for name, found in rows.items()
    ],
  }
  curves = {name: found['curve'] for name, found in rows.items()}
  return {
    'title': 'Are probabilities what happens?',
    'tables': [table],
    'figures': [reliability_diagram(curves)],
  }
