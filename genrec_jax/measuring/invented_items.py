"""Items that do not exist: what a model writes without the trie.

The same checkpoint and examples, decoded in several ways, and the probability
that the model puts outside of the catalogue, summed exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from genrec_jax.answering.facts import TaskFacts, sample_examples
from genrec_jax.answering.item_paths import (
  ItemDecoding,
  ItemPathAnswers,
  write_items,
)
from genrec_jax.answering.run import NUM_BUCKETS, Run
from genrec_jax.data.token_cache import Ragged, TokenExamples
from genrec_jax.decoding.catalogue_scores import make_mass_fn
from genrec_jax.decoding.examples import map_examples
from genrec_jax.evaluation.hallucination import (
  ItemPaths,
  invented_shares,
  keep_items,
  mass_shares,
)
from genrec_jax.evaluation.outputs import NO_ITEM
from genrec_jax.evaluation.significance import paired_bootstrap, ratio_bootstrap
from genrec_jax.measuring.measured import Settings
from genrec_jax.types import GenrecError

TOP_K = 10
# Exact sums read every prefix of the catalogue: so many examples, so many
# prefixes at once, and no more logits than this.
MASS_EXAMPLES = 200
MASS_CHUNK = 256
MOST_LOGITS = 2**26


def default_decodings(settings: Settings) -> list[ItemDecoding]:
  """Returns the ways that `genrec evaluate` compares.

  The search under the trie as it is measured, the same search without it, what
  a language model does by default (greedy, and drawn), and the trie drawn from.
  """
  found = [
    ItemDecoding(
      num_beams=settings.num_beams, normalization=settings.normalization
    ),
    ItemDecoding(trie=False, num_beams=settings.num_beams),
    ItemDecoding(trie=False, num_beams=1),
    ItemDecoding(trie=False, num_beams=TOP_K, temperature=1.0),
    ItemDecoding(num_beams=TOP_K, temperature=1.0),
  ]
  return list(dict.fromkeys(found))


def measure_invented_items(
  run: Run,
  facts: TaskFacts,
  examples: TokenExamples,
  settings: Settings,
) -> dict[str, Any]:
  """Measures a sample of the examples with and without the trie.

  Args:
    run: the model.
    facts: of the task.
    examples: of the part that is measured; of a dialogue one for each item
      that a turn names.
    settings: of these `hallucination_examples`, a seeded sample; None for all.

  Returns:
    JSON values: `sample` {examples, of, seed} or None, the `rows` of
    `compare_decodings`, and the `mass` of `measure_mass`.
  """
  exclude_seen = settings.exclude_seen and not facts.of_dialogues
  seed = settings.text_decoding.seed
  examples, sample = sample_examples(
    examples,
    settings.hallucination_examples,
    seed,
    whole_turns=facts.of_dialogues,
  )
  rows = compare_decodings(
    run,
    examples,
    default_decodings(settings),
    exclude_seen=exclude_seen,
    batch_size=settings.batch_size,
    seed=seed,
  )
  return {
    'sample': sample,
    'top_k': TOP_K,
    'rows': {row.pop('name'): row for row in rows},
    'mass': measure_mass(run, examples, seed=seed),
  }


def compare_decodings(
  run: Run,
  examples: TokenExamples,
  decodings: Sequence[ItemDecoding],
  *,
  exclude_seen: bool = True,
  batch_size: int = 128,
  seed: int = 0,
) -> list[dict[str, Any]]:
  """Returns how much each way of decoding invents, and what that costs.

  Args:
    run: the model.
    examples: E of them, of a task whose answer is an item.
    decodings: beams, temperatures, normalizations, with the trie and without.
    exclude_seen: leave out the items of each history: under the trie they
      cannot be written, without it they are dropped afterwards.
    batch_size: examples decoded at once.
    seed: of what is drawn, and of the bootstrap.

  Returns:
    A row a way of decoding, JSON values: its `name` and `decoding`; all of
    `evaluation.hallucination.invented_shares`; `seen`, the share of sequences
    that are items of the history, and `repeated`, that are an item written
    before; `recall@10` of what is left, each {n, mean, low, high}, an interval
    over users; and `recall_lost`, {mean, low, high, p_value}, the recall of the
    first way with the trie less that of this one, paired: None where there is
    none, and of that way itself.

  Raises:
    GenrecError: if there are no examples or no ways, or scores are not numbers.
  """
  if not decodings:
    raise GenrecError('Got no decodings; expected at least one ItemDecoding.')
  paths = ItemPaths(run.layout, run.cache.item_tokens)
  rows, reference = [], None
  for decoding in decodings:
    answers = write_items(
      run,
      examples,
      decoding,
      exclude_seen=exclude_seen,
      batch_size=batch_size,
      seed=seed,
    )
    row, recall = _measure(paths, answers, examples, exclude_seen, run)
    if reference is None and decoding.trie:
      reference = recall
      lost = None
    else:
      lost = _lost(reference, recall, examples.user, seed)
    rows.append(
      {
        'name': decoding.name,
        'decoding': decoding.describe(),
        **row,
        'recall_lost': lost,
      }
    )
  return rows


def measure_mass(
  run: Run,
  examples: TokenExamples,
  *,
  max_examples: int | None = MASS_EXAMPLES,
  seed: int = 0,
) -> dict[str, Any]:
  """Returns the probability that the model puts outside of the catalogue.

  Nothing is drawn: it is 1 less the sum over all items, whatever is decoded.
  That takes as many steps of the decoder as the trie has nodes, so a sample of
  the examples is enough.

  Args:
    run: the model.
    examples: E of them.
    max_examples: at most so many, a seeded sample; None for all.
    seed: of the sample.

  Returns:
    `sample` {examples, of, seed} or None, and what
    `evaluation.hallucination.mass_shares` says.
  """
  examples, sample = sample_examples(examples, max_examples, seed)
  rows = max(1, MOST_LOGITS // (MASS_CHUNK * run.layout.vocab_size))
  mass = make_mass_fn(run.model, run.trie, chunk_size=MASS_CHUNK)
  with run.partitioned():
    found = map_examples(
      lambda batch: mass(run.params, batch),
      examples,
      batch_size=run.rows(rows, len(examples)),
      num_buckets=NUM_BUCKETS,
      place=run.place,
    )
  return {'sample': sample, **mass_shares(found, examples.user)}


def _measure(
  paths: ItemPaths,
  answers: ItemPathAnswers,
  examples: TokenExamples,
  exclude_seen: bool,
  run: Run,
) -> tuple[dict[str, Any], Bool[np.ndarray, 'E']]:
  """Returns the row of one way of decoding, and which targets it found."""
  found = paths.follow(answers.tokens)
  written = answers.log_probabilities > -np.inf
  count = np.ones(len(examples))
  items = np.where(written, found.item, NO_ITEM)
  seen = _in_history(items, examples.history)
  kept = np.where(seen & exclude_seen, NO_ITEM, items)
  lists = keep_items(kept, answers.log_probabilities, TOP_K)
  recall = (lists == examples.target[:, None]).any(axis=1)
  row = invented_shares(
    found,
    written,
    examples.user,
    top_k=TOP_K,
    num_levels=run.layout.tokens_per_item,
  )
  return {
    **row,
    'seen': float(seen.sum() / max(1, written.sum())),
    'repeated': float(_repeated(items).sum() / max(1, written.sum())),
    f'recall@{TOP_K}': ratio_bootstrap(recall, count, examples.user),
  }, recall


def _lost(
  reference: Bool[np.ndarray, 'E'] | None,
  recall: Bool[np.ndarray, 'E'],
  user: Int[np.ndarray, 'E'],
  seed: int,
) -> dict[str, float] | None:
  """Returns how much less is found than under the trie, over users."""
  if reference is None:
    return None
  _, place = np.unique(user, return_inverse=True)
  if place.max() < 1:
    return None
  count = np.bincount(place)
  first, second = (
    np.bincount(place, hits) / count for hits in (reference, recall)
  )
  found = paired_bootstrap(first, second, num_resamples=1000, seed=seed)
  return {
    'mean': found.mean,
    'low': found.low,
    'high': found.high,
    'p_value': found.p_value,
  }


def _in_history(
  items: Int[np.ndarray, 'E K'], history: Ragged
) -> Bool[np.ndarray, 'E K']:
  return np.stack([np.isin(row, history[e]) for e, row in enumerate(items)])


def _repeated(items: Int[np.ndarray, 'E K']) -> Bool[np.ndarray, 'E K']:
  """Returns which are an item that stands before in the row."""
  order = np.argsort(items, axis=1, kind='stable')
  ordered = np.take_along_axis(items, order, axis=1)
  again = np.zeros(items.shape, bool)
  again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
  again &= ordered != NO_ITEM
  result = np.empty_like(again)
  np.put_along_axis(result, order, again, axis=1)
  return result
