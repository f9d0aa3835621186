"""Batches of token examples: length-bucketed, resumable, deterministic.

Padding is the largest waste in training on short histories, so that examples
of like length go together: a batch is padded to the boundaries of its bucket,
one of inputs and one of targets, and a training step is compiled once a pair
of them. Where a mixture asks for items and for texts, two boundaries of targets
keep the items of two tokens from being padded to the longest text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Int64

from genrec_jax import artifacts
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.types import PAD_ID, GenrecError

# Model features, int32: encoder_input_tokens [B, S], decoder_input_tokens,
# decoder_target_tokens and decoder_loss_weights, each [B, Td].
Batch = dict[str, np.ndarray]

# The choice of the source of a mixture is drawn for so many batches at once.
CHOICES = 4096


def check_position(state: dict[str, Any], settings: dict[str, Any]) -> None:
  """Refuses a data position that was saved among other batches.

  Raises:
    GenrecError: if `state` holds other values than `settings`.
  """
  for name, value in settings.items():
    if state.get(name) != value:
      raise GenrecError(
        f'The data position was saved with {name}={state.get(name)}, but'
        f' this run has {name}={value}; resume with the settings and data'
        ' of that run, or start a new one.'
      )


class TrainBatches:
  """An endless iterator over shuffled batches of one bucket each.

  Batch number n is a pure function of the settings, the seed and n, so that
  to resume is to set a counter. An epoch visits each example at least once: a
  seeded permutation of the examples, of which the first few are repeated to
  fill the last batch, is grouped by bucket (stably, shortest inputs first,
  among these the shortest targets) and cut into batches; the batches come in
  shuffled order. Where a cut falls between buckets, that batch is padded to
  the longest of them.

  Of several sources, each batch comes from one, drawn by rate.

  Attributes:
    tasks: the names of the sources; None where they have none.
  """

  def __init__(
    self,
    examples: TokenExamples | Sequence[tuple[TokenExamples, float]],
    *,
    batch_size: int,
    max_input_length: int,
    max_target_length: int,
    bucket_boundaries: Sequence[int] = (),
    target_boundaries: Sequence[int] = (),
    seed: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    tasks: Sequence[str] | None = None,
  ):
    """Makes the iterator.

    Args:
      examples: the source, or several with their rates.
      batch_size: rows of the global batch, B.
      max_input_length: no input may be longer.
      max_target_length: no target may be longer.
      bucket_boundaries: input lengths to pad to, for example from
        `suggest_buckets`; `max_input_length` is added where it is missing.
      target_boundaries: target lengths to pad to, likewise.
      seed: of the order of the examples.
      process_index: which share of the global batch to yield.
      process_count: number of equal shares.
      tasks: the names of the sources, for those who ask what is trained.

    Raises:
      GenrecError: if the settings do not fit each other or the examples.
    """
    if isinstance(examples, TokenExamples):
      examples = [(examples, 1.0)]
    if batch_size < 1 or batch_size % process_count:
      raise GenrecError(
        f'batch_size={batch_size} is not a positive multiple of the'
        f' {process_count} processes; choose one that is.'
      )
    boundaries = (
      _check_boundaries('bucket', bucket_boundaries, 'input', max_input_length),
      _check_boundaries(
        'target', target_boundaries, 'target', max_target_length
      ),
    )
    rates = np.array([rate for _, rate in examples], np.float64)
    if not (rates > 0).all():
      raise GenrecError(
        f'Got the mixture rates {rates.tolist()}, expected positive ones;'
        ' leave out what is not to be mixed in.'
      )
    self._sources = []
    for source, _ in examples:
      if not len(source):
        raise GenrecError('Got no examples to train on; check the split.')
      _check_lengths('inputs', source.inputs.lengths, max_input_length)
      _check_lengths('targets', source.targets.lengths, max_target_length)
      self._sources.append(
        _Source(
          source,
          # The bucket of length 3 with boundaries (4, 8) is 0, of 4 also.
          np.stack(
            [
              np.searchsorted(limits, lengths).astype(np.int16)
              for limits, lengths in zip(
                boundaries, (source.inputs.lengths, source.targets.lengths)
              )
            ]
          ),
          batch_size,
          seed=(seed, len(self._sources)),
        )
      )
    self.tasks = None if tasks is None else list(tasks)
    self._boundaries = boundaries
    self._probabilities = rates / rates.sum()
    self._share = np.s_[
      process_index * batch_size // process_count : (process_index + 1)
      * batch_size
      // process_count
    ]
    self._seed = seed
    self._next = 0
    # By block of CHOICES batches: the source of each, and the number of
    # batches that each source gave before the block.
    self._chosen = []
    self._turns = [np.zeros(len(self._sources), np.int64)]
    self._settings = {
      'seed': seed,
      'batch_size': batch_size,
      'bucket_boundaries': list(boundaries[0]),
      'target_boundaries': list(boundaries[1]),
      'mixture_rates': rates.tolist(),
      'examples': artifacts.arrays_sha256(
        *(
          array
          for source, _ in examples
          for array in (source.inputs.offsets, source.user, source.target)
        )
      ),
    }

  @property
  def num_examples(self) -> int:
    """The number of examples of all sources."""
    return sum(len(source.examples) for source in self._sources)

  @property
  def steps_per_epoch(self) -> int:
    """The number of batches that hold all examples of all sources once."""
    return sum(source.num_batches for source in self._sources)

  def __iter__(self) -> TrainBatches:
    return self

  def __next__(self) -> Batch:
    batch = self.batch(self._next)
    self._next += 1
    return batch

  def batch(self, number: int) -> Batch:
    """Returns this process's rows of the global batch of that number."""
    source, turn = self._source_and_turn(number)
    rows = source.rows(turn)
    buckets = source.buckets[:, rows].max(axis=1)
    lengths = (b[i] for b, i in zip(self._boundaries, buckets))
    return _make_batch(source.examples, rows[self._share], *lengths)

  def get_state(self) -> dict[str, Any]:
    """Returns the position and what it depends on, JSON values."""
    return {'next_batch': self._next, **self._settings}

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes to a position that `get_state` returned.

    Raises:
      GenrecError: if it was a position among other batches.
    """
    check_position(state, self._settings)
    self._next = state['next_batch']

  def _source_and_turn(self, number: int) -> tuple[_Source, int]:
    """Returns a batch's source and how many batches that one gave before."""
    if len(self._sources) == 1:
      return self._sources[0], number
    block, place = divmod(number, CHOICES)
    while len(self._chosen) <= block:
      random = np.random.default_rng(
        [self._seed, len(self._sources), len(self._chosen)]
      )
      chosen = random.choice(
        len(self._sources), CHOICES, p=self._probabilities
      ).astype(np.int16)
      self._chosen.append(chosen)
      self._turns.append(
        self._turns[-1] + np.bincount(chosen, minlength=len(self._sources))
      )
    chosen = self._chosen[block][place]
    turn = self._turns[block][chosen] + np.count_nonzero(
      self._chosen[block][:place] == chosen
    )
    return self._sources[chosen], int(turn)


