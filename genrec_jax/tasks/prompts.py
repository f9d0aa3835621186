"""Prompt templates as data: literal text and slots.

A template file is TOML, one table a template:

  [[template]]
  name = 'next'
  inputs = 'user {user} has bought {history} what comes next?'
  targets = '{target}'
  seen = true                # false: held out from training

A template is parsed once. Its literal runs become text pieces; a slot takes
token ids. No string that holds an id is ever tokenized, so that no id is ever
split. White space beside a slot is for the reader and is dropped.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import pathlib
import string
import tomllib
from collections.abc import Collection, Iterable, Sequence

from genrec_jax.types import GenrecError, PathLike, unknown_name

# Slots of what is there only on request; templates with them are taken when
# they are named, or when retrieval is asked for.
RETRIEVED = ('retrieved_items', 'retrieved_text')
WANTED = 'wanted'
USER_ATTRIBUTES = 'user_attributes'


@dataclasses.dataclass(frozen=True)
class Template:
  """One formulation of a task.

  Attributes:
    name: unique in its task.
    inputs: the prompt, with slots in braces; '{{' is a literal brace.
    targets: the answer, likewise.
    seen: whether tokenization takes it when no templates are named.
  """

  name: str
  inputs: str
  targets: str = '{target}'
  seen: bool = True


@dataclasses.dataclass(frozen=True)
class Literal:
  """A run of text."""

  text: str


@dataclasses.dataclass(frozen=True)
class Slot:
  """A place for token ids."""

  name: str


def parse(text: str, slots: Collection[str]) -> tuple[Literal | Slot, ...]:
  """Splits a prompt into literal runs and slots.

  >>> parse('what comes after {history} ?', ['history'])
  (Literal(text='what comes after'), Slot(name='history'), Literal(text='?'))

  Args:
    text: the prompt.
    slots: the slots that it may use.

  Raises:
    GenrecError: if a slot is unknown, or the braces do not match.
  """
  try:
    fields = list(string.Formatter().parse(text))
  except ValueError as error:
    raise GenrecError(
      f'The prompt {text!r} does not parse ({error}); write a slot as {{name}}'
      ' and a literal brace twice.'
    ) from error
  parts: list[Literal | Slot] = []
  run = ''
  for literal, name, spec, conversion in fields:
    run += literal
    if name is None:  # A doubled brace, or the end.
      continue
    if name not in slots or spec or conversion:
      whole = text if not (spec or conversion) else f'{text} (bare names only)'
      raise unknown_name(f'slot in the prompt {whole!r}:', name, slots)
    parts += [Literal(run.strip()), Slot(name)]
    run = ''
  parts.append(Literal(run.strip()))
  return tuple(part for part in parts if part != Literal(''))


def read_templates(path: PathLike) -> tuple[Template, ...]:
  """Reads a template file.

  Raises:
    GenrecError: if it is not TOML, holds no template, or one that is wrong.
  """
  path = pathlib.Path(path)
  try:
    content = tomllib.loads(path.read_text(encoding='utf-8'))
  except (OSError, ValueError) as error:
    raise GenrecError(
      f'Cannot read the template file {path}: {error}.'
    ) from error
  known = [field.name for field in dataclasses.fields(Template)]
  templates = []
  for values in content.get('template', []):
    for key in values:
      if key not in known:
        raise unknown_name(f'key in {path}:', key, known)
    if not {'name', 'inputs'} <= values.keys():
      raise GenrecError(f'A template in {path} lacks name or inputs: {values}.')
    templates.append(Template(**values))
  if not templates or len(content) > 1:
    raise GenrecError(
      f'{path} has the tables {sorted(content)}, expected [[template]] alone,'
      ' at least once.'
    )
  return check_templates(templates)


def builtin_templates(task: str) -> tuple[Template, ...]:
  """Returns the templates that come with the package for a task."""
  files = importlib.resources.files('genrec_jax.tasks') / 'templates'
  with importlib.resources.as_file(files / f'{task}.toml') as path:
    return read_templates(path)


def check_templates(templates: Iterable[Template]) -> tuple[Template, ...]:
  """Returns templates as a tuple, after checking that names differ."""
  templates = tuple(templates)
  names = [template.name for template in templates]
  for name in names:
    if names.count(name) > 1:
      raise GenrecError(
        f'{names.count(name)} templates are named {name!r}; name each its own.'
      )
  return templates


def uses(template: Template, slots: Collection[str]) -> bool:
  """Returns whether the inputs of a template have one of these slots."""
  try:
    fields = list(string.Formatter().parse(template.inputs))
  except ValueError:  # It is told when the template is parsed.
    return False
  return any(name in slots for _, name, _, _ in fields)


def choose_templates(
  templates: Sequence[Template],
  names: Sequence[str] | None,
  *,
  retrieval: bool = False,
) -> tuple[Template, ...]:
  """Returns the named templates, in the order named.

  Args:
    templates: to choose from.
    names: of those to take. None takes all that are seen and show neither what
      is retrieved, nor what is wanted, nor what users are.
    retrieval: where no names are given, take those that are seen and show what
      is retrieved, if there are such.
  """
  if names is None:
    seen = [template for template in templates if template.seen]
    retrieving = [t for t in seen if uses(t, RETRIEVED)]
    if retrieval and retrieving:
      return tuple(retrieving)
    on_request = (*RETRIEVED, WANTED, USER_ATTRIBUTES)
    return tuple(t for t in seen if not uses(t, on_request))
  by_name = {template.name: template for template in templates}
  return tuple(by_name[name] for name in names if name in by_name)


def literal_texts(
  templates: Iterable[Template], slots: Collection[str]
) -> list[str]:
  """Returns the literal runs of templates, each once, in order."""
  return list(
    dict.fromkeys(
      part.text
      for template in templates
      for prompt in (template.inputs, template.targets)
      for part in parse(prompt, slots)
      if isinstance(part, Literal)
    )
  )
