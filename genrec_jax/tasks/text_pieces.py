"""The text pieces of a run: what its tasks read, write and call by name."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from genrec_jax.data import attributes, splits
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.splits import Split
from genrec_jax.data.texts import MENTION
from genrec_jax.data.user_attributes import read_user_attributes
from genrec_jax.tasks import dialogues, prompts
from genrec_jax.tasks.definitions import task_definition
from genrec_jax.tasks.prompts import Template
from genrec_jax.tasks.slots import NO, YES
from genrec_jax.tasks.vocabulary import train_text_model

DEFAULT_TEXT_PIECES = 1000
WRITING_TEXT_PIECES = 4000  # where tasks read or write texts of the data


def learn_text_model(
  chosen: Mapping[str, Sequence[Template]],
  dataset: Dataset,
  split: Split,
  text_pieces: int | None,
  *,
  wanted: str = 'attributes',
  user_attributes: Sequence[str] = (),
) -> bytes | None:
  """Trains the text pieces on what tasks read and write, and item titles.

  Only the train part is read: titles of items that it has, texts of its
  interactions and dialogues. The templates' words are repeated until they
  weigh as much as all titles.

  Args:
    chosen: the templates of each task.
    dataset: the data set.
    split: says which items and texts train knows.
    text_pieces: how many pieces; 0 for none; None for as many as needed:
      `DEFAULT_TEXT_PIECES`, more where texts are written, or 0 where
      templates are slots of tokens alone.
    wanted: the column of the items that templates with {wanted} read.
    user_attributes: the columns of the users that are shown.
  """
  definitions = {task: task_definition(task) for task in chosen}
  literals = list(
    itertools.chain.from_iterable(
      prompts.literal_texts(templates, definitions[task].slots)
      for task, templates in chosen.items()
    )
  )
  texts = train_texts(chosen, dataset, split)
  every = list(itertools.chain.from_iterable(chosen.values()))
  if any(prompts.uses(template, [prompts.WANTED]) for template in every):
    literals += _wishes(dataset, split, wanted)
  if user_attributes:
    known = read_user_attributes(dataset.users, user_attributes)
    literals += itertools.chain.from_iterable(known.phrases())
  if any(definitions[task].answer != 'item' for task in chosen):
    literals += [YES, NO]
  if text_pieces is None:
    needed = DEFAULT_TEXT_PIECES if literals else 0
    text_pieces = WRITING_TEXT_PIECES if texts else needed
  if text_pieces == 0:
    return None
  _, items = splits.train_interactions(dataset, split)
  titles = dataset.items['title'].take(np.unique(items))
  titles = pc.drop_null(titles).to_pylist()
  repeats = 1 + len(titles) // max(len(literals), 1)
  return train_text_model([*titles, *literals * repeats, *texts], text_pieces)


def _wishes(dataset: Dataset, split: Split, column: str) -> list[str]:
  """Returns the attributes of the items that train has."""
  known = attributes.read_attributes(dataset.items, column)
  _, items = splits.train_interactions(dataset, split)
  numbers = [known.of_item[item] for item in np.unique(items)]
  return [known.values[n] for n in np.unique(np.concatenate(numbers))]


def train_texts(
  chosen: Mapping[str, Sequence[Template]], dataset: Dataset, split: Split
) -> list[str]:
  """Returns the texts of the train part that tasks read or write."""
  texts = []
  columns = [
    column
    for task, templates in chosen.items()
    for column in task_definition(task).needed_columns(templates)
  ]
  is_train = pa.array(split.part == splits.TRAIN)
  for column in dict.fromkeys(columns):
    values = dataset.interactions[column].filter(is_train).drop_null()
    if pa.types.is_string(values.type):
      texts += values.to_pylist()
    else:
      texts += [f'{value:g}' for value in values.unique().to_pylist()]
  if any(task_definition(task).of_dialogues for task in chosen):
    lengths = np.diff(dataset.dialogue_offsets)
    of_train = np.repeat(split.dialogue_part == splits.TRAIN, lengths)
    turns = dataset.dialogues['text'].filter(pa.array(of_train)).to_pylist()
    texts += [part for turn in turns for part in turn.split(MENTION)]
    texts += list(dialogues.MARKS.values())
  return texts
