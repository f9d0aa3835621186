"""What a conversational recommender must beat.

Baselines for dialogues are those of `protocol`, where a history is what the
dialogue mentioned so far, in order, and may be recommended again: pass
exclude_seen=False to `protocol.recommend`. `popularity.Popularity` and
`item_knn.ItemKNN`, fitted on the items that train dialogues name, are others:
what is named most, and what is named in the same dialogues.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from jaxtyping import Float, Int, Int32

from genrec_jax.baselines.protocol import rank_by_popularity


class CopyContext:
  """Recommends what was mentioned, the latest first, and nothing else.

  It knows nothing of tastes: what it gets is what a benchmark gives away for
  repeating (He et al., CIKM 2023), and 0 on targets that are new.
  """

  name = 'copy_context'

  def __init__(self, *, seed: int = 0):
    self.seed = seed

  def fit(
    self,
    user: Int[np.ndarray, 'R'],
    item: Int[np.ndarray, 'R'],
    num_items: int,
  ) -> Self:
    """Learns nothing; items differ in place, so that none are equal."""
    del user
    self.item_rank = rank_by_popularity(item, num_items, seed=self.seed)
    return self

  def scores(
    self, histories: Int32[np.ndarray, 'B T']
  ) -> Float[np.ndarray, 'B N']:
    """Returns the place of each item's last mention, -inf without any."""
    scores = np.full((len(histories), len(self.item_rank)), -np.inf, np.float32)
    example, place = np.nonzero(histories >= 0)
    np.maximum.at(scores, (example, histories[example, place]), place)
    return scores
