"""Exposure of groups of items against merit, by popularity and attribute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Int, Int8, Int32

from genrec_jax.data.attributes import Attributes
from genrec_jax.evaluation import bias
from genrec_jax.evaluation.exposure import compare_exposure

MAX_GROUPS = 25  # attributes that are a group each: those with most targets
OTHERS = 'others'


def measure_exposure(
  rows: Mapping[str, Int32[np.ndarray, 'E k']],
  target: Int[np.ndarray, 'E'],
  user: Int[np.ndarray, 'E'],
  popularity: Int8[np.ndarray, 'N'],
  attributes: Attributes | None,
) -> dict[str, dict[str, Any]]:
  """Compares exposure to merit, see evaluation/exposure.py.

  Args:
    rows: the first places of lists, by method.
    target: of each list.
    user: of each list.
    popularity: whether each item is of the head, the middle or the tail.
    attributes: of the items, if they have some.

  Returns:
    By kind of group, 'popularity' and 'attributes', as `compare_exposure`.
  """
  kinds = {
    'popularity': (
      scipy.sparse.csr_array(np.eye(len(bias.POPULARITY_GROUPS))[popularity]),
      list(bias.POPULARITY_GROUPS),
    )
  }
  if attributes is not None:
    weights, labels = attribute_groups(attributes, np.asarray(target))
    if weights[np.asarray(target)].sum() > 0:
      kinds['attributes'] = weights, labels
  return {
    kind: compare_exposure(rows, target, *groups, user=user)
    for kind, groups in kinds.items()
  }


def attribute_groups(
  attributes: Attributes, target: Int[np.ndarray, 'E']
) -> tuple[scipy.sparse.csr_array, list[str]]:
  """Returns how much of each item belongs to a group, [N, G], and their names.

  An item spreads a weight of 1 over its attributes. Those with most targets
  are a group each, the others one together.
  """
  of_item = attributes.of_item
  share = 1 / np.repeat(of_item.lengths, of_item.lengths)
  weights = scipy.sparse.csr_array(
    (share, of_item.values, of_item.offsets),
    shape=(len(of_item), len(attributes.values)),
  )
  if len(attributes.values) <= MAX_GROUPS:
    return weights, attributes.values
  merit = np.asarray(weights[target].sum(axis=0)).ravel()
  most = np.argsort(-merit, kind='stable')[:MAX_GROUPS]
  group = np.full(len(attributes.values), MAX_GROUPS)
  group[most] = np.arange(MAX_GROUPS)
  merge = scipy.sparse.csr_array(
    (np.ones(len(group)), (np.arange(len(group)), group))
  )
  labels = [attributes.values[number] for number in most]
  return scipy.sparse.csr_array(weights @ merge), [*labels, OTHERS]
