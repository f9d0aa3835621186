"""Answers that are texts, or turns of a dialogue that may name items."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from genrec_jax.answering.items import check_scores
from genrec_jax.answering.run import NUM_BUCKETS, Run
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.decoding.examples import map_examples
from genrec_jax.decoding.mentions import mention_grammar
from genrec_jax.decoding.sampling import (
  Sampling,
  make_generate_fn,
  request_keys,
)
from genrec_jax.decoding.text_beam import make_text_beam_fn
from genrec_jax.decoding.texts import AllowedTokens, Grammar, text_tokens
from genrec_jax.evaluation.outputs import DialogueTurn, Failure, Text
from genrec_jax.types import GenrecError

LONGEST = 64  # where a token cache does not say how many tokens are learnt


@dataclasses.dataclass(frozen=True)
class TextDecoding:
  """How texts are decoded; by default greedily, one text an example.

  Attributes:
    num_beams: beams of a search for the likeliest texts, which are then the K
      texts of an example; None for none.
    alpha: of the length penalty of that search.
    temperature: see `decoding.sampling.Sampling`, as the next two.
    top_k: draw from the k likeliest tokens.
    top_p: draw from the nucleus.
    num_samples: texts drawn for each example, K.
    max_length: the most tokens of a text, eos included; by default as many as
      are learnt.
    free_mentions: let a reply write codes as it likes, to see how many items
      it would invent; by default every mention is an item.
    seed: of what is drawn.
  """

  num_beams: int | None = None
  alpha: float = 0.6
  temperature: float | None = None
  top_k: int | None = None
  top_p: float | None = None
  num_samples: int = 1
  max_length: int | None = None
  free_mentions: bool = False
  seed: int = 0

  def __post_init__(self):
    if self.num_beams is not None and self.sampling is not None:
      raise GenrecError(
        f'Got num_beams={self.num_beams} and {self.sampling}; texts are either'
        ' searched for or drawn: leave one of them out.'
      )
    if self.sampling is None and self.num_samples > 1:
      raise GenrecError(
        f'Got num_samples={self.num_samples} of greedy decoding, which are all'
        ' the same; pass a temperature, top_k or top_p to draw them.'
      )

  @property
  def sampling(self) -> Sampling | None:
    """How tokens are drawn; None where they are not."""
    given = (self.temperature, self.top_k, self.top_p)
    return None if given == (None, None, None) else Sampling(*given)

  def describe(self) -> dict[str, Any]:
    """Returns the settings as JSON values."""
    return dataclasses.asdict(self)


GREEDY = TextDecoding()


@dataclasses.dataclass(frozen=True, eq=False)
class TextAnswers:
  """K texts for each of E examples, the best or first drawn first.

  Attributes:
    tokens: with eos, and padding after it.
    log_probabilities: of each, the model's own.
    ended: whether there is an eos; else the text was cut.
    outputs: what they say: a list of K `Text` (of a reply: `DialogueTurn`)
      or `Failure` for each example.
  """

  tokens: Int[np.ndarray, 'E K T']
  log_probabilities: Float[np.ndarray, 'E K']
  ended: Bool[np.ndarray, 'E K']
  outputs: list[list[Text | DialogueTurn | Failure]]

  @property
  def first(self) -> list[Text | DialogueTurn | Failure]:
    """The first output of each example."""
    return [outputs[0] for outputs in self.outputs]


def write_texts(
  run: Run,
  examples: TokenExamples,
  decoding: TextDecoding = GREEDY,
  *,
  batch_size: int = 128,
) -> TextAnswers:
  """Returns texts; no token of an item can stand in them."""
  grammar = AllowedTokens(text_tokens(run.layout))
  return _write(
    run, examples, decoding, grammar, run.parser.text, batch_size=batch_size
  )


def write_replies(
  run: Run,
  examples: TokenExamples,
  decoding: TextDecoding = GREEDY,
  *,
  batch_size: int = 128,
) -> TextAnswers:
  """Returns turns of dialogues in which items are named.

  No item can be invented, unless `decoding.free_mentions`.
  """
  if decoding.free_mentions:
    grammar = AllowedTokens(_text_and_codes(run))
  else:
    grammar = mention_grammar(run.trie, run.layout)
  return _write(
    run,
    examples,
    decoding,
    grammar,
    run.parser.dialogue_turn,
    batch_size=batch_size,
  )


def longest_text(run: Run) -> int:
  """Returns how many tokens of a text are learnt, eos included."""
  return run.cache.manifest.get('settings', {}).get('max_answer', LONGEST)


def _write(
  run: Run,
  examples: TokenExamples,
  decoding: TextDecoding,
  grammar: Grammar,
  parse,
  *,
  batch_size: int,
) -> TextAnswers:
  length = decoding.max_length or longest_text(run)
  more = {}
  if decoding.num_beams is not None:
    search = make_text_beam_fn(
      run.model, length=length, num_beams=decoding.num_beams
    )

    def decode(batch):
      return search(run.params, batch, alpha=decoding.alpha, grammar=grammar)
  else:
    generate = make_generate_fn(
      run.model, length=length, num_samples=decoding.num_samples
    )
    key = jax.random.key(decoding.seed)
    more = {'more': _numbers}

    def decode(batch):
      return generate(
        run.params,
        batch,
        keys=request_keys(key, batch['number']),
        sampling=decoding.sampling,
        grammar=grammar,
      )

  with run.partitioned():
    found = map_examples(
      decode,
      examples,
      batch_size=run.rows(batch_size, len(examples)),
      num_buckets=NUM_BUCKETS,
      place=run.place,
      **more,
    )
  check_scores(found.log_probabilities, run.step)
  return TextAnswers(
    tokens=found.tokens,
    log_probabilities=found.log_probabilities,
    ended=found.ended,
    outputs=[[parse(text) for text in texts] for texts in found.tokens],
  )


def _numbers(index):
  """The number of each example, which its random numbers depend on."""
  return {'number': np.maximum(index, 0).astype(np.uint32)}


def _text_and_codes(run: Run) -> Bool[np.ndarray, 'V']:
  allowed = text_tokens(run.layout)
  for block in run.layout.item_blocks[: run.layout.num_levels]:
    allowed[block.start : block.stop] = True
  return allowed
