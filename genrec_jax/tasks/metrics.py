"""From decoded tokens back to answers, and metrics for seqio.Evaluator.

The evaluator decodes what a model predicts with the vocabulary, gives it to a
task's postprocessor, and the results to its metric functions. A model gives
its beams through `predict_with_aux`: tokens [K, L] an example, and their
scores as `aux_values['scores']`, in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from genrec_jax.evaluation import ranking, rating, text
from genrec_jax.evaluation.output_parser import parse_rating
from genrec_jax.tasks.vocabulary import RecommendationVocabulary

NO_ITEM = -1


def item_postprocessor(
  vocabulary: RecommendationVocabulary, item_tokens: Int[np.ndarray, 'N L']
) -> Callable[..., Any]:
  """Returns a postprocessor: what was decoded -> rows of items.

  A string becomes an item, K strings (or tokens [K, L]) an array of K items.
  What is no item becomes -1.
  """
  items = {
    text: item for item, text in enumerate(vocabulary.decode(item_tokens))
  }

  def postprocess(decoded, example=None, is_target=False):
    del example, is_target
    if not isinstance(decoded, str) and not _are_strings(decoded):
      decoded = vocabulary.decode(np.asarray(decoded))
    if isinstance(decoded, str):
      return items.get(decoded, NO_ITEM)
    return np.array([items.get(text, NO_ITEM) for text in decoded])

  return postprocess


def ranking_metric(
  targets: Sequence[int],
  predictions: Sequence[Int[np.ndarray, 'K']],
  aux_values: Mapping[str, Any],
) -> dict[str, float]:
  """Returns the ranking metrics of beams, at the cutoffs that K reaches.

  Beams are put in the order of their scores first.
  """
  items = np.asarray(predictions)
  scores = np.asarray(aux_values['scores'])
  best_first = np.argsort(-scores, axis=-1, kind='stable')
  return ranking.ranking_metrics(
    np.take_along_axis(items, best_first, axis=-1),
    np.asarray(targets),
    [cutoff for cutoff in ranking.CUTOFFS if cutoff <= items.shape[1]],
  )


def rating_postprocessor(scale: tuple[float, float]) -> Callable[..., Any]:
  """Returns a postprocessor: what was decoded -> a Rating or a Failure."""

  def postprocess(decoded, example=None, is_target=False):
    del example, is_target
    return parse_rating(decoded, scale)

  return postprocess


def rating_metric(fallback: float) -> Callable[..., dict[str, float]]:
  """Returns the errors of ratings; what is none counts as `fallback`."""

  def metric(targets, predictions):
    truth = np.array([target.value for target in targets])
    return rating.measure_ratings(predictions, truth, fallback=fallback)

  return metric


def strip_text(decoded, example=None, is_target=False) -> str:
  """Returns a text without blanks around it: a postprocessor."""
  del example, is_target
  return decoded.strip()


def accuracy_metric(
  targets: Sequence[str], predictions: Sequence[str]
) -> dict[str, float]:
  """Returns the share of answers that are the true one."""
  right = [target == said for target, said in zip(targets, predictions)]
  return {'n': len(right), 'accuracy': float(np.mean(right))}


def text_metric(
  targets: Sequence[str], predictions: Sequence[str]
) -> dict[str, float]:
  """Returns the text metrics; see evaluation/text.py."""
  measured = text.text_metrics(predictions, targets)
  return {k: v for k, v in measured.items() if k != 'settings'}


def _are_strings(value) -> bool:
  return len(value) > 0 and isinstance(value[0], str)
