"""Lists corrected for popularity, a row for each penalty."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int32

from genrec_jax.answering.items import rank_items
from genrec_jax.answering.run import Run
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.decoding.popularity_penalty import (
  log_popularity,
  penalize_popularity,
)
from genrec_jax.measuring.measured import Settings
from genrec_jax.measuring.train_data import TrainData
from genrec_jax.types import GenrecError


def row_name(penalty: float) -> str:
  """Returns what the row of a table is called."""
  return f'model, penalty {penalty:g}'


def rank_with_penalties(
  run: Run,
  examples: TokenExamples,
  settings: Settings,
  data: TrainData | None,
) -> dict[str, Int32[np.ndarray, 'E K']]:
  """Returns lists by row, one for each of `settings.popularity_penalties`.

  All are chosen from one search, of `settings.penalty_beams`, or of all items
  where there are fewer.

  Raises:
    GenrecError: if there is no dataset to say what is popular, or the search
      would be narrower than the lists are long.
  """
  if data is None:
    raise GenrecError(
      'popularity_penalties need the train interactions of dataset/, which is'
      ' not read without baselines; give some, or leave out the penalties.'
    )
  if settings.penalty_beams < settings.num_beams:
    raise GenrecError(
      f'Got penalty_beams={settings.penalty_beams}, expected at least'
      f' num_beams={settings.num_beams}: lists are chosen from what that search'
      ' finds.'
    )
  num_items = len(run.cache.item_tokens)
  lists = rank_items(
    run,
    examples,
    num_beams=max(settings.num_beams, min(settings.penalty_beams, num_items)),
    normalization=settings.normalization,
    exclude_seen=settings.exclude_seen,
    batch_size=settings.batch_size,
  )
  _, item = data.interactions()
  popularity = log_popularity(np.bincount(item, minlength=num_items))
  return {
    row_name(penalty): penalize_popularity(
      lists, popularity, penalty, top_k=settings.num_beams
    ).items
    for penalty in settings.popularity_penalties
  }
