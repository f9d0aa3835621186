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
  dataset: Mapping[str, Any], result: Mapping[str, Any]
) -> dict[str, str | int | None]:
  """Returns how a result was measured, point by point; None if not known.

  Args:
    dataset: manifest of the run's data set, with its `split`.
    result: as `genrec evaluate` and `genrec baselines` write it.
  """
  fingerprints = result.get('fingerprints', {})
  if dataset.get('fingerprint') != fingerprints.get('dataset'):
    dataset = {}
  split = dataset.get('split', {})
  if split.get('fingerprint') != fingerprints.get('split'):
    split = {}
  subset = result.get('subset')
  return {
    'split': split.get('protocol'),
    'part': result['split'],
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


def rows_beside(
  dataset: Mapping[str, Any], result: Mapping[str, Any]
) -> list[dict[str, Any]]:
  """Returns the published rows that belong beside a result.

  Of its data set and task, on the same part; each has a 'name' that ends with ≠
  where its protocol differs, and says in `reasons` how.

  Args:
    dataset: as `own_protocol` has it.
    result: the same.
  """
  references = read_references(dataset.get('name', ''))
  if references is None or result['split'] != references['protocol']['part']:
    return []
  general = differences(own_protocol(dataset, result), references['protocol'])
  rows = []
  for row in references['rows']:
    if row.get('task', 'sequential') != result['task']:
      continue
    reasons = [*general, *own_deviations(row)]
    name = f'{row["method"]}, published' + ' ≠' * bool(reasons)
    rows.append({'name': name, 'metrics': row['metrics'], 'reasons': reasons})
  return rows


def _write(value: Any) -> str:
  return f'{value:,}' if isinstance(value, int) else str(value)
