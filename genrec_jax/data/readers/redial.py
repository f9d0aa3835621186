"""ReDial: conversations in which a movie is recommended (Li et al. 2018).

Of two forms, which give the same turns: the release's own, and the one in
which the messages that a person sends one after the other are one already.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from genrec_jax.data.dataset import RawTables
from genrec_jax.data.dialogues import RAW_DIALOGUES, RECOMMENDER, SEEKER
from genrec_jax.data.readers import json_lines
from genrec_jax.data.readers.source import BadRows, file_name, read_source
from genrec_jax.data.texts import MENTION, one_line
from genrec_jax.types import GenrecError, PathLike

_MENTION = re.compile(r'@(\d+)')
# What the seeker said of each movie when all was over: it was suggested (0 no,
# 1 yes), seen and liked (0 no, 1 yes, 2 did not say).
ANSWERS = ('suggested', 'seen', 'liked')
_DIALOGUES = pa.schema(
  [*RAW_DIALOGUES, *((name, pa.list_(pa.int8())) for name in ANSWERS)]
)
_ITEMS = pa.schema([('item_id', pa.string()), ('title', pa.string())])


def read_dialogues(path: PathLike, *, on_bad_row: str = 'error') -> RawTables:
  """Reads dialogues, and the titles of the movies in them.

  `@123` is a mention where the dialogue's movieMentions gives 123 a title.
  Elsewhere it stays text; the fact `unknown_mentions` counts these. The
  initiator is the seeker. `suggested`, `seen` and `liked` are what the seeker
  answered after the dialogue, null where that is not known: labels.

  Raises:
    GenrecError: for bad rows.
  """
  bad = BadRows(path, on_bad_row)
  source = read_source(path, bad)
  turns, titles, unknown = [], {}, 0
  for number, record in json_lines.records(*source.lines(), bad):
    problem = _problem(record)
    if problem:
      bad.add(number, problem)
      continue
    known = {
      movie: one_line(title)
      for movie, title in (record['movieMentions'] or {}).items()
      if title and title.strip()
    }
    titles = known | titles
    for turn in _turns(record, known):
      unknown += len(_MENTION.findall(turn['text']))
      turns.append(turn)
  items = [{'item_id': key, 'title': title} for key, title in titles.items()]
  facts = source.facts(bad)
  facts['unknown_mentions'] = {file_name(path): unknown}
  return RawTables(
    dialogues=pa.Table.from_pylist(turns, _DIALOGUES),
    items=pa.Table.from_pylist(items, _ITEMS),
    facts=facts,
  )


def _problem(record: Mapping[str, Any]) -> str | None:
  """Returns what is wrong with a record, if anything is."""
  if not isinstance(record.get('conversationId'), str | int):
    return f'conversationId is {record.get("conversationId")!r:.60}, no id'
  fields = 'initiatorWorkerId', 'respondentWorkerId'
  people = [record.get(field) for field in fields]
  if None in people or people[0] == people[1]:
    return f'initiator and respondent are {people}, expected two people'
  messages = record.get('messages')
  if not isinstance(messages, list) or not messages:
    return f'messages is {messages!r:.60}, expected a list of them'
  # An empty form is a list in some records.
  mentions = record.get('movieMentions') or {}
  if not isinstance(mentions, dict) or not all(
    isinstance(title, str | None) for title in mentions.values()
  ):
    return f'movieMentions is {mentions!r:.60}, expected titles by movie'
  answers = record.get('initiatorQuestions') or {}
  if not isinstance(answers, dict) or not all(
    isinstance(answer, dict)
    and all(answer.get(name) in (None, 0, 1, 2) for name in ANSWERS)
    for answer in answers.values()
  ):
    return f'initiatorQuestions is {answers!r:.60}, expected answers by movie'
  for message in messages:
    if not isinstance(message, dict) or not isinstance(
      message.get('text'), str
    ):
      return f'a message is {message!r:.60}, expected one with a text'
    sender = message.get('senderWorkerId')
    if sender not in people:
      return f'a message is from {sender!r}, expected one of {people}'
  return None


def _turns(record: Mapping[str, Any], known: Mapping[str, str]):
  """Yields the turns: what one person says before the other does."""
  said: list[tuple[str, list[str]]] = []
  for message in record['messages']:
    seeks = message['senderWorkerId'] == record['initiatorWorkerId']
    role = SEEKER if seeks else RECOMMENDER
    text = one_line(html.unescape(message['text']))
    if said and said[-1][0] == role:
      said[-1][1].append(text)
    elif text:
      said.append((role, [text]))
  answers = record.get('initiatorQuestions') or {}
  for turn, (role, texts) in enumerate(said):
    text = ' '.join(filter(None, texts))
    items = [movie for movie in _MENTION.findall(text) if movie in known]
    yield {
      'dialogue_id': str(record['conversationId']),
      'turn': turn,
      'role': role,
      'text': _MENTION.sub(
        lambda found: MENTION if found[1] in known else found[0], text
      ),
      'items': items,
      **{
        name: [answers.get(movie, {}).get(name) for movie in items]
        for name in ANSWERS
      },
    }


def read_items(path: PathLike) -> RawTables:
  """Reads `id2info.json`: titles, plots, and genres and people as attributes.

  Raises:
    GenrecError: if it is not one object of objects with names.
  """
  return read_info_items(path, ('genre', 'director', 'star'), 'plot')


def read_info_items(
  path: PathLike, attributes: Sequence[str], text: str
) -> RawTables:
  """Reads the items of an `id2info.json`.

  Args:
    path: the file.
    attributes: the lists of names that are their attributes.
    text: a text that is a column of its own; null where it is empty.

  Raises:
    GenrecError: if it is not one object of objects with names.
  """
  bad = BadRows(path)
  source = read_source(path, bad)
  rows = [
    {
      'item_id': item,
      'title': one_line(info['name']),
      'attributes': list(
        dict.fromkeys(
          name for field in attributes for name in info.get(field, [])
        )
      ),
      text: info.get(text) or None,
    }
    for item, info in read_info(path, source.data).items()
  ]
  schema = [
    *_ITEMS,
    ('attributes', pa.list_(pa.string())),
    (text, pa.string()),
  ]
  return RawTables(
    items=pa.Table.from_pylist(rows, pa.schema(schema)), facts=source.facts(bad)
  )


def read_info(path: PathLike, data: bytes) -> dict[str, dict[str, Any]]:
  """Parses an `id2info.json`: one object {id: {'name': ..., ...}}.

  Raises:
    GenrecError: if it is anything else.
  """
  try:
    info = json.loads(data)
  except ValueError as error:
    line = getattr(error, 'lineno', 1)
    raise GenrecError(f'{path}, line {line}: no JSON: {error}.') from error
  if not isinstance(info, dict) or not all(
    isinstance(entry, dict) and isinstance(entry.get('name'), str)
    for entry in info.values()
  ):
    raise GenrecError(
      f'{path}, line 1: expected one object {{id: {{"name": title, ...}}}}.'
    )
  return info
