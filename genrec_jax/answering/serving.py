"""Requests in any number and of any length, by programs of a few shapes."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from genrec_jax.answering.items import check_scores
from genrec_jax.answering.run import Run
from genrec_jax.data.batch_plans import (
  PlannedBatch,
  plan_batches,
  planned_inputs,
)
from genrec_jax.data.batches import suggest_buckets
from genrec_jax.data.token_cache import Ragged, TokenCache, TokenExamples
from genrec_jax.decoding.block_states import BlockStates
from genrec_jax.decoding.examples import map_examples
from genrec_jax.decoding.new_users import read_prompt
from genrec_jax.decoding.recommend import (
  Lists,
  make_recommend_fn,
  seen_items,
)
from genrec_jax.types import PAD_ID, GenrecError

PARTS = ('validation', 'test')  # what says how long requests are
BATCH_COST = 64  # of starting a program, in tokens
ROOM_FOR_SEEN = 64  # one shape for all shorter histories


class Server:
  """Lists the best items for requests, in the order asked.

  What a request gets does not depend on what is asked beside it. Programs are
  compiled when their shape first occurs, len(widths) * len(row_counts) of them
  at most, or all by `warm_up`.

  Args:
    run: the model.
    task: whose prompts the requests are.
    num_beams: the length of the lists, and the width of the search.
    normalization: what a score is: 'vocabulary', 'level' or 'children'.
    exclude_seen: leave out the items of each history.
    batch_size: the most requests that are computed at once.
    num_widths: input lengths that are compiled, chosen for the least padding of
      the run's own examples; 1 pads all to the longest.
    widths: those lengths themselves.
    cache_blocks: keep what the encoder's first layers make of items and words
      from request to request (decoding/block_states.py); by default where the
      model has such layers.
    block_room: of what is kept, blocks beside those of the catalogue's items.

  Attributes:
    blocks: what is kept; None where nothing is.
    shapes: of inputs and of excluded items, that were computed so far.

  Raises:
    GenrecError: if the numbers are none that can be.
  """

  def __init__(
    self,
    run: Run,
    task: str,
    *,
    num_beams: int,
    normalization: str = 'vocabulary',
    exclude_seen: bool = True,
    batch_size: int = 64,
    num_widths: int = 4,
    widths: Sequence[int] | None = None,
    cache_blocks: bool | None = None,
    block_room: int = 4096,
  ):
    for name, value in (('batch_size', batch_size), ('num_widths', num_widths)):
      if value < 1:
        raise GenrecError(f'Got {name}={value}; expected at least 1.')
    self.run = run
    self.widths = tuple(widths or choose_widths(run.cache, task, num_widths))
    self.row_counts = tuple(
      sorted({run.rows(rows, rows) for rows in _powers(batch_size)})
    )
    self._num_beams, self._exclude_seen = num_beams, exclude_seen
    self._recommend = make_recommend_fn(
      run.model, run.trie, num_beams=num_beams, normalization=normalization
    )
    self.shapes: set[tuple[int, ...]] = set()
    self.blocks: BlockStates | None = None
    if cache_blocks is None:
      cache_blocks = run.model.module.config.num_block_local_layers > 0
    if cache_blocks:
      self.blocks = make_block_states(run, room=block_room)
      self._recommend = self.blocks.recommending(self._recommend)

  def plan(self, examples: TokenExamples) -> list[PlannedBatch]:
    """Returns the batches that `answer` computes for requests."""
    return plan_batches(
      examples.inputs.lengths,
      self.widths,
      self.row_counts,
      # A beam costs the decoder about what a token costs the encoder.
      row_cost=self._num_beams,
      batch_cost=BATCH_COST,
    )

  def answer(self, examples: TokenExamples) -> Lists:
    """Returns the lists of requests, in their order.

    Raises:
      GenrecError: if there are none, one is longer than the widest input, or
        the model's scores are not numbers.
    """
    return self._answer(examples, self.plan(examples))

  def warm_up(self) -> int:
    """Compiles every shape, and returns how many there are.

    Also computes what is kept of the catalogue's items, but where blocks are of
    several.
    """
    config = self.run.model.module.config
    if self.blocks is not None and config.items_per_block == 1:
      with self.run.partitioned():
        self.blocks.add_items(self.run.cache.item_tokens)
    for width in self.widths:
      for rows in self.row_counts:
        asked = Ragged.from_rows([np.full(width, PAD_ID)] * rows)
        nothing = np.full(rows, -1, np.int32)
        examples = TokenExamples(
          inputs=asked,
          targets=Ragged.from_rows([[]] * rows),
          user=nothing,
          target=nothing,
          tied=np.zeros(rows, bool),
          history=Ragged.from_rows([[]] * rows),
        )
        plan = [PlannedBatch(np.full(rows, -1, np.int64), width)]
        self._search(examples, plan)
    return len(self.widths) * len(self.row_counts)

  def _answer(
    self, examples: TokenExamples, plan: Sequence[PlannedBatch]
  ) -> Lists:
    lists = self._search(examples, plan)
    check_scores(lists.scores, self.run.step)
    return lists

  def _search(
    self, examples: TokenExamples, plan: Sequence[PlannedBatch]
  ) -> Lists:
    run = self.run

    def search(features):
      features = dict(features)
      exclude = features.pop('exclude', None)
      seen = () if exclude is None else exclude.shape[1:]
      self.shapes.add((*features['encoder_input_tokens'].shape, *seen))
      return self._recommend(run.params, features, exclude)

    def more(index):
      if not self._exclude_seen:
        return {}
      return {
        'exclude': seen_items(examples.history, index, least=ROOM_FOR_SEEN)
      }

    with run.partitioned():
      found = map_examples(
        search,
        examples,
        batches=planned_inputs(examples, plan),
        more=more,
        place=run.place,
      )
    return Lists(found.items, found.scores, found.tokens)


def make_block_states(run: Run, *, room: int = 4096) -> BlockStates:
  """Returns the place for the states of a run's items and some other blocks.

  Raises:
    GenrecError: if the model has no layers that see blocks alone.
  """
  sharding = None
  if run.mesh is not None:
    sharding = jax.sharding.NamedSharding(run.mesh, jax.P())
  return BlockStates(
    run.model,
    run.params,
    num_pages=len(run.cache.item_tokens) + room,
    place=run.place,
    sharding=sharding,
  )


def choose_widths(
  cache: TokenCache, task: str, num_widths: int
) -> tuple[int, ...]:
  """Returns the input lengths that suit a run's examples, ascending.

  The widest also holds the longest history that a prompt shows.
  """
  parts = [part for part in PARTS if part in cache.parts(task)]
  lengths = [cache.examples(task, part).inputs.lengths for part in parts]
  lengths = np.concatenate([*lengths, [_longest_prompt(cache, task)]])
  return suggest_buckets(lengths, num_widths)


def _longest_prompt(cache: TokenCache, task: str) -> int:
  """Returns the tokens of the prompt of a new user, 1 where none is known."""
  try:
    prompt = read_prompt(cache, task)
  except GenrecError:
    return 1  # None can be asked, so no request is longer than the examples.
  shown = cache.manifest['settings']['max_history'] * cache.item_tokens.shape[1]
  of_user = len(cache.layout['user_codebook_sizes'])
  sizes = {
    'user': of_user,
    'history': shown,
    'profile': of_user or shown,
  }
  return sum(
    sizes[part] if isinstance(part, str) else len(part) for part in prompt
  )


def _powers(most: int) -> list[int]:
  """Returns 1, 4, 16, ... and the most."""
  return [4**n for n in range(most.bit_length()) if 4**n < most] + [most]
