"""What a request may say, and which slots of a template that fills."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from genrec_jax.tasks.definitions import TaskDefinition
from genrec_jax.tasks.prompts import RETRIEVED, Slot, Template
from genrec_jax.tasks.slots import HISTORIES, TEXTS
from genrec_jax.types import GenrecError

# What each slot may be filled from. No others can be filled.
FILLED_FROM = {
  'user': ('user',),
  **{name: ('user', 'history') for name in HISTORIES},
  'candidates': ('candidates',),
  'item': ('item',),
  'title': ('item',),
  'item_ratings': ('item',),
  'offered': ('item',),
  'rating': ('rating',),
  'wanted': ('wanted',),
  'user_attributes': ('user',),
  'dialogue': ('dialogue',),
  'mentioned': ('dialogue',),
  **{name: (name,) for name in TEXTS},
}
EXAMPLE_OF = {
  'candidates': '--candidates=ID,ID,ID',
  'dialogue': '--dialogue="User: I liked [TITLE]. What else is there?" (items'
  ' by title or id in brackets)',
  'history': '--history=ID,ID,ID (items by id or exact title)',
  'user': '--user=ID',
  'item': '--item=ID (or its exact title)',
  'rating': '--rating=4',
}


@dataclasses.dataclass(frozen=True)
class Request:
  """What is asked of a task; None is what was not said.

  Attributes:
    user: source id of a user of the data.
    history: ids or titles of items, oldest first, instead of the user's.
    history_ratings: the stars of each of these.
    item: id or title of the item that is spoken of, or offered.
    candidates: ids or titles of the items to choose from.
    rating: the stars that go with a review.
    feature: what an explanation is to speak of.
    wanted: an attribute that the item to be found must have.
    explanation: an explanation.
    summary: the headline of a review.
    review: a review.
    dialogue: the turns so far, see typed_dialogues.py.
  """

  user: str | None = None
  history: Sequence[str] | None = None
  history_ratings: Sequence[float] | None = None
  item: str | None = None
  candidates: Sequence[str] | None = None
  rating: float | None = None
  feature: str | None = None
  wanted: str | None = None
  explanation: str | None = None
  summary: str | None = None
  review: str | None = None
  dialogue: str | None = None

  @property
  def given(self) -> list[str]:
    """The names of what was said."""
    return [name for name in FIELDS if getattr(self, name) is not None]


FIELDS = tuple(field.name for field in dataclasses.fields(Request))


def shown_slots(
  definition: TaskDefinition, template: Template
) -> frozenset[str]:
  """Returns the slots of a template's inputs."""
  inputs, _ = definition.parse([template])[0]
  return frozenset(part.name for part in inputs if isinstance(part, Slot))


def read_fields(definition: TaskDefinition, template: Template) -> set[str]:
  """Returns the fields of a request that a template is filled from."""
  shown = shown_slots(definition, template)
  fields = {name for slot in shown for name in FILLED_FROM.get(slot, ())}
  if 'rated_history' in shown:
    fields |= {'history_ratings'}
  return fields


def lacking(
  template: Template, slot: str, fields: Sequence[str]
) -> GenrecError:
  """Returns the error of a slot that nothing fills."""
  ways = ' or '.join(EXAMPLE_OF.get(one, f'--{one}=…') for one in fields)
  return GenrecError(
    f'The template {template.name!r} ({template.inputs!r}) shows {{{slot}}},'
    f' which nothing says; pass {ways}, or another --template.'
  )


def unfillable(
  definition: TaskDefinition, template: Template, slot: str
) -> GenrecError:
  """Returns the error of a slot that a request has no way to fill."""
  able = [
    one.name
    for one in definition.templates
    if shown_slots(definition, one) <= FILLED_FROM.keys()
  ]
  why = (
    'which this run does not retrieve'
    if slot in RETRIEVED
    else 'which only interactions of the data have'
  )
  return GenrecError(
    f'The template {template.name!r} ({template.inputs!r}) shows {{{slot}}},'
    f' {why}; choose another --template: {", ".join(able)}.'
  )


def unread(
  definition: TaskDefinition, template: Template, request: Request
) -> list[str]:
  """Says what was given and is not shown, and which templates show it."""
  notes = []
  read = read_fields(definition, template)
  if not definition.of_dialogues:
    read |= {'user', 'item'}  # what they said may be looked up by these
  for name in request.given:
    if name not in read:
      able = [
        one.name
        for one in definition.templates
        if name in read_fields(definition, one)
      ]
      others = f'--template={" or ".join(able)} would' if able else 'none would'
      notes.append(f'{name} is not read by template {template.name}; {others}')
  return notes
