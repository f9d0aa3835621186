"""Asks a trained model one thing, and shows how it came to its answer."""

from __future__ import annotations

import json
import os
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from typing import Any

from genrec_jax import arguments
from genrec_jax.answering.run import load_run
from genrec_jax.answering.texts import TextDecoding
from genrec_jax.reporting.worked_examples import (
  Asking,
  tell_example,
  write_page,
)
from genrec_jax.types import GenrecError, PathLike, unknown_name

WIDTH = 80


def try_model(
  *,
  run_dir: PathLike,
  model,
  task: str | None = None,
  user: str | None = None,
  history: str | Sequence[str] | None = None,
  history_ratings: float | Sequence[float] | None = None,
  item: str | None = None,
  candidates: str | Sequence[str] | None = None,
  rating: float | None = None,
  feature: str | None = None,
  wanted: str | None = None,
  explanation: str | None = None,
  summary: str | None = None,
  review: str | None = None,
  dialogue: str | None = None,
  template: str | None = None,
  split: str = 'test',
  top_k: int = 10,
  num_beams: int = 20,
  exclude_seen: bool | None = None,
  text_beams: int | None = None,
  temperature: float | None = None,
  top_k_tokens: int | None = None,
  top_p: float | None = None,
  num_samples: int = 1,
  max_length: int | None = None,
  seed: int = 0,
  checkpoint: str | int = 'best',
  page: bool = False,
  page_examples: int = 3,
  task_files: Sequence[PathLike] = (),
) -> list[dict[str, Any]]:
  """Shows what the model answers to a user, an item, a text or a dialogue.

  The prompt is written as `genrec tokenize` would have. What is not said is
  taken from the data: the history of a user, the last item of theirs, what
  they wrote of it; then the true answer is shown, too. Without any of these
  flags it asks for them on a terminal, and elsewhere reads a request a line
  from stdin, a JSON object with the names of the flags:
  {"user": "u12", "item": "i34"}.

  Args:
    run_dir: the run directory.
    model: the model class that the checkpoint is of.
    task: of the run; by default its first.
    user: source id of a user of the data.
    history: ids or exact titles of items, oldest first, instead of the user's
      (--history=ID,ID; titles with commas as a list: --history="['A, B']").
    history_ratings: the stars of each of these.
    item: id or exact title of the item that is spoken of, or offered.
    candidates: ids or titles of the items to choose from.
    rating: the stars that go with a review.
    feature: what an explanation is to speak of.
    wanted: an attribute that the item to be found is to have.
    explanation: an explanation, for tasks that read one.
    summary: the headline of a review.
    review: a review.
    dialogue: "User: I liked [TITLE]. System: ... User: ...", items by title or
      id in brackets.
    template: of the task, held-out ones too; by default that of evaluation.
    split: of a user of the data: 'test', what was before their last item, or
      'validation', before the last but one, or 'train', before the last that
      the model has learnt.
    top_k: how many items to list.
    num_beams: of items: the width of the search, at least top_k.
    exclude_seen: of items: leave out those of the history; by default so, but
      not in dialogues.
    text_beams: of texts: search with so many beams, and show all.
    temperature: of texts: draw them, with logits divided by this.
    top_k_tokens: draw from the k likeliest tokens.
    top_p: draw from the nucleus of this probability.
    num_samples: how many texts to draw.
    max_length: of texts: the most tokens; by default as many as are learnt.
    seed: of what is drawn.
    checkpoint: 'best' (on validation), 'last' or a step.
    page: write RUN_DIR/examples.html instead: some examples of the split of
      every task (or of `task`), prompt, answer and truth.
    page_examples: how many a task.
    task_files: Python files that define tasks of your own.

  Returns:
    The worked examples, see reporting/worked_examples.py.

  Raises:
    GenrecError: if an artefact is missing, a name is unknown, or the template
      shows what was not said.
  """
  if not 1 <= top_k <= num_beams:
    raise GenrecError(
      f'Got top_k={top_k} with num_beams={num_beams}, expected from 1 to'
      ' num_beams; raise num_beams.'
    )
  said = {
    'user': user,
    'history': history,
    'history_ratings': history_ratings,
    'item': item,
    'candidates': candidates,
    'rating': rating,
    'feature': feature,
    'wanted': wanted,
    'explanation': explanation,
    'summary': summary,
    'review': review,
    'dialogue': dialogue,
  }
  said = {name: value for name, value in said.items() if value is not None}
  decoding = TextDecoding(
    num_beams=text_beams,
    temperature=temperature,
    top_k=top_k_tokens,
    top_p=top_p,
    num_samples=num_samples,
    max_length=max_length,
    seed=seed,
  )
  asking = Asking(
    load_run(run_dir, model, checkpoint=checkpoint),
    top_k,
    num_beams,
    exclude_seen,
    decoding,
  )
  if page:
    if said:
      raise GenrecError(
        f'A page shows examples of the data, so it takes no --{[*said][0]};'
        ' leave it or --page out.'
      )
    return write_page(asking, task, split, page_examples, seed)
  # SeqIO takes seconds to import; what TensorFlow has to say is of no use here.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  from genrec_jax.tasks.requests import RequestReader

  reader = RequestReader(run_dir, task_files=task_files, split=split)
  task = asking.run.cache.tasks()[0] if task is None else task
  reader.template(task, template)  # an unknown one is told before all else
  shown = []
  if said:
    shown.append(_ask(asking, reader, task, template, said))
  elif sys.stdin.isatty() and asking.run.facts(task).of_dialogues:
    return _converse(asking, reader, task, template)
  elif sys.stdin.isatty():
    for said in _interview(reader, task, template):
      try:
        shown.append(_ask(asking, reader, task, template, said))
      except GenrecError as error:
        _complain(error)
  else:
    for number, said in _read_lines(sys.stdin):
      try:
        shown.append(_ask(asking, reader, task, template, said))
      except GenrecError as error:
        raise GenrecError(f'Line {number} of stdin: {error}') from error
  if not shown:
    questions = reader.questions(task, reader.template(task, template))
    raise GenrecError(
      f'Nothing was asked of task {task!r}; pass some of'
      f' {", ".join(f"--{name}" for name in questions)}, such as'
      f' {_suggest(reader, questions)}, or a JSON object a line on stdin.'
    )
  return shown


