"""What changes where users are said to be others, as a report shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from genrec_jax.measuring.arms import FLIPPED, SAME, UNKNOWN, WITHOUT
from genrec_jax.measuring.counterfactual import CHANGE, COLUMNS, LOSS, K
from genrec_jax.reporting.figures import change_and_loss

_NOTE = (
  'The same prompts with other attributes of their users. Same: the values'
  ' written anew, where nothing may change; reordered: what another wording of'
  ' the same does; flipped: another value, drawn among those of others;'
  ' unknown: hidden; without: a model that was trained without. {columns}.'
  ' {loss}: against the true prompt, with the ends of its interval (bootstrap'
  ' over users, 95 %).'
)
_MEANS = {
  f'overlap@{K}': f'Overlap: of the items of the first {K} places (Jaccard)',
  'rbo': 'RBO: rank-biased overlap of the lists',
  'changed': 'changed: share of answers that are not the same in all',
  'first_token': 'first token: total variation of its distribution',
  'target_change': 'target: change of the log-probability of the target',
  'change': 'change: of the expected rating, or of the probability of yes',
  'choices': 'choices: total variation of their distribution',
}
_AXES = {
  'item': f'share of the first {K} places that changes (1 - overlap@{K})',
  'rating': 'change of the expected rating',
  'yes_no': 'change of the probability of yes',
}
_LOST = {
  'item': f'NDCG@{K} lost',
  'rating': 'absolute error gained',
  'yes_no': 'log loss gained',
}


def counterfactual_section(
  result: Mapping[str, Any] | None,
) -> dict[str, Any] | None:
  """Returns tables and a picture of a result; None of none."""
  if result is None:
    return None
  arms = {name: arm['all'] for name, arm in result['arms'].items()}
  flips = {
    f'{arm["attribute"]}: {flip}': found
    for arm in result['arms'].values()
    for flip, found in arm.get('flips', {}).items()
  }
  tables = [_table(result, 'Who the user is said to be', 'arm', arms)]
  if flips:
    tables.append(_table(result, 'By flip', 'flip', flips))
  return {
    'title': 'What if the user were someone else?',
    'tables': tables,
    'figures': [bias_and_personalisation(result)],
  }


def bias_and_personalisation(result: Mapping[str, Any]) -> Markup:
  """Draws how far answers change against what that costs, by arm and group.

  Args:
    result: as `measure_counterfactuals` returns it.
  """
  points: dict[str, list[dict[str, Any]]] = {}
  for series, label, found in _points(result):
    points.setdefault(series, []).append(
      {
        'label': f'{label} ({found["n"]:,})',
        'x': _change(result['answer'], found),
        'y': found[LOSS[result['answer']]],
      }
    )
  return change_and_loss(
    points, change=_AXES[result['answer']], loss=_LOST[result['answer']]
  )


def _points(result: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
  """Yields the series, the label and the means of every point."""
  for name, arm in result['arms'].items():
    if arm['kind'] == SAME:
      continue
    yield 'all users', name, arm['all']
    if arm['kind'] in (FLIPPED, UNKNOWN) and arm['attribute'] is not None:
      for value, found in arm['groups'][arm['attribute']].items():
        yield name, f'{arm["attribute"]} {value}', found
    if arm['kind'] == WITHOUT:
      for attribute, groups in arm['groups'].items():
        for value, found in groups.items():
          yield name, f'{attribute} {value}', found


def _change(answer: str, found: Mapping[str, Any]) -> Mapping[str, float]:
  """Returns how far answers change, where 0 is not at all."""
  change = found[CHANGE[answer]]
  if answer != 'item':
    return change
  ends = {'mean': 'mean', 'low': 'high', 'high': 'low'}
  return {name: 1 - change[end] for name, end in ends.items()}


def _table(
  result: Mapping[str, Any], title: str, head: str, rows: Mapping[str, Any]
) -> dict[str, Any]:
  columns, loss = COLUMNS[result['answer']], LOSS[result['answer']]
  return {
    'title': f'{title} ({result["split"]}, {result["n"]:,} examples)',
    'note': _NOTE.format(
      columns='; '.join(_MEANS[name] for name in columns),
      loss=_LOST[result['answer']],
    ),
    'head': head,
    'columns': [*columns, _LOST[result['answer']], 'low', 'high'],
    'rows': [
      {
        'name': f'{name} ({found["n"]:,})',
        'model': False,
        'values': [
          *(found[c]['mean'] if c in found else None for c in columns),
          *(found[loss][end] for end in ('mean', 'low', 'high')),
        ],
      }
      for name, found in rows.items()
    ],
  }
