"""What a beam loses: searches of several widths beside exact scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int32

from genrec_jax.answering.items import check_scores, rank_items
from genrec_jax.answering.run import NUM_BUCKETS, Run
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.decoding.catalogue_scores import make_scores_fn
from genrec_jax.decoding.examples import map_examples
from genrec_jax.evaluation import ranking
from genrec_jax.evaluation.significance import ratio_bootstrap
from genrec_jax.measuring.invented_items import MASS_CHUNK, MOST_LOGITS

TOP_K = 10
EXACT = 'exact'


def exact_lists(
  run: Run,
  examples: TokenExamples,
  *,
  top_k: int = TOP_K,
  normalization: str = 'vocabulary',
  exclude_seen: bool = True,
) -> tuple[Int32[np.ndarray, 'E K'], Float[np.ndarray, 'E K']]:
  """Returns the best items and their scores, of all items scored one by one.

  It takes as many rows of the decoder as the trie has inner nodes, and no
  beams.

  Args:
    run: the model.
    examples: E of them.
    top_k: K.
    normalization: what a score is.
    exclude_seen: leave out the items of each history.

  Raises:
    GenrecError: if scores are not numbers.
  """
  score = make_scores_fn(
    run.model, run.trie, normalization=normalization, chunk_size=MASS_CHUNK
  )
  rows = max(1, MOST_LOGITS // (MASS_CHUNK * run.layout.vocab_size))
  with run.partitioned():
    scores = map_examples(
      lambda batch: score(run.params, batch),
      examples,
      batch_size=run.rows(rows, len(examples)),
      num_buckets=NUM_BUCKETS,
      place=run.place,
    )
  scores = np.array(scores)[:, : len(run.cache.item_tokens)]
  check_scores(scores, run.step)
  if exclude_seen:
    for number, row in enumerate(scores):
      row[examples.history[number]] = -np.inf
  order = np.argsort(-scores, axis=1, kind='stable')[:, :top_k]
  best = np.take_along_axis(scores, order, axis=1)
  return np.where(best > -np.inf, order, -1).astype(np.int32), best


def compare_widths(
  run: Run,
  examples: TokenExamples,
  beams: Sequence[int],
  *,
  normalization: str = 'vocabulary',
  exclude_seen: bool = True,
  batch_size: int = 128,
) -> dict[str, dict[str, Any]]:
  """Returns what each width of the beam finds of what there is.

  Args:
    run: the model.
    examples: E of them.
    beams: widths of searches.
    normalization: what a score is.
    exclude_seen: leave out the items of each history.
    batch_size: examples searched at once.

  Returns:
    By width, and 'exact': `recall` and `ndcg` of the first 10, or of as many as
    there are beams, each {n, mean, low, high} over users; `found`, the mean
    share of the 10 best items that the list holds; `same`, the share of lists
    that are these 10 in this order; `score_lost`, how much less the mean
    log-probability of the first place is than that of the best item.
  """
  best, best_scores = exact_lists(
    run, examples, normalization=normalization, exclude_seen=exclude_seen
  )
  rows = {}
  for width in beams:
    lists = rank_items(
      run,
      examples,
      num_beams=width,
      normalization=normalization,
      exclude_seen=exclude_seen,
      batch_size=batch_size,
    )
    rows[f'{width} beams'] = _describe(
      lists.items[:, :TOP_K], lists.scores, best, best_scores, examples
    )
  rows[EXACT] = _describe(best, best_scores, best, best_scores, examples)
  return rows


def _describe(items, scores, best, best_scores, examples) -> dict[str, Any]:
  k = items.shape[1]
  metrics = ranking.example_metrics(items, examples.target, [k])
  count = np.ones(len(examples))
  there = best >= 0
  found = (best[:, :, None] == items[:, None, :]).any(axis=2) & there
  width = best.shape[1]
  same = np.zeros(len(best), bool)
  if k >= width:
    same = (items[:, :width] == best).all(axis=1)
  any_item = there[:, 0] & (items[:, 0] >= 0)
  lost = (best_scores[:, 0] - scores[:, 0])[any_item]
  return {
    **{
      name: ratio_bootstrap(metrics[f'{name}@{k}'], count, examples.user)
      for name in ('recall', 'ndcg')
    },
    'places': k,
    'found': float(found.sum() / max(1, there.sum())),
    'same': float(same.mean()),
    'score_lost': float(lost.mean()) if len(lost) else None,
  }
