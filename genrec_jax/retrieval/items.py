"""Items near to a history, or to the words of a dialogue.

The users (or dialogues) are dealt into folds, and an example is answered from
an index of what the train rows of the OTHER folds say. So neither its own row
nor any other of its user's can have put an item near to its history, and what
is retrieved for a train example is as good as for a test example: a model that
learns to trust it is not deceived.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse
from jaxtyping import Float, Int

from genrec_jax.data.token_cache import Ragged
from genrec_jax.ids.svd import item_factors
from genrec_jax.retrieval.bm25 import BM25
from genrec_jax.retrieval.dense import InnerProducts, LatentSemantics
from genrec_jax.retrieval.search import search
from genrec_jax.retrieval.words import count_words, join_texts
from genrec_jax.types import GenrecError, unknown_name

METHODS = ('bm25', 'dense')
NUM_FOLDS = 4
COLUMNS = ('title', 'attributes')


@dataclasses.dataclass(frozen=True, eq=False)
class TrainPairs:
  """Who had what in the train part.

  Attributes:
    owner: the user or dialogue of each of R pairs, in the order of time; -1
      for those that belong to no example's owner.
    item: its item.
  """

  owner: Int[np.ndarray, 'R']
  item: Int[np.ndarray, 'R']

  def without(self, dropped: np.ndarray) -> TrainPairs:
    """Returns the pairs that are not dropped."""
    return TrainPairs(self.owner[~dropped], self.item[~dropped])


@dataclasses.dataclass(frozen=True, eq=False)
class ItemQueries:
  """What E examples ask with.

  Attributes:
    owner: the user or dialogue of each.
    seen: the items of its history; they are not retrieved again.
    texts: words beside the items', such as a dialogue's; None for none.
    max_items: how many of the last items are asked with; None for all.
  """

  owner: Int[np.ndarray, 'E']
  seen: Ragged
  texts: Sequence[str] | None = None
  max_items: int | None = None

  @property
  def items(self) -> Ragged:
    """The items that are asked with."""
    if self.max_items is None:
      return self.seen
    return Ragged.from_rows(
      self.seen[row][-self.max_items :] for row in range(len(self.seen))
    )

  def take(self, rows: Int[np.ndarray, 'F']) -> ItemQueries:
    """Returns the queries of these numbers."""
    return dataclasses.replace(
      self,
      owner=self.owner[rows],
      seen=Ragged.from_rows([self.seen[row] for row in rows]),
      texts=None if self.texts is None else [self.texts[row] for row in rows],
    )

  @classmethod
  def join(cls, queries: Sequence[ItemQueries]) -> ItemQueries:
    """Returns the queries of all, one after the other, asked alike."""
    ends = np.cumsum([0, *(len(q.seen.values) for q in queries)])
    texts = [text for q in queries for text in q.texts or ()]
    return cls(
      np.concatenate([q.owner for q in queries]),
      Ragged(
        np.concatenate([q.seen.values for q in queries]),
        np.concatenate(
          [[0], *(q.seen.offsets[1:] + end for q, end in zip(queries, ends))]
        ),
      ),
      None if queries[0].texts is None else texts,
      queries[0].max_items,
    )


def fold_of(owner: Int[np.ndarray, '*n']) -> Int[np.ndarray, '*n']:
  """Returns the fold of owners: their number's remainder; -1 is in none."""
  return np.where(owner < 0, -1, owner % NUM_FOLDS)


def retrieve_items(
  method: str,
  train: TrainPairs,
  items: pa.Table,
  queries: ItemQueries,
  *,
  num_results: int,
  seed: int = 0,
) -> Ragged:
  """Returns the items retrieved for each example, best first.

  'bm25' compares words: those of the titles and attributes of the history and
  of the text with those of each item. 'dense' compares vectors: of histories
  alone the mean of the factors of their items (PPMI of who had them near each
  other, then SVD), with texts the topics of the same words. Only items that
  the train rows of other folds have are retrieved.

  Args:
    method: one of `METHODS`.
    train: what may be known.
    items: the items table.
    queries: of the E examples.
    num_results: how many items an example gets at most.
    seed: of the SVD, and of equal scores.

  Raises:
    GenrecError: if the method is unknown, or needs words and there are none.
  """
  if method not in METHODS:
    raise unknown_name('retrieval method', method, METHODS)
  of_words = method == 'bm25' or queries.texts is not None
  counts, numbers = None, {}
  if of_words:
    texts = join_texts([items[c].to_pylist() for c in COLUMNS])
    counts = count_words(texts, numbers)
    if not counts.nnz:
      raise GenrecError(
        'No item has a title or attributes, so none can be retrieved by its'
        " words; choose retrieval='dense' with a task of histories, or"
        " retrieval='none'."
      )
  folds = fold_of(queries.owner)
  found: list[Any] = [None] * len(folds)
  for fold in np.unique(folds):
    rows = np.flatnonzero(folds == fold)
    known = train.without(fold_of(train.owner) == fold)
    allowed = np.unique(known.item)
    if not len(allowed):
      continue
    of_fold = queries.take(rows)
    if of_words:
      index, asked = _index_words(
        method, counts, numbers, allowed, of_fold, seed
      )
    else:
      index, asked = _index_factors(
        known, items.num_rows, allowed, of_fold, seed
      )
    number = np.full(items.num_rows, -1)
    number[allowed] = np.arange(len(allowed))
    places = search(
      index,
      asked,
      num_results,
      excluded=_renumber(of_fold.seen, number),
      seed=seed,
    )
    for row, place in zip(rows, range(len(rows))):
      found[row] = allowed[places[place]]
  return Ragged.from_rows([() if row is None else row for row in found])


def _index_words(method, counts, numbers, allowed, queries, seed):
  index = (
    BM25(counts[allowed])
    if method == 'bm25'
    else LatentSemantics.fit(counts[allowed], seed=seed)
  )
  asked = _members(queries.items, counts.shape[0]) @ counts
  if queries.texts is not None:
    asked = asked + count_words(queries.texts, numbers, grows=False)
  return index, index.represent(asked.tocsr())


def _index_factors(known, num_items, allowed, queries, seed):
  owners, owner = np.unique(known.owner, return_inverse=True)
  factors = item_factors(
    owner,
    known.item,
    len(owners),
    num_items,
    matrix='cooccurrence',
    weighting='ppmi',
    window=10,
    singular_power=0.5,
    seed=seed,
  )
  asked = _members(queries.items, num_items) @ factors
  return InnerProducts(factors[allowed]), np.asarray(asked, np.float32)


def _members(items: Ragged, num_items: int) -> scipy.sparse.csr_array:
  """Returns how often each example (row) has each item (column)."""
  members = scipy.sparse.csr_array(
    (
      np.ones(len(items.values), np.float32),
      items.values.astype(np.int64),
      items.offsets.astype(np.int64),
    ),
    (len(items), num_items),
  )
  members.sum_duplicates()
  return members


def _renumber(items: Ragged, number: Int[np.ndarray, 'N']) -> Ragged:
  """Returns items by their place in the index, without those not in it."""
  places = number[items.values]
  kept = np.concatenate([[0], np.cumsum(places >= 0)])
  return Ragged(places[places >= 0], kept[items.offsets])


def mean_hits(
  retrieved: Ragged, target: Int[np.ndarray, 'E']
) -> Float[np.ndarray, '']:
  """Returns the share of examples whose target was retrieved."""
  row = np.repeat(np.arange(len(retrieved)), retrieved.lengths)
  hits = np.bincount(
    row[retrieved.values == target[row]], minlength=len(retrieved)
  )
  return np.mean(hits > 0)
