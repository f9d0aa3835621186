"""Dimension legend and the few names that every room shares.

Shapes are written with one letter a dimension, in docstrings and as suffixes
of dense arrays (`scores_BK`):

  B batch            K beams             L levels of an ID (tokens an item)
  V vocabulary       S encoder length    T history length in items
  D model width      N items             U users
  E examples         H attention heads
"""

from __future__ import annotations

import os

PathLike = str | os.PathLike

# Token ids with a fixed meaning, the same as T5's (see ids/item_ids.py).
PAD_ID = 0
EOS_ID = 1
UNK_ID = 2


class GenrecError(ValueError):
  """An error that the user can mend.

  The message is one paragraph: what was got, what was expected and the way
  out. The `genrec` command prints it without a traceback.
  """


def unknown_name(kind: str, name: str, known) -> GenrecError:
  """Returns the error for a name that is in no table, listing the known."""
  listed = ', '.join(sorted(known))
  return GenrecError(f'Unknown {kind} {name!r}; expected one of: {listed}.')
