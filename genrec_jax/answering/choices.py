"""Answers among a few: ratings, and yes or no."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from jaxtyping import Bool, Float

from genrec_jax.answering.facts import TaskFacts
from genrec_jax.answering.items import check_scores
from genrec_jax.answering.run import NUM_BUCKETS, Run
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.decoding.examples import map_examples
from genrec_jax.decoding.ratings import (
  expected_value,
  pad_candidates,
  score_candidates,
)
from genrec_jax.decoding.sampling import make_generate_fn
from genrec_jax.decoding.texts import AllowedTokens, text_tokens
from genrec_jax.evaluation.outputs import Failure, Rating
from genrec_jax.types import GenrecError


@dataclasses.dataclass(frozen=True, eq=False)
class RatingAnswers:
  """The ratings of E examples, read in two ways.

  Attributes:
    expected: the mean of the choices' values by their probabilities.
    log_probabilities: of each of C choices, the model's own.
    generated: what the likeliest text of each example says.
  """

  expected: Float[np.ndarray, 'E']
  log_probabilities: Float[np.ndarray, 'E C']
  generated: list[Rating | Failure]


@dataclasses.dataclass(frozen=True, eq=False)
class YesNoAnswers:
  """Yes or no for E examples.

  Attributes:
    yes: the probability of yes, against no.
    log_odds: log p(yes) - log p(no), which does not round the sure ones.
  """

  yes: Float[np.ndarray, 'E']
  log_odds: Float[np.ndarray, 'E']


def score_choices(
  run: Run, facts: TaskFacts, examples: TokenExamples, *, batch_size: int = 128
) -> Float[np.ndarray, 'E C']:
  """Returns the log-probability of each of a task's choices.

  Raises:
    GenrecError: if the task has no choices, or scores are not numbers.
  """
  if not facts.choices:
    raise GenrecError(
      f'The token cache names no choices of task {facts.name!r}; run `genrec'
      ' tokenize` again.'
    )
  candidates = pad_candidates([tokens for _, _, tokens in facts.choices])
  with run.partitioned():
    scores = map_examples(
      lambda batch: score_candidates(run.model, run.params, batch, candidates),
      examples,
      batch_size=run.rows(batch_size, len(examples)),
      num_buckets=NUM_BUCKETS,
      place=run.place,
    )
  check_scores(scores, run.step)
  return scores


def rate(
  run: Run, facts: TaskFacts, examples: TokenExamples, *, batch_size: int = 128
) -> RatingAnswers:
  """Returns the ratings of examples, expected and generated (greedily)."""
  scores = score_choices(run, facts, examples, batch_size=batch_size)
  length = max(len(tokens) for _, _, tokens in facts.choices)
  # Room for a piece more than the longest choice: '10' may become '100'.
  generate = make_generate_fn(run.model, length=length + 1)
  grammar = AllowedTokens(text_tokens(run.layout))
  with run.partitioned():
    tokens = map_examples(
      lambda batch: generate(run.params, batch, grammar=grammar).tokens,
      examples,
      batch_size=run.rows(batch_size, len(examples)),
      num_buckets=NUM_BUCKETS,
      place=run.place,
    )
  return RatingAnswers(
    expected=expected_ratings(scores, facts),
    log_probabilities=scores,
    generated=[run.parser.rating(row) for row in tokens[:, 0]],
  )


def expected_ratings(
  scores: Float[np.ndarray, 'E C'], facts: TaskFacts
) -> Float[np.ndarray, 'E']:
  """Returns the mean of the choices' values by their probabilities."""
  return np.asarray(expected_value(scores, facts.values))


def say_yes_or_no(
  run: Run, facts: TaskFacts, examples: TokenExamples, *, batch_size: int = 128
) -> YesNoAnswers:
  """Returns the probabilities of yes.

  Raises:
    GenrecError: if the choices are not a no (0) and a yes (1).
  """
  if sorted(facts.values) != [0.0, 1.0]:
    raise GenrecError(
      f'The choices of task {facts.name!r} have the values {facts.values},'
      ' expected 0 and 1.'
    )
  scores = score_choices(run, facts, examples, batch_size=batch_size)
  log_odds = scores[:, facts.values.index(1.0)]
  log_odds = log_odds - scores[:, facts.values.index(0.0)]
  return YesNoAnswers(np.asarray(jax.nn.sigmoid(log_odds)), log_odds)


def true_values(
  run: Run, facts: TaskFacts, examples: TokenExamples
) -> Float[np.ndarray, 'E']:
  """Returns the values of the true answers.

  A rating that no train interaction has is no choice; it is read as a text.

  Raises:
    GenrecError: if an answer is neither.
  """
  known = {tokens: value for _, value, tokens in facts.choices}
  values = np.empty(len(examples))
  for row in range(len(examples)):
    tokens = examples.targets[row].tolist()
    value = known.get(tuple(tokens))
    if value is None and facts.kind == 'rating':
      # The true rating as it is: the scale is only that of train ratings.
      text = run.parser.text(tokens)
      value = None if isinstance(text, Failure) else _as_number(text.text)
    if value is None:
      raise GenrecError(
        f'The answer of example {row} of task {facts.name!r} is no choice and'
        f' no number (tokens {tokens}); run `genrec tokenize` again.'
      )
    values[row] = value
  return values


def true_liking(
  run: Run, facts: TaskFacts, examples: TokenExamples
) -> Bool[np.ndarray, 'E']:
  """Returns where the true answer is yes."""
  return true_values(run, facts, examples) == 1.0


def _as_number(text: str) -> float | None:
  try:
    return float(text)
  except ValueError:
    return None
