"""Lists corrected for popularity, by one number.

A model that learns from what people had learns how popular items are, and adds
its own preference for them. Taking penalty * log(popularity) off the score of
an item takes as much of that prior back out: with 0 the list is the model's,
with 1 what users alone explain, as far as the model's probabilities are right.
It is the logit adjustment of Menon et al. ("Long-tail learning via logit
adjustment", ICLR 2021), after training, over items; the exponent on popularity
of Steck ("Item popularity and recommendation accuracy", RecSys 2011).

Popularity is known at the end of an id, so this chooses again among the items
that a search has found: as exact as the search was wide. An item that the
model thinks less likely than all of these stays out, whatever the penalty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from genrec_jax.decoding.recommend import Lists
from genrec_jax.types import GenrecError


def log_popularity(counts: Int[np.ndarray, 'N']) -> Float[np.ndarray, 'N']:
  """Returns the log of each item's share of the train interactions.

  One interaction is added to each, for those that have none.
  """
  counts = np.asarray(counts, float) + 1
  return np.log(counts / counts.sum())


def penalize_popularity(
  lists: Lists,
  popularity: Float[np.ndarray, 'N'],
  penalty: float,
  *,
  top_k: int,
) -> Lists:
  """Returns the best items of lists, by score - penalty * popularity.

  Args:
    lists: of a search that was as wide as possible, K items each.
    popularity: of the items, see `log_popularity`.
    penalty: 0 keeps the order, and equal scores always keep it.
    top_k: how many to return, up to K.

  Returns:
    Lists of `top_k`; each entry keeps its own score.

  Raises:
    GenrecError: if the penalty is none, or the lists are shorter than `top_k`.
  """
  check_penalties([penalty])
  if not 1 <= top_k <= lists.items.shape[1]:
    raise GenrecError(
      f'Got top_k={top_k} for lists of {lists.items.shape[1]}, expected from 1'
      ' to that; search with more beams.'
    )
  there = lists.items >= 0
  known = np.where(there, popularity[lists.items], 0.0)
  scores = np.where(there, lists.scores - penalty * known, -np.inf)
  order = np.argsort(-scores, axis=1, kind='stable')[:, :top_k]
  row = np.arange(len(order))[:, None]
  return Lists(
    lists.items[row, order], lists.scores[row, order], lists.tokens[row, order]
  )


def check_penalties(penalties: Sequence[float]) -> None:
  """Refuses what are no penalties.

  Raises:
    GenrecError: if one is not a number from 0 on.
  """
  for penalty in penalties:
    if not 0 <= penalty < math.inf:
      raise GenrecError(
        f'Got the popularity penalty {penalty}, expected numbers from 0 (none)'
        ' on; at 1 all of the popularity is taken out.'
      )
