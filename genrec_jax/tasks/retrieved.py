"""What is retrieved into the prompts of a task: items, or sentences.

The room `retrieval` finds; here is said what an example asks with, and what
found things are as tokens. Prompts show them in the slots {retrieved_items}
and {retrieved_text}.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from genrec_jax.data import splits, texts
from genrec_jax.data.dialogues import mention_pairs, mentions
from genrec_jax.data.splits import Examples
from genrec_jax.data.texts import MENTION
from genrec_jax.data.token_cache import Ragged
from genrec_jax.retrieval.items import (
  METHODS,
  ItemQueries,
  TrainPairs,
  retrieve_items,
)
from genrec_jax.retrieval.sentences import (
  Documents,
  TextQueries,
  retrieve_sentences,
)
from genrec_jax.tasks import dialogues, prompts, sources
from genrec_jax.tasks.definitions import TaskDefinition
from genrec_jax.tasks.prompts import Template
from genrec_jax.tasks.slots import RETRIEVED_ITEMS, RETRIEVED_TEXT, TEXTS
from genrec_jax.types import GenrecError, unknown_name

NONE = 'none'
CONTEXT_TURNS = 4  # the last turns, whose words a dialogue is found by
BETWEEN = ' | '  # retrieved texts


@dataclasses.dataclass(frozen=True)
class RetrievalSettings:
  """How to retrieve.

  Attributes:
    retrieval: 'none', 'bm25' (by words) or 'dense' (by vectors).
    num_retrieved: how many items or sentences a prompt shows at most.
    max_retrieved: how many tokens of each sentence it shows: its first.

  Raises:
    GenrecError: if there is no such method, or a number is below 1.
  """

  retrieval: str = NONE
  num_retrieved: int = 5
  max_retrieved: int = 32

  def __post_init__(self):
    if self.retrieval not in (NONE, *METHODS):
      raise unknown_name('retrieval method', self.retrieval, (NONE, *METHODS))
    if min(self.num_retrieved, self.max_retrieved) < 1:
      raise GenrecError(
        f'Got num_retrieved={self.num_retrieved} and'
        f' max_retrieved={self.max_retrieved}, expected at least 1 of each;'
        " retrieval='none' retrieves nothing."
      )


@dataclasses.dataclass(frozen=True, eq=False)
class Retrieved:
  """What was retrieved for the E examples of a part.

  Attributes:
    items: the items of each; None where templates show none.
    rows: the texts of each, as rows of the interactions, or of the dialogues
      where they are turns; None likewise.
    text: these as tokens.
  """

  items: Ragged | None = None
  rows: Ragged | None = None
  text: Ragged | None = None

  def features(self) -> dict[str, Ragged]:
    """Returns what the source of a task adds to its examples."""
    named = {RETRIEVED_ITEMS: self.items, RETRIEVED_TEXT: self.text}
    return {name: value for name, value in named.items() if value is not None}


def retrieve(
  data,
  definition: TaskDefinition,
  templates: Sequence[Template],
  parts: Mapping[str, Any],
  settings: RetrievalSettings,
  *,
  max_history: int,
) -> dict[str, Retrieved]:
  """Returns what is retrieved for the examples of each part.

  Args:
    data: the `registry.TaskData`.
    definition: of the task.
    templates: those chosen; they say what is to be retrieved.
    parts: the examples of each part.
    settings: how.
    max_history: how many of the last items of a history ask.

  Raises:
    GenrecError: if templates show what is retrieved and nothing is to be, or
      there is nothing to retrieve from.
  """
  showing = [t for t in templates if prompts.uses(t, prompts.RETRIEVED)]
  if not showing:
    return {part: Retrieved() for part in parts}
  if settings.retrieval == NONE:
    raise GenrecError(
      f'The template {showing[0].name!r} ({showing[0].inputs!r}) shows what is'
      ' retrieved; pass --retrieval=bm25 or --retrieval=dense, or leave it out.'
    )
  shows_items = any(prompts.uses(t, [RETRIEVED_ITEMS]) for t in showing)
  shows_text = any(prompts.uses(t, [RETRIEVED_TEXT]) for t in showing)
  found: dict[str, dict[str, Ragged]] = {part: {} for part in parts}
  # All parts at once: an index takes longer to make than to ask.
  if shows_items:
    item_asked = [
      item_queries(data, definition, examples, max_history)
      for examples in parts.values()
    ]
    items = retrieve_items(
      settings.retrieval,
      train_pairs(data, definition),
      data.dataset.items,
      ItemQueries.join(item_asked),
      num_results=settings.num_retrieved,
    )
    for part, own in zip(parts, _split(items, parts.values())):
      found[part]['items'] = own
  if shows_text:
    text_asked = [
      text_queries(data, definition, showing, examples)
      for examples in parts.values()
    ]
    rows = retrieve_sentences(
      settings.retrieval,
      train_documents(data, definition),
      TextQueries.join(text_asked),
      num_results=settings.num_retrieved,
    )
    for part, own in zip(parts, _split(rows, parts.values())):
      found[part]['rows'] = own
    _add_tokens(found, data, definition, settings.max_retrieved)
  return {part: Retrieved(**values) for part, values in found.items()}


def _split(found: Ragged, parts: Iterable[Any]) -> list[Ragged]:
  """Returns the rows of each part, that were found together."""
  pieces, start = [], 0
  for examples in parts:
    offsets = found.offsets[start : start + len(examples) + 1]
    values = found.values[offsets[0] : offsets[-1]]
    pieces.append(Ragged(values, offsets - offsets[0]))
    start += len(examples)
  return pieces


def train_pairs(data, definition: TaskDefinition) -> TrainPairs:
  """Returns who had what in the train part.

  For tasks of dialogues the owners are dialogues, and what users had says of
  an item that train knows it.
  """
  dataset, split = data.dataset, data.split
  rows = split.part == splits.TRAIN
  user, item = dataset.user[rows], dataset.item[rows]
  if not definition.of_dialogues:
    return TrainPairs(user, item)
  dialogue, named = mention_pairs(dataset.dialogues)
  seen = split.dialogue_part[dialogue] == splits.TRAIN
  return TrainPairs(
    np.concatenate([np.full(len(item), -1), dialogue[seen]]),
    np.concatenate([item, named[seen]]),
  )


def item_queries(
  data, definition: TaskDefinition, examples: Any, max_history: int
) -> ItemQueries:
  """Returns what examples ask for items with: a history, or a dialogue."""
  if definition.of_dialogues:
    return ItemQueries(
      examples.user,
      examples.ragged_histories(),
      _context_words(data, examples.starts, examples.rows),
    )
  return ItemQueries(
    examples.user, examples.ragged_histories(), max_items=max_history
  )


def train_documents(data, definition: TaskDefinition) -> Documents:
  """Returns the texts that may be retrieved: answers of the train part.

  Raises:
    GenrecError: if answers of the task are no texts of the data.
  """
  dataset, split = data.dataset, data.split
  if definition.of_dialogues:
    turns = sources.dialogue_examples(
      dataset, split, 'train', every_target=False
    )
    return Documents(
      turns.rows,
      turns.user,
      None,
      _context_words(data, turns.starts, turns.rows),
      dataset.dialogues['text'].take(turns.rows).to_pylist(),
    )
  column = definition.answer_slot
  if column not in TEXTS:
    raise GenrecError(
      f'A task that asks for {column!r} has no train texts to retrieve;'
      f' {{{RETRIEVED_TEXT}}} is for tasks whose answer slot is one of:'
      f' {", ".join(TEXTS)}.'
    )
  key = _key_column(definition)
  rows = texts.text_rows(
    dataset.interactions,
    split.part == splits.TRAIN,
    list(dict.fromkeys([column, key])),
  )
  return Documents(
    rows,
    dataset.user[rows],
    dataset.item[rows],
    dataset.interactions[key].take(rows).to_pylist(),
    dataset.interactions[column].take(rows).to_pylist(),
  )


def text_queries(
  data,
  definition: TaskDefinition,
  showing: Sequence[Template],
  examples: Examples | sources.DialogueTargets,
) -> TextQueries:
  """Returns what examples ask for texts with: no more than prompts show.

  Args:
    data: the `registry.TaskData`.
    definition: of the task.
    showing: the templates that show texts; a column is asked with if all of
      them show it.
    examples: of a part.
  """
  if isinstance(examples, sources.DialogueTargets):
    asked = _context_words(data, examples.starts, examples.rows)
    return TextQueries(examples.user, None, asked, only_texts=True)
  columns = [
    column
    for column in TEXTS
    if column != definition.answer_slot
    and all(prompts.uses(template, [column]) for template in showing)
  ]
  shown = [
    pc.fill_null(data.dataset.interactions[column].take(examples.rows), '')
    for column in columns
  ]
  only_texts = _key_column(definition) in columns
  if not only_texts:
    shown.append(pa.chunked_array([data.titles]).take(examples.target))
  return TextQueries(
    examples.user,
    examples.target,
    [' '.join(row) for row in zip(*(column.to_pylist() for column in shown))],
    only_texts=only_texts,
  )


def _key_column(definition: TaskDefinition) -> str:
  """Returns the column that texts are found by: summaries by the review."""
  return (
    'review'
    if definition.answer_slot == 'summary'
    else (definition.answer_slot)
  )


def _context_words(data, starts, rows) -> list[str]:
  """Returns the last turns before turns, in which items are their titles."""
  table = data.dataset.dialogues
  named = mentions(table)
  said = []
  for turn, text in enumerate(table['text'].to_pylist()):
    pieces = text.split(MENTION)
    titles = [*(data.titles[item] for item in named[turn]), '']
    said.append(' '.join(p for both in zip(pieces, titles) for p in both))
  return [
    ' '.join(said[max(start, row - CONTEXT_TURNS) : row])
    for start, row in zip(starts, rows)
  ]


def _add_tokens(
  found: Mapping[str, dict[str, Ragged]],
  data,
  definition: TaskDefinition,
  max_tokens: int,
) -> None:
  """Adds `text` to the `rows` of each part: the tokens of all, in order."""
  used = np.unique(np.concatenate([f['rows'].values for f in found.values()]))
  if definition.of_dialogues:
    turns = dialogues.tokenize_turns(data.dataset, data.ids, data.vocabulary)
    whole = [turns[row] for row in used]
  else:
    column = data.dataset.interactions[definition.answer_slot]
    encoded = data.vocabulary.encode_texts(column.take(used).to_pylist())
    whole = [encoded[place] for place in range(len(used))]
  blocks = data.vocabulary.layout.item_blocks[: data.ids.num_levels]
  within = range(blocks[0].stop, blocks[-1].stop)
  between = np.array(data.vocabulary.encode_text(BETWEEN), np.int32)
  tokens = [
    np.concatenate([cut_tokens(text, max_tokens, within), between])
    for text in whole
  ]
  nothing = np.zeros(0, np.int32)
  for values in found.values():
    places = Ragged(
      np.searchsorted(used, values['rows'].values), values['rows'].offsets
    )
    values['text'] = Ragged.from_rows(
      np.concatenate([nothing, *(tokens[place] for place in places[row])])
      for row in range(len(places))
    )


def count_blank(
  data,
  definition: TaskDefinition,
  templates: Sequence[Template],
  found: Mapping[str, Retrieved],
  wanted: str,
) -> dict[str, int]:
  """Returns how many examples have nothing in a slot that templates show.

  Nothing was near to them, or their target has no attribute to wish for.
  """
  blank = {}
  for name in prompts.RETRIEVED:
    runs = [
      one.features()[name] for one in found.values() if name in one.features()
    ]
    if runs:
      blank[name] = int(sum((run.lengths == 0).sum() for run in runs))
  if any(prompts.uses(template, [prompts.WANTED]) for template in templates):
    blank[prompts.WANTED] = sum(
      data.wishes(data.examples(definition, templates, part), wanted).count('')
      for part in found
    )
  return blank


def cut_tokens(
  tokens: np.ndarray, max_tokens: int, within: range
) -> np.ndarray:
  """Returns the first tokens, and no part of an ID that the cut falls into.

  Args:
    tokens: of a text, in which items are their ID tokens.
    max_tokens: how many to keep at most.
    within: tokens that stand within an ID, and never start one.
  """
  if len(tokens) <= max_tokens:
    return tokens
  end = max_tokens
  if tokens[end] in within:
    while end and tokens[end] in within:
      end -= 1
  return tokens[:end]
