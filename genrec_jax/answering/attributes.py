"""Prompts that say of users what they are not: the attributes rewritten.

A token cache keeps how each value of an attribute is said (`attribute_tokens`
of its manifest), so a prompt is changed as tokens: what it says of its user is
found, and what is to be said stands in its place. Neither TensorFlow nor the
text model is needed, and nothing but the attributes can differ. That the
outcome is what `genrec tokenize` would have written is tested example by
example.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int32

from genrec_jax.data.token_cache import Ragged, TokenCache, TokenExamples
from genrec_jax.data.user_attributes import NO_VALUE, UNKNOWN, UserAttributes
from genrec_jax.types import GenrecError


@dataclasses.dataclass(frozen=True)
class AttributeTokens:
  """How the C attributes of a token cache are said.

  Attributes:
    columns: of the users table, in the order of the prompt.
    values: of each column, UNKNOWN first.
    tokens: of each column and value.
  """

  columns: tuple[str, ...]
  values: tuple[tuple[str, ...], ...]
  tokens: tuple[tuple[tuple[int, ...], ...], ...]

  def say(
    self, values: Sequence[int], order: Sequence[int] | None = None
  ) -> list[int]:
    """Returns the tokens of one user's values, in an order of the columns."""
    order = range(len(self.columns)) if order is None else order
    return [
      token
      for column in order
      for token in self.tokens[column][values[column] - NO_VALUE]
    ]


def attribute_tokens(cache: TokenCache) -> AttributeTokens:
  """Returns how the attributes of a token cache are said.

  Raises:
    GenrecError: if its prompts show none.
  """
  known = cache.manifest.get('settings', {}).get('attribute_tokens')
  if not known:
    raise GenrecError(
      f'The prompts of {cache.directory} say nothing of what users are, so'
      ' there is nothing to change; tokenize with a template that shows'
      ' {user_attributes} (--templates=attributes'
      ' --user_attributes=gender,age), and train on that.'
    )
  return AttributeTokens(
    tuple(known),
    tuple(tuple(values) for values in known.values()),
    tuple(
      tuple(tuple(tokens) for tokens in values.values())
      for values in known.values()
    ),
  )


def check_attributes(said: AttributeTokens, attributes: UserAttributes) -> None:
  """Checks that attributes of users are those that prompts say.

  Raises:
    GenrecError: if they are others.
  """
  values = tuple((UNKNOWN, *ones) for ones in attributes.values)
  if said.columns != attributes.columns or said.values != values:
    raise GenrecError(
      f'The tokens say {said.columns} of users, the dataset'
      f' {attributes.columns}, or other values; run `genrec tokenize` again.'
    )


def rewrite_attributes(
  examples: TokenExamples,
  said: AttributeTokens,
  old: Int32[np.ndarray, 'E C'],
  new: Int32[np.ndarray, 'E C'],
  *,
  order: Sequence[int] | None = None,
) -> TokenExamples:
  """Returns examples whose inputs say other attributes of their users.

  Args:
    examples: validation or test examples, which hide nothing.
    said: how attributes are said.
    old: the values that the inputs say now.
    new: those that they are to say.
    order: of the columns, where it is to be another one.

  Raises:
    GenrecError: if an input does not say its old values, or says them twice.
  """
  inputs = [examples.inputs[row] for row in range(len(examples))]
  # Users with the same values have the same tokens: each is sought once.
  combinations, place = np.unique(old, axis=0, return_inverse=True)
  place = place.reshape(-1)
  for number, values in enumerate(combinations):
    rows = np.flatnonzero(place == number)
    run = np.asarray(said.say(values.tolist()))
    for row, start in zip(rows, _find_run(examples.inputs, rows, run)):
      text = said.say(new[row].tolist(), order)
      inputs[row] = np.concatenate(
        [inputs[row][:start], text, inputs[row][start + len(run) :]]
      )
  return dataclasses.replace(
    examples, inputs=Ragged.from_rows(inputs, examples.inputs.values.dtype)
  )


def _find_run(
  inputs: Ragged, rows: Int[np.ndarray, 'R'], run: Int[np.ndarray, 'T']
) -> Int[np.ndarray, 'R']:
  """Returns where each row has a run of tokens.

  Raises:
    GenrecError: if one does not have it exactly once.
  """
  width = max(int(inputs.lengths[rows].max()), len(run))
  windows = np.lib.stride_tricks.sliding_window_view(
    inputs.padded(rows, width), len(run), axis=1
  )
  # The tokens of attributes are never padding.
  found = (windows == run).all(axis=2)
  times = found.sum(axis=1)
  if (times != 1).any():
    row = int((times != 1).argmax())
    raise GenrecError(
      f'The input of example {rows[row]} says the attributes of its user'
      f' {times[row]} times, expected once; choose an evaluation template that'
      ' shows {user_attributes} once, and run `genrec tokenize` again if the'
      ' dataset has changed.'
    )
  return found.argmax(axis=1)
