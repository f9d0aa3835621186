"""Writes the prompts and targets of tasks as tokens, ready for training."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Sequence

from genrec_jax.data.token_cache import TokenCache
from genrec_jax.types import PathLike


def tokenize(
  *,
  run_dir: PathLike,
  tasks: Sequence[str] = ('sequential',),
  templates: Sequence[str] | None = None,
  max_history: int = 20,
  num_candidates: int = 20,
  copies: int = 1,
  text_pieces: int | None = None,
  text_model: PathLike | None = None,
  max_text: int = 128,
  max_answer: int = 64,
  retrieval: str = 'none',
  num_retrieved: int = 5,
  max_retrieved: int = 32,
  wanted: str = 'attributes',
  user_attributes: Sequence[str] = (),
  attribute_dropout: float = 0.1,
  seed: int = 0,
  task_files: Sequence[PathLike] = (),
) -> None:
  """Runs SeqIO tasks over all examples and writes `<run_dir>/tokens`.

  Reads `<run_dir>/dataset` and `<run_dir>/ids`. Train examples draw one of the
  templates each; validation and test examples all take the first one chosen.
  Fails if ids were built from held-out interactions, or if a target can be
  read off its input.

  Args:
    run_dir: the run directory.
    tasks: names of tasks, also with commas between: 'sequential', 'top_n',
      'rating', 'explanation', 'review', 'summary', 'conversation',
      'conversation_reply', 'rating_yes_no', 'sequential_yes_no', or your own.
    templates: names of templates, in order; when not given all that are marked
      as seen and show neither what is retrieved, nor what is wanted, nor what
      users are.
    max_history: how many of a user's last items a prompt shows.
    num_candidates: how many items there are to choose from, the target
      included, where a template offers candidates.
    copies: how often to write the train part, each time with other templates
      and other candidates.
    text_pieces: size of the text vocabulary; 0 for none, which needs templates
      of slots alone. By default 4000 where tasks read or write texts, else
      1000, or 0 if the templates have no words.
    text_model: a SentencePiece model to take instead of learning one, such as
      T5's.
    max_text: how many tokens of a text an input shows at most: the first of
      a text, the last of a dialogue.
    max_answer: how many tokens of a text are learnt to be written; in
      validation and test it is whole.
    retrieval: 'bm25' (by the words in common) or 'dense' (by the inner product
      of vectors) retrieves items or sentences from the train part into the
      prompts; where no templates are named, those that show them are taken. See
      docs/retrieval_and_control.md.
    num_retrieved: how many of them a prompt shows at most.
    max_retrieved: how many tokens of each sentence it shows at most.
    wanted: the column of the items table that templates with {wanted} take an
      attribute of the target from.
    user_attributes: the columns of the users table that templates with
      {user_attributes} show (--templates=attributes
      --user_attributes=gender,age); see docs/fairness.md.
    attribute_dropout: the share of train examples in which all of them are
      written as unknown, and in the others each by itself, so that a model can
      be asked with some hidden.
    seed: of the templates and candidates.
    task_files: Python files that define tasks of your own.

  Raises:
    GenrecError: if an artefact is missing, a name is unknown, the artefacts do
      not belong together, or a target leaks.
  """
  started = time.monotonic()
  # SeqIO takes seconds to import, and only this command needs it; what
  # TensorFlow has to say about the machine is of no use here.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  from genrec_jax.tasks import registry, tokenization

  registry.load_task_files(_as_tuple(task_files))
  tokenization.tokenize_run(
    run_dir,
    tasks=_names(tasks),
    templates=None if templates is None else _names(templates),
    max_history=max_history,
    num_candidates=num_candidates,
    copies=copies,
    text_pieces=text_pieces,
    text_model=text_model,
    max_text=max_text,
    max_answer=max_answer,
    retrieval=retrieval,
    num_retrieved=num_retrieved,
    max_retrieved=max_retrieved,
    wanted=wanted,
    user_attributes=_names(user_attributes),
    attribute_dropout=attribute_dropout,
    seed=seed,
  )
  directory = pathlib.Path(run_dir) / 'tokens'
  print(_summary(TokenCache.load(directory)))
  seconds = time.monotonic() - started
  print(f'{seconds:.1f} s; the tokens are in {directory}', flush=True)


def _summary(cache: TokenCache) -> str:
  """Returns a table of the examples of every task and part."""
  lines = [
    f'Vocabulary of {cache.vocab_size:,} tokens,'
    f' {cache.layout["num_text_tokens"]:,} of them text',
    f'{"task":<20}{"part":<12}{"examples":>10}{"input tokens":>14}'
    f'{"at most":>9}',
  ]
  for task in cache.tasks():
    for part in cache.parts(task):
      lengths = cache.examples(task, part).inputs.lengths
      lines.append(
        f'{task:<20}{part:<12}{len(lengths):>10,}{lengths.mean():>14.1f}'
        f'{lengths.max():>9}'
      )
    facts = cache.manifest['settings']['tasks'][task]
    for what, counts in (
      ('left out, as they lack what the task needs', facts['lacking']),
      ('longer than is shown or learnt, and cut', facts['cut']),
      ('examples in which nothing stands there', facts['blank']),
    ):
      told = [f'{name} {count:,}' for name, count in counts.items() if count]
      lines += [f'  {what}: {", ".join(told)}'] if told else []
  return '\n'.join(lines)


def _names(names) -> tuple[str, ...]:
  """Reads texts as names with commas between."""
  names = [names] if isinstance(names, str) else names
  split = (name.split(',') for name in names)
  return tuple(name.strip() for ones in split for name in ones)


def _as_tuple(names) -> tuple:
  """Reads one name or path, as a flag gives it, like a tuple of one."""
  return (names,) if isinstance(names, PathLike) else tuple(names)
