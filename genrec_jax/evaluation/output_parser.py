"""From decoded tokens to typed results.

Whatever a decoder gives, the parser returns a result of the task's type or a
named `Failure`; it does not raise.

Tokens are those of a `TokenLayout`: text pieces, then a block of codes for
each level of an item. How pieces become text is given as a function (a
vocabulary's `decode`), as this room knows no tokenizer.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from genrec_jax.evaluation.outputs import (
  NO_ITEM,
  DialogueTurn,
  Failure,
  Mention,
  RankedItems,
  Rating,
  Text,
)
from genrec_jax.ids.item_ids import TokenLayout
from genrec_jax.types import EOS_ID, PAD_ID, GenrecError

# ASCII digits alone: `float` would also take those of other scripts, '1e3',
# '1_0' and 'nan'.
_RATING = re.compile(
  r'(?P<number>[0-9]+(?:[.,][0-9]+)?)'
  r'(?:\s?/\s?(?P<of>[0-9]+)|\s+out\s+of\s+(?P<out_of>[0-9]+))?'
  r'(?:\s+stars?)?',
  re.IGNORECASE,
)


def parse_rating(text: str, scale: tuple[float, float]) -> Rating | Failure:
  """Reads a rating by a strict grammar, and puts it on the scale.

  A number is ASCII digits, with a fraction after a point or a comma or none;
  after it may stand '/5' or 'out of 5', where 5 must be the highest rating,
  and after that 'star' or 'stars'. Blanks around are ignored; anything else,
  a sign too, is a failure.

  >>> parse_rating('4,5 stars', (1, 5))
  Rating(value=4.5, clamped=False)
  >>> parse_rating('7', (1, 5))
  Rating(value=5.0, clamped=True)
  >>> parse_rating('4 or 5', (1, 5))
  Failure(reason='no_rating', raw="'4 or 5'")
  """
  match = _RATING.fullmatch(text.strip())
  lowest, highest = map(float, scale)
  if match is None:
    return Failure('no_rating', _shorten(text))
  highest_said = match['of'] or match['out_of']
  if highest_said and float(highest_said) != highest:
    return Failure('no_rating', _shorten(text))
  said = float(match['number'].replace(',', '.'))
  value = min(max(said, lowest), highest)
  return Rating(value, clamped=value != said)


class OutputParser:
  """Turns decoded tokens into results.

  Sequences end at their first eos; padding before and after is left out.

  Args:
    layout: which token stands for what.
    item_tokens: of the N items, as `TokenLayout.item_tokens` gives them.
    decode_text: from text pieces, a list of integers, to a string. If it
      raises a ValueError, LookupError or RuntimeError the pieces are no text.
      SentencePiece does not: half a character becomes U+FFFD, and is text.
    scale: the lowest and the highest rating.
    item_names: of the N items, as they appear in dialogue turns; by default
      '@' and the row.

  Raises:
    GenrecError: if the items do not fit the layout or two have the same
      tokens, there is not a name for each, or the scale is empty.
  """

  def __init__(
    self,
    layout: TokenLayout,
    item_tokens: Int[np.ndarray, 'N L'],
    decode_text: Callable[[list[int]], str],
    *,
    scale: tuple[float, float] = (1.0, 5.0),
    item_names: Sequence[str] | None = None,
  ):
    if not scale[0] < scale[1]:
      raise GenrecError(
        f'Got the rating scale {scale}, expected the lowest rating and then a'
        ' higher one.'
      )
    item_tokens = np.asarray(item_tokens)
    # Back to codes and forth again, which complains of what is no code.
    if item_tokens.shape[1:] != (layout.tokens_per_item,) or not np.array_equal(
      layout.item_tokens(layout.item_codes(item_tokens)), item_tokens
    ):
      raise GenrecError(
        f'Got item tokens of shape {item_tokens.shape} that do not come from'
        ' the layout; expected those of `TokenLayout.item_tokens`.'
      )
    if item_names is not None and len(item_names) != len(item_tokens):
      raise GenrecError(
        f'Got {len(item_names)} names for {len(item_tokens)} items; expected'
        ' one each.'
      )
    self.layout = layout
    self.scale = scale
    self._decode_text = decode_text
    self._names = item_names
    first = layout.num_text_tokens
    self._codes = range(first, first + sum(layout.codebook_sizes))
    self._first_level = range(first, first + sum(layout.codebook_sizes[:1]))
    self._items = {}
    for item, row in enumerate(item_tokens.tolist()):
      before = self._items.setdefault(tuple(_trim(row)), item)
      if before != item:
        raise GenrecError(
          f'Items {before} and {item} have the same tokens {row}; resolve'
          ' collisions first (see genrec_jax/ids/collisions.py).'
        )

  def rating(self, tokens: Any) -> Rating | Failure:
    """Reads a rating from the text pieces of an answer."""
    text = self.text(tokens)
    if isinstance(text, Failure):
      return text
    return parse_rating(text.text, self.scale)

  def text(self, tokens: Any) -> Text | Failure:
    """Reads a text: an explanation, a review, a summary."""
    sequence = _as_tokens(tokens)
    if sequence is None:
      return Failure('not_tokens', _shorten(tokens))
    if any(token in self._codes for token in sequence):
      return Failure('item_in_text', _shorten(sequence))
    text = self._spell(sequence)
    if isinstance(text, Failure):
      return text
    text = text.strip()
    return Text(text) if text else Failure('no_text', _shorten(sequence))

  def ranked_items(self, tokens: Any, scores: Any) -> RankedItems | Failure:
    """Reads a ranking from the beams of one example.

    Args:
      tokens: integers [K, L], rows in any order; a row of padding, or with
        the score -inf, holds nothing.
      scores: numbers [K], higher is better.

    Returns:
      The items by descending score. No items at all is a valid result where
      all rows hold nothing, and the failure 'no_item' where one does.
    """
    rows, values = _as_integers(tokens), _as_numbers(scores)
    if rows is None or rows.ndim != 2:
      return Failure('not_tokens', _shorten(tokens))
    if values is None or values.shape != rows.shape[:1]:
      return Failure('not_scores', _shorten(scores))
    if np.isnan(values).any():
      return Failure('not_scores', _shorten(scores))
    items, hallucinated, repeated = {}, 0, 0
    for row in np.argsort(-values, kind='stable').tolist():
      codes = tuple(_trim(rows[row].tolist()))
      if not codes or values[row] == -np.inf:
        continue
      item = self._items.get(codes)
      if item is None:
        hallucinated += 1
      elif item in items:
        repeated += 1
      else:
        items[item] = float(values[row])
    if hallucinated and not items:
      return Failure('no_item', _shorten(tokens))
    return RankedItems(
      tuple(items), tuple(items.values()), hallucinated, repeated
    )

  def dialogue_turn(self, tokens: Any) -> DialogueTurn | Failure:
    """Reads what is said in a turn, text pieces and codes mixed.

    A mention is a run of codes; a code of the first level begins the next. A
    run that is not exactly the codes of an item (half an id, a code too many)
    is a hallucinated mention and named '@?'.
    """
    sequence = _as_tokens(tokens)
    if sequence is None:
      return Failure('not_tokens', _shorten(tokens))
    said, mentions, place = [], [], 0
    for is_item, run in self._runs(sequence):
      if is_item:
        item = self._items.get(tuple(run), NO_ITEM)
        part = self._name(item)
        mentions.append(Mention(item, place, place + len(part)))
      else:
        part = self._spell(run)
        if isinstance(part, Failure):
          return part
      said.append(part)
      place += len(part)
    text = ''.join(said)
    if not text.strip():
      return Failure('no_text', _shorten(sequence))
    return DialogueTurn(text, tuple(mentions))

  def _runs(self, sequence: list[int]) -> Iterator[tuple[bool, list[int]]]:
    """Yields runs of codes (True) and of other tokens (False), in order."""
    run, is_item = [], False
    for token in sequence:
      code = token in self._codes
      if run and (code != is_item or token in self._first_level):
        yield is_item, run
        run = []
      run.append(token)
      is_item = code
    if run:
      yield is_item, run

  def _name(self, item: int) -> str:
    if item == NO_ITEM:
      return '@?'
    return f'@{item}' if self._names is None else self._names[item]

  def _spell(self, tokens: list[int]) -> str | Failure:
    """Returns the text of pieces."""
    if not all(0 <= one < self.layout.num_text_tokens for one in tokens):
      return Failure('unknown_token', _shorten(tokens))
    if not tokens:
      return ''
    try:
      text = self._decode_text(tokens)
      # Half of a character cannot be written to a file.
      text.encode('utf-8')
    except (ValueError, LookupError, RuntimeError):
      return Failure('not_text', _shorten(tokens))
    return text


def _as_array(value: Any) -> np.ndarray | None:
  try:
    return np.asarray(value)
  except Exception:  # whatever it is, it is no array
    return None


def _as_integers(value: Any) -> np.ndarray | None:
  """Returns an array of integers, None if this is none."""
  array = _as_array(value)
  if array is None or array.dtype.kind in 'iu':
    return array
  # An empty list has no type of its own.
  return None if array.size else np.zeros(array.shape, np.int64)


def _as_numbers(value: Any) -> np.ndarray | None:
  array = _as_array(value)
  if array is None or array.dtype.kind not in 'iuf':
    return None
  return array.astype(np.float64)


def _as_tokens(value: Any) -> list[int] | None:
  """Returns the tokens of one sequence, None if it is none."""
  array = _as_integers(value)
  if array is None or array.ndim != 1:
    return None
  return _trim(array.tolist())


def _trim(tokens: list[int]) -> list[int]:
  """Cuts at the first eos, and padding off both ends."""
  if EOS_ID in tokens:
    tokens = tokens[: tokens.index(EOS_ID)]
  start, stop = 0, len(tokens)
  while start < stop and tokens[start] == PAD_ID:
    start += 1
  while start < stop and tokens[stop - 1] == PAD_ID:
    stop -= 1
  return tokens[start:stop]


def _shorten(value: Any) -> str:
  """Returns a short form of anything at all."""
  try:
    return reprlib.repr(value)
  except Exception:  # an answer's own __repr__ may do as it likes
    return f'a {type(value).__name__}'