@dataclasses.dataclass
class _Source:
  """The order of one source's examples, an epoch at a time.

  Attributes:
    buckets: of each example, by the length of its input and of its target.
  """

  examples: TokenExamples
  buckets: Int[np.ndarray, '2 E']
  batch_size: int
  seed: tuple[int, int]
  epoch: int = -1
  order: Int64[np.ndarray, 'batches B'] | None = None

  @property
  def num_batches(self) -> int:
    return -(-len(self.examples) // self.batch_size)

  def rows(self, turn: int) -> Int64[np.ndarray, 'B']:
    """Returns the examples of this source's batch of that number."""
    epoch, place = divmod(turn, self.num_batches)
    if epoch != self.epoch:
      random = np.random.default_rng([*self.seed, epoch])
      order = np.resize(
        random.permutation(len(self.examples)),
        self.num_batches * self.batch_size,
      )
      order = order[np.lexsort(self.buckets[::-1, order])]
      order = order.reshape(self.num_batches, self.batch_size)
      self.order = random.permutation(order, axis=0)
      self.epoch = epoch
    return self.order[place]


def eval_batches(
  examples: TokenExamples,
  *,
  batch_size: int,
  max_input_length: int | None = None,
  max_target_length: int | None = None,
  bucket_boundaries: Sequence[int] = (),
) -> Iterator[tuple[Int64[np.ndarray, 'B'], Batch]]:
  """Yields every example once, by bucket, in order within a bucket.

  The last batch of a bucket is filled up with empty rows. The lengths default
  to the longest that occur.

  Yields:
    The numbers of the examples, -1 for an empty row, and the batch.
  """
  if max_input_length is None:
    max_input_length = int(
      max(examples.inputs.lengths.max(initial=1), *bucket_boundaries, 1)
    )
  if max_target_length is None:
    max_target_length = int(examples.targets.lengths.max(initial=1))
  boundaries = _check_boundaries(
    'bucket', bucket_boundaries, 'input', max_input_length
  )
  _check_lengths('inputs', examples.inputs.lengths, max_input_length)
  _check_lengths('targets', examples.targets.lengths, max_target_length)
  bucket = np.searchsorted(boundaries, examples.inputs.lengths)
  for i, boundary in enumerate(boundaries):
    rows = np.flatnonzero(bucket == i)
    for start in range(0, len(rows), batch_size):
      index = np.full(batch_size, -1, np.int64)
      taken = rows[start : start + batch_size]
      index[: len(taken)] = taken
      yield index, _make_batch(examples, index, boundary, max_target_length)


def suggest_buckets(
  lengths: Int[np.ndarray, 'E'], num_buckets: int = 5, *, multiple: int = 8
) -> tuple[int, ...]:
  """Returns the bucket boundaries that leave the fewest padding tokens.

  Args:
    lengths: of the inputs of the examples, or of their targets.
    num_buckets: the most boundaries, each of which costs a compilation.
    multiple: boundaries are multiples of this.

  Returns:
    Ascending boundaries; the last is the longest length, rounded up.
  """
  assert num_buckets > 0 and len(lengths)
  # Candidate i stands for boundary (i + 1) * multiple; by dynamic programming
  # over them: least[i] is the padded size of all examples up to candidate i.
  cell = np.maximum(-(-np.asarray(lengths) // multiple), 1) - 1
  below = np.concatenate([[0], np.cumsum(np.bincount(cell))])
  sizes = (np.arange(len(below) - 1) + 1) * multiple
  least = below[1:] * sizes
  choices = []
  for _ in range(num_buckets - 1):
    # cost[i, j]: the last bucket holds candidates j..i, the others those
    # before j; a bucket that is no use stays empty (j = 0).
    before = np.concatenate([[0], least[:-1]])
    cost = before + (below[1:, None] - below[:-1]) * sizes[:, None]
    cost = np.where(np.tri(len(sizes), dtype=bool), cost, np.inf)
    choices.append(cost.argmin(axis=1))
    least = cost.min(axis=1)
  boundaries, last = [], len(sizes) - 1
  for choice in reversed([np.zeros(len(sizes), np.int64), *choices]):
    boundaries.append(int(sizes[last]))
    last = choice[last] - 1
    if last < 0:
      break
  return tuple(reversed(boundaries))


def _make_batch(
  examples: TokenExamples,
  rows: Int64[np.ndarray, 'B'],
  input_length: int,
  target_length: int,
) -> Batch:
  targets = examples.targets.padded(rows, target_length)
  shifted = np.full_like(targets, PAD_ID)
  shifted[:, 1:] = targets[:, :-1]
  return {
    'encoder_input_tokens': examples.inputs.padded(rows, input_length),
    'decoder_input_tokens': shifted,
    'decoder_target_tokens': targets,
    'decoder_loss_weights': (targets != PAD_ID).astype(np.int32),
  }


def _check_boundaries(
  name: str, boundaries: Sequence[int], what: str, longest: int
) -> tuple[int, ...]:
  boundaries = tuple(boundaries)
  if any(b <= a for a, b in zip((0, *boundaries), boundaries)) or (
    boundaries and boundaries[-1] > longest
  ):
    raise GenrecError(
      f'Got {name}_boundaries={boundaries}, expected ascending lengths up to'
      f' max_{what}_length={longest}.'
    )
  if boundaries and boundaries[-1] == longest:
    return boundaries
  return (*boundaries, longest)


def _check_lengths(
  what: str, lengths: Int[np.ndarray, 'E'], longest: int
) -> None:
  too_long = np.flatnonzero(lengths > longest)
  if too_long.size:
    raise GenrecError(
      f'{too_long.size} of {len(lengths)} {what} are longer than {longest}'
      f' tokens (the longest, of example {lengths.argmax()}, has'
      f' {lengths.max()}); raise max_{what[:-1]}_length or tokenize with a'
      ' shorter history.'
    )
