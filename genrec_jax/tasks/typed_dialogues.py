"""Dialogues as people type them.

  User: I liked [Alien (1979)]. System: Then see [Aliens (1986)]! User: Seen it.

Who speaks stands before each turn, as the model is shown it; what stands before
the first mark is the user's. An item is its id or exact title in brackets.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pyarrow as pa
import seqio

from genrec_jax.data import dialogues as dialogue_tables
from genrec_jax.data.dialogues import RECOMMENDER, SEEKER
from genrec_jax.data.lookup import Lookup
from genrec_jax.data.texts import MENTION, one_line
from genrec_jax.data.token_cache import Ragged
from genrec_jax.tasks import dialogues, sources
from genrec_jax.tasks.registry import TaskData
from genrec_jax.types import GenrecError

ROLES = {mark.strip(' :'): role for role, mark in dialogues.MARKS.items()}
_MARK = re.compile(rf'(?:^|(?<=\s))({"|".join(ROLES)}):')
# A title may have brackets itself, as [REC] has.
_MENTION = re.compile(r'\[((?:[^\[\]]|\[[^\[\]]*\])+)\]')


def read_turns(
  text: str, items: Lookup
) -> tuple[list[dict[str, Any]], list[str]]:
  """Reads a typed dialogue.

  Args:
    text: what was typed.
    items: of the catalogue.

  Returns:
    The turns as rows of `data.dialogues.DIALOGUES`, neighbours of one speaker
    joined, and what stands in brackets but is no item: it stays text.

  Raises:
    GenrecError: if nothing is said.
  """
  parts = _MARK.split(text)
  said = [(SEEKER, parts[0])]
  said += [(ROLES[who], what) for who, what in zip(parts[1::2], parts[2::2])]
  turns: list[dict[str, Any]] = []
  unknown: list[str] = []
  for role, what in said:
    what, mentioned, no_items = _mark_mentions(one_line(what), items)
    unknown += no_items
    if not what:
      continue
    if turns and turns[-1]['role'] == role:
      turns[-1]['text'] += f' {what}'
      turns[-1]['items'] += mentioned
    else:
      turns.append({'role': role, 'text': what, 'items': mentioned})
  if not turns:
    raise GenrecError(
      f'Got the dialogue {text!r}, in which nothing is said; pass for example'
      ' --dialogue="User: I liked [TITLE]. What else is there?"'
    )
  for number, turn in enumerate(turns):
    turn.update(dialogue_id='typed', turn=number)
  return turns, unknown


def _mark_mentions(
  text: str, items: Lookup
) -> tuple[str, list[int], list[str]]:
  """Returns a text with MENTIONs, their items, and names that are no item."""
  said, mentioned, unknown, end = [], [], [], 0
  for found in _MENTION.finditer(text):
    row = items.get(found[1])
    if row is None:
      unknown.append(found[1])
      continue
    said += [text[end : found.start()], MENTION]
    mentioned.append(row)
    end = found.end()
  return ''.join([*said, text[end:]]), mentioned, unknown


def dialogue_source(
  turns: list[dict[str, Any]], data: TaskData, *, max_text: int
) -> tuple[seqio.DataSource, sources.DialogueTargets, tuple[int, int]]:
  """Returns the source of one example: what is said after some turns.

  Args:
    turns: from `read_turns`.
    data: of the run; its own dialogues are not read.
    max_text: how many tokens of them a prompt shows: the last.

  Returns:
    The source, whose only part is test; its example, without an answer; and
    how many tokens the turns have, and how many of them are shown.
  """
  reply = {'role': RECOMMENDER, 'text': '', 'items': [], 'dialogue_id': 'typed'}
  table = pa.Table.from_pylist(
    [*turns, {**reply, 'turn': len(turns)}], dialogue_tables.DIALOGUES
  )
  named = [item for turn in turns for item in turn['items']]
  example = sources.DialogueTargets(
    rows=np.array([len(turns)]),
    starts=np.array([0]),
    user=np.zeros(1, np.int32),
    target=np.zeros(1, np.int32),
    tied=np.zeros(1, bool),
    mentioned=Ragged.from_rows([list(dict.fromkeys(named))]),
    named=Ragged.from_rows([named]),
  )
  dataset = dataclasses.replace(data.dataset, dialogues=table)

  def tokenize(room):
    return dialogues.tokenize_examples(
      dataset, data.ids, data.vocabulary, {'test': example}, max_text=room
    )

  tokens = tokenize(max_text)
  lengths = [
    int(of_part['test']['dialogue'].lengths[0])
    for of_part in (tokenize(1 << 30), tokens)
  ]
  source = sources.dialogues_source({'test': example}, tokens)
  return source, example, (lengths[0], lengths[1])
