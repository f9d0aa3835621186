"""The leakage audit of retrieval: no example knows itself or the held out.

audit_sentences  every text retrieved is a train text of other rows
audit_items      no own row has helped to retrieve an item
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Int

from genrec_jax.data.audit import LeakError
from genrec_jax.data.token_cache import Ragged
from genrec_jax.retrieval.items import (
  ItemQueries,
  TrainPairs,
  fold_of,
)
from genrec_jax.retrieval.sentences import TextQueries

SAMPLE = 200  # examples that are retrieved for once more


def audit_sentences(
  retrieved: Ragged,
  queries: TextQueries,
  *,
  is_train: Bool[np.ndarray, 'M'],
  user: Int[np.ndarray, 'M'],
  item: Int[np.ndarray, 'M'] | None,
  own: Int[np.ndarray, 'E'],
  name: str = 'the task',
) -> None:
  """Checks the texts that were retrieved.

  Args:
    retrieved: for each of the E examples rows of the table of M texts.
    queries: of the examples.
    is_train: which rows the train part has.
    user: of each row; the dialogue where they are turns.
    item: of each row; None where they are turns: an example then gets nothing
      of its own dialogue.
    own: the row of each example.
    name: what to call the task in the error.

  Raises:
    LeakError: if a text is held out, is the example's own, or is of the same
      user and item.
  """
  row = np.repeat(np.arange(len(retrieved)), retrieved.lengths)
  found = retrieved.values
  same = user[found] == queries.user[row]
  if item is not None:
    same &= item[found] == queries.item[row]
  for wrong, what in (
    (~is_train[found], 'held out of training'),
    (found == own[row], 'their own'),
    (same, 'of the same user and item, or the same dialogue'),
  ):
    examples = np.unique(row[wrong])
    if examples.size:
      raise LeakError(
        f'{examples.size} of {len(retrieved)} examples of {name} have retrieved'
        f' texts that are {what}: examples {examples[:5].tolist()}; example'
        f' {examples[0]} is row {own[examples[0]]} and has the rows'
        f' {retrieved[int(examples[0])].tolist()}. Retrieve from train rows of'
        ' other users and items.'
      )


def audit_items(
  retrieve: Callable[[TrainPairs, ItemQueries], Ragged],
  retrieved: Ragged,
  train: TrainPairs,
  queries: ItemQueries,
  *,
  name: str = 'the task',
  seed: int = 0,
) -> None:
  """Checks the items that were retrieved, by retrieving once more.

  A sample of the examples, of one fold, is retrieved for with all rows of
  their owners taken out of the train part: the same items must come back. Items
  must be known to train, and none may be of the history.

  Args:
    retrieve: from train pairs and queries to items.
    retrieved: what it returned for the E examples.
    train: the train pairs.
    queries: of the examples.
    name: what to call the task in the error.
    seed: of the sample.

  Raises:
    LeakError: if an example's own rows, or its history, have come back.
  """
  row = np.repeat(np.arange(len(retrieved)), retrieved.lengths)
  unknown = ~np.isin(retrieved.values, train.item)
  history_row = np.repeat(np.arange(len(retrieved)), queries.seen.lengths)
  width = int(max(retrieved.values.max(initial=0), train.item.max(initial=0)))
  width = max(width, int(queries.seen.values.max(initial=0))) + 1
  again = np.isin(
    row * width + retrieved.values, history_row * width + queries.seen.values
  )
  for wrong, what in (
    (unknown, 'that no train row has'),
    (again, 'of their own history'),
  ):
    examples = np.unique(row[wrong])
    if examples.size:
      raise LeakError(
        f'{examples.size} of {len(retrieved)} examples of {name} have retrieved'
        f' items {what}: examples {examples[:5].tolist()}.'
      )
  if not len(retrieved):
    return
  random = np.random.default_rng(seed)
  folds = fold_of(queries.owner)
  of_fold = np.flatnonzero(folds == random.choice(np.unique(folds)))
  size = min(SAMPLE, len(of_fold))
  sample = np.sort(random.choice(of_fold, size, replace=False))
  own = np.isin(train.owner, queries.owner[sample])
  once_more = retrieve(train.without(own), queries.take(sample))
  changed = [
    int(example)
    for place, example in enumerate(sample)
    if retrieved[int(example)].tolist() != once_more[place].tolist()
  ]
  if changed:
    raise LeakError(
      f'{len(changed)} of {size} examples of {name} retrieve other items when'
      f' the rows of their own users are taken out of the train part: examples'
      f' {changed[:5]}. Retrieve from the rows of other users alone.'
    )
