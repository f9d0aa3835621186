"""What a model answered, as typed results; see output_parser.py.

An answer that is not valid for its task is a `Failure` whose reason has a
name, and what is left out of a result is counted in it. So every answer
appears in the metrics.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int32

from genrec_jax.types import GenrecError

NO_ITEM = -1
# Every reason of a failure, and what it means.
REASONS = {
  'not_tokens': 'not an array of integers of the shape expected',
  'not_scores': 'not a number for each row, or NaN',
  'unknown_token': 'a token outside the vocabulary, or that of no text or item',
  'not_text': 'what the pieces spell is no text, as bytes that are no UTF-8',
  'no_text': 'nothing, or blanks alone',
  'item_in_text': 'codes of an item where the task is text alone',
  'no_rating': 'text that is no rating by the grammar',
  'no_item': 'rows, but the tokens of none are an item',
}


@dataclasses.dataclass(frozen=True)
class Rating:
  """A rating on the scale.

  Attributes:
    value: the rating.
    clamped: whether what was said is off the scale, and `value` its end.
  """

  value: float
  clamped: bool


@dataclasses.dataclass(frozen=True)
class RankedItems:
  """Items, best first, each once.

  Attributes:
    items: rows of the items.
    scores: of each item, descending.
    hallucinated: how many rows were left out because they are no item.
    repeated: how many were left out because a better row is the same item.
  """

  items: tuple[int, ...]
  scores: tuple[float, ...]
  hallucinated: int = 0
  repeated: int = 0


@dataclasses.dataclass(frozen=True)
class Text:
  """A text that is not blank, without blanks around it."""

  text: str


@dataclasses.dataclass(frozen=True)
class Mention:
  """An item in a text.

  Attributes:
    item: its row; NO_ITEM for codes that are those of no item.
    start: where its name begins in the text.
    stop: where its name ends.
  """

  item: int
  start: int
  stop: int


@dataclasses.dataclass(frozen=True)
class DialogueTurn:
  """What is said in one turn of a dialogue.

  Attributes:
    text: all of it, with the names of items where their codes stood.
    mentions: of items, in order.
  """

  text: str
  mentions: tuple[Mention, ...]

  @property
  def items(self) -> tuple[int, ...]:
    """The items mentioned, in order, each once."""
    found = (mention.item for mention in self.mentions)
    return tuple(dict.fromkeys(item for item in found if item != NO_ITEM))

  @property
  def hallucinated(self) -> int:
    """How many mentions are of no item."""
    return sum(mention.item == NO_ITEM for mention in self.mentions)


@dataclasses.dataclass(frozen=True)
class Failure:
  """An answer that is not valid for its task.

  Attributes:
    reason: a key of `REASONS`.
    raw: the answer, shortened, for people.
  """

  reason: str
  raw: str

  def __post_init__(self):
    assert self.reason in REASONS, self.reason


def item_lists(
  outputs: Sequence[RankedItems | Failure], width: int
) -> Int32[np.ndarray, 'E width']:
  """Returns the lists for the ranking metrics, -1 where there is no item.

  A failure is a list without items, so that it misses its target.
  """
  lists = np.full((len(outputs), width), NO_ITEM, np.int32)
  for row, output in zip(lists, outputs):
    if isinstance(output, RankedItems):
      items = output.items[:width]
      row[: len(items)] = items
  return lists


def texts(outputs: Iterable[Text | DialogueTurn | Failure]) -> list[str]:
  """Returns the texts for the text metrics; a failure is an empty one."""
  return ['' if isinstance(one, Failure) else one.text for one in outputs]


def count_failures(outputs: Sequence[Any]) -> dict[str, Any]:
  """Returns `n`, the `failed_share`, and how many failed by each reason."""
  if not outputs:
    raise GenrecError('Got no outputs to count failures of.')
  reasons = collections.Counter(
    output.reason for output in outputs if isinstance(output, Failure)
  )
  return {
    'n': len(outputs),
    'failed_share': sum(reasons.values()) / len(outputs),
    'reasons': dict(sorted(reasons.items())),
  }
