"""Tokens as a person reads them, and texts as a model does."""

from __future__ import annotations

import functools
import importlib.util
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from genrec_jax.ids.item_ids import TokenLayout
from genrec_jax.types import EOS_ID, PAD_ID, GenrecError


class TextPieces:
  """Text as the pieces of a token cache's SentencePiece model.

  Args:
    model: the file; None where the vocabulary has no text.
  """

  def __init__(self, model: pathlib.Path | None):
    self.model = model

  def encode(self, text: str) -> list[int]:
    """Returns the tokens of a text; what looks like a code in it stays text.

    Raises:
      GenrecError: if there is text, but the vocabulary has none, or
        SentencePiece is not installed.
    """
    if not text:
      return []
    if self.model is None:
      raise GenrecError(
        f'The vocabulary of this run has no text, but {text!r} is to be read;'
        ' tokenize with templates that have words, or --text_pieces=1000.'
      )
    return self._processor.encode(text)

  def decode(self, tokens: list[int]) -> str:
    """Returns the text of tokens that are all of text.

    Raises:
      GenrecError: if SentencePiece is not installed.
      ValueError: if the vocabulary has no text.
    """
    if self.model is None:
      raise ValueError(f'{tokens} are no text; the vocabulary has none')
    return self._processor.decode(tokens)

  @property
  def available(self) -> bool:
    """Whether texts can be read: SentencePiece is here, or there is no text."""
    if self.model is None:
      return True
    return importlib.util.find_spec('sentencepiece') is not None

  @functools.cached_property
  def _processor(self):
    # Late, because a machine that ranks items needs no SentencePiece.
    try:
      import sentencepiece
    except ModuleNotFoundError as error:
      raise GenrecError(
        'Reading and writing texts needs sentencepiece, which is not'
        " installed; run pip install 'genrec_jax[text]' (or '.[text]' in a"
        ' checkout).'
      ) from error
    return sentencepiece.SentencePieceProcessor(model_file=str(self.model))


def spell_prompt(
  tokens: Sequence[int], layout: TokenLayout, parser: Any
) -> str:
  """Returns an input, or any tokens, for people: items by [name].

  Tokens of users become [user], codes that are no item [?], and what is no
  token at all is left out.

  Args:
    tokens: of one example.
    layout: what they stand for.
    parser: `OutputParser` with the names of the items.
  """
  user_start = layout.num_text_tokens + sum(layout.codebook_sizes)
  parts: list[str] = []
  run: list[int] = []

  def close() -> None:
    turn = parser.dialogue_turn(run) if run else None
    if turn is None or not hasattr(turn, 'mentions'):
      return
    place = 0
    for mention in turn.mentions:
      parts.append(turn.text[place : mention.start])
      name = turn.text[mention.start : mention.stop]
      parts.append('[?]' if mention.item < 0 else f'[{name}]')
      place = mention.stop
    parts.append(turn.text[place:])

  users_before = False
  for token in map(int, tokens):
    is_user = user_start <= token < layout.num_tokens
    if is_user:
      close()
      run = []
      if not users_before:
        parts.append('[user]')
    elif token not in (PAD_ID, EOS_ID):
      run.append(token)
    users_before = is_user
  close()
  spelled = ' '.join(' '.join(parts).split())
  # Turns of a dialogue follow each other without a blank.
  spelled = re.sub(r'(?<=\S)(?=(?:User|System): )', ' ', spelled)
  return re.sub(r'\] (?=[.,;:!?](?:\s|$))', ']', spelled)


def shorten(text: str, width: int) -> str:
  """Returns a text of at most `width` characters; … says that more was left."""
  return text if len(text) <= width else text[: width - 1] + '…'
