"""The changes of prompts that a counterfactual measurement is made of.

same           the same values, written anew: nothing may change
reordered      the same values in another order: what wording alone does
NAME flipped   another value of one attribute, drawn among those of others
NAME unknown   one attribute hidden
all unknown    all of them hidden
without        the prompts of a model that was trained without attributes
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Int32

from genrec_jax.data.user_attributes import NO_VALUE, UserAttributes
from genrec_jax.evaluation import counterfactual
from genrec_jax.types import GenrecError

SAME, REORDERED, FLIPPED, UNKNOWN = 'same', 'reordered', 'flipped', 'unknown'
WITHOUT = 'without'


@dataclasses.dataclass(frozen=True, eq=False)
class Arm:
  """A change of prompts.

  Attributes:
    name: of the arm.
    kind: SAME, REORDERED, FLIPPED or UNKNOWN.
    column: the attribute that changes, None for none or all.
    rows: the examples that it is made of, R of them; some may come again.
    values: what their prompts say then.
    order: of the columns, None for the usual one.
  """

  name: str
  kind: str
  column: int | None
  rows: Int[np.ndarray, 'R']
  values: Int32[np.ndarray, 'R C']
  order: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Changes:
  """What came of an arm.

  Attributes:
    arm: the change.
    measures: of each of its examples, by name.
  """

  arm: Arm
  measures: Mapping[str, Float[np.ndarray, 'R']]


def make_arms(
  attributes: UserAttributes,
  values: Int32[np.ndarray, 'E C'],
  *,
  chosen: Sequence[str] | None = None,
  num_flips: int = 1,
  seed: int = 0,
) -> Iterator[Arm]:
  """Yields the arms.

  Args:
    attributes: what there is.
    values: of each example, NO_VALUE where one is unknown; such an example has
      no part in what flips or hides that attribute.
    chosen: the attributes that are changed; None for all.
    num_flips: how many other values each user is given, one after the other.
    seed: of these draws.

  Raises:
    GenrecError: if an attribute is unknown, or nobody has a value of it.
  """
  columns = attributes.columns
  for name in columns if chosen is None else chosen:
    if name not in columns:
      raise GenrecError(
        f'The prompts say nothing of {name!r}; expected some of:'
        f' {", ".join(columns)}.'
      )
  if num_flips < 1:
    raise GenrecError(f'Got num_flips={num_flips}, expected at least 1.')
  everyone = np.arange(len(values))
  yield Arm(SAME, SAME, None, everyone, values)
  if len(columns) > 1:
    order = tuple(reversed(range(len(columns))))
    yield Arm(REORDERED, REORDERED, None, everyone, values, order)
  rng = np.random.default_rng(seed)
  for column, name in enumerate(columns):
    # Drawn for all, so that those of one do not hang on which are chosen.
    rows = np.flatnonzero(values[:, column] != NO_VALUE)
    others = counterfactual.draw_other_values(
      values[rows, column],
      len(attributes.values[column]),
      num_draws=num_flips,
      rng=rng,
    )
    if chosen is not None and name not in chosen:
      continue
    if not len(rows):
      raise GenrecError(f'The {name} of all users measured is unknown.')
    again = np.tile(rows, others.shape[1])
    flipped = values[again].copy()
    flipped[:, column] = others.T.reshape(-1)
    yield Arm(f'{name} {FLIPPED}', FLIPPED, column, again, flipped)
    hidden = values[rows].copy()
    hidden[:, column] = NO_VALUE
    yield Arm(f'{name} {UNKNOWN}', UNKNOWN, column, rows, hidden)
  if len(columns) > 1:
    hidden = np.full_like(values, NO_VALUE)
    yield Arm(f'all {UNKNOWN}', UNKNOWN, None, everyone, hidden)


def summarize(
  measures: Mapping[str, Float[np.ndarray, 'R']],
  attributes: UserAttributes,
  values: Int32[np.ndarray, 'R C'],
  user: Int[np.ndarray, 'R'],
) -> dict[str, Any]:
  """Returns means with intervals over users, of all and by attribute and value.

  Args:
    measures: of each example, by name.
    attributes: what values are called.
    values: of each example.
    user: of each example.

  Returns:
    `all`, and `groups` by attribute and value; each has `n` and by measure
    `mean`, `low` and `high`.
  """
  everyone = np.ones(len(user), bool)
  return {
    'all': _means(measures, user, everyone),
    'groups': {
      name: {
        attributes.name(column, value): _means(
          measures, user, values[:, column] == value
        )
        for value in np.unique(values[:, column])
      }
      for column, name in enumerate(attributes.columns)
    },
  }


def summarize_changes(
  changes: Changes,
  attributes: UserAttributes,
  values: Int32[np.ndarray, 'E C'],
  user: Int[np.ndarray, 'E'],
) -> dict[str, Any]:
  """Returns the same of an arm, and by flip.

  Args:
    changes: what came of the arm.
    attributes: what values are called.
    values: of each example, truly.
    user: of each example.

  Returns:
    As `summarize`, by the true values; `kind`, `attribute` and `n`; where one
    attribute is flipped, `flips` by the value that users have and the one that
    they are given, 'F → M'.
  """
  arm = changes.arm
  own, user = values[arm.rows], user[arm.rows]
  result = {
    'kind': arm.kind,
    'attribute': None if arm.column is None else attributes.columns[arm.column],
    'n': len(arm.rows),
    **summarize(changes.measures, attributes, own, user),
  }
  if arm.kind == FLIPPED:
    pairs = np.stack([own[:, arm.column], arm.values[:, arm.column]], axis=1)
    result['flips'] = {
      ' → '.join(attributes.name(arm.column, value) for value in pair): _means(
        changes.measures, user, (pairs == pair).all(axis=1)
      )
      for pair in np.unique(pairs, axis=0)
    }
  return result


def _means(measures, user, chosen) -> dict[str, Any]:
  found = {name: values[chosen] for name, values in measures.items()}
  means = counterfactual.mean_by_user(found, user[chosen])
  return {'n': int(chosen.sum()), **means}
