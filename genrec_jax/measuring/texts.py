"""Measures explanations, reviews, summaries and texts of one's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genrec_jax.answering.facts import TaskFacts
from genrec_jax.answering.run import Run
from genrec_jax.answering.texts import write_texts
from genrec_jax.baselines.texts import (
  MostFrequentText,
  RetrievalCopy,
  first_sentence,
)
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.evaluation import outputs
from genrec_jax.evaluation.explanation import explanation_metrics
from genrec_jax.evaluation.text import example_rouge, text_metrics
from genrec_jax.measuring.hallucination import measure_text_claims
from genrec_jax.measuring.measured import (
  Measured,
  Settings,
  of_all,
  read_out,
  say_output,
)
from genrec_jax.measuring.train_data import TrainData
from genrec_jax.types import GenrecError

COLUMNS = ('bleu_1', 'bleu_4', 'rouge_1', 'rouge_2', 'rouge_l', 'distinct_2')
OF_FEATURES = ('usr', 'fmr', 'fcr', 'div')


def measure_texts(
  run: Run,
  facts: TaskFacts,
  examples: TokenExamples,
  settings: Settings,
  data: TrainData | None,
) -> Measured:
  """Measures texts by the true ones, beside texts without a model.

  Explanations are measured by the features that they name, too, where the data
  have any. A summary's floors are the first sentence of its review, and the
  headline of the review of the same item that is nearest to it.
  """
  truth = true_texts(run, facts, examples)
  answers = write_texts(
    run, examples, settings.text_decoding, batch_size=settings.batch_size
  )
  written = {'model': outputs.texts(answers.first)}
  if data is not None and data.has(facts.asked):
    written |= _floors(facts, examples, data)
  metrics, text_settings = {}, {}
  for name, texts in written.items():
    found = text_metrics(texts, truth)
    text_settings = found.pop('settings')
    metrics[name] = of_all(found)
  columns = COLUMNS
  features = [] if data is None else data.all_features()
  # Diversity compares explanations: one alone has none.
  if facts.asked == 'explanation' and features and len(truth) > 1:
    named = data.column('feature', examples)
    columns += OF_FEATURES
    # What the true texts come to says what these measures may come to.
    for name, texts in {**written, 'the true texts': truth}.items():
      metrics.setdefault(name, of_all({'n': len(texts)}))['all'] |= (
        explanation_metrics(texts, features, named)
      )
  hidden = {}
  if data is not None and not facts.of_dialogues:
    hidden['hallucination'] = measure_text_claims(
      facts, examples, written, truth, data
    )
  counted = outputs.count_failures(answers.first)
  metrics['model']['all']['failed_share'] = counted['failed_share']
  return Measured(
    metrics=metrics,
    columns=columns,
    arrays={
      'user': examples.user,
      'item': examples.target,
      'tokens': answers.tokens[:, 0],
      'log_probabilities': answers.log_probabilities[:, 0],
      **example_rouge(written['model'], truth),
    },
    read_out=read_out(
      run,
      examples,
      lambda row: (
        [say_output(one) for one in answers.outputs[row]],
        truth[row],
      ),
    ),
    facts={
      'failures': counted,
      'cut_share': float(1 - answers.ended[:, 0].mean()),
      'text_settings': text_settings,
      'text_decoding': settings.text_decoding.describe(),
      **hidden,
    },
  )


def true_texts(
  run: Run, facts: TaskFacts, examples: TokenExamples
) -> list[str]:
  """Returns the true answers, whole.

  Raises:
    GenrecError: if one is no text.
  """
  truth = [run.parser.text(examples.targets[i]) for i in range(len(examples))]
  return check_truth(facts, truth)


def check_truth(facts: TaskFacts, truth: Sequence) -> list[str]:
  """Returns the texts of true answers; a blank one is an empty text.

  Raises:
    GenrecError: if one is a failure for another reason.
  """
  for row, one in enumerate(truth):
    if isinstance(one, outputs.Failure) and one.reason != 'no_text':
      raise GenrecError(
        f'The answer of example {row} of task {facts.name!r} is no'
        f' {facts.kind} ({one.reason}: {one.raw}); run `genrec tokenize` again.'
      )
  return outputs.texts(truth)


def _floors(
  facts: TaskFacts, examples: TokenExamples, data: TrainData
) -> dict[str, list[str]]:
  user, item = np.asarray(examples.user), np.asarray(examples.target)
  train = data.texts(facts.asked)
  queries = None
  floors = {}
  if facts.asked == 'summary' and data.has('review'):
    queries = [text or '' for text in data.column('review', examples)]
    floors['first_sentence'] = [first_sentence(text) for text in queries]
  return {
    MostFrequentText.name: MostFrequentText().fit(*train).predict(user, item),
    RetrievalCopy.name: (
      RetrievalCopy().fit(*train).predict(user, item, queries)
    ),
    **floors,
  }
