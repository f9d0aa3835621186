"""One item and nothing else: the trie as a grammar, for items that are drawn.

The beam search knows the trie better; this is for what is drawn by a
temperature (decoding/sampling.py), where rows go their ways one token at a
time.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32

from genrec_jax.decoding.constraints import LevelFilter
from genrec_jax.decoding.mentions import follow, legal_codes
from genrec_jax.decoding.trie import Trie
from genrec_jax.types import PAD_ID


class ItemState(NamedTuple):
  """Where sequences stand in the trie."""

  depth: Int32[Array, 'R']
  node: Int32[Array, 'R']


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ItemGrammar:
  """The grammar of single items; `item_grammar` makes it.

  Attributes:
    trie: the catalogue.
    filters: of each level, which items a request must not get.
    vocab_size: of the model.
  """

  trie: Trie
  filters: tuple[LevelFilter, ...]
  vocab_size: int = dataclasses.field(metadata={'static': True})

  def start(self, num_rows):
    """Returns the root."""
    nowhere = jnp.zeros(num_rows, jnp.int32)
    return ItemState(nowhere, nowhere)

  def legal(self, state, room):
    """Returns what leads to an item; padding alone where nothing does."""
    del room
    legal = jnp.zeros((len(state.depth), self.vocab_size), bool)
    for number, alphabet in enumerate(self.trie.alphabets):
      here = state.depth == number
      codes = legal_codes(
        self.trie.levels[number],
        self.filters[number],
        jnp.where(here, state.node, 0),
      )
      codes &= here[:, None]
      first = alphabet.tokens.start
      if alphabet.num_special:
        special, codes = codes[:, :2], codes[:, 2:]
        legal = legal.at[:, :2].set(legal[:, :2] | special)
      block = slice(first, first + codes.shape[1])
      legal = legal.at[:, block].set(legal[:, block] | codes)
    return legal.at[:, PAD_ID].set(legal[:, PAD_ID] | ~legal.any(axis=1))

  def advance(self, state, token):
    """Returns the state one level deeper."""
    node = state.node
    for number, alphabet in enumerate(self.trie.alphabets):
      here = state.depth == number
      code = token - alphabet.first_token + alphabet.num_special
      if alphabet.num_special:
        code = jnp.where(token < alphabet.num_special, token, code)
      child, _ = follow(
        self.trie.levels[number], jnp.where(here, state.node, 0), code
      )
      node = jnp.where(here, child, node)
    return ItemState(state.depth + 1, node)


def item_grammar(
  trie: Trie,
  vocab_size: int,
  *,
  exclude: Int32[Array, 'B X'] | None = None,
) -> ItemGrammar:
  """Returns the grammar of single items of a catalogue.

  A request whose items are all excluded gets padding, which is no item.

  Args:
    trie: the catalogue.
    vocab_size: of the model.
    exclude: items that each request must not get, filled up with -1.
  """
  return ItemGrammar(trie, trie.filters(exclude)[: trie.num_levels], vocab_size)
