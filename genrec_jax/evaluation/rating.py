"""Rating prediction: how far off the ratings are, and who would like what.

  RMSE  sqrt(mean((predicted - rating)²)), MAE  mean(|predicted - rating|)
  AUC   the chance that a random liked example is scored above a random
        disliked one, ties counting half (Hanley, McNeil 1982)

A model that writes its ratings may write something else. Such an answer is not
left out, which would flatter the model: it counts as a fixed rating that is
stated with the result, usually the mean of the train ratings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float

from genrec_jax.evaluation.outputs import Failure, Rating
from genrec_jax.types import GenrecError


def rating_metrics(
  predicted: Float[np.ndarray, 'E'], ratings: Float[np.ndarray, 'E']
) -> dict[str, float]:
  """Returns `n`, `rmse` and `mae` over all examples, in units of the scale.

  Raises:
    GenrecError: if there are no examples, the shapes do not fit or a number is
      not finite.
  """
  predicted = np.asarray(predicted, np.float64)
  ratings = np.asarray(ratings, np.float64)
  if predicted.ndim != 1 or predicted.shape != ratings.shape:
    raise GenrecError(
      f'Got predictions of shape {predicted.shape} and ratings of shape'
      f' {ratings.shape}, expected [E] for both.'
    )
  if not len(ratings):
    raise GenrecError('Got no ratings, so their errors have no mean.')
  for name, values in (('predictions', predicted), ('ratings', ratings)):
    if not np.isfinite(values).all():
      raise GenrecError(
        f'{np.count_nonzero(~np.isfinite(values))} of {len(values)} {name} are'
        ' not finite; leave out examples without a rating, and give an answer'
        ' that is no rating to `measure_ratings` as a Failure.'
      )
  errors = predicted - ratings
  return {
    'n': len(errors),
    'rmse': float(np.sqrt(np.mean(errors**2))),
    'mae': float(np.mean(np.abs(errors))),
  }


def measure_ratings(
  outputs: Sequence[Rating | Failure],
  ratings: Float[np.ndarray, 'E'],
  *,
  fallback: float,
) -> dict[str, float]:
  """Returns the `rating_metrics` of parsed answers, and what they were worth.

  Args:
    outputs: what `OutputParser.rating` returned of each of E answers.
    ratings: the true ones.
    fallback: what a failure counts as; the mean of the train ratings.

  Returns:
    `n`, `rmse`, `mae`; `failed_share`, of answers that are no rating;
    `clamped_share`, of ratings that were off the scale and put on its end;
    and the `fallback`.
  """
  failed = np.array([isinstance(one, Failure) for one in outputs], bool)
  predicted = [
    fallback if isinstance(one, Failure) else one.value for one in outputs
  ]
  clamped = [isinstance(one, Rating) and one.clamped for one in outputs]
  return {
    **rating_metrics(np.array(predicted, np.float64), ratings),
    'failed_share': float(failed.mean()),
    'clamped_share': float(np.mean(clamped)),
    'fallback': float(fallback),
  }


def liking_metrics(
  scores: Float[np.ndarray, 'E'], liked: Bool[np.ndarray, 'E']
) -> dict[str, float]:
  """Returns `n`, `n_liked` and the `auc` of yes/no answers.

  Args:
    scores: higher where 'yes' is more likely: its probability among yes and
      no. log p(yes) - log p(no) orders examples in the same way, and does not
      round the sure ones to one value.
    liked: the truth.

  Returns:
    The AUC is that of the Mann-Whitney statistic, with midranks for ties:
    exact, whatever the ties.

  Raises:
    GenrecError: if the shapes do not fit, a score is NaN, or all examples are
      of one kind, so that there is nothing to tell apart.
  """
  scores, liked = np.asarray(scores), np.asarray(liked)
  if scores.ndim != 1 or scores.shape != liked.shape or liked.dtype != bool:
    raise GenrecError(
      f'Got scores of shape {scores.shape} and truths of shape {liked.shape}'
      f' and type {liked.dtype}, expected [E] for both, and bool.'
    )
  if np.isnan(scores).any():
    raise GenrecError(
      f'{np.count_nonzero(np.isnan(scores))} of {len(scores)} scores are NaN;'
      ' they have no place in an order.'
    )
  positives = int(np.count_nonzero(liked))
  negatives = len(liked) - positives
  if not positives or not negatives:
    raise GenrecError(
      f'Got {positives} liked examples and {negatives} others, expected at'
      ' least one of each; the AUC compares them.'
    )
  ranks = scipy.stats.rankdata(scores)
  above = ranks[liked].sum() - positives * (positives + 1) / 2
  return {
    'n': len(liked),
    'n_liked': positives,
    'auc': float(above / (positives * negatives)),
  }


def yes_no_metrics(
  scores: Float[np.ndarray, 'E'],
  liked: Bool[np.ndarray, 'E'],
  *,
  says_yes: Bool[np.ndarray, 'E'] | None = None,
) -> dict[str, float]:
  """Returns the `liking_metrics`, and the `accuracy` of what is said.

  Where all examples are of one kind there is no AUC, and it is left out.

  Args:
    scores: higher where 'yes' is more likely.
    liked: the truth.
    says_yes: whether the answer is yes; None where scores are an order alone,
      and have no accuracy.

  Raises:
    GenrecError: as `liking_metrics`, or if there are no examples.
  """
  liked = np.asarray(liked)
  if not len(liked):
    raise GenrecError('Got no answers, so their accuracy has no mean.')
  if liked.all() or not liked.any():
    result = {'n': len(liked), 'n_liked': int(np.count_nonzero(liked))}
  else:
    result = liking_metrics(scores, liked)
  if says_yes is not None:
    result['accuracy'] = float(np.mean(np.asarray(says_yes) == liked))
  return result
