"""What a token cache says of its tasks, for who reads it without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from genrec_jax.data import splits
from genrec_jax.data.token_cache import PARTS
from genrec_jax.data.user_attributes import UNKNOWN, UserAttributes
from genrec_jax.tasks import dialogues, prompts
from genrec_jax.tasks.definitions import TaskDefinition
from genrec_jax.tasks.prompts import Template
from genrec_jax.tasks.registry import TaskData
from genrec_jax.tasks.slots import HISTORIES, NO, SLOTS, YES
from genrec_jax.tasks.vocabulary import RecommendationVocabulary
from genrec_jax.types import EOS_ID


def describe_task(
  definition: TaskDefinition,
  templates: Sequence[Template],
  data: TaskData,
  settings: Mapping[str, int],
) -> dict[str, Any]:
  """Returns what evaluation must know of a task, and what was cut or left out.

  Returns:
    `answer`; `prompt`, the inputs of the first template as the tokens of its
    words and the names of its slots, unless preprocessors of one's own change
    what these stand for; for ratings and yes or no the `choices` and their
    tokens;
    `lacking`, how many interactions of each part lack what the task needs (of
    an item task: another before them); `cut`, how many texts, titles, dialogues
    and histories are longer than an input shows, and how many answers than are
    learnt.
  """
  facts: dict[str, Any] = {
    'answer': definition.answer,
    'answer_slot': definition.answer_slot,
    'of_dialogues': definition.of_dialogues,
    'lacking': {},
    'cut': {},
  }
  if not definition.preprocessors:
    facts['prompt'] = [
      data.vocabulary.encode_text(part.text)
      if isinstance(part, prompts.Literal)
      else part.name
      if definition.slots[part.name] is SLOTS.get(part.name)
      else f'{part.name} of its own'
      for part in definition.parse(templates[:1])[0][0]
    ]
  if definition.answer == 'rating':
    values = np.unique(data.train_ratings).tolist()
    facts['choices'] = [[f'{value:g}', value] for value in values]
  if definition.answer == 'yes_no':
    facts['choices'] = [[NO, 0.0], [YES, 1.0]]
  for choice in facts.get('choices', ()):
    choice.append([*data.vocabulary.encode_text(choice[0]), EOS_ID])
  examples = [data.examples(definition, templates, part) for part in PARTS]
  if definition.of_dialogues:
    facts['cut'] = dialogues.count_cut(
      data.dataset,
      data.ids,
      data.vocabulary,
      examples,
      max_text=settings['max_text'],
      max_answer=(
        settings['max_answer'] if definition.answer == 'reply' else None
      ),
    )
    return facts
  parts = [splits.PART_NAMES.index(part) for part in PARTS]
  facts['lacking'] = {
    part: int((data.split.part == number).sum()) - len(known)
    for part, number, known in zip(PARTS, parts, examples)
  }
  rows = np.flatnonzero(np.isin(data.split.part, parts))
  for column in definition.needed_columns(templates):
    values = data.dataset.interactions[column].take(rows).drop_null()
    if pa.types.is_string(values.type):
      is_answer = column == definition.answer_slot
      room = settings['max_answer'] - 1 if is_answer else settings['max_text']
      facts['cut'][column] = count_longer(data, values.to_pylist(), room)
  if any(prompts.uses(template, HISTORIES) for template in templates):
    lengths = np.concatenate([one.rows - one.starts for one in examples])
    facts['cut']['history'] = int((lengths > settings['max_history']).sum())
  if any(prompts.uses(template, ['title']) for template in templates):
    facts['cut']['title'] = count_longer(
      data, data.titles, settings['max_text']
    )
  return facts


def count_longer(data: TaskData, texts: Sequence[str], room: int) -> int:
  """Returns how many texts have more tokens than there is room for."""
  return int((data.vocabulary.encode_texts(texts).lengths > room).sum())


def describe_attributes(
  attributes: UserAttributes, vocabulary: RecommendationVocabulary
) -> dict[str, dict[str, list[int]]]:
  """Returns the tokens of each value, by column; the unknown one first.

  Who changes a user in a prompt writes these in the place of others.
  """
  return {
    column: {
      value: vocabulary.encode_text(phrase)
      for value, phrase in zip((UNKNOWN, *values), phrases)
    }
    for column, values, phrases in zip(
      attributes.columns, attributes.values, attributes.phrases()
    )
  }
