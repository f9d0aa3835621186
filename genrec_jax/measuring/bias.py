"""What accuracy hides: whom and what lists favour, beside those of floors.

measure_bias    what lists show of the catalogue, and how various they are
measure_groups  accuracy by group of users, and of what they were to be shown
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse
from jaxtyping import Bool, Int, Int32, Integer

from genrec_jax.baselines import protocol
from genrec_jax.data import splits
from genrec_jax.data.attributes import Attributes, read_attributes
from genrec_jax.data.token_cache import Ragged, TokenExamples
from genrec_jax.evaluation import beyond_accuracy, bias, fairness, ranking
from genrec_jax.measuring.exposure import measure_exposure
from genrec_jax.measuring.train_data import TrainData

MOST_PLACES = 10
# The row of what users chose: as popular as lists would be if they were right.
TARGETS = 'the targets'
METRICS = ('recall', 'ndcg')


@dataclasses.dataclass(frozen=True, eq=False)
class SplitExamples:
  """What lists were made for, where nothing was tokenized."""

  user: Int32[np.ndarray, 'E']
  target: Int32[np.ndarray, 'E']
  tied: Bool[np.ndarray, 'E']
  history: Ragged

  @classmethod
  def of(cls, found: splits.Examples) -> SplitExamples:
    """Returns them with whole histories."""
    history = found.ragged_histories()
    return cls(found.user, found.target, found.tied, history)


def measure_bias(
  rows: Mapping[str, Int32[np.ndarray, 'E K']],
  examples: TokenExamples | SplitExamples,
  data: TrainData,
  item_tokens: Integer[np.ndarray, 'N L'] | None = None,
  *,
  exclude_seen: bool,
) -> dict[str, Any]:
  """Measures what the first places of lists show, see evaluation/bias.py.

  Args:
    rows: lists by method.
    examples: what they were made for.
    data: its train interactions say how popular items are, and which are alike.
    item_tokens: ids of the items, whose first tokens are counted, if any.
    exclude_seen: whether lists leave out the items of histories; the most
      popular items, which are no surprise, do the same then.

  Returns:
    JSON values: `k` places, up to MOST_PLACES; `rows`, by method and name, and
    one of the targets, where the length of lists does not matter; the `shares`
    of POPULARITY_GROUPS in the exposure, train interactions and items;
    `exposure`, of groups of items against merit; and `lorenz`, the curves.
  """
  user, item = data.interactions()
  num_items = data.dataset.num_items
  counts = np.bincount(item, minlength=num_items)
  groups = bias.popularity_groups(counts)
  measures = _Measures(
    counts,
    groups,
    None if item_tokens is None else item_tokens[:, 0],
    examples,
    len(np.unique(user)),
  )
  k = min(MOST_PLACES, *(items.shape[1] for items in rows.values()))
  vectors = scipy.sparse.csr_array(
    (np.ones(len(item)), (item, user)),
    shape=(num_items, data.dataset.num_users),
  )
  vectors.data[:] = 1  # however often
  known = _read_attributes(data.dataset.items)
  attributes = None if known is None else _attribute_matrix(known)
  rank = protocol.rank_by_popularity(item, num_items, seed=0)
  expected = _most_popular(np.argsort(rank), examples.history, k, exclude_seen)
  found, shares, curves = {}, {}, {}
  for name, recommended in rows.items():
    items = bias.first_places(recommended, k)
    exposed = bias.exposure(items, num_items, k=k)
    found[name] = measures.of_any(items, exposed) | {
      'coverage': bias.coverage(exposed),
      'gini': bias.gini(exposed),
      'diversity': beyond_accuracy.intra_list_diversity(items, vectors),
      'personalisation': beyond_accuracy.personalisation(
        exposed, len(items), k
      ),
      'serendipity': float(
        beyond_accuracy.serendipity(items, expected, examples.target).mean()
      ),
    }
    if attributes is not None:
      found[name]['miscalibration'] = bias.miscalibration(
        items, examples.history, attributes
      )
    shares[name] = measures.shares(exposed)['exposure']
    curves[name] = bias.lorenz(exposed)
  chosen = np.asarray(examples.target)[:, None]
  exposed = bias.exposure(chosen, num_items, k=1)
  found[TARGETS] = measures.of_any(chosen, exposed)
  of_all = measures.shares(exposed)
  shares |= {
    TARGETS: of_all['exposure'],
    'train interactions': of_all['interactions'],
    'items': of_all['items'],
  }
  return {
    'k': k,
    'rows': found,
    'shares': shares,
    'exposure': measure_exposure(
      {name: items[:, :k] for name, items in rows.items()},
      examples.target,
      examples.user,
      groups,
      known,
    ),
    'lorenz': curves,
  }


def measure_groups(
  rows: Mapping[str, Int32[np.ndarray, 'E K']],
  examples: TokenExamples | SplitExamples,
  data: TrainData,
) -> dict[str, dict[str, dict[str, Any]]]:
  """Compares accuracy between groups of examples, see evaluation/fairness.py.

  Groups are those of each column of the users that makes some; thirds of the
  users by their train interactions (`activity`); short and long histories;
  targets of the head, the middle and the tail; and targets of the same time as
  the item before them, or of a later one.

  Returns:
    By kind of group, method and metric, as `fairness.compare_groups`.
  """
  k = min(MOST_PLACES, *(items.shape[1] for items in rows.values()))
  metrics = {
    name: ranking.example_metrics(items, examples.target, [k])
    for name, items in rows.items()
  }
  return {
    kind: {
      name: {
        f'{metric}@{k}': fairness.compare_groups(
          values[f'{metric}@{k}'], group, labels
        )
        for metric in METRICS
      }
      for name, values in metrics.items()
    }
    for kind, group, labels in example_groups(examples, data)
    if len(np.unique(group)) > 1
  }


class _Measures:
  """The measures that a list of any length has, one of the targets too."""

  def __init__(self, counts, groups, first_token, examples, num_users):
    self._counts, self._groups = counts, groups
    self._information = beyond_accuracy.self_information(counts, num_users)
    self._of_histories = bias.mean_of_histories(counts, examples.history)
    self._first_token = first_token

  def of_any(
    self, items: Integer[np.ndarray, 'E K'], exposed: Int[np.ndarray, 'N']
  ) -> dict[str, float | None]:
    """Returns popularity, tail, novelty, and the bias of first tokens."""
    popularity = bias.mean_of_lists(self._counts, items)
    in_tail = bias.mean_of_lists(self._groups == bias.TAIL, items)
    found = {
      'arp': beyond_accuracy.mean_if_any(popularity),
      'lift': bias.popularity_lift(popularity, self._of_histories),
      'tail_share': beyond_accuracy.mean_if_any(in_tail),
      'novelty': beyond_accuracy.novelty(items, self._information),
    }
    if self._first_token is not None:
      found['first_token'] = bias.total_variation(
        self._tokens(exposed), self._tokens(self._counts)
      )
    return found

  def shares(self, exposed: Int[np.ndarray, 'N']) -> dict[str, list[float]]:
    return bias.group_shares(
      exposed, self._counts, self._groups, len(bias.POPULARITY_GROUPS)
    )

  def _tokens(self, weights: Int[np.ndarray, 'N']) -> np.ndarray:
    sums = np.bincount(self._first_token, weights)
    return sums / max(1.0, sums.sum())


def example_groups(
  examples: TokenExamples | SplitExamples, data: TrainData
) -> Iterator[tuple[str, np.ndarray, list[str]]]:
  """Yields the kinds of groups: a name, the group of each example, labels."""
  users = data.dataset.users
  for column in users.column_names:
    if column != 'user_id' and _is_scalar(users[column].type):
      found = fairness.by_column(users[column].take(examples.user).to_pylist())
      if found is not None:
        yield column, *found
  user, item = data.interactions()
  active = np.bincount(user, minlength=data.dataset.num_users)
  yield 'activity', *fairness.by_number(active[examples.user])
  lengths = examples.history.lengths
  yield 'history', *fairness.by_number(lengths, num_groups=2)
  counts = np.bincount(item, minlength=data.dataset.num_items)
  popularity = bias.popularity_groups(counts)[examples.target]
  yield 'target', popularity, list(bias.POPULARITY_GROUPS)
  yield 'time', np.asarray(examples.tied, int), ['untied', 'tied']


def _most_popular(
  order: Int[np.ndarray, 'N'], histories: Ragged, k: int, exclude_seen: bool
) -> Int32[np.ndarray, 'E k']:
  """Returns the first items of an order that each history does not hold."""
  lists = np.full((len(histories), k), -1, np.int32)
  order = order.tolist()
  for example, items in enumerate(lists):
    seen = set(histories[example].tolist()) if exclude_seen else ()
    left = itertools.islice((item for item in order if item not in seen), k)
    for place, item in enumerate(left):
      items[place] = item
  return lists


def _is_scalar(kind: pa.DataType) -> bool:
  """Returns whether values are texts, numbers or truths."""
  return any(
    is_it(kind)
    for is_it in (
      pa.types.is_string,
      pa.types.is_large_string,
      pa.types.is_integer,
      pa.types.is_floating,
      pa.types.is_boolean,
    )
  )


def _read_attributes(items: pa.Table) -> Attributes | None:
  """Returns the attributes of items; None where none has one."""
  if not any(map(any, items['attributes'].to_pylist())):
    return None
  return read_attributes(items, min_items=1)


def _attribute_matrix(attributes: Attributes) -> scipy.sparse.csr_array:
  """Returns [N, A], 1 where an item has an attribute."""
  rows = attributes.of_item
  return scipy.sparse.csr_array(
    (np.ones(len(rows.values)), rows.values, rows.offsets),
    shape=(len(rows), len(attributes.values)),
  )
