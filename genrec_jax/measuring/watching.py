"""Cheap measures of all tasks, while a model trains.

Nothing is written token by token: ratings are expected, yes or no is scored,
and how well texts are learnt shows in their likelihood.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from genrec_jax.answering.choices import (
  expected_ratings,
  say_yes_or_no,
  score_choices,
  true_liking,
  true_values,
)
from genrec_jax.answering.facts import (
  TaskFacts,
  choose_tasks,
  sample_examples,
  task_facts,
)
from genrec_jax.answering.items import check_lists, check_scores, rank_items
from genrec_jax.answering.run import Run
from genrec_jax.answering.texts import longest_text
from genrec_jax.data.texts import learnt_part
from genrec_jax.data.token_cache import Ragged, TokenCache, TokenExamples
from genrec_jax.decoding.examples import map_examples
from genrec_jax.decoding.recommend import trie_of_tokens
from genrec_jax.evaluation import ranking
from genrec_jax.evaluation.rating import rating_metrics, yes_no_metrics
from genrec_jax.measuring.measured import Settings
from genrec_jax.types import EOS_ID, GenrecError, PathLike

PyTree = Any
LOG_LIKELIHOOD = 'log_likelihood'
_SCORED = (
  'encoder_input_tokens',
  'decoder_input_tokens',
  'decoder_target_tokens',
  'decoder_loss_weights',
)


def watched_metric(cache: TokenCache) -> str:
  """Returns the metric by which the best checkpoint is known, by default.

  'recall@10' where the one task asks for an item, else 'log_likelihood'.
  """
  tasks = [t for t in cache.tasks() if 'validation' in cache.parts(t)]
  alone = len(tasks) == 1 and task_facts(cache, tasks[0]).kind == 'item'
  return 'recall@10' if alone else LOG_LIKELIHOOD


def watched_tasks(
  cache: TokenCache,
  tasks: Sequence[str] | str | None,
  trained: Sequence[str] | None,
) -> list[str]:
  """Returns the tasks named, or those that are trained and have validation.

  What is not trained says nothing of how training goes.

  Args:
    cache: the run's tokens.
    tasks: which; None for those that are trained.
    trained: which these are; None for all.

  Raises:
    GenrecError: if one is unknown, or none has validation examples.
  """
  if tasks is None and trained is not None:
    tasks = [task for task in trained if 'validation' in cache.parts(task)]
    if not tasks:
      raise GenrecError(
        f'None of the tasks that are trained ({", ".join(trained)}) has'
        ' validation examples; name others with'
        ' evaluate.make_evaluate_fn.tasks, or train without'
        ' (train.train.make_evaluate_fn=None).'
      )
  return choose_tasks(cache, tasks, 'validation')


def make_watch_fn(
  run_dir: PathLike,
  model,
  cache: TokenCache,
  *,
  tasks: Sequence[str] | str | None,
  trained: Sequence[str] | None,
  max_examples: int | None,
  max_texts: int | None,
  settings: Settings,
  seed: int,
) -> Callable[[PyTree, int], dict[str, float]]:
  """Returns the function from parameters to metrics of validation examples.

  Args:
    run_dir: the run directory.
    model: the model class.
    cache: its tokens.
    tasks: which, see `watched_tasks`.
    trained: those that are trained.
    max_examples: of each task, for what is measured by ranking and choosing.
    max_texts: of each task, for log-likelihoods.
    settings: of lists of items, and the batch size.
    seed: of the samples.
  """
  chosen = watched_tasks(cache, tasks, trained)
  asleep = Run(
    directory=pathlib.Path(run_dir),
    cache=cache,
    model=model,
    params=None,
    step=0,
    mesh=None,
    trie=trie_of_tokens(cache),
  )
  watched = {}
  for task in chosen:
    facts = task_facts(cache, task)
    examples, _ = sample_examples(
      cache.examples(task, 'validation'),
      max_examples,
      seed,
      whole_turns=facts.of_dialogues,
    )
    watched[task] = _watch(asleep, facts, examples, settings)
  # By the tasks of the run, as `watched_metric`, whichever are chosen.
  alone = watched_metric(cache) != LOG_LIKELIHOOD
  scored = {}
  for task in () if alone else chosen:
    examples, _ = sample_examples(
      cache.examples(task, 'validation'), max_texts, seed
    )
    if task_facts(cache, task).kind != 'item':
      examples = cut_targets(examples, longest_text(asleep))
    scored[task] = examples

  def evaluate_params(params: PyTree, step: int = 0) -> dict[str, float]:
    sharding = jax.tree.leaves(params)[0].sharding
    on_mesh = isinstance(sharding, jax.sharding.NamedSharding)
    run = dataclasses.replace(
      asleep,
      params=params,
      step=step,
      mesh=sharding.mesh if on_mesh else None,
    )
    found = {task: measure(run) for task, measure in watched.items()}
    if alone:
      return found[chosen[0]]
    means = {
      task: log_likelihood(run, examples, batch_size=settings.batch_size)
      for task, examples in scored.items()
    }
    return {
      **{
        f'{task}/{name}': value
        for task, metrics in found.items()
        for name, value in {**metrics, LOG_LIKELIHOOD: means[task]}.items()
      },
      LOG_LIKELIHOOD: float(np.mean(list(means.values()))),
    }

  return evaluate_params


def log_likelihood(
  run: Run, examples: TokenExamples, *, batch_size: int = 128
) -> float:
  """Returns the mean log-probability of a token of the true answers."""
  with run.partitioned():
    scores = map_examples(
      lambda batch: _score(run.params, batch, model=run.model),
      examples,
      batch_size=run.rows(batch_size, len(examples)),
      names=_SCORED,
      num_buckets=1,  # Few examples: compiling takes longer.
      place=run.place,
    )
  check_scores(scores, run.step)
  return float(scores.sum() / examples.targets.lengths.sum())


def cut_targets(examples: TokenExamples, length: int) -> TokenExamples:
  """Returns examples with the parts of their targets that are learnt, and eos.

  In validation and test, answers are whole.

  Args:
    examples: of answers that are no items.
    length: how many tokens are learnt, eos included.
  """
  targets = examples.targets
  if targets.lengths.max(initial=0) <= length:
    return examples
  whole = [targets[row] for row in range(len(targets))]
  rows = [
    row if len(row) <= length else [*learnt_part(row, length), EOS_ID]
    for row in whole
  ]
  return dataclasses.replace(
    examples, targets=Ragged.from_rows(rows, targets.values.dtype)
  )


@functools.partial(jax.jit, static_argnames='model')
def _score(params, batch, *, model):
  return model.score_batch(params, batch)


def _watch(
  run: Run, facts: TaskFacts, examples: TokenExamples, settings: Settings
) -> Callable[[Run], dict[str, float]]:
  """Returns the measure of a task's kind; its truths are read now."""
  batch_size = settings.batch_size
  if facts.kind == 'item':
    exclude_seen = settings.exclude_seen and not facts.of_dialogues

    def ranked(run):
      lists = rank_items(
        run,
        examples,
        num_beams=settings.num_beams,
        normalization=settings.normalization,
        exclude_seen=exclude_seen,
        batch_size=batch_size,
      )
      check_lists(lists, run.cache, examples, exclude_seen, run.step)
      return ranking.measure_lists(lists.items, examples.target, examples.tied)[
        'all'
      ]

    return ranked
  if facts.kind == 'rating':
    truth = true_values(run, facts, examples)

    def rated(run):
      scores = score_choices(run, facts, examples, batch_size=batch_size)
      return rating_metrics(expected_ratings(scores, facts), truth)

    return rated
  if facts.kind == 'yes_no':
    liked = true_liking(run, facts, examples)

    def chosen(run):
      answers = say_yes_or_no(run, facts, examples, batch_size=batch_size)
      says_yes = answers.yes >= 0.5
      return yes_no_metrics(answers.log_odds, liked, says_yes=says_yes)

    return chosen
  return lambda run: {}
