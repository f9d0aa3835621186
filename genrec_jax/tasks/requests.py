"""Requests: examples made of what a person passes or types.

A request names a user, items and texts as the data set does. It becomes an
example as sources.py describes it and runs through the task's own
preprocessors, slots and template, so that its prompt is what tokenization
would have written. What is not said is taken from the data where the user is
in it: their history, the item held out, what they said of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genrec_jax.data import splits
from genrec_jax.data.token_cache import Ragged, TokenExamples
from genrec_jax.data.user_attributes import read_user_attributes
from genrec_jax.decoding.new_users import NOBODY
from genrec_jax.tasks import (
  prompts,
  request_rows,
  retrieved,
  sources,
  tokenization,
  typed_dialogues,
)
from genrec_jax.tasks.definitions import TaskDefinition, task_definition
from genrec_jax.tasks.prompts import WANTED, Template
from genrec_jax.tasks.registry import (
  SETTINGS,
  load_task_data,
  load_task_files,
  make_task,
)
from genrec_jax.tasks.request_fields import (
  EXAMPLE_OF,
  FIELDS,
  FILLED_FROM,
  Request,
  lacking,
  read_fields,
  shown_slots,
  unfillable,
  unread,
)
from genrec_jax.tasks.request_rows import Knowledge, Place
from genrec_jax.tasks.slots import (
  CANDIDATES,
  COLUMNS,
  HISTORIES,
  ITEM_RATINGS,
  OFFERED,
  RETRIEVED_TEXT,
  TEXTS,
  USER_ATTRIBUTES,
)
from genrec_jax.types import UNK_ID, GenrecError, PathLike, unknown_name


@dataclasses.dataclass(frozen=True, eq=False)
class Asked:
  """A request as the model reads it.

  Attributes:
    task: what is asked.
    template: in which words.
    examples: one example; its answer is the true one where `part` is known.
    part: the part of the split that the true answer is of, None where there is
      no true answer.
    about: whom and what the prompt is about, for people, by name.
    notes: what was cut, left out, unknown, or taken from the data.
  """

  task: str
  template: Template
  examples: TokenExamples
  part: str | None
  about: Mapping[str, str]
  notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class _Filled:
  """An example before it is written: its source, and what is known of it."""

  source: Any
  known: splits.Examples | sources.DialogueTargets
  row: int | None
  further: dict[str, np.generic | np.ndarray | str]
  part: str | None
  about: Mapping[str, str]
  notes: Sequence[str]


class RequestReader:
  """Reads requests to the tasks of a run.

  Args:
    run_dir: the run, with its dataset, ids and tokens.
    task_files: Python files that define tasks of your own.
    split: of a user of the data, prompts show what was before their last
      interaction of this part.

  Raises:
    GenrecError: if an artefact is missing, or the split is none.
  """

  def __init__(
    self,
    run_dir: PathLike,
    *,
    task_files: Sequence[PathLike] = (),
    split: str = 'test',
  ):
    load_task_files(task_files)
    self.data, self.cache = load_task_data(run_dir)
    settings = self.cache.manifest['settings']
    self.settings = {name: settings[name] for name in SETTINGS}
    columns = settings.get('user_attributes', ())
    self._attributes = None
    if columns:
      users = self.data.dataset.users
      self._attributes = read_user_attributes(users, columns)
      self.settings |= {'user_attributes': columns}
    self._wanted = settings.get('wanted', 'attributes')
    self._retrieval = retrieved.RetrievalSettings(
      **{
        field.name: settings[field.name]
        for field in dataclasses.fields(retrieved.RetrievalSettings)
        if field.name in settings
      }
    )
    self.knowledge = Knowledge(self.data, split)

  def template(self, task: str, name: str | None = None) -> Template:
    """Returns a template of a task; by default that of evaluation.

    Raises:
      GenrecError: if the run has no such task, or the task no such template.
    """
    if task not in self.cache.tasks():
      raise unknown_name('task of this run', task, self.cache.tasks())
    if name is None:
      name = self.cache.manifest['settings']['evaluation_template'][task]
    templates = {one.name: one for one in task_definition(task).templates}
    if name not in templates:
      raise unknown_name(f'template of task {task!r}', name, templates)
    return templates[name]

  def questions(self, task: str, template: Template) -> list[str]:
    """Returns what may be said to a template, in the order in which to ask."""
    definition = task_definition(task)
    shown = shown_slots(definition, template)
    asked = read_fields(definition, template)
    if not definition.of_dialogues:
      asked |= {'user'}
    if 'rated_history' not in shown:
      asked -= {'history_ratings'}
    return [name for name in FIELDS if name in asked]

  def read(
    self, task: str, request: Request, *, template: str | None = None
  ) -> Asked:
    """Returns the prompt of a request.

    Raises:
      GenrecError: if a user, an item, a task or a template is unknown, or the
        template shows what was not said.
    """
    chosen = self.template(task, template)
    definition = task_definition(task)
    shown = shown_slots(definition, chosen)
    if definition.of_dialogues:
      filled = self._fill_dialogue(definition, chosen, shown, request)
    else:
      filled = self._fill_interaction(definition, chosen, shown, request)
    if WANTED in shown and request.wanted is not None:
      filled.further[WANTED] = request.wanted
    elif WANTED in shown and filled.row is None:
      raise lacking(chosen, WANTED, (WANTED,))
    examples = self._write(definition, chosen, filled)
    notes = [*unread(definition, chosen, request), *filled.notes]
    unknown = int((examples.inputs.values == UNK_ID).sum())
    if unknown:
      notes.append(f'{unknown} pieces of the prompt are unknown to the model')
    return Asked(
      task, chosen, examples, filled.part, filled.about, tuple(notes)
    )

  def _write(
    self, definition: TaskDefinition, template: Template, filled: _Filled
  ) -> TokenExamples:
    """Runs an example through the preprocessors of its task."""

    def add(example):
      return {**example, **filled.further}

    task = make_task(
      'request',
      dataclasses.replace(
        definition, preprocessors=(add, *definition.preprocessors)
      ),
      self.data,
      templates=[template],
      source=filled.source,
      **self.settings,
    )
    features = tokenization.read_features(task, 'test')
    if not len(features['inputs'].values):
      raise GenrecError(
        f'The prompt of template {template.name!r} is empty, as nothing is'
        f' known before what is asked for; pass {EXAMPLE_OF["history"]}, or'
        ' another user.'
      )
    return TokenExamples(
      inputs=features['inputs'],
      targets=features['targets'],
      user=filled.known.user,
      target=filled.known.target,
      tied=filled.known.tied,
      history=filled.known.ragged_histories(),
    )

  def _fill_dialogue(
    self,
    definition: TaskDefinition,
    template: Template,
    shown: frozenset[str],
    request: Request,
  ) -> _Filled:
    """Returns the example of a typed dialogue."""
    if request.dialogue is None:
      raise lacking(template, 'dialogue', ('dialogue',))
    items = self.knowledge.items
    for slot in sorted(shown - FILLED_FROM.keys()):
      raise unfillable(definition, template, slot)
    turns, unknown = typed_dialogues.read_turns(request.dialogue, items)
    source, example, (whole, shown) = typed_dialogues.dialogue_source(
      turns, self.data, max_text=self.settings['max_text']
    )
    notes = []
    for name in dict.fromkeys(unknown):
      near = ', '.join(items.near(name))
      notes.append(
        f'[{name}] is no item and stays text'
        + (f'; near it are {near}' if near else '')
      )
    if shown < whole:
      notes.append(
        f'the dialogue has {whole:,} tokens; {shown:,} are read, its last turns'
      )
    return _Filled(source, example, None, {}, None, {}, notes)

  def _fill_interaction(
    self,
    definition: TaskDefinition,
    template: Template,
    shown: frozenset[str],
    request: Request,
  ) -> _Filled:
    """Returns the example of a user, an item and texts."""
    about_target = definition.answer != 'item' and OFFERED not in shown
    place = self.knowledge.place(request, about_target=about_target)
    self._check_filled(template, shown, request, place)
    columns = definition.needed_columns([template])
    answer = COLUMNS.get(definition.answer_slot)
    values, notes = {}, list(place.notes)
    for column in columns:
      said = None if column == answer else getattr(request, column, None)
      if said is None:
        values[column] = self.knowledge.value(place.row, column)
      else:
        values[column], mended = self.knowledge.check_value(column, said)
        notes += mended
      if column in shown and column != answer:
        if values[column] is None:
          raise lacking(template, column, (column,))
        if said is None:
          notes.append(f'{column}: as the user gave it')
    about = {}
    if place.user is not None:
      about['user'] = self.knowledge.users.ids[place.user]
    if shown & {*HISTORIES}:
      about['history'] = f'{len(place.history)} items'
    if place.item is not None:
      about['item'] = self.knowledge.name(place.item)
    notes += self.knowledge.cut(shown, place, values, self.settings)
    small = request_rows.one_user(self.data.dataset, place, values)
    known = splits.examples_at(small, np.array([len(place.history)]))
    has_answer = answer is None or values.get(answer) is not None
    part = None
    if place.row is not None and has_answer:
      part = splits.PART_NAMES[self.data.split.part[place.row]]
    more = self._look_up(definition, template, shown, place, known)
    return _Filled(
      sources.interactions_source(
        small, {'test': known}, columns, {'test': more}
      ),
      known,
      place.row,
      self._further(place, request, offers=OFFERED in shown),
      part,
      about,
      notes,
    )

  def _look_up(
    self,
    definition: TaskDefinition,
    template: Template,
    shown: frozenset[str],
    place: Place,
    known: splits.Examples,
  ) -> dict[str, Ragged | list[str]]:
    """Returns what was retrieved, and what the target is wanted for."""
    more: dict[str, Ragged | list[str]] = {}
    if place.row is not None:
      known = splits.examples_at(self.data.dataset, np.array([place.row]))
      if WANTED in shown:
        more[WANTED] = self.data.wishes(known, self._wanted)
    if place.user is None:
      # Whoever stands in the first row of the table is somebody else.
      nobody = np.full(len(known), NOBODY, np.int32)
      known = dataclasses.replace(known, user=nobody)
    if USER_ATTRIBUTES in shown:
      more[USER_ATTRIBUTES] = self._shown_attributes(template, known)
    if ITEM_RATINGS in shown:
      more[ITEM_RATINGS] = self.data.item_ratings(known)
    retrieving = shown & {*prompts.RETRIEVED}
    # Texts are found by those of the interaction that is asked about.
    by_text = RETRIEVED_TEXT in shown and shown & {*TEXTS}
    if self._retrieval.retrieval == retrieved.NONE or (
      by_text and place.row is None
    ):
      retrieving = frozenset()
    for slot in sorted(shown - FILLED_FROM.keys() - retrieving):
      if slot in prompts.RETRIEVED or place.row is None:
        raise unfillable(definition, template, slot)
    if retrieving:
      found = retrieved.retrieve(
        self.data,
        definition,
        [template],
        {'test': known},
        self._retrieval,
        max_history=self.settings['max_history'],
      )
      more |= found['test'].features()
    return more

  def _shown_attributes(self, template, known: splits.Examples) -> Ragged:
    """Returns what a prompt says of its user; of nobody all is unknown."""
    if self._attributes is None:
      raise GenrecError(
        f'The template {template.name!r} shows {{user_attributes}}, but the'
        ' tokens of this run were made without; choose another --template.'
      )
    return self._attributes.ragged(known.user)

  def _further(self, place: Place, request: Request, *, offers: bool):
    """Returns the features that are in no table."""
    further: dict[str, Any] = {}
    if place.row is not None:
      # What is drawn at random is drawn by the number of the row.
      further['row'] = np.int64(place.row)
    if offers and place.item is not None:
      further[OFFERED] = np.int32(place.item)
    if request.candidates is not None:
      rows = [self.knowledge.items.find(one) for one in request.candidates]
      further[CANDIDATES] = np.array(rows, np.int32)
    return further

  def _check_filled(self, template, shown, request, place) -> None:
    """Raises an error that names the first slot that nothing fills."""
    has_users = bool(self.data.ids.user_codebook_sizes)
    no_user = place.user is None
    for slot in sorted(shown):
      if slot == 'user' or (slot == 'profile' and has_users):
        lacks, needed = has_users and no_user, ('user',)
      elif slot in HISTORIES:
        lacks, needed = no_user and request.history is None, FILLED_FROM[slot]
      elif slot in ('item', 'title'):
        lacks, needed = place.item is None, ('item', 'user')
      elif slot == 'offered':
        lacks, needed = place.item is None and place.row is None, ('item',)
      elif slot == 'candidates':
        lacks = request.candidates is None and place.row is None
        needed = ('candidates',)
      else:
        continue
      if lacks:
        raise lacking(template, slot, needed)
