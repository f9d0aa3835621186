"""The one place that decides by the kind of a task's answer."""

from __future__ import annotations

from collections.abc import Callable

from genrec_jax.answering.facts import TaskFacts
from genrec_jax.answering.run import Run
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.measuring.choices import measure_ratings_task, measure_yes_no
from genrec_jax.measuring.items import measure_conversation, measure_items
from genrec_jax.measuring.measured import Measured, Settings
from genrec_jax.measuring.replies import measure_replies
from genrec_jax.measuring.texts import measure_texts
from genrec_jax.measuring.train_data import TrainData
from genrec_jax.types import unknown_name

Measure = Callable[
  [Run, TaskFacts, TokenExamples, Settings, TrainData | None], Measured
]
MEASURES: dict[str, Measure] = {
  'item': measure_items,
  'rating': measure_ratings_task,
  'yes_no': measure_yes_no,
  'text': measure_texts,
  'reply': measure_replies,
}
# Kinds whose answers are written token by token, which takes its time.
WRITTEN = ('text', 'reply')


def measure_task(
  run: Run,
  task: str,
  examples: TokenExamples,
  settings: Settings,
  data: TrainData | None = None,
) -> Measured:
  """Answers examples of a task and measures the answers, beside its floors.

  Args:
    run: the model.
    task: of the token cache.
    examples: of this task, with their true answers.
    settings: how.
    data: what floors learn from; None for the model alone.

  Raises:
    GenrecError: if the task's kind is unknown, or as the measures of its kind.
  """
  facts = run.facts(task)
  if facts.kind not in MEASURES:
    raise unknown_name('kind of answer', facts.kind, MEASURES)
  measure = MEASURES[facts.kind]
  if facts.kind == 'item' and facts.of_dialogues:
    measure = measure_conversation
  return measure(run, facts, examples, settings, data)
