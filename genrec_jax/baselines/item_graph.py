"""Short walks over the graph of what followed what."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int, Int32

from genrec_jax.baselines.protocol import history_weights, rank_by_popularity
from genrec_jax.types import GenrecError


class ItemGraph:
  """Walks one or two steps from each of the last items of the history.

  An edge leads from an item to one that the same user took soon after it. It
  weighs the number of times, each divided by the distance; with `backward`
  edges lead against the order of time, too. A step goes along an edge with a
  probability in proportion to its weight. An item's score is the probability
  that a walk ends there, summed over walks of one step and, times `two_steps`,
  of two, and over the items that they start from, newer ones weighing more.

  It is the first-order Markov chain with three things added: a longer memory,
  a second step for items that were followed by little, and items near to one
  another in both directions. Session-based nearest neighbours and item graphs
  of this kind hold their own against neural sequence models (Ludewig, Jannach,
  "Evaluation of session-based recommendation algorithms", 2018).

  Args:
    window: how many places apart two items of a user may be.
    backward: the weight of an edge against the order of time.
    two_steps: the weight of walks of two steps.
    recency: the weight of a start relative to the one after it.
    last_items: how many items of the history walks start from.
    seed: of the order of equal scores.
  """

  name = 'item_graph'
  grid = {
    'window': (1, 3),
    'backward': (0.0, 0.3),
    'two_steps': (0.3, 1.0),
    'recency': (0.5, 0.2),
  }
  scoring = ('two_steps', 'recency', 'last_items')

  def __init__(
    self,
    *,
    window: int = 3,
    backward: float = 0.3,
    two_steps: float = 0.3,
    recency: float = 0.3,
    last_items: int = 10,
    seed: int = 0,
  ):
    if window < 1 or last_items < 1 or not 0 < recency <= 1:
      raise GenrecError(
        f'Got window={window}, last_items={last_items} and recency={recency};'
        ' expected at least 1, at least 1, and above 0 but at most 1.'
      )
    if min(backward, two_steps) < 0:
      raise GenrecError(
        f'Got backward={backward} and two_steps={two_steps}; expected none'
        ' below 0.'
      )
    self.window = window
    self.backward = backward
    self.two_steps = two_steps
    self.recency = recency
    self.last_items = last_items
    self.seed = seed

  def fit(
    self,
    user: Int[np.ndarray, 'R'],
    item: Int[np.ndarray, 'R'],
    num_items: int,
  ) -> Self:
    """Counts what followed what."""
    self.item_rank = rank_by_popularity(item, num_items, seed=self.seed)
    order = np.argsort(user, kind='stable')
    user, item = user[order], item[order]
    edges = scipy.sparse.csr_array((num_items, num_items), dtype=np.float32)
    for distance in range(1, self.window + 1):
      same = user[distance:] == user[:-distance]
      pairs = item[:-distance][same], item[distance:][same]
      weights = np.full(same.sum(), 1 / distance, np.float32)
      edges += scipy.sparse.csr_array((weights, pairs), edges.shape)
    edges = (edges + self.backward * edges.T).tocsr()
    out = edges.sum(axis=1)
    edges.data /= np.repeat(out, np.diff(edges.indptr))
    self.step = edges
    return self

  def scores(
    self, histories: Int32[np.ndarray, 'B T']
  ) -> Float[np.ndarray, 'B N']:
    """Returns the probabilities of walks from the history's last items."""
    starts = history_weights(
      histories[:, -self.last_items :], self.step.shape[0], self.recency
    )
    one = starts @ self.step
    if not self.two_steps:
      return one.toarray()
    return (one + self.two_steps * (one @ self.step)).toarray()
