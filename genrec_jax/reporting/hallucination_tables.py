"""What answers say that is not so, as tables: of a terminal and of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genrec_jax.answering.prompts import shorten
from genrec_jax.evaluation.hallucination import KINDS
from genrec_jax.reporting.task_sections import format_table

_INTERVAL = ('from', 'to')
_SOURCES = {
  'attributes': 'attributes of items',
  'titles': 'words of titles',
  'features': 'features that train texts speak of',
}


def hallucination_tables(result: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Returns the tables of a task's result; none where nothing is measured."""
  # Results of older versions have none, nor those without a dataset.
  found = result.get('hallucination', {})
  tables = []
  if 'items' in found:
    tables += _of_items(found['items'])
  if 'ratings' in found:
    tables.append(_of_ratings(found['ratings']))
  if 'mentions' in found:
    tables.append(_of_mentions(found['mentions']))
  for source, claims in found.get('claims', {}).items():
    tables.append(_of_claims(source, claims))
  if 'contradictions' in found:
    tables.append(_of_contradictions(found['contradictions']))
  return [table for table in tables if table['rows']]


def tell_hallucination(result: Mapping[str, Any]) -> str:
  """Returns the tables as text, without what they mean; '' if there are none.

  The report says it, and docs/evaluation.md.
  """
  return '\n'.join(
    format_table({**table, 'note': ''})
    for table in hallucination_tables(result)
  )


def _of_items(found: Mapping[str, Any]) -> list[dict[str, Any]]:
  top_k, mass = found['top_k'], found['mass']
  sample = found['sample']
  taken = f', on a sample of {sample["examples"]:,}' if sample else ''
  outside = mass['outside']
  rows = {
    name: [
      *_with_interval(row['no_item']),
      row['any_no_item']['mean'],
      row['seen'],
      row['repeated'],
      row[f'recall@{top_k}']['mean'],
      *_with_interval(row['recall_lost'] or {}),
    ]
    for name, row in found['rows'].items()
  }
  rows['all that the model may write'] = [*_with_interval(outside), *[None] * 7]
  shares = {
    name: [*row['kinds'].values(), *row['levels']]
    for name, row in found['rows'].items()
    if not row['decoding']['trie']
  }
  shares['all that the model may write'] = [
    *[None] * len(KINDS),
    *mass['levels'],
  ]
  levels = [f'token {n + 1}' for n in range(len(mass['levels']))]
  return [
    _table(
      f'IDs that do not exist{taken}',
      'Share of the sequences written that are no item, with its 95 % interval'
      f' over users; users with one in the first {top_k}; sequences that are'
      ' items of the history, and that are an item once more. Recall is that of'
      f' the first {top_k} that are left when both and what is no item are'
      ' dropped; lost: how much less than with the trie, paired. The last row:'
      ' the probability that the model puts outside of the catalogue, summed'
      f' exactly ({outside["n"]:,} users).',
      [
        'no item',
        *_INTERVAL,
        f'any in {top_k}',
        'seen',
        'repeated',
        f'recall@{top_k}',
        'lost',
        *_INTERVAL,
      ],
      rows,
      'decoding',
    ),
    _table(
      'Where they leave the catalogue',
      'Share of the sequences written, by the first token that no item goes on'
      ' with: '
      + '; '.join(f'{_words(k)}: {told}' for k, told in KINDS.items())
      + '. And by which token that is.',
      [*map(_words, KINDS), *levels],
      shares,
      'decoding',
    ),
  ]


def _of_ratings(found: Mapping[str, Any]) -> dict[str, Any]:
  return _table(
    'Ratings that nobody can give',
    'Share of the ratings written that are no rating, off the scale, or on it'
    ' but never given in train.',
    ['invalid', *_INTERVAL, 'no rating', 'off scale', 'no choice'],
    {
      name: [
        *_with_interval(row['invalid']),
        row['no_rating'],
        row['off_scale'],
        row['no_choice'],
      ]
      for name, row in found['rows'].items()
    },
  )


def _of_mentions(found: Mapping[str, Any]) -> dict[str, Any]:
  return _table(
    'Items named that do not exist',
    'Share of the mentions that are no item, with its 95 % interval over'
    ' dialogues, and of the turns with one.',
    ['no item', *_INTERVAL, 'any', 'mentions'],
    {
      name: [
        *_with_interval(row['no_item']),
        row['any_no_item']['mean'],
        row['mentions'],
      ]
      for name, row in found['rows'].items()
    },
  )


def _of_claims(source: str, found: Mapping[str, Any]) -> dict[str, Any]:
  wrong = found['rows'].get('model', {}).get('examples', ())
  such_as = [
    f'"{one["claim"]}" in "{shorten(one["text"], 100)}"' for one in wrong[:1]
  ]
  return _table(
    f'Claims that do not hold: {_SOURCES[source]}',
    f'Of the {found["names"]:,} names, those that texts claim of their item,'
    ' and the share that nothing known of it says, with its 95 % interval over'
    ' users; and the share of texts with such a one. The true texts say how far'
    ' the measure itself is wrong.'
    + ''.join(f' The model claims {told}.' for told in such_as),
    ['claims a text', 'false', *_INTERVAL, 'texts with one'],
    {
      name: [
        row['claims'],
        *_with_interval(row['false_claims']),
        row['any_false']['mean'],
      ]
      for name, row in found['rows'].items()
      if any(row['claims'] for row in found['rows'].values())
    },
  )


def _of_contradictions(found: Mapping[str, Any]) -> dict[str, Any]:
  known = found['classifier']
  how_well = ', '.join(
    f'{name} {known[key]:.3f}'
    for name, key in (('accuracy', 'accuracy'), ('AUC', 'auc'))
    if key in known
  )
  told = ' and '.join(known['told']) or 'nothing'
  return _table(
    'Texts that contradict the rating',
    'Share of the texts that praise where the user gave less than'
    f' {known["liked_from"]:g} stars, or blame where not, with its 95 %'
    f' interval over users. Read by a classifier of {known["n_train"]:,} train'
    f' texts, on the true texts: {how_well}; what it errs there it errs'
    f' elsewhere, too. {known["liked_share"]:.0%} of the ratings are good; the'
    f' prompt tells {told} of it.',
    ['contradict', *_INTERVAL, 'blame liked', 'praise others'],
    {
      name: [
        *_with_interval(row['contradictions']),
        row['blames_liked'],
        row['praises_disliked'],
      ]
      for name, row in found['rows'].items()
    },
  )


def _with_interval(found: Mapping[str, Any]) -> list[float | None]:
  return [found.get(name) for name in ('mean', 'low', 'high')]


def _words(name: str) -> str:
  return name.replace('_', ' ')


def _table(
  title: str,
  note: str,
  columns: Sequence[str],
  rows: Mapping[str, Sequence[float | None]],
  head: str = 'answers',
) -> dict[str, Any]:
  return {
    'title': title,
    'note': note,
    'head': head,
    'columns': list(columns),
    'rows': [
      {'name': name, 'model': name == 'model', 'values': list(values)}
      for name, values in rows.items()
    ],
  }
