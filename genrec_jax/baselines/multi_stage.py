"""Two stages: candidates by one method, their order by a stronger one."""

from __future__ import annotations

from typing import Self

import numpy as np
from jaxtyping import Float, Int, Int32

from genrec_jax.baselines.protocol import (
  Baseline,
  candidate_scores,
  top_items,
)
from genrec_jax.types import GenrecError


class MultiStage:
  """Retrieves candidates cheaply, then ranks these alone by another method.

  The multi-stage paradigm that Li et al., "Large language models for generative
  recommendation: a survey and visionary discussions", 2023, set against
  generation in one stage; see Covington et al., "Deep neural networks for
  YouTube recommendations", 2016.

  What it costs: two methods to fit, store and keep in step, and two passes a
  history, over N items by the first and `num_candidates` by the second, which
  pays where a score of the second is dear. A target that is not among the
  candidates is lost, however well the second would have placed it, so that
  Recall is at most the first's Recall@num_candidates; and lists are never
  longer than `num_candidates`.

  Args:
    retrieval: finds the candidates.
    ranking: orders them; also breaks ties.
    num_candidates: for each history.
    exclude_seen: retrieve no items of the history. Those are often most of
      what is near to it.
    seed: has no use of its own; that of the stages is theirs.
  """

  name = 'multi_stage'
  grid = {'num_candidates': (100, 300, 1000)}
  scoring = ('num_candidates',)

  def __init__(
    self,
    *,
    retrieval: Baseline,
    ranking: Baseline,
    num_candidates: int = 300,
    exclude_seen: bool = True,
    seed: int = 0,
  ):
    if num_candidates < 1:
      raise GenrecError(
        f'Got num_candidates={num_candidates}; expected at least 1.'
      )
    self.retrieval = retrieval
    self.ranking = ranking
    self.num_candidates = num_candidates
    self.exclude_seen = exclude_seen
    self.seed = seed

  def fit(
    self,
    user: Int[np.ndarray, 'R'],
    item: Int[np.ndarray, 'R'],
    num_items: int,
  ) -> Self:
    """Fits both stages."""
    self.retrieval.fit(user, item, num_items)
    self.ranking.fit(user, item, num_items)
    self.item_rank = self.ranking.item_rank
    return self

  def scores(
    self, histories: Int32[np.ndarray, 'B T']
  ) -> Float[np.ndarray, 'B N']:
    """Returns the second stage's scores of candidates, -inf for all others."""
    candidates = self.candidates(histories)
    found = candidate_scores(self.ranking, histories, candidates)
    scores = np.full((len(histories), len(self.item_rank)), -np.inf, np.float32)
    row, place = np.nonzero(candidates >= 0)
    scores[row, candidates[row, place]] = found[row, place]
    return scores

  def candidates(
    self, histories: Int32[np.ndarray, 'B T']
  ) -> Int32[np.ndarray, 'B C']:
    """Returns what the first stage retrieves, best first, -1 for none."""
    scores = np.array(self.retrieval.scores(histories), np.float32)
    if self.exclude_seen:
      example, place = np.nonzero(histories >= 0)
      scores[example, histories[example, place]] = -np.inf
    return top_items(scores, self.retrieval.item_rank, self.num_candidates)
