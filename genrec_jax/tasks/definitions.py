"""What a task asks, of any data set: templates, slots, the kind of answer.

The built-in tasks are the survey's seven, and three of them asked otherwise:

  rating               rating prediction        a number
  rating_yes_no        ... as a preference      yes or no
  top_n                top-N recommendation     an item
  sequential           the next item            an item
  sequential_yes_no    ... is it this one?      yes or no
  explanation          explain an item          a text
  review               write a review           a text
  summary              summarise a review       a text
  conversation         recommend in a dialogue  an item
  conversation_reply   ... and say it           a text that may name items
"""

from __future__ import annotations

import dataclasses
import pathlib
import runpy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from genrec_jax.tasks import prompts, slots
from genrec_jax.tasks.prompts import Literal, Slot, Template
from genrec_jax.tasks.slots import SlotFunction
from genrec_jax.types import GenrecError, PathLike, unknown_name

# What an answer is, which says how it is decoded, read and measured.
ANSWERS = ('item', 'rating', 'yes_no', 'text', 'reply')


@dataclasses.dataclass(frozen=True)
class TaskDefinition:
  """What is asked.

  Attributes:
    templates: the formulations.
    slots: what their slots stand for, by name.
    preprocessors: functions of one example (see sources.py), run in a
      TensorFlow graph after the history is truncated.
    answer: a kind of ANSWERS.
    answer_slot: what is asked for; no input may have this slot.
    columns: of the interactions, that slots of your own read; an example must
      have a value in each.
  """

  templates: tuple[Template, ...]
  slots: Mapping[str, SlotFunction]
  preprocessors: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = ()
  answer: str = 'item'
  answer_slot: str = slots.TARGET
  columns: tuple[str, ...] = ()

  @property
  def of_dialogues(self) -> bool:
    """Whether an example is a turn of a dialogue, not an interaction."""
    return 'dialogue' in self.slots

  def parse(
    self, templates: Iterable[Template]
  ) -> list[tuple[tuple[Literal | Slot, ...], tuple[Literal | Slot, ...]]]:
    """Returns the parts of the inputs and of the targets of templates.

    Raises:
      GenrecError: if a slot is unknown, or inputs have that of the answer.
    """
    shown = [slot for slot in self.slots if slot != self.answer_slot]
    return [
      (
        prompts.parse(template.inputs, shown),
        prompts.parse(template.targets, self.slots),
      )
      for template in templates
    ]

  def needed_columns(self, templates: Iterable[Template]) -> tuple[str, ...]:
    """Returns the columns that templates read, each once."""
    read = [
      slots.COLUMNS[part.name]
      for sides in self.parse(templates)
      for side in sides
      for part in side
      if isinstance(part, Slot) and part.name in slots.COLUMNS
    ]
    return tuple(dict.fromkeys([*self.columns, *read]))


USER = ('user', 'profile', 'history')
ITEM = (*USER, 'item', 'title')


def _builtin(
  name: str, answer: str, shown: Sequence[str], answer_slot: str
) -> TaskDefinition:
  return TaskDefinition(
    prompts.builtin_templates(name),
    _choose_slots((*shown, answer_slot), answer_slot),
    answer=answer,
    answer_slot=answer_slot,
  )


def _choose_slots(
  names: Iterable[str], answer_slot: str
) -> dict[str, SlotFunction]:
  """Returns slots by name; a text that is asked for is whole."""
  chosen = {name: slots.SLOTS[name] for name in names}
  if answer_slot in slots.TEXTS:
    chosen[answer_slot] = slots.text_slot(answer_slot, whole=True)
  return chosen


