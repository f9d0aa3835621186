"""What is known of a task of a token cache."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from genrec_jax.data.token_cache import TokenCache, TokenExamples
from genrec_jax.decoding.recommend import take_examples
from genrec_jax.types import GenrecError, unknown_name

# Of caches that do not say so themselves: what the built-in tasks ask for.
_ANSWER_SLOTS = {
  'rating': 'rating',
  'rating_yes_no': 'liked',
  'sequential_yes_no': 'is_next',
  'explanation': 'explanation',
  'review': 'review',
  'summary': 'summary',
  'conversation_reply': 'reply',
}
_OF_DIALOGUES = ('conversation', 'conversation_reply')


@dataclasses.dataclass(frozen=True)
class TaskFacts:
  """A task, as `genrec tokenize` wrote it down.

  Attributes:
    name: of the task.
    kind: of its answer: 'item', 'rating', 'yes_no', 'text' or 'reply'.
    asked: the slot of its answer: 'target', 'rating', 'review', ...
    of_dialogues: whether an example is a turn of a dialogue; else it is an
      interaction.
    choices: of ratings and yes or no: the text, value and tokens of each.
    lacking: interactions of each part that lack what the task needs.
    cut: texts by column that are longer than is shown or learnt.
    prompt: the slots of the prompt that it is evaluated with; none where the
      cache does not say.
  """

  name: str
  kind: str
  asked: str
  of_dialogues: bool
  choices: tuple[tuple[str, float, tuple[int, ...]], ...]
  lacking: Mapping[str, int]
  cut: Mapping[str, int]
  prompt: tuple[str, ...] = ()

  @property
  def values(self) -> list[float]:
    """The values of the choices."""
    return [value for _, value, _ in self.choices]


def task_facts(cache: TokenCache, task: str) -> TaskFacts:
  """Returns what a token cache says of one of its tasks.

  Raises:
    GenrecError: if it has no such task.
  """
  if task not in cache.tasks():
    raise unknown_name('task of the token cache', task, cache.tasks())
  known = cache.manifest.get('settings', {}).get('tasks', {}).get(task, {})
  return TaskFacts(
    name=task,
    kind=known.get('answer', 'item'),
    asked=known.get('answer_slot', _ANSWER_SLOTS.get(task, 'target')),
    of_dialogues=known.get('of_dialogues', task in _OF_DIALOGUES),
    choices=tuple(
      (text, float(value), tuple(tokens))
      for text, value, tokens in known.get('choices', ())
    ),
    lacking=known.get('lacking', {}),
    cut=known.get('cut', {}),
    prompt=tuple(known.get('prompt', ())),
  )


def choose_tasks(
  cache: TokenCache, tasks: Sequence[str] | str | None, split: str
) -> list[str]:
  """Returns the tasks named, or all that have the part.

  One text may name several, with commas between.

  Raises:
    GenrecError: if one is unknown, or none has the part.
  """
  if isinstance(tasks, str):
    tasks = [task.strip() for task in tasks.split(',')]
  if tasks is None:
    tasks = [task for task in cache.tasks() if split in cache.parts(task)]
  for task in tasks:
    if task not in cache.tasks():
      raise unknown_name('task of the token cache', task, cache.tasks())
  if not tasks:
    raise GenrecError(
      f'None of the tasks {", ".join(cache.tasks())} has examples of the'
      f' {split} part; tokenize data that have.'
    )
  return list(dict.fromkeys(tasks))


def sample_examples(
  examples: TokenExamples,
  max_examples: int | None,
  seed: int,
  *,
  whole_turns: bool = False,
) -> tuple[TokenExamples, dict[str, int] | None]:
  """Returns examples, and what the sample is if it is one.

  Args:
    examples: E of them.
    max_examples: how many to take; None for all.
    seed: of the draw.
    whole_turns: of dialogues: so many turns, with all that each of them names.

  Raises:
    GenrecError: if `max_examples` is below 1.
  """
  if max_examples is not None and max_examples < 1:
    raise GenrecError(f'Got max_examples={max_examples}, expected at least 1.')
  bounds = np.arange(len(examples) + 1)
  if whole_turns:
    bounds = turn_offsets(examples)
  if max_examples is None or max_examples >= len(bounds) - 1:
    return examples, None
  random = np.random.default_rng(seed)
  chosen = np.sort(random.choice(len(bounds) - 1, max_examples, False))
  rows = np.concatenate([np.arange(*bounds[i : i + 2]) for i in chosen])
  subset = {'examples': len(rows), 'of': len(examples), 'seed': seed}
  return take_examples(examples, rows), subset


def turn_offsets(examples: TokenExamples) -> Int[np.ndarray, 'turns+1']:
  """Returns where each turn of dialogues starts among examples, and the end.

  Examples of one turn follow each other and have the same dialogue and input.
  """
  starts = [
    row
    for row in range(len(examples))
    if row == 0
    or examples.user[row] != examples.user[row - 1]
    or not np.array_equal(examples.inputs[row], examples.inputs[row - 1])
  ]
  return np.array([*starts, len(examples)])
