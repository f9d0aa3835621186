"""Items named in free text, which cannot be invented.

A mention is opened by a token of the first level of the item codes. From then
on only codes that lead to an item may follow, until the item is complete; then
text goes on, or the next mention. Codes of deeper levels may not stand
anywhere else, nor may text inside a mention. Which token is text and which a
code of what level is known from the token alone, so nothing marks a mention.

Inside text an item has no eos, also where ids differ in length. So where an id
is the beginning of another, both may end there and go on; a text is read as it
is written, by the longest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Int32

from genrec_jax.decoding.bitmaps import bits
from genrec_jax.decoding.child_ranges import NO_NODE, search_sorted
from genrec_jax.decoding.constraints import LevelFilter, Views
from genrec_jax.decoding.levels import Dense, Hybrid, Level
from genrec_jax.decoding.selection import take
from genrec_jax.decoding.texts import text_tokens
from genrec_jax.decoding.trie import Trie
from genrec_jax.ids.item_ids import TokenLayout
from genrec_jax.types import EOS_ID, PAD_ID, GenrecError


def child_codes(level: Level, node: Int32[Array, 'R']) -> Bool[Array, 'R size']:
  """Returns which codes the children of nodes have."""
  size = level.alphabet.size
  if isinstance(level, Dense):
    return _codes_of_words(level.bitmaps.words, node, size)
  listed = level.light if isinstance(level, Hybrid) else level
  slot = jnp.arange(listed.width)[None]
  child = listed.ranges.start(node)[:, None] + slot
  code = jnp.where(
    slot < listed.ranges.count(node)[:, None],
    listed.child_code(child, None),
    size,
  )
  row = jnp.arange(len(node))[:, None]
  found = jnp.zeros((len(node), size), bool)
  found = found.at[row, code].set(True, mode='drop')
  if isinstance(level, Hybrid):
    row = jnp.minimum(search_sorted(level.heavy, node), len(level.heavy) - 1)
    is_heavy = take(level.heavy, row) == node
    of_heavy = _codes_of_words(level.bitmaps.words, row, size)
    found = jnp.where(is_heavy[:, None], of_heavy, found)
  return found


def _codes_of_words(words, row, size):
  return bits(take(words, row)).reshape(len(row), -1)[:, :size]


def follow(
  level: Level, node: Int32[Array, 'R'], code: Int32[Array, 'R']
) -> tuple[Int32[Array, 'R'], Bool[Array, 'R']]:
  """Returns the children with these codes, and whether there are such."""
  codes = child_codes(level, node)
  number = jnp.arange(codes.shape[1])[None]
  before = (codes & (number < code[:, None])).sum(axis=1, dtype=jnp.int32)
  exists = (codes & (number == code[:, None])).any(axis=1)
  return level.ranges.start(node) + before, exists


class MentionState(NamedTuple):
  """Where texts stand in the trie: outside of mentions at depth 0."""

  depth: Int32[Array, 'R']
  node: Int32[Array, 'R']

  def node_at(self, depth: int) -> Int32[Array, 'R']:
    """Returns the nodes of those at a depth; the first node for the others."""
    return jnp.where(self.depth == depth, self.node, 0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MentionGrammar:
  """The grammar of texts that mention items; `mention_grammar` makes it.

  Attributes:
    trie: the catalogue.
    filters: of each level, which items a request must not get.
    text: the tokens that may stand outside of mentions.
    longest: the codes of the longest item; no mention is opened where the text
      might be cut before it is complete.
  """

  trie: Trie
  filters: tuple[LevelFilter, ...]
  text: Bool[Array, 'V']
  longest: int = dataclasses.field(metadata={'static': True})

  def start(self, num_rows):
    """Returns the state outside of mentions."""
    nowhere = jnp.zeros(num_rows, jnp.int32)
    return MentionState(nowhere, nowhere)

  def legal(self, state, room):
    """Returns text and first codes outside of mentions, else what leads on."""
    depth = state.depth
    codes = [
      legal_codes(
        self.trie.levels[number], self.filters[number], state.node_at(number)
      )
      & ((depth == number) | (number == 0))[:, None]
      for number in range(self.trie.num_levels)
    ]
    outside = (depth == 0) | (depth == self.trie.num_levels)
    for of_level, alphabet in zip(codes, self.trie.alphabets):
      if alphabet.num_special:
        outside |= of_level[:, EOS_ID]
    codes[0] &= (outside & (room >= self.longest))[:, None]
    legal = jnp.asarray(self.text)[None] & outside[:, None]
    for of_level, alphabet in zip(codes, self.trie.alphabets):
      block = slice(alphabet.tokens.start, alphabet.tokens.stop)
      of_block = of_level[:, alphabet.num_special :]
      legal = legal.at[:, block].set(legal[:, block] | of_block)
    return legal

  def advance(self, state, token):
    """Returns the state after a token: deeper, opened, or outside."""
    after = self.start(len(token))
    for number, alphabet in enumerate(self.trie.alphabets):
      code = token - alphabet.first_token
      goes_on = (code >= 0) & (code < alphabet.block_size)
      goes_on &= (state.depth == number) | (number == 0)
      child, _ = follow(
        self.trie.levels[number],
        state.node_at(number),
        code + alphabet.num_special,
      )
      after = MentionState(
        jnp.where(goes_on, number + 1, after.depth),
        jnp.where(goes_on, child, after.node),
      )
    return after


def legal_codes(
  level: Level, level_filter: LevelFilter, node: Int32[Array, 'R']
) -> Bool[Array, 'R size']:
  """Returns the codes of children that lead to an item of the request.

  Args:
    level: of the trie.
    level_filter: what the requests may not follow there.
    node: of R rows, as many for each request.
  """
  codes = child_codes(level, node)
  if level_filter.views is not None:
    before = jnp.cumsum(codes, axis=1, dtype=jnp.int32) - 1
    child = level.ranges.start(node)[:, None] + jnp.maximum(before, 0)
    view = _of_rows(level_filter.view, node)
    codes &= level_filter.views.allows(view, child)
  if level_filter.dead is not None:
    dead = jax.tree.map(lambda x: _of_rows(x, node), level_filter.dead)
    here = (dead.parent == node[:, None]) & (dead.node < NO_NODE)
    row = jnp.arange(len(node))[:, None]
    code = jnp.where(here, dead.code, codes.shape[1])
    codes = codes.at[row, code].set(False, mode='drop')
  return codes


def _of_rows(array, node):
  """Repeats what belongs to requests for the rows of each."""
  return jnp.repeat(array, len(node) // len(array), axis=0)


def mention_grammar(
  trie: Trie,
  layout: TokenLayout,
  *,
  exclude: Int32[Array, 'B X'] | None = None,
  views: Views | None = None,
  view: Int32[Array, 'B'] | None = None,
) -> MentionGrammar:
  """Returns the grammar of texts that mention items of a catalogue.

  Args:
    trie: the catalogue, of `layout.item_tokens`.
    layout: which token is text and which a code.
    exclude: items that each request must not mention, filled up with -1.
    views: named sets of items, from `constraints.make_views`.
    view: of each request the number of the view it allows, -1 for all items.

  Raises:
    GenrecError: if the trie is not one of this layout.
  """
  expected = layout.item_blocks
  found = [alphabet.tokens for alphabet in trie.alphabets]
  if len(found) != len(expected) or not all(
    block.start >= allowed.start and block.stop <= allowed.stop
    for block, allowed in zip(found, expected)
  ):
    raise GenrecError(
      f'Got a trie over the tokens {found} a level, expected {list(expected)};'
      ' build it of TokenLayout.item_tokens of the same ids.'
    )
  return MentionGrammar(
    trie,
    trie.filters(exclude, views, view)[: trie.num_levels],
    text_tokens(layout),
    layout.num_levels,
  )


class Mention(NamedTuple):
  """An item named in a text, or what looks like one.

  Attributes:
    row: of the text.
    start: where its first code stands.
    stop: where it has ended.
    item: the item; -1 if there is no such item.
  """

  row: int
  start: int
  stop: int
  item: int


def find_mentions(
  trie: Trie, layout: TokenLayout, tokens: Int[np.ndarray, 'n T']
) -> list[Mention]:
  """Returns the mentions in texts, in order, however they were generated.

  A mention begins with a code of the first level, or with another one that no
  mention holds, and goes on as long as codes of deeper levels follow.
  """
  tokens = np.asarray(tokens)
  is_code = np.zeros(layout.vocab_size, bool)
  blocks = layout.item_blocks[: layout.num_levels]
  is_code[blocks[0].start : blocks[-1].stop] = True
  inside = is_code[tokens]
  opens = inside & (tokens < blocks[0].stop)
  opens[:, :1] |= inside[:, :1]
  opens[:, 1:] |= inside[:, 1:] & ~inside[:, :-1]
  rows, starts = np.nonzero(opens)
  # It ends where another opens, where text follows, and with the row.
  ends = np.pad(opens | ~inside, ((0, 0), (0, 1)), constant_values=True)
  stops = [
    start + 1 + int(ends[row, start + 1 :].argmax())
    for row, start in zip(rows, starts)
  ]
  named = [
    tokens[row, start:stop].tolist()
    for row, start, stop in zip(rows, starts, stops)
  ]
  items = find_items(trie, layout, named)
  return [
    Mention(*map(int, mention)) for mention in zip(rows, starts, stops, items)
  ]


def invented_share(mentions: Sequence[Mention]) -> float:
  """Returns the share of mentions that name no item; NaN without mentions."""
  if not mentions:
    return float('nan')
  return float(np.mean([mention.item < 0 for mention in mentions]))


def find_items(
  trie: Trie, layout: TokenLayout, codes: Sequence[Sequence[int]]
) -> Int[np.ndarray, 'n']:
  """Returns the item of each sequence of code tokens, -1 if there is none.

  Args:
    trie: the catalogue, of `layout.item_tokens`.
    layout: of the tokens.
    codes: the tokens of each, without eos.
  """
  width = layout.tokens_per_item
  # As many rows as a power of two, so that few sizes compile.
  size = 1 << max(len(codes) - 1, 0).bit_length()
  table = np.full((size, width + 1), PAD_ID, np.int32)
  for row, tokens in zip(table, codes):
    whole = [*tokens, EOS_ID] if layout.variable_length else list(tokens)
    row[: len(whole)] = whole[: width + 1]
  items = np.array(_walk(trie, table[:, :width]))
  # What is too long has a token more than an item.
  items[table[:, width] != PAD_ID] = -1
  return items[: len(codes)]


@jax.jit
def _walk(trie: Trie, tokens: Int32[Array, 'n L']) -> Int32[Array, 'n']:
  node = jnp.zeros(len(tokens), jnp.int32)
  exists = jnp.ones(len(tokens), bool)
  for level, alphabet, token in zip(trie.levels, trie.alphabets, tokens.T):
    code = token - alphabet.first_token + alphabet.num_special
    inside = (token >= alphabet.tokens.start) & (token < alphabet.tokens.stop)
    if alphabet.num_special:
      special = token < alphabet.num_special
      code = jnp.where(special, token, code)
      inside |= special
    node, found = follow(level, jnp.where(exists, node, 0), code)
    exists &= inside & found
  first, _ = trie.leaf_range(trie.num_levels, jnp.where(exists, node, 0))
  return jnp.where(exists, trie.items(first), -1)
