"""OpenDialKG: conversations about movies and books (Moon et al. 2019).

In the form in which a record is one response: what was said before it, the
names of what that is about, and the items that the response names.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from genrec_jax.data.dataset import RawTables
from genrec_jax.data.dialogues import RAW_DIALOGUES, RECOMMENDER, SEEKER
from genrec_jax.data.readers import json_lines
from genrec_jax.data.readers.redial import read_info, read_info_items
from genrec_jax.data.readers.source import BadRows, file_name, read_source
from genrec_jax.data.texts import MENTION, one_line
from genrec_jax.types import PathLike

_DIALOGUES = RAW_DIALOGUES.append(pa.field('part', pa.string()))
_PEOPLE = ('genre', 'director', 'writer', 'actor')


def read_dialogues(
  path: PathLike, *, part: str, on_bad_row: str = 'error'
) -> RawTables:
  """Reads `train.jsonl` or `valid.jsonl`, with `id2info.json` beside it.

  Puts the records of a dialogue together to its turns: the roles alternate,
  and a response is the recommender's. The source names items without saying
  where they stand: the places are looked for as whole words, with the case as
  it is named, else with any; longer names first. The fact `unplaced_mentions`
  counts the items of responses that stand nowhere as a whole word (the name
  'Her' in "Letscher"): these are no mentions.

  Args:
    path: the file.
    part: 'train' or 'test', which becomes the column `part`.
    on_bad_row: 'error' or 'skip'.

  Raises:
    GenrecError: for bad rows.
  """
  bad = BadRows(path, on_bad_row)
  source = read_source(path, bad)
  path = pathlib.Path(path)
  suffix = '.gz' if path.suffix == '.gz' else ''
  beside = path.with_name(f'id2info.json{suffix}')
  info = read_source(beside, bad)
  item_of = {
    entry['name']: item for item, entry in read_info(beside, info.data).items()
  }
  dialogues: dict[str, list[tuple[int, dict[str, Any]]]] = {}
  for number, record in json_lines.records(*source.lines(), bad):
    problem = _problem(record, item_of)
    if problem:
      bad.add(number, problem)
    else:
      dialogues.setdefault(str(record['dialog_id']), []).append(
        (number, record)
      )
  rows, unplaced = [], 0
  for dialogue, numbered in dialogues.items():
    for turn in _turns(_in_order(numbered, bad), item_of):
      unplaced += turn.pop('unplaced')
      rows.append({'dialogue_id': dialogue, 'part': part, **turn})
  facts = source.facts(bad)
  facts['sources'] |= {file_name(beside): info.sha256}
  facts['unplaced_mentions'] = {file_name(path): unplaced}
  return RawTables(
    dialogues=pa.Table.from_pylist(rows, _DIALOGUES), facts=facts
  )


def _problem(record: Mapping[str, Any], item_of) -> str | None:
  """Returns what is wrong with a record, if anything is."""
  if not isinstance(record.get('dialog_id'), str | int):
    return f'dialog_id is {record.get("dialog_id")!r:.60}, no id'
  for field in ('context', 'entity', 'rec'):
    value = record.get(field)
    if not isinstance(value, list) or not all(
      isinstance(text, str) for text in value
    ):
      return f'{field} is {value!r:.60}, expected a list of texts'
  if not isinstance(record.get('resp'), str):
    return f'resp is {record.get("resp")!r:.60}, expected text'
  unknown = [name for name in record['rec'] if name not in item_of]
  if unknown:
    return f'rec has {unknown[0]!r:.60}, which id2info.json does not name'
  return None


def _in_order(numbered, bad: BadRows) -> list[dict[str, Any]]:
  """Returns the records of a dialogue that go on from each other, in order."""
  numbered.sort(key=lambda pair: len(pair[1]['context']))
  records: list[dict[str, Any]] = []
  for number, record in numbered:
    if records:
      before = records[-1]
      said = [*before['context'], before['resp']]
      if (
        record['context'][: len(said)] != said
        or record['entity'][: len(before['entity'])] != before['entity']
      ):
        bad.add(
          number,
          f'its context does not go on from the response {before["resp"]!r:.60}'
          f' of the same dialogue {record["dialog_id"]!r}',
        )
        continue
    records.append(record)
  return records


def _turns(records: Sequence[Mapping[str, Any]], item_of: Mapping[str, str]):
  """Yields the turns of a dialogue, from its records in order.

  `entity` of a record is that of the record before it, and what the turns
  since then are about.
  """
  texts = [*records[-1]['context'], records[-1]['resp']]
  start, known = 0, 0
  for record in records:
    stop = len(record['context'])
    about = [name for name in record['entity'][known:] if name in item_of]
    known = len(record['entity'])
    for turn in range(start, stop + 1):
      responds = turn == stop
      names = record['rec'] if responds else about
      text, found = _mark(one_line(texts[turn]), names)
      # Before a response speaks the seeker, before the seeker another one.
      yield {
        'turn': turn,
        'role': SEEKER if (stop - turn) % 2 else RECOMMENDER,
        'text': text,
        'items': [item_of[name] for name in found],
        'unplaced': len(set(names) - set(found)) if responds else 0,
      }
    start = stop + 1


def _mark(text: str, names: Iterable[str]) -> tuple[str, list[str]]:
  """Puts a MENTION where names stand; returns the names in that order."""
  patterns = {}
  for name in sorted(names, key=lambda name: (-len(name), name)):
    whole = rf'(?<!\w){re.escape(one_line(name))}(?!\w)'
    patterns[name] = whole if re.search(whole, text) else f'(?i:{whole})'
  if not patterns:
    return text, []
  pattern = '|'.join(f'({whole})' for whole in patterns.values())
  found = [
    list(patterns)[match.lastindex - 1] for match in re.finditer(pattern, text)
  ]
  return re.sub(pattern, MENTION, text), found


def read_items(path: PathLike) -> RawTables:
  """Reads `id2info.json`: titles, years, genres and people as attributes.

  Raises:
    GenrecError: if it is not one object of objects with names.
  """
  return read_info_items(path, _PEOPLE, 'year')
