"""Ranked lists of `genrec evaluate` in the files that other evaluators read.

predictions.jsonl    a line for each query: its true items, and of each row of
                     the results (the model, the floors) the items in order
qrels.trec           QUERY 0 ITEM 1
run_ROW.trec         QUERY Q0 ITEM RANK SCORE ROW
"""

from __future__ import annotations

import json
import pathlib
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Int

from genrec_jax import artifacts
from genrec_jax.data.token_cache import Ragged
from genrec_jax.types import GenrecError

_ITEMS = 'items_'  # the arrays of results that hold lists


def write_rankings(
  directory: pathlib.Path,
  arrays: Mapping[str, np.ndarray],
  *,
  item_names: Sequence[str],
  item_ids: Sequence[str] | None,
  query_ids: Sequence[str] | None,
) -> list[str]:
  """Writes the lists of a task's results; returns the names of its rows.

  Args:
    directory: where to; it exists.
    arrays: as `results.read_result` gives them: `items_ROW` [E, K], and either
      `user` and `target` or `dialogue`, `targets` and `targets_offsets`.
    item_names: by number.
    item_ids: the source's; None to go by numbers.
    query_ids: the source's, of users or dialogues; None to go by numbers.

  Raises:
    GenrecError: if the results are not of lists of items.
  """
  rows = [n.removeprefix(_ITEMS) for n in arrays if n.startswith(_ITEMS)]
  if 'model' not in rows:
    raise GenrecError(
      'The results of this task hold no ranked items; choose a task whose'
      ' answer is an item.'
    )
  if 'targets' in arrays:
    who = arrays['dialogue']
    targets = Ragged(arrays['targets'], arrays['targets_offsets'])
  else:
    who = arrays['user']
    targets = Ragged.from_rows(arrays['target'][:, None])
  queries = _name_queries(who, query_ids)
  documents = [str(item) for item in range(len(item_names))]
  if item_ids is not None:
    documents = [_without_blanks(item) for item in item_ids]
  lists = {row: np.asarray(arrays[_ITEMS + row]) for row in rows}
  scores = {row: _descending(row, lists[row], arrays) for row in rows}

  def describe(items) -> list[dict[str, Any]]:
    return [
      {'item': int(item), 'id': documents[item], 'name': item_names[item]}
      for item in items
      if item >= 0
    ]

  with open(directory / 'predictions.jsonl', 'w', encoding='utf-8') as file:
    for number, query in enumerate(queries):
      record = {
        'query': query,
        'targets': describe(targets[number]),
        'predictions': {row: describe(lists[row][number]) for row in rows},
        'scores': [
          float(score)
          for item, score in zip(
            lists['model'][number], arrays['scores'][number]
          )
          if item >= 0
        ],
      }
      file.write(json.dumps(record, ensure_ascii=False) + '\n')
  artifacts.write_text(
    directory / 'qrels.trec',
    ''.join(
      f'{query} 0 {documents[item]} 1\n'
      for number, query in enumerate(queries)
      for item in dict.fromkeys(targets[number].tolist())
    ),
  )
  for row in rows:
    tag = re.sub(r'\W+', '_', row)
    artifacts.write_text(
      directory / f'run_{tag}.trec',
      ''.join(
        f'{query} Q0 {documents[item]} {rank} {score:.9g} {tag}\n'
        for query, items, values in zip(queries, lists[row], scores[row])
        for rank, (item, score) in enumerate(zip(items, values), start=1)
        if item >= 0
      ),
    )
  return rows


def _name_queries(
  who: Int[np.ndarray, 'E'], query_ids: Sequence[str] | None
) -> list[str]:
  """Returns a name for each example: of its user or dialogue, if these differ.

  Where one has several examples, their number among these follows, from 0.
  """
  names = [str(n) if query_ids is None else query_ids[n] for n in who]
  names = [_without_blanks(name) for name in names]
  if len(set(names)) == len(names):
    return names
  seen: dict[str, int] = {}
  numbered = []
  for name in names:
    seen[name] = seen.get(name, -1) + 1
    numbered.append(f'{name}/{seen[name]}')
  return numbered


def _without_blanks(name: str) -> str:
  """Returns a name as a field between blanks can hold it.

  >>> _without_blanks('Rock & Roll')
  'Rock%20&%20Roll'
  """
  return re.sub(r'[\s%]', lambda match: urllib.parse.quote(match[0]), str(name))


def _descending(
  row: str, items: Int[np.ndarray, 'E K'], arrays: Mapping[str, np.ndarray]
) -> Float32[np.ndarray, 'E K']:
  """Returns the scores of lists, each lower than the one before.

  Evaluators sort by them and break ties in ways of their own. The model's equal
  ones are lowered by the least that float32 can; of other rows the lists alone
  are kept, so that they count down from 0.
  """
  if row != 'model':
    places = -np.arange(items.shape[1], dtype=np.float32)
    return np.broadcast_to(places, items.shape)
  scores = np.array(arrays['scores'], np.float32)
  for place in range(1, scores.shape[1]):
    below = np.nextafter(scores[:, place - 1], np.float32(-np.inf))
    scores[:, place] = np.minimum(scores[:, place], below)
  return scores