def _ask(asking, reader, task, template, said) -> dict[str, Any]:
  """Answers one request, and prints it."""
  start = time.perf_counter()
  asked = reader.read(task, _request(said), template=template)
  example = asking.describe(task, asked.examples, [asked.part is not None])[0]
  example |= {
    'template': asked.template.name,
    'about': dict(asked.about),
    'notes': list(asked.notes),
    'part': asked.part,
  }
  about = ', '.join(f'{name} {value}' for name, value in asked.about.items())
  held_out = '' if asked.template.seen else ' (held out of training)'
  lines = [
    f'Task {task}, template {asked.template.name}{held_out}, checkpoint'
    f' {asking.run.step}',
    *([f'Of {about}'] if about else []),
    *(textwrap.fill(f'! {note}', WIDTH) for note in asked.notes),
    'Prompt, as the model reads it:',
    textwrap.indent(textwrap.fill(example['prompt'], WIDTH - 2), '  '),
    'Answer:',
    textwrap.indent(tell_example(example), '  '),
  ]
  if asked.part is not None:
    seen = ', which the model has learnt' if asked.part == 'train' else ''
    lines.append(f'Truth ({asked.part} part{seen}): {example["truth"]}')
  seconds = time.perf_counter() - start
  print('\n'.join(lines) + f'\n{seconds:.1f} s\n', flush=True)
  return example


def _request(said: dict[str, Any]):
  """Returns what was said as a request.

  Raises:
    GenrecError: if a name or a value is none of a request.
  """
  from genrec_jax.tasks.request_fields import FIELDS, Request

  hints = arguments.hints(try_model)
  values = dict(said)
  for name, value in values.items():
    if name not in FIELDS:
      raise unknown_name('part of a request', name, FIELDS)
    arguments.check(name, value, hints[name])
    if name in ('history', 'candidates') and isinstance(value, str):
      values[name] = tuple(one.strip() for one in value.split(','))
    if name == 'history_ratings' and isinstance(value, int | float):
      values[name] = (value,)
  return Request(**values)


def _read_lines(lines) -> Iterator[tuple[int, dict[str, Any]]]:
  """Yields the number and the request of each line that is not blank."""
  for number, line in enumerate(lines, start=1):
    if not line.strip():
      continue
    try:
      said = json.loads(line)
    except ValueError as error:
      raise GenrecError(
        f'Line {number} of stdin is no JSON ({error}); expected an object such'
        ' as {"user": "u12", "item": "i34"}.'
      ) from error
    if not isinstance(said, dict):
      raise GenrecError(
        f'Line {number} of stdin is {line.strip()[:40]}, expected an object'
        ' such as {"user": "u12", "item": "i34"}.'
      )
    yield number, said


def _interview(reader, task, template) -> Iterator[dict[str, Any]]:
  """Yields what a person at a terminal says, until they say nothing."""
  questions = reader.questions(task, reader.template(task, template))
  print(
    f'Task {task}. Enter leaves out what the data know, such as the history of'
    ' a user; nothing at all ends.'
  )
  while True:
    said: dict[str, Any] = {}
    for name in questions:
      if name == 'history' and 'user' in said:
        continue
      if name == 'history_ratings' and 'history' not in said:
        continue
      text = _input(f'{name}: ')
      if text is None:
        return
      if text:
        said[name] = text
    if not said:
      return
    try:
      yield {
        name: arguments.read_flag('try', try_model, name, text)
        for name, text in said.items()
      }
    except GenrecError as error:
      _complain(error)


def _converse(asking, reader, task, template) -> list[dict[str, Any]]:
  """Talks with a person at a terminal, until they say nothing."""
  print(
    f'Task {task}. Name items by title or id in brackets; nothing at all ends.'
  )
  shown, talk = [], ''
  while text := _input('User: '):
    asked = f'{talk} User: {text}'.strip()
    try:
      example = _ask(asking, reader, task, template, {'dialogue': asked})
    except GenrecError as error:
      _complain(error)
      continue
    shown.append(example)
    said = example.get('texts', [{}])[0].get('text', '')
    talk = f'{asked} System: {said}' if said else asked
  return shown


def _complain(error: GenrecError) -> None:
  print(textwrap.fill(f'genrec: {error}', WIDTH), file=sys.stderr)


def _input(question: str) -> str | None:
  """Returns what is typed; None at the end of all input."""
  try:
    return input(question).strip()
  except EOFError:
    print()
    return None


def _suggest(reader, questions: Sequence[str]) -> str:
  """Returns flags that work, for people to start from."""
  if 'dialogue' in questions:
    return '--dialogue="User: What can you recommend?"'
  return f"--user='{reader.knowledge.users.ids[0]}'"
