"""Lists with places kept for items that training never saw."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int32

from genrec_jax.answering.run import Run
from genrec_jax.data import splits
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.decoding.cold_share import recommend_cold, reserve_places
from genrec_jax.decoding.recommend import Lists, make_recommend_fn
from genrec_jax.measuring.measured import Settings


def row_name(share: float) -> str:
  """Returns what the row of a table is called."""
  return f'model, {share:g} for cold'


def rank_with_share(
  run: Run, examples: TokenExamples, lists: Lists, settings: Settings
) -> Int32[np.ndarray, 'E K']:
  """Returns the items of lists, `settings.cold_share` of them held out ones.

  Args:
    run: the model.
    examples: E of them.
    lists: of all items, for these examples.
    settings: how lists are made.

  Raises:
    GenrecError: if no items were held out of training, or the share is no
      share.
  """
  cold_items = splits.held_out_items(run.directory / 'dataset')
  recommend = make_recommend_fn(
    run.model,
    run.trie,
    num_beams=settings.num_beams,
    normalization=settings.normalization,
  )
  with run.partitioned():
    cold_lists = recommend_cold(
      recommend,
      run.params,
      examples,
      trie=run.trie,
      cold_items=cold_items,
      batch_size=run.rows(settings.batch_size, len(examples)),
      exclude_seen=settings.exclude_seen,
      place=run.place,
    )
  return reserve_places(
    lists, cold_lists, cold_items, settings.cold_share
  ).items
