"""Which requests are computed together, in a few shapes that are known before.

A program is compiled for a shape. Requests come in any number and of any
length, so both are rounded up: lengths to a few widths, numbers of rows to a
few row counts. The plan says which requests make a batch of which shape.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int, Int32, Int64

from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.types import GenrecError


@dataclasses.dataclass(frozen=True, eq=False)
class PlannedBatch:
  """A batch: the numbers of its requests, -1 for an empty row; its width."""

  index: Int64[np.ndarray, 'B']
  width: int

  @property
  def num_tokens(self) -> int:
    """How many tokens are computed, padding included."""
    return len(self.index) * self.width


def plan_batches(
  lengths: Int[np.ndarray, 'E'],
  widths: Sequence[int],
  row_counts: Sequence[int],
  *,
  row_cost: float = 0.0,
  batch_cost: float = 0.0,
) -> list[PlannedBatch]:
  """Groups requests of like length; each is in one batch.

  The longest come first. Of all ways to cut them, in this order, into batches
  of these row counts, the one that costs least is taken: by dynamic programming
  over the places of the cuts. A batch costs its tokens, padding included, and
  what is said below. Of equal ones, that of larger batches.

  Args:
    lengths: of the requests, in tokens.
    widths: the lengths of inputs that may be computed, ascending.
    row_counts: the numbers of rows that may be computed, ascending.
    row_cost: of a row, beside its tokens: its beams, in tokens of input.
    batch_cost: of a batch, beside its rows, in tokens of input.

  Raises:
    GenrecError: if a request is longer than the widest, or the shapes are no
      ascending positive numbers.

  >>> plan = plan_batches(np.array([3, 9, 2, 4, 16]), (4, 16), (1, 2))
  >>> [(batch.index.tolist(), batch.width) for batch in plan]
  [([4, 1], 16), ([3, 0], 4), ([2], 4)]
  """
  for name, sizes in (('widths', widths), ('row_counts', row_counts)):
    if not len(sizes) or any(b <= a for a, b in zip((0, *sizes), sizes)):
      raise GenrecError(
        f'Got {name}={tuple(sizes)}; expected ascending positive numbers.'
      )
  lengths = np.asarray(lengths)
  if lengths.max(initial=0) > widths[-1]:
    raise GenrecError(
      f'Request {lengths.argmax()} has {lengths.max()} tokens, but the widest'
      f' input that is compiled has {widths[-1]}; raise it, or show less of a'
      ' history.'
    )
  order = np.argsort(-lengths, kind='stable')
  # Of a batch that begins with a request.
  width = np.asarray(widths)[np.searchsorted(widths, lengths[order])].tolist()
  num_left = len(order)
  least, rows = [0.0] * (num_left + 1), [0] * num_left
  for first in reversed(range(num_left)):
    least[first], rows[first] = min(
      (
        count * (width[first] + row_cost)
        + batch_cost
        + least[min(first + count, num_left)],
        -count,
      )
      for count in row_counts
    )
  plan, first = [], 0
  while first < num_left:
    index = np.full(-rows[first], -1, np.int64)
    taken = order[first : first + len(index)]
    index[: len(taken)] = taken
    plan.append(PlannedBatch(index, width[first]))
    first += len(taken)
  return plan


def planned_inputs(
  examples: TokenExamples, plan: Sequence[PlannedBatch]
) -> Iterator[
  tuple[Int64[np.ndarray, 'B'], dict[str, Int32[np.ndarray, '...']]]
]:
  """Yields the numbers of the examples of each batch, and its inputs."""
  for batch in plan:
    inputs = examples.inputs.padded(batch.index, batch.width)
    yield batch.index, {'encoder_input_tokens': inputs}
