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
) -> list[PlannedBatch]:
  """Groups requests of like length; each is in one batch.

  The longest come first. What is left after the last full batch goes into the
  smallest batch that holds it, if at least half of that is filled, else into
  smaller ones: so never more than twice the rows asked for are computed, as
  long as a batch of one row is allowed.

  Args:
    lengths: of the requests, in tokens.
    widths: the lengths of inputs that may be computed, ascending.
    row_counts: the numbers of rows that may be computed, ascending.

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
  plan, start = [], 0
  while start < len(order):
    rows = _count_rows(len(order) - start, row_counts)
    taken = order[start : start + rows]
    index = np.full(rows, -1, np.int64)
    index[: len(taken)] = taken
    width = widths[int(np.searchsorted(widths, lengths[taken[0]]))]
    plan.append(PlannedBatch(index, int(width)))
    start += len(taken)
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


def _count_rows(num_left: int, row_counts: Sequence[int]) -> int:
  """Returns the rows of the next batch."""
  if num_left >= row_counts[-1]:
    return row_counts[-1]
  enough = next(rows for rows in row_counts if rows >= num_left)
  fewer = [rows for rows in row_counts if rows <= num_left]
  return enough if enough <= 2 * num_left or not fewer else fewer[-1]
