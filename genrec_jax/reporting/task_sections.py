"""What a report says of each task: its measures beside its floors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genrec_jax.reporting import published

SLICES = {
  'all': 'all examples',
  'tied': 'target on the same day as the item before it',
  'untied': 'target later than the item before it',
  'cold': 'target held out of training',
  'new': 'target that the dialogue had not named',
  'repeated': 'target that the dialogue had named already',
}
# What a task is, by what it is called or else by the kind of its answer.
_ASKED = {
  'rating': 'How many stars will a user give an item?',
  'rating_yes_no': 'Will a user like an item?',
  'top_n': 'Which item suits a user?',
  'sequential': 'Which item comes next?',
  'sequential_yes_no': 'Does this item come next?',
  'explanation': 'Why is this item recommended to this user?',
  'review': 'What will the user write of the item?',
  'summary': 'What does a review say in short?',
  'conversation': 'Which item does the recommender name next in a dialogue?',
  'conversation_reply': 'What does the recommender say next in a dialogue?',
  'item': 'Which item?',
  'yes_no': 'Yes or no?',
  'text': 'What text?',
  'reply': 'Which reply?',
}
# What the rows of a kind mean, where their names do not say it.
_ROWS = {
  'rating': (
    'The model rates by the mean over the choices, weighted by their'
    ' probabilities; "written" is what it writes, where what is no rating'
    ' counts as the mean of the train ratings. '
  ),
  'reply': (
    'Without the trie, codes may follow each other as they like, and an item'
    ' may be invented. '
  ),
}
_OF_DIALOGUES = 'Lists may hold mentioned items, but where a row says not. '
LOWER_IS_BETTER = ('rmse', 'mae', 'div', 'failed_share', 'invented_share')


def task_section(
  results: Sequence[Mapping[str, Any]],
  dataset: Mapping[str, Any],
) -> dict[str, Any]:
  """Returns the section of one task, as page.html takes it.

  Args:
    results: of its parts, the one to be shown first first.
    dataset: manifest of the run's data set with its `split`, for what was
      published on it; {} where it is not there.
  """
  first = results[0]
  tables = []
  for result in results:
    tables += metric_tables(result, published.rows_beside(dataset, result))
  return {
    'task': first['task'],
    'asked': _ASKED.get(first['task'], _ASKED.get(first['answer'], '')),
    'tables': tables,
    'facts': _counts(first),
    'read_out': first['read_out'],
    'part': tell_part(first),
  }


def metric_tables(
  result: Mapping[str, Any],
  beside: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
  """Returns the tables of one part: all examples, then slices.

  Args:
    result: of a task.
    beside: published rows of the same (`published.rows_beside`).
  """
  metrics = result['metrics']
  columns = [
    name
    for name in result['columns']
    if any(name in slices.get('all', {}) for slices in metrics.values())
  ]
  counts = {
    name: int(values['n'])
    for name, values in result['metrics']['model'].items()
  }
  tables = []
  for name in SLICES:
    if name not in counts or (
      name != 'all' and not 0 < counts[name] < counts['all']
    ):
      continue
    rows = [
      {
        'name': row,
        'model': row == 'model',
        'values': [slices.get(name, {}).get(column) for column in columns],
      }
      for row, slices in metrics.items()
    ]
    if name == 'all':
      rows += [
        {
          'name': row['name'],
          'model': False,
          'values': [row['metrics'].get(column) for column in columns],
        }
        for row in beside
      ]
    tables.append(
      {
        'title': f'{tell_part(result)}: {SLICES[name]} ({counts[name]:,})',
        'note': _note(result, columns) + _differing(beside) * (name == 'all'),
        'head': 'method',
        'columns': columns,
        'rows': rows,
      }
    )
  return tables


def format_table(table: Mapping[str, Any]) -> str:
  """Returns one of `metric_tables` as text."""
  width = max(len(row['name']) for row in table['rows'])
  widths = [max(11, len(name) + 1) for name in table['columns']]
  heads = zip(table['columns'], widths)
  lines = [
    f'{table["title"]}. {table["note"]}'.strip(),
    ' ' * width + ''.join(f'{name:>{size}}' for name, size in heads),
  ]
  for row in table['rows']:
    cells = (
      f'{write_metric(value, absent="-"):>{size}}'
      for value, size in zip(row['values'], widths)
    )
    lines.append(f'{row["name"]:<{width}}' + ''.join(cells))
  return '\n'.join(lines)


def write_metric(value: float | str | None, absent: str = '–') -> str:
  """Writes a metric with four digits, as it stands where it is written."""
  if isinstance(value, str):
    return value
  return absent if value is None else f'{value:.4f}'


def tell_part(result: Mapping[str, Any]) -> str:
  """Returns 'Test', or 'Test, a sample of 200 of 1,000'."""
  sample = tell_sample(result)
  return result['split'].capitalize() + (f', {sample}' if sample else '')


def tell_sample(result: Mapping[str, Any]) -> str:
  """Returns 'a sample of 200 of 1,000', or '' of all examples."""
  subset = result.get('subset')
  if not subset:
    return ''
  return f'a sample of {subset["examples"]:,} of {subset["of"]:,}'


def _differing(beside: Sequence[Mapping[str, Any]]) -> str:
  """Returns what ≠ means, with the points in which published rows differ."""
  points = dict.fromkeys(point for row in beside for point in row['reasons'])
  if not points:
    return ''
  return f' ≠: another protocol, so not to be compared ({"; ".join(points)}).'


def _note(result: Mapping[str, Any], columns: Sequence[str]) -> str:
  """Returns how a table was measured, and which way is up."""
  lower = [name for name in columns if name in LOWER_IS_BETTER]
  lower = f' Lower is better: {", ".join(lower)}.' if lower else ''
  if 'search' in result:
    search = result['search']
    without = ', without the items of the history' * search['exclude_seen']
    of_dialogues = _OF_DIALOGUES * ('turns' in result)
    return (
      f'{of_dialogues}The whole catalogue is ranked{without};'
      f' {search["num_beams"]} beams; invalid items'
      f' {result["invalid_share"]:.0%}.{lower}'
    )
  facts = []
  if 'failures' in result:
    counted = result['failures']
    reasons = ', '.join(f'{k} {v:,}' for k, v in counted['reasons'].items())
    facts.append(
      f'{counted["failed_share"]:.1%} of the answers written are not valid'
      + (f' ({reasons})' if reasons else '')
    )
  if 'text_decoding' in result:
    facts.append(describe_decoding(result['text_decoding']))
    facts.append(f'{result["cut_share"]:.1%} were cut before they ended')
  told = '; '.join(facts) + '.' * bool(facts)
  return f'{_ROWS.get(result["answer"], "")}{told}{lower}'.strip()


def describe_decoding(decoding: Mapping[str, Any]) -> str:
  """Returns how texts were decoded, in words."""
  if decoding['num_beams']:
    return f'{decoding["num_beams"]} beams'
  drawn = [
    f'{name} {decoding[name]:g}'
    for name in ('temperature', 'top_k', 'top_p')
    if decoding[name] is not None
  ]
  return f'drawn with {", ".join(drawn)}' if drawn else 'greedy decoding'


def _counts(result: Mapping[str, Any]) -> list[str]:
  """Returns what was audited, left out and cut, in words."""
  return _audited(result) + [
    f'{what}: {", ".join(f"{k} {v:,}" for k, v in counts.items() if v)}.'
    for what, counts in (
      ('Interactions that lack what is asked for', result['lacking']),
      ('Texts longer than is shown or learnt, and cut', result['cut']),
    )
    if any(counts.values())
  ]


def _audited(result: Mapping[str, Any]) -> list[str]:
  """Returns which checks of the audit passed, and why others were not made."""
  # Results of older versions were not audited.
  checks = result.get('audit', {})
  passed = [name for name, found in checks.items() if found == 'passed']
  others = [f'{k}: {v}' for k, v in checks.items() if v != 'passed']
  told = [f'Audit passed: {", ".join(passed)}'] if passed else []
  return [f'{"; ".join(told + others)}.'] if checks else []
