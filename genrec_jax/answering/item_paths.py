"""Items as a model writes them: with the trie or without, searched or drawn.

`answering.items` lists items, for people; this says what tokens come of a way
of decoding, be they an item or not.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, Int32

from genrec_jax.answering.items import check_scores, rank_items
from genrec_jax.answering.run import NUM_BUCKETS, Run
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.decoding.examples import map_examples
from genrec_jax.decoding.free_beam import make_free_beam_fn
from genrec_jax.decoding.item_grammar import item_grammar
from genrec_jax.decoding.recommend import seen_items
from genrec_jax.decoding.sampling import (
  Sampling,
  make_generate_fn,
  request_keys,
)
from genrec_jax.decoding.texts import ANY_TOKENS
from genrec_jax.types import PAD_ID, GenrecError


@dataclasses.dataclass(frozen=True)
class ItemDecoding:
  """A way of decoding items.

  Attributes:
    trie: whether only items can be written; else any token may follow.
    num_beams: sequences of an example, K: found by a beam search, or drawn
      where there is a temperature. A search with one beam is greedy.
    temperature: draw tokens, their logits divided by this; None searches.
    normalization: what a score is in a search under the trie; without it, or
      drawn, it is the model's own log-probability.
  """

  trie: bool = True
  num_beams: int = 20
  temperature: float | None = None
  normalization: str = 'vocabulary'

  def __post_init__(self):
    searched = self.trie and self.temperature is None
    if self.normalization != 'vocabulary' and not searched:
      raise GenrecError(
        f'Got normalization={self.normalization!r} of {self.name}; only the'
        ' search under the trie has a choice, leave it out.'
      )
    if self.num_beams < 1:
      raise GenrecError(f'Got num_beams={self.num_beams}, expected at least 1.')
    if self.temperature is not None:
      Sampling(temperature=self.temperature).check()

  @property
  def name(self) -> str:
    """What a row of a table is called."""
    trie = 'trie' if self.trie else 'free'
    if self.temperature is not None:
      drawn = f'{self.num_beams} drawn at {self.temperature:g}'
      return f'{trie}, {drawn}'
    how = 'greedy' if self.num_beams == 1 else f'{self.num_beams} beams'
    among = f', over {self.normalization}'
    return f'{trie}, {how}' + among * (self.normalization != 'vocabulary')

  def describe(self) -> dict[str, Any]:
    """Returns the settings as JSON values."""
    return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, eq=False)
class ItemPathAnswers:
  """K sequences of tokens for each of E examples.

  Those of a search are the likeliest first, those drawn as they were drawn.

  Attributes:
    tokens: as many as an item has, padding after eos.
    log_probabilities: of each, as scores are normalized; -inf where there is
      no sequence.
  """

  tokens: Int32[np.ndarray, 'E K L']
  log_probabilities: Float32[np.ndarray, 'E K']


def write_items(
  run: Run,
  examples: TokenExamples,
  decoding: ItemDecoding,
  *,
  exclude_seen: bool = True,
  batch_size: int = 128,
  seed: int = 0,
) -> ItemPathAnswers:
  """Returns what a model writes where it is asked for an item.

  Args:
    run: the model.
    examples: what to answer, E of them.
    decoding: how.
    exclude_seen: whether the items of each history cannot be written; without
      the trie there is no way to forbid them.
    batch_size: examples decoded at once.
    seed: of what is drawn.

  Raises:
    GenrecError: if scores are not numbers.
  """
  if decoding.trie and decoding.temperature is None:
    lists = rank_items(
      run,
      examples,
      num_beams=decoding.num_beams,
      normalization=decoding.normalization,
      exclude_seen=exclude_seen,
      batch_size=batch_size,
    )
    return ItemPathAnswers(lists.tokens, lists.scores)
  length = run.layout.tokens_per_item
  if decoding.temperature is None:
    search = make_free_beam_fn(
      run.model, length=length, num_beams=decoding.num_beams
    )

    def decode(batch):
      return search(run.params, batch)
  else:
    generate = make_generate_fn(
      run.model, length=length, num_samples=decoding.num_beams
    )
    sampling = Sampling(temperature=decoding.temperature)
    key = jax.random.key(seed)

    def decode(batch):
      grammar = ANY_TOKENS
      if decoding.trie:
        grammar = item_grammar(
          run.trie, run.layout.vocab_size, exclude=batch.get('exclude')
        )
      return generate(
        run.params,
        batch,
        keys=request_keys(key, batch['number']),
        sampling=sampling,
        grammar=grammar,
      )

  def more(index):
    features = {'number': np.maximum(index, 0).astype(np.uint32)}
    if decoding.trie and exclude_seen:
      features['exclude'] = seen_items(examples.history, index)
    return features

  with run.partitioned():
    found = map_examples(
      decode,
      examples,
      batch_size=run.rows(batch_size, len(examples)),
      more=more,
      num_buckets=NUM_BUCKETS,
      place=run.place,
    )
  check_scores(found.log_probabilities, run.step)
  scores = found.log_probabilities
  if decoding.trie:
    # Whoever had every item gets none.
    scores = np.where(found.tokens[..., 0] == PAD_ID, -np.inf, scores)
  return ItemPathAnswers(found.tokens, scores)
