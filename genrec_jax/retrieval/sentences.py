"""Train texts near to what an example is about: of its item, of its user.

What others wrote of the item is ranked by how near it is to what the user
writes, what the user wrote of other items by how near it is to what others
write of this one; the two lists are taken in turn. The text that an example is
to write, and any other of the same user and item, is neither retrieved nor
asked with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.sparse
from jaxtyping import Int

from genrec_jax.data.token_cache import Ragged
from genrec_jax.retrieval.bm25 import BM25
from genrec_jax.retrieval.dense import LatentSemantics
from genrec_jax.retrieval.items import METHODS
from genrec_jax.retrieval.search import search, search_pools
from genrec_jax.retrieval.words import count_words
from genrec_jax.types import GenrecError, unknown_name

COPIES = 4  # so many times as many are found, for some say the same


@dataclasses.dataclass(frozen=True, eq=False)
class Documents:
  """The train texts that there are, D of them.

  Attributes:
    rows: the row of each in its table; ascending.
    user: who wrote it: a user, or the dialogue it is of.
    item: the item that it is about; None for turns of dialogues.
    keys: what it is found by: itself, the review that it sums up, or the turns
      before it.
    texts: what it says.
  """

  rows: Int[np.ndarray, 'D']
  user: Int[np.ndarray, 'D']
  item: Int[np.ndarray, 'D'] | None
  keys: Sequence[str]
  texts: Sequence[str]


@dataclasses.dataclass(frozen=True, eq=False)
class TextQueries:
  """What E examples ask with.

  Attributes:
    user: of each; the dialogue where documents are of dialogues.
    item: of each; None where documents are of dialogues.
    texts: what a prompt shows of each: its words are asked with.
    only_texts: whether nothing else is: else the train texts of the user and
      of the item are asked with, too.
  """

  user: Int[np.ndarray, 'E']
  item: Int[np.ndarray, 'E'] | None
  texts: Sequence[str]
  only_texts: bool = False

  @classmethod
  def join(cls, queries: Sequence[TextQueries]) -> TextQueries:
    """Returns the queries of all, one after the other."""
    return cls(
      np.concatenate([q.user for q in queries]),
      None
      if queries[0].item is None
      else np.concatenate([q.item for q in queries]),
      [text for q in queries for text in q.texts],
      queries[0].only_texts,
    )


def retrieve_sentences(
  method: str,
  documents: Documents,
  queries: TextQueries,
  *,
  num_results: int,
  seed: int = 0,
) -> Ragged:
  """Returns the rows of the documents retrieved for each example.

  An example does not get the same words twice.

  Args:
    method: 'bm25', by the words in common, or 'dense', by topics.
    documents: the train texts.
    queries: of the E examples. Documents of the same user and item are left
      out; where there are no items, all of the same user: of a dialogue.
    num_results: how many texts an example gets at most.
    seed: of the SVD, and of equal scores.

  Raises:
    GenrecError: if the method is unknown or there are no documents.
  """
  if method not in METHODS:
    raise unknown_name('retrieval method', method, METHODS)
  if not len(documents.rows):
    raise GenrecError(
      "The train part has no text to retrieve; choose retrieval='none'."
    )
  numbers: dict[str, int] = {}
  counts = count_words(documents.keys, numbers)
  index = (
    BM25(counts) if method == 'bm25' else LatentSemantics.fit(counts, seed=seed)
  )
  shown = count_words(queries.texts, numbers, grows=False)
  _, wording = np.unique(np.array(documents.texts), return_inverse=True)
  num_found = num_results * COPIES
  if documents.item is None:
    found = search(
      index,
      index.represent(shown),
      num_found,
      excluded=_groups(documents.user, queries.user),
      seed=seed,
    )
    return Ragged.from_rows(
      documents.rows[_different(found[row], wording, num_results)]
      for row in range(len(found))
    )
  by_item = _pools(documents, queries, 'item')
  by_user = _pools(documents, queries, 'user')
  asked = [shown, shown]
  if not queries.only_texts:
    # The pool of the user tells how they write, that of the item what is
    # written of it; an example's own text is in neither.
    asked = [shown + _sums(pool, counts) for pool in (by_user, by_item)]
  lists = [
    search_pools(index, index.represent(query), pool, num_found, seed=seed)
    for query, pool in zip(asked, (by_item, by_user))
  ]
  return Ragged.from_rows(
    documents.rows[
      _different(_in_turn(lists[0][row], lists[1][row]), wording, num_results)
    ]
    for row in range(len(queries.user))
  )


def _pools(documents: Documents, queries: TextQueries, side: str) -> Ragged:
  """Returns the documents of each query's item (or user), but of the pair."""
  pools = _groups(getattr(documents, side), getattr(queries, side))
  row = np.repeat(np.arange(len(pools)), pools.lengths)
  other = (documents.user[pools.values] != queries.user[row]) | (
    documents.item[pools.values] != queries.item[row]
  )
  kept = np.concatenate([[0], np.cumsum(other)])
  return Ragged(pools.values[other], kept[pools.offsets])


def _groups(
  of_document: Int[np.ndarray, 'D'], of_query: Int[np.ndarray, 'E']
) -> Ragged:
  """Returns the numbers of the documents that share each query's value."""
  order = np.argsort(of_document, kind='stable')
  ordered = of_document[order]
  start = np.searchsorted(ordered, of_query, side='left')
  stop = np.searchsorted(ordered, of_query, side='right')
  offsets = np.concatenate([[0], np.cumsum(stop - start)])
  places = np.repeat(start - offsets[:-1], stop - start)
  return Ragged(order[places + np.arange(offsets[-1])], offsets)


def _sums(pools: Ragged, counts) -> scipy.sparse.csr_array:
  """Returns the words of all documents of a pool together."""
  members = scipy.sparse.csr_array(
    (np.ones(len(pools.values), np.float32), pools.values, pools.offsets),
    (len(pools), counts.shape[0]),
  )
  return (members @ counts).tocsr()


def _different(found, wording, num_results: int) -> np.ndarray:
  """Returns the first documents that differ in what they say."""
  _, first = np.unique(wording[found], return_index=True)
  return found[np.sort(first)][:num_results]


def _in_turn(first, second) -> np.ndarray:
  """Returns the first of both lists, then the second of both, and so on."""
  place = np.concatenate(
    [2 * np.arange(len(first)), 2 * np.arange(len(second)) + 1]
  )
  return np.concatenate([first, second])[np.argsort(place)]
