"""What items are: their attributes, and what one may wish for.

A wish is an attribute that the target of an example has, such as its category
or its brand. Which of several it is follows from the user and the item, so
that tokenization, decoding and evaluation agree without writing it down.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int32, Integer

from genrec_jax.data.token_cache import Ragged
from genrec_jax.types import GenrecError

# An attribute of fewer items all but names them.
MIN_ITEMS = 5


@dataclasses.dataclass(frozen=True, eq=False)
class Attributes:
  """The attributes of N items.

  Attributes:
    column: of the items table.
    values: the A attributes that enough items have.
    of_item: the numbers of those that each item has, each once.
  """

  column: str
  values: list[str]
  of_item: Ragged

  def items_with(
    self, attribute: Integer[np.ndarray, 'W']
  ) -> Bool[np.ndarray, 'W N']:
    """Returns which items have each of these attributes; -1 has none."""
    item = np.repeat(np.arange(len(self.of_item)), self.of_item.lengths)
    place = np.full(len(self.values) + 1, -1)
    asked, inverse = np.unique(attribute, return_inverse=True)
    place[asked] = np.arange(len(asked))
    place[-1] = -1
    has = np.zeros((len(asked), len(self.of_item)), bool)
    rows = place[self.of_item.values]
    has[rows[rows >= 0], item[rows >= 0]] = True
    return has[inverse]


def read_attributes(
  items: pa.Table, column: str = 'attributes', *, min_items: int = MIN_ITEMS
) -> Attributes:
  """Reads the attributes of items.

  Args:
    items: the items table of a dataset.
    column: of texts, or of lists of texts.
    min_items: attributes of fewer items are left out.

  Raises:
    GenrecError: if there is no such column, it has no texts, or no attribute
      is left.
  """
  if column not in items.column_names:
    raise GenrecError(
      f'The items table has no column {column!r}; expected one of:'
      f' {", ".join(items.column_names)}.'
    )
  found: list[list[str]] = []
  for value in items[column].to_pylist():
    entries = [value] if not isinstance(value, list) else value
    if any(not isinstance(entry, str | None) for entry in entries):
      raise GenrecError(
        f'The column {column!r} of the items has {value!r}; expected texts or'
        ' lists of texts. Numbers are compared, not wished for: see'
        ' cheaper_than.'
      )
    found.append(list(dict.fromkeys(entry for entry in entries if entry)))
  counts: dict[str, int] = {}
  for entries in found:
    for entry in entries:
      counts[entry] = counts.get(entry, 0) + 1
  values = sorted(entry for entry in counts if counts[entry] >= min_items)
  if not values:
    raise GenrecError(
      f'No value of the column {column!r} is shared by {min_items} of the'
      f' {items.num_rows} items; name another column of the items table:'
      f' {", ".join(items.column_names)}.'
    )
  number = {entry: place for place, entry in enumerate(values)}
  of_item = Ragged.from_rows(
    [number[entry] for entry in entries if entry in number] for entries in found
  )
  return Attributes(column, values, of_item)


def draw_wishes(
  attributes: Attributes,
  user: Integer[np.ndarray, 'E'],
  target: Integer[np.ndarray, 'E'],
) -> Int32[np.ndarray, 'E']:
  """Returns an attribute of each target, -1 where it has none.

  Of several one is chosen by a hash of user and item: always the same one.
  """
  counts = attributes.of_item.lengths[target]
  mixed = _mix(
    _mix(np.asarray(user, np.uint64)) ^ np.asarray(target, np.uint64)
  )
  chosen = (mixed % np.maximum(counts, 1).astype(np.uint64)).astype(np.int64)
  places = attributes.of_item.offsets[target] + chosen
  wishes = np.full(len(target), -1, np.int32)
  wishes[counts > 0] = attributes.of_item.values[places[counts > 0]]
  return wishes


def _mix(x: np.ndarray) -> np.ndarray:
  """Returns well mixed bits (the finalizer of SplitMix64, Steele et al. 2014).

  Wraps around, as is meant.
  """
  x = x + np.uint64(0x9E3779B97F4A7C15)
  x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return x ^ (x >> np.uint64(31))
