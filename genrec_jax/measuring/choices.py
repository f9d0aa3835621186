"""Measures ratings, and yes or no."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special
from jaxtyping import Bool, Float, Int

from genrec_jax.answering.choices import (
  rate,
  say_yes_or_no,
  true_liking,
  true_values,
)
from genrec_jax.answering.facts import TaskFacts
from genrec_jax.answering.run import Run
from genrec_jax.baselines.popularity import Popularity
from genrec_jax.baselines.rating_bias import GlobalMean, UserItemBias
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.decoding.mentions import find_mentions
from genrec_jax.evaluation import outputs
from genrec_jax.evaluation.calibration import measure_calibration
from genrec_jax.evaluation.rating import (
  measure_ratings,
  rating_metrics,
  yes_no_metrics,
)
from genrec_jax.measuring.hallucination import measure_written_ratings
from genrec_jax.measuring.measured import Measured, Settings, of_all, read_out
from genrec_jax.measuring.train_data import TrainData


def measure_ratings_task(
  run: Run,
  facts: TaskFacts,
  examples: TokenExamples,
  settings: Settings,
  data: TrainData | None,
) -> Measured:
  """Measures ratings as expected and as written, beside mean and biases.

  What is written and no rating counts as the mean of the train ratings.
  """
  truth = true_values(run, facts, examples)
  answers = rate(run, facts, examples, batch_size=settings.batch_size)
  metrics = {
    'model': of_all(rating_metrics(answers.expected, truth)),
    'model, written': of_all(
      measure_ratings(
        answers.generated, truth, fallback=mean_of_train(run, facts)
      )
    ),
  }
  arrays = {'expected': answers.expected}
  if data is not None and data.has('rating'):
    rated = *data.ratings(), data.dataset.num_users, data.dataset.num_items
    for floor in (GlobalMean(), UserItemBias()):
      floor.fit(*rated)
      arrays[floor.name] = floor.predict(examples.user, examples.target)
      metrics[floor.name] = of_all(rating_metrics(arrays[floor.name], truth))

  def say(row):
    written = answers.generated[row]
    if isinstance(written, outputs.Failure):
      written = f'({written.reason}: {written.raw})'
    else:
      written = f'{written.value:g}'
    return [
      f'expected {answers.expected[row]:.2f}',
      f'written {written}',
    ], f'{truth[row]:g}'

  return Measured(
    metrics=metrics,
    columns=('rmse', 'mae', 'failed_share', 'clamped_share'),
    arrays={
      'user': examples.user,
      'item': examples.target,
      'truth': truth,
      **arrays,
    },
    read_out=read_out(run, examples, say),
    facts={
      'failures': outputs.count_failures(answers.generated),
      'hallucination': {
        'ratings': measure_written_ratings(
          answers.generated, facts.values, examples.user
        )
      },
      'calibration': calibrate_choices(
        answers.log_probabilities, np.array(facts.values), truth
      ),
    },
  )


def measure_yes_no(
  run: Run,
  facts: TaskFacts,
  examples: TokenExamples,
  settings: Settings,
  data: TrainData | None,
) -> Measured:
  """Measures the order by yes, and yes or no itself, beside what is simplest.

  Beside the answer that train gives most often stand the biases of user and
  item where ratings are asked about, and the popularity of the item offered
  where it is the next one; these are orders, so they have no accuracy.
  """
  liked = true_liking(run, facts, examples)
  answers = say_yes_or_no(run, facts, examples, batch_size=settings.batch_size)
  metrics = {
    'model': of_all(
      yes_no_metrics(answers.log_odds, liked, says_yes=answers.yes >= 0.5)
    )
  }
  arrays = {'yes': answers.yes, 'log_odds': answers.log_odds}
  usual = np.full(len(liked), mean_of_train(run, facts) >= 0.5)
  metrics['most_frequent_answer'] = of_all(
    yes_no_metrics(usual.astype(float), liked, says_yes=usual)
  )
  if data is not None:
    floors = {}
    if facts.asked == 'liked' and data.has('rating'):
      floor = UserItemBias().fit(
        *data.ratings(), data.dataset.num_users, data.dataset.num_items
      )
      floors[floor.name] = floor.predict(examples.user, examples.target)
    if facts.asked == 'is_next':
      floor = Popularity().fit(*data.interactions(), data.dataset.num_items)
      floors[floor.name] = floor.counts[offered_items(run, examples, liked)]
    for name, scores in floors.items():
      arrays[name] = scores
      metrics[name] = of_all(yes_no_metrics(scores, liked))
  return Measured(
    metrics=metrics,
    columns=('auc', 'accuracy'),
    arrays={'user': examples.user, 'truth': liked, **arrays},
    read_out=read_out(
      run,
      examples,
      lambda row: (
        [f'yes with probability {answers.yes[row]:.3f}'],
        'yes' if liked[row] else 'no',
      ),
    ),
    facts={'calibration': {'yes': measure_calibration(answers.yes, liked)}},
  )


def calibrate_choices(
  log_probabilities: Float[np.ndarray, 'E C'],
  values: Float[np.ndarray, 'C'],
  truth: Float[np.ndarray, 'E'],
) -> dict[str, dict[str, Any]]:
  """Measures whether the probabilities of choices are what happens.

  Probabilities are those among the choices, as they are where a rating is
  expected.

  Returns:
    The calibration of 'the likeliest choice' and of 'every choice', in which
    an example counts once for each choice.
  """
  p = scipy.special.softmax(np.asarray(log_probabilities, float), axis=1)
  true = truth[:, None] == values
  everyone, best = np.arange(len(p)), p.argmax(axis=1)
  return {
    'the likeliest choice': measure_calibration(
      p[everyone, best], true[everyone, best]
    ),
    'every choice': measure_calibration(p.ravel(), true.ravel()),
  }


def mean_of_train(run: Run, facts: TaskFacts) -> float:
  """Returns the mean of the train answers; of the choices without any."""
  if 'train' not in run.cache.parts(facts.name):
    return float(np.mean(facts.values))
  train = run.cache.examples(facts.name, 'train')
  return float(true_values(run, facts, train).mean())


def offered_items(
  run: Run, examples: TokenExamples, is_target: Bool[np.ndarray, 'E']
) -> Int[np.ndarray, 'E']:
  """Returns the item that each prompt asks about.

  It is the target, or else the one in the prompt that the user never had: the
  last of these, where there are several.
  """
  everywhere = np.arange(len(examples))
  tokens = examples.inputs.padded(
    everywhere, int(examples.inputs.lengths.max(initial=1))
  )
  offered = np.array(examples.target)
  for mention in find_mentions(run.trie, run.layout, tokens):
    row, item = mention.row, mention.item
    if item >= 0 and not is_target[row]:
      if item not in examples.history[row]:
        offered[row] = item
  return offered
