"""From a table of tokens to sorted codes: what a trie is built from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, UInt64

from genrec_jax.decoding.level_logits import Alphabet
from genrec_jax.types import EOS_ID, PAD_ID, GenrecError

_WORD_BITS = 64


@dataclasses.dataclass(frozen=True)
class ItemCodes:
  """The codes of items, packed into words.

  Attributes:
    words: uint64 [num_words, N], in the order of significance: comparing an
      item's words is comparing its codes.
    places: of each level the word that holds its code, and how far the code
      is shifted there.
    alphabets: of each level.
  """

  words: UInt64[np.ndarray, 'num_words N']
  places: tuple[tuple[int, int], ...]
  alphabets: tuple[Alphabet, ...]

  @property
  def num_items(self) -> int:
    """How many items there are, N."""
    return self.words.shape[1]

  def with_words(self, words: UInt64[np.ndarray, 'num_words n']) -> ItemCodes:
    """Returns the codes of other items."""
    return dataclasses.replace(self, words=words)

  def column(self, level: int, rows=slice(None)) -> UInt64[np.ndarray, 'n']:
    """Returns the codes of a level."""
    word, shift = self.places[level]
    mask = np.uint64((1 << code_bits(self.alphabets[level])) - 1)
    return (self.words[word][rows] >> np.uint64(shift)) & mask

  def differs(self, level: int) -> Bool[np.ndarray, 'N-1']:
    """Returns which items differ from the one before, in the level's word up
    to the level.
    """
    word, shift = self.places[level]
    prefix = self.words[word] >> np.uint64(shift)
    return prefix[1:] != prefix[:-1]

  def tokens(self, item: int) -> list[int]:
    """Returns the tokens of one item, for messages."""
    tokens = []
    for level, alphabet in enumerate(self.alphabets):
      code = int(self.column(level, slice(item, item + 1))[0])
      special = code < alphabet.num_special
      shift = 0 if special else alphabet.first_token - alphabet.num_special
      tokens.append(code + shift)
    return tokens

  def sorted_order(self, *, stable: bool = False) -> Int[np.ndarray, 'N']:
    """Returns the order in which the codes ascend.

    Args:
      stable: whether items with equal codes keep their order.
    """
    first = self.words[0]
    order = np.argsort(first, kind='stable' if stable else None)
    if len(self.words) == 1:
      return order
    # Only where the first words are equal the others decide.
    ordered = first[order]
    equal = ordered[1:] == ordered[:-1]
    tied = np.zeros(len(order), bool)
    tied[1:] = equal
    tied[:-1] |= equal
    tied = np.flatnonzero(tied)
    among = order[tied]
    keys = [word[among] for word in self.words[::-1]]
    if stable:
      keys.insert(0, among)
    order[tied] = among[np.lexsort(keys)]
    return order


def code_bits(alphabet: Alphabet) -> int:
  """Returns how many bits a code takes."""
  return max(1, (alphabet.size - 1).bit_length())


def encode_items(
  item_tokens: Int[np.ndarray, 'N L'],
  *,
  blocks: Sequence[range] | None = None,
  pad_id: int | None = PAD_ID,
) -> ItemCodes:
  """Returns the codes of items; see `build_trie` for the arguments."""
  item_tokens = _check_table(item_tokens)
  if pad_id not in (None, PAD_ID):
    raise GenrecError(
      f'Got pad_id={pad_id}, expected {PAD_ID}, or None for items of one'
      ' length without padding.'
    )
  num_levels = item_tokens.shape[1]
  if blocks is not None and len(blocks) != num_levels:
    raise GenrecError(
      f'Got {len(blocks)} blocks for items of {num_levels} tokens; expected'
      ' one block a level.'
    )
  may_end = pad_id is not None and bool((item_tokens <= EOS_ID).any())
  if may_end:
    _check_ends(item_tokens)
  columns = item_tokens.T
  alphabets = [
    _alphabet(column, None if blocks is None else blocks[level], may_end, level)
    for level, column in enumerate(columns)
  ]
  return _pack(columns, alphabets)


def encode_more(
  item_tokens: Int[np.ndarray, 'N L'], alphabets: Sequence[Alphabet]
) -> ItemCodes:
  """Returns the codes of further items of a catalogue."""
  item_tokens = _check_table(item_tokens)
  if item_tokens.shape[1] != len(alphabets):
    raise GenrecError(
      f'Got items of {item_tokens.shape[1]} tokens for a catalogue of items of'
      f' {len(alphabets)}.'
    )
  if any(alphabet.may_end for alphabet in alphabets):
    _check_ends(item_tokens)
  return _pack(item_tokens.T, alphabets)


def _check_table(item_tokens) -> np.ndarray:
  item_tokens = np.asarray(item_tokens)
  if item_tokens.ndim != 2 or 0 in item_tokens.shape:
    raise GenrecError(
      f'Got item tokens of shape {item_tokens.shape}, expected [items, tokens]'
      ' with at least one of each; build the ids of a catalogue first.'
    )
  if not np.issubdtype(item_tokens.dtype, np.integer):
    raise GenrecError(
      f'Got item tokens of type {item_tokens.dtype}, expected integers.'
    )
  return item_tokens


def _pack(
  columns: Sequence[Int[np.ndarray, 'N']], alphabets: Sequence[Alphabet]
) -> ItemCodes:
  """Packs tokens, a column a level, into words of codes.

  Raises:
    GenrecError: if a token is outside its level's alphabet.
  """
  places, num_words, free = [], 0, 0
  for alphabet in alphabets:
    bits = code_bits(alphabet)
    if bits > free:
      num_words, free = num_words + 1, _WORD_BITS
    free -= bits
    places.append((num_words - 1, free))
  words = np.zeros((num_words, len(columns[0])), np.uint64)
  for level, (alphabet, (word, shift)) in enumerate(zip(alphabets, places)):
    _check_block(columns[level], alphabet, level)
    code = columns[level].astype(np.uint64)
    offset = np.uint64(alphabet.first_token - alphabet.num_special)
    if alphabet.num_special:
      special = columns[level] < alphabet.num_special
      code = np.where(special, code, code - offset)
    else:
      code -= offset
    words[word] |= code << np.uint64(shift)
  return ItemCodes(words, tuple(places), tuple(alphabets))


def _alphabet(
  column: Int[np.ndarray, 'N'],
  block: range | None,
  may_end: bool,
  level: int,
) -> Alphabet:
  may_end = may_end and level > 0
  if block is None:
    tokens = column[column > EOS_ID] if may_end else column
    block = (
      range(int(tokens.min()), int(tokens.max()) + 1)
      if len(tokens)
      else range(EOS_ID + 1, EOS_ID + 2)
    )
  if block.step != 1 or not 0 <= block.start < block.stop <= 2**31 - 1:
    raise GenrecError(
      f'Got {block} as the tokens of level {level}; expected a range with step'
      ' 1 of at least one token in [0, 2**31 - 1); map codes to tokens with'
      ' TokenLayout.item_tokens, which pads with 0.'
    )
  if not may_end:
    return Alphabet(block.start, len(block))
  if block.start > EOS_ID:
    return Alphabet(block.start, len(block), num_special=2, may_end=True)
  # Padding and end stand at the beginning of such a block as they are.
  return Alphabet(0, block.stop, may_end=True)


def _check_block(
  column: Int[np.ndarray, 'N'], alphabet: Alphabet, level: int
) -> None:
  tokens = alphabet.tokens
  if column.min() >= tokens.start and column.max() < tokens.stop:
    return
  outside = (column < tokens.start) | (column >= tokens.stop)
  if alphabet.num_special:
    outside &= (column < PAD_ID) | (column > EOS_ID)
  if outside.any():
    item = int(outside.argmax())
    raise GenrecError(
      f'{outside.sum()} items have a token outside [{tokens.start},'
      f' {tokens.stop}), the block of level {level}; the first is item {item}'
      f' with token {column[item]}. Give the blocks of the layout that the'
      ' tokens were made with (TokenLayout.item_blocks).'
    )


def _check_ends(item_tokens: Int[np.ndarray, 'N L']) -> None:
  # An item ends by its length or by EOS_ID, so no item is a prefix of another
  # and the children of a node share one distribution.
  ended = np.isin(item_tokens[:, :-1], (EOS_ID, PAD_ID))
  wrong = ((item_tokens[:, 1:] == PAD_ID) != ended).any(axis=1)
  wrong |= item_tokens[:, 0] == PAD_ID
  if wrong.any():
    item = int(wrong.argmax())
    raise GenrecError(
      f'{wrong.sum()} items do not end as they should, the first item {item}'
      f' with {item_tokens[item].tolist()}: expected {PAD_ID} (padding) after'
      f' {EOS_ID} (end) and nowhere else.'
    )
