"""Published rows beside ours, and where the protocols differ.

configs/references/NAME.toml holds what was published on a data set, with its
protocol: one for the file, and what a row has otherwise. Each of our rows is
held against the former and each of theirs against ours, point by point.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from genrec_jax.data import catalogue
from genrec_jax.reporting.run_records import Measurement, RunRecord

COLUMNS = ('recall@5', 'ndcg@5', 'recall@10', 'ndcg@10')
_COUNTS = ('users', 'items', 'interactions')


def read_references(name: str) -> dict[str, Any] | None:
  """Returns what was published on a data set; None if nothing is known.

  Args:
    name: of the data set, as in its manifest.
  """
  directory = catalogue.directory().parent / 'references'
  known = {path.stem: path for path in directory.glob('*.toml')}
  if name not in known:
    return None
  return tomllib.loads(known[name].read_text(encoding='utf-8'))


def own_protocol(
  run: RunRecord, measured: Measurement
) -> dict[str, str | int | None]:
  """Returns how a result was measured, point by point; None if not known."""
  result = measured.result
  dataset = run.dataset
  if dataset.get('fingerprint') != measured.fingerprint('dataset'):
    dataset = {}
  split = dataset.get('split', {})
  if split.get('fingerprint') != measured.fingerprint('split'):
    split = {}
  subset = result.get('subset')
  return {
    'split': split.get('protocol'),
    'part': measured.part,
    'ranking': 'the whole catalogue',
    'examples': (
      f'a sample of {subset["examples"]:,} of {subset["of"]:,}'
      if subset
      else 'all'
    ),
    'targets': (
      f'{len(split["cold_items"]):,} items held out of training, too'
      if split.get('cold_items')
      else 'all items'
    ),
    'ids': 'of train interactions or content',
    'ties': dataset.get('facts', {}).get('ties'),
    **{name: dataset.get('counts', {}).get(name) for name in _COUNTS},
  }


def differences(
  ours: Mapping[str, Any], theirs: Mapping[str, Any]
) -> list[str]:
  """Returns the points in which two protocols differ, in words."""
  found = []
  for name, expected in theirs.items():
    value = ours.get(name)
    if value is None:
      found.append(f'{name}: not known here, {_write(expected)} published')
    elif value != expected:
      found.append(
        f'{name}: {_write(value)} here, {_write(expected)} published'
      )
  return found


def own_deviations(row: Mapping[str, Any]) -> list[str]:
  """Returns what a published row has otherwise than the others."""
  found = [f'{k}: {_write(v)}' for k, v in row.get('protocol', {}).items()]
  return found


def _write(value: Any) -> str:
  return f'{value:,}' if isinstance(value, int) else str(value)
