"""Worked examples: what the model read, what it answered, what was true.

Each is a dictionary of JSON values, told as text or shown on a page:

  task, kind   the task, and the kind of its answer
  prompt       as the model reads it, items by [name]
  truth        the true answer as text; None where it is not known
  items        of an 'item': rank, item, name, score, path of each
  rating       of a 'rating': expected, choices, generated
  yes          of a 'yes_no': the probability
  texts        of a 'text' or 'reply': text, log_probability, ended, mentions;
               or the reason why the answer is none

A path is the tokens of an item, each with the number of items under it.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from genrec_jax import artifacts
from genrec_jax.answering.answer import Answers, answer
from genrec_jax.answering.choices import RatingAnswers, YesNoAnswers
from genrec_jax.answering.facts import (
  TaskFacts,
  choose_tasks,
  sample_examples,
)
from genrec_jax.answering.items import (
  describe_items,
  item_paths,
  tell_items,
  tell_path,
)
from genrec_jax.answering.prompts import spell_prompt
from genrec_jax.answering.run import Run
from genrec_jax.answering.texts import TextAnswers, TextDecoding
from genrec_jax.data.token_cache import Ragged, TokenExamples
from genrec_jax.decoding.recommend import Lists
from genrec_jax.evaluation.outputs import (
  NO_ITEM,
  REASONS,
  DialogueTurn,
  Failure,
  Rating,
)
from genrec_jax.types import PAD_ID, GenrecError

PAGE = 'examples.html'
# Prompts are filled up to a multiple of this, so that few lengths compile.
STEP = 32
WIDTH = 76  # of texts that are told
BAR = 24  # the characters of a probability of one


@dataclasses.dataclass(frozen=True)
class Asking:
  """A model, and how it answers."""

  run: Run
  top_k: int
  num_beams: int
  exclude_seen: bool | None
  decoding: TextDecoding

  def describe(
    self, task: str, examples: TokenExamples, known: Sequence[bool]
  ) -> list[dict[str, Any]]:
    """Returns examples with their answers."""
    answers = answer(
      self.run,
      task,
      fill_up(examples),
      num_beams=self.num_beams,
      exclude_seen=self.exclude_seen,
      text_decoding=self.decoding,
    )
    return describe_examples(
      self.run, task, examples, answers, known=known, top_k=self.top_k
    )


def fill_up(examples: TokenExamples) -> TokenExamples:
  """Returns examples whose inputs are padded to a multiple of STEP.

  The model does not see padding; another length would compile anew.
  """
  rows = [examples.inputs[row] for row in range(len(examples))]
  padded = [
    np.pad(row, (0, -len(row) % STEP), constant_values=PAD_ID) for row in rows
  ]
  return dataclasses.replace(examples, inputs=Ragged.from_rows(padded))


def write_page(
  asking: Asking,
  task: str | None,
  split: str,
  page_examples: int,
  seed: int,
) -> list[dict[str, Any]]:
  """Writes the page of worked examples, and returns them."""
  # Late, because an answer that is printed does not need Jinja.
  from genrec_jax.reporting import page

  run, shown = asking.run, {}
  for name in choose_tasks(run.cache, task, split):
    examples, _ = sample_examples(
      run.cache.examples(name, split), page_examples, seed
    )
    if split == 'train' and run.facts(name).kind == 'item':
      examples = _with_history(asking, name, examples)
    shown[name] = asking.describe(name, examples, [True] * len(examples))
  path = run.directory / PAGE
  facts = [
    ('checkpoint', run.step),
    ('examples', f'{page_examples} a task of the {split} part, seed {seed}'),
    ('search for items', f'{asking.num_beams} beams'),
    ('decoding of texts', tell_decoding(asking.decoding)),
    ('tokens', run.cache.fingerprint[:12]),
  ]
  html = page.render(
    {
      'title': f'Worked examples: {run.directory.resolve().name}',
      'subtitle': 'What the model was asked, what it answered, what was true.',
      'facts': facts,
      'tasks': shown,
    },
    'examples_page.html',
  )
  artifacts.write_text(path, html)
  # For `genrec ledger`, which shows those of several runs.
  artifacts.write_json(
    path.with_suffix('.json'), {'facts': dict(facts), 'tasks': shown}
  )
  print(
    f'{sum(map(len, shown.values()))} examples of {len(shown)} tasks, {split}'
    f' part: {path}'
  )
  return [example for examples in shown.values() for example in examples]


def _with_history(
  asking: Asking, task: str, examples: TokenExamples
) -> TokenExamples:
  """Returns train examples with their histories, which are to be left out.

  Raises:
    GenrecError: if it is not known what these are.
  """
  # Late, because a machine without the dataset needs no Arrow.
  from genrec_jax.data.dataset import Dataset
  from genrec_jax.measuring.train_data import earlier_items

  of_dialogues = asking.run.facts(task).of_dialogues
  excluded = asking.exclude_seen
  if not (not of_dialogues if excluded is None else excluded):
    return examples
  directory = asking.run.directory / 'dataset'
  if of_dialogues or not (directory / artifacts.MANIFEST).exists():
    where = 'nothing else does' if of_dialogues else f'there is no {directory}'
    raise GenrecError(
      f'The tokens do not say what train examples of task {task!r} had seen,'
      f' and {where}; pass --exclude_seen=False, or --split=validation.'
    )
  history = earlier_items(Dataset.load(directory), examples)
  return dataclasses.replace(examples, history=history)


def tell_decoding(decoding: TextDecoding) -> str:
  """Returns how texts are decoded, as text: what is not by default."""
  default = dataclasses.asdict(TextDecoding())
  told = [
    f'{name}={value}'
    for name, value in dataclasses.asdict(decoding).items()
    if value != default[name]
  ]
  return ', '.join(told) or 'greedy'


def describe_examples(
  run: Run,
  task: str,
  examples: TokenExamples,
  answers: Answers,
  *,
  known: Sequence[bool],
  top_k: int = 10,
) -> list[dict[str, Any]]:
  """Returns the worked examples of a task.

  Args:
    run: the model.
    task: of the token cache.
    examples: what was asked, E of them.
    answers: what `answering.answer` gave for these.
    known: whether the true answer of each example is known.
    top_k: how many items of a list to show.
  """
  facts = run.facts(task)
  described = []
  for row in range(len(examples)):
    record = {
      'task': task,
      'kind': facts.kind,
      'prompt': spell_prompt(examples.inputs[row], run.layout, run.parser),
      'truth': None,
    }
    if known[row]:
      record |= _describe_truth(run, facts, examples, row)
    if isinstance(answers, Lists):
      record['items'] = describe_items(
        run, answers.items[row, :top_k], answers.scores[row, :top_k]
      )
    elif isinstance(answers, RatingAnswers):
      record['rating'] = _describe_rating(facts, answers, row)
    elif isinstance(answers, YesNoAnswers):
      record['yes'] = float(answers.yes[row])
    else:
      record['texts'] = _describe_texts(run, answers, row)
    described.append(record)
  return described


def _describe_truth(
  run: Run, facts: TaskFacts, examples: TokenExamples, row: int
) -> dict[str, Any]:
  if facts.kind == 'item':
    item = int(examples.target[row])
    return {'truth': run.cache.item_names[item], 'true_item': item}
  return {'truth': spell_prompt(examples.targets[row], run.layout, run.parser)}


def _describe_rating(
  facts: TaskFacts, answers: RatingAnswers, row: int
) -> dict[str, Any]:
  scores = answers.log_probabilities[row]
  shares = np.exp(scores - np.logaddexp.reduce(scores))
  generated = answers.generated[row]
  return {
    'expected': float(answers.expected[row]),
    'choices': [
      {'text': text, 'value': value, 'probability': float(share)}
      for (text, value, _), share in zip(facts.choices, shares)
    ],
    'generated': (
      {'value': generated.value, 'clamped': generated.clamped}
      if isinstance(generated, Rating)
      else _describe_failure(generated)
    ),
  }


def _describe_texts(
  run: Run, answers: TextAnswers, row: int
) -> list[dict[str, Any]]:
  described = []
  for number, output in enumerate(answers.outputs[row]):
    score = float(answers.log_probabilities[row, number])
    if not np.isfinite(score):  # A search may find fewer than it has beams.
      continue
    record: dict[str, Any] = {
      'log_probability': score,
      'ended': bool(answers.ended[row, number]),
    }
    if isinstance(output, Failure):
      described.append(record | _describe_failure(output))
      continue
    record |= {'text': output.text, 'mentions': []}
    if isinstance(output, DialogueTurn):
      record['text'] = _bracket_mentions(output)
      record['mentions'] = [
        {
          'item': mention.item,
          'name': output.text[mention.start : mention.stop],
          'path': item_paths(run, [mention.item])[0],
        }
        for mention in output.mentions
        if mention.item != NO_ITEM
      ]
    described.append(record)
  return described


def _bracket_mentions(turn: DialogueTurn) -> str:
  """Returns what is said, items by [name]."""
  said, end = [], 0
  for mention in turn.mentions:
    said.append(turn.text[end : mention.start])
    said.append(f'[{turn.text[mention.start : mention.stop]}]')
    end = mention.stop
  return ''.join([*said, turn.text[end:]])


def _describe_failure(failure: Failure) -> dict[str, Any]:
  return {
    'failure': failure.reason,
    'means': REASONS[failure.reason],
    'said': failure.raw,
  }


def tell_example(example: dict[str, Any]) -> str:
  """Returns a worked example as text, its answer alone."""
  if 'items' in example:
    lines = tell_items(example['items'], example.get('true_item'))
  elif 'rating' in example:
    lines = _tell_rating(example['rating'])
  elif 'yes' in example:
    share = example['yes']
    lines = [
      f'{"yes" if share >= 0.5 else "no"}: the probability of yes is'
      f' {share:.3f}'
    ]
  else:
    lines = _tell_texts(example['texts'])
  return '\n'.join(lines)


def _tell_rating(rating: dict[str, Any]) -> list[str]:
  generated = rating['generated']
  said = (
    f'no rating, but {generated["said"]}'
    if 'failure' in generated
    else f'{generated["value"]:g}'
    + (' (clamped to the scale)' if generated['clamped'] else '')
  )
  lines = [f'{rating["expected"]:.2f} expected; generated: {said}']
  for choice in rating['choices']:
    share = choice['probability']
    bar = '█' * round(BAR * share)
    lines.append(f'{choice["text"]:>5}  {share:.3f}  {bar}'.rstrip())
  return lines


def _tell_texts(texts: Sequence[dict[str, Any]]) -> list[str]:
  lines = []
  for text in texts:
    said = (
      f'(no answer: {text["means"]})' if 'failure' in text else text['text']
    )
    cut = '' if text['ended'] else ' (cut at the longest)'
    lines += [
      textwrap.fill(said, WIDTH),
      f'  log p {text["log_probability"]:.2f}{cut}',
    ]
    for mention in text.get('mentions', ()):
      lines.append(f'  [{mention["name"]}]  {tell_path(mention["path"])}')
  return lines
