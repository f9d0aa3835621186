"""What decoding returns as texts, and what a text may go on with."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32

from genrec_jax.ids.item_ids import TokenLayout
from genrec_jax.types import EOS_ID, UNK_ID, GenrecError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Texts:
  """K texts for each request.

  Attributes:
    tokens: with eos, and PAD_ID after it.
    log_probabilities: of the tokens up to eos, among all tokens of the
      vocabulary: the model's own, whatever they were drawn with. -inf where
      there is no text.
    ended: whether there is an eos; else the text was cut at T tokens.
  """

  tokens: Int32[Array, 'B K T']
  log_probabilities: Float32[Array, 'B K']
  ended: Bool[Array, 'B K']


class Grammar(Protocol):
  """Says with which tokens texts may go on; a pytree.

  A state belongs to a number of texts (rows), and all its leaves have the rows
  on axis 0, so that it is expanded and reordered as a cache is. The rows of a
  request lie side by side. At least one token is legal always.
  """

  def start(self, num_rows: int) -> Any:
    """Returns the state of texts without tokens."""

  def legal(self, state: Any, room: Int32[Array, '']) -> Bool[Array, '_ V']:
    """Returns which tokens may come next, in R rows or in one for all.

    Args:
      state: of R rows.
      room: how many tokens may still come, this one included.
    """

  def advance(self, state: Any, token: Int32[Array, 'R']) -> Any:
    """Returns the state after one more token of each row, a legal one."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AllowedTokens:
  """The grammar of texts of some tokens, in any order."""

  allowed: Bool[Array, 'V']

  def start(self, num_rows):
    """Returns nothing: all texts are alike."""
    del num_rows
    return ()

  def legal(self, state, room):
    """Returns the allowed tokens."""
    del state, room
    return jnp.asarray(self.allowed)[None]

  def advance(self, state, token):
    """Returns nothing."""
    del token
    return state


def text_tokens(layout: TokenLayout) -> Bool[np.ndarray, 'V']:
  """Returns which tokens make up text: the pieces and eos, no pad, no unk.

  >>> layout = TokenLayout(num_text_tokens=5, codebook_sizes=(4,))
  >>> np.flatnonzero(text_tokens(layout))
  array([1, 3, 4])
  """
  allowed = np.zeros(layout.vocab_size, bool)
  allowed[EOS_ID] = True
  allowed[UNK_ID + 1 : layout.num_text_tokens] = True
  return allowed


# A mask of one column says the same of every token.
ANY_TOKENS = AllowedTokens(np.ones(1, bool))


def legal_tokens(
  grammar: Grammar, state: Any, room: Int32[Array, ''], vocab_size: int
) -> Bool[Array, '_ V_or_1']:
  """Returns what a grammar allows.

  Raises:
    GenrecError: if the grammar is of another vocabulary.
  """
  legal = grammar.legal(state, room)
  if legal.shape[1] not in (1, vocab_size):
    raise GenrecError(
      f'The grammar is of {legal.shape[1]} tokens, but the model has'
      f' {vocab_size}; make it from the layout that the model was trained with.'
    )
  return legal