_NEAR = (slots.RETRIEVED_ITEMS, slots.WANTED)
_OF_USER = (*USER, slots.USER_ATTRIBUTES)
_CHOICE = (*_OF_USER, slots.CANDIDATES, *_NEAR)
_RATED = (*ITEM, 'rated_history')
_JUDGED = (*_RATED, slots.ITEM_RATINGS, slots.USER_ATTRIBUTES)
_WRITTEN = (*ITEM, slots.RETRIEVED_TEXT)
_DIALOGUE = ('dialogue', 'mentioned')
# The slots of a task of one's own, by the kind of its answer: none of them
# shows an answer of that kind.
_OFFERS = {
  'item': (*_CHOICE, 'target'),
  'rating': (*_JUDGED, 'rating'),
  'yes_no': (*_JUDGED, slots.OFFERED, 'liked', 'is_next'),
  'text': (*_RATED, slots.RETRIEVED_TEXT, 'rating', *slots.TEXTS),
  'reply': (*_DIALOGUE, slots.RETRIEVED_TEXT, 'reply'),
}
BUILTIN = {
  name: _builtin(name, answer, shown, answer_slot)
  for name, answer, shown, answer_slot in (
    ('sequential', 'item', _CHOICE, 'target'),
    ('top_n', 'item', _CHOICE, 'target'),
    ('sequential_yes_no', 'yes_no', (*_OF_USER, slots.OFFERED), 'is_next'),
    ('rating', 'rating', _JUDGED, 'rating'),
    ('rating_yes_no', 'yes_no', _JUDGED, 'liked'),
    ('explanation', 'text', (*_WRITTEN, 'feature'), 'explanation'),
    ('review', 'text', (*_WRITTEN, 'rating', 'summary'), 'review'),
    ('summary', 'text', (*_WRITTEN, 'rating', 'review'), 'summary'),
    ('conversation', 'item', (*_DIALOGUE, *_NEAR), 'target'),
    (
      'conversation_reply',
      'reply',
      (*_DIALOGUE, slots.RETRIEVED_TEXT),
      'reply',
    ),
  )
}
TASKS: dict[str, TaskDefinition] = dict(BUILTIN)


def define_task(
  name: str,
  templates: Iterable[Template] | PathLike,
  *,
  slots: Mapping[str, SlotFunction] | None = None,
  preprocessors: Sequence[Callable[[dict[str, Any]], dict[str, Any]]] = (),
  answer: str = 'item',
  answer_slot: str = slots.TARGET,
  columns: Sequence[str] = (),
) -> None:
  """Adds a task of your own; defining it again replaces it.

  Args:
    name: what `genrec tokenize --tasks=…` calls it.
    templates: the formulations, or a template file.
    slots: further slots, beside those of slots.py that show no such answer.
    preprocessors: functions of one example, run before it is written.
    answer: what the answer is: 'item', 'rating', 'yes_no', 'text' or 'reply'.
    answer_slot: the slot of the answer.
    columns: of the interactions, that slots of yours read; an example must
      have a value in each.

  Raises:
    GenrecError: if the name is taken, or a template is wrong.
  """
  if name in BUILTIN:
    raise GenrecError(
      f'The task {name!r} comes with genrec_jax; name yours otherwise.'
    )
  if answer not in ANSWERS:
    raise unknown_name('kind of answer', answer, ANSWERS)
  if isinstance(templates, str | pathlib.Path):
    templates = prompts.read_templates(templates)
  offered = _choose_slots(_OFFERS[answer], answer_slot)
  definition = TaskDefinition(
    prompts.check_templates(templates),
    {**offered, **(slots or {})},
    tuple(preprocessors),
    answer=answer,
    answer_slot=answer_slot,
    columns=tuple(columns),
  )
  definition.parse(definition.templates)
  TASKS[name] = definition


def load_task_files(paths: Iterable[PathLike]) -> None:
  """Runs Python files that define tasks.

  Raises:
    GenrecError: if there is no such file.
  """
  for path in paths:
    if not pathlib.Path(path).is_file():
      raise GenrecError(
        f'No task file {path}; pass a Python file that calls'
        ' genrec_jax.tasks.registry.define_task.'
      )
    runpy.run_path(str(path))


def task_definition(name: str) -> TaskDefinition:
  """Returns the definition of a task.

  Raises:
    GenrecError: if there is none, listing the known.
  """
  if name not in TASKS:
    raise unknown_name('task (yours come with --task_files)', name, TASKS)
  return TASKS[name]
