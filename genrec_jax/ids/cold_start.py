"""Ids for items and users that come later: nothing is trained, no id changes.

What is known of a new item (a vector, its first interactions, its text) says
which of the items with ids it is like, its neighbours, and what its vector
would be among theirs. Where codes are made by quantizing vectors it gets the
code of its vector, or the nearest that is free; for all other methods its
neighbours vote, code by code (see free_codes.py).
"""

from __future__ import annotations

import dataclasses
from typing import Self

import numpy as np
import pyarrow as pa
import scipy.sparse
from jaxtyping import Bool, Float, Int

from genrec_jax.ids.content import tfidf_of_others
from genrec_jax.ids.free_codes import FreeCodes
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.ids.users import hashed_users
from genrec_jax.types import GenrecError

NUM_NEIGHBOURS = 20
ROWS_AT_ONCE = 256  # new items compared to all others at a time
TEXT_COLUMNS = ('title', 'attributes')


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
  """What is known of n new items, in terms of the N items with ids.

  Attributes:
    neighbours: csr [n, N], how like each other they are, from 0 to 1; an empty
      row where nothing is known.
    vectors: [n, D], as the `vectors` of the ids; None where these have none.
  """

  neighbours: scipy.sparse.csr_array
  vectors: Float[np.ndarray, 'n D'] | None

  @property
  def known(self) -> Bool[np.ndarray, 'n']:
    """Of which items anything is known."""
    return np.diff(self.neighbours.indptr) > 0

  def or_else(self, other: Self) -> Self:
    """Returns this where anything is known, and the other elsewhere."""
    mine = self.known
    keep = scipy.sparse.diags_array(mine.astype(np.float64))
    rest = scipy.sparse.diags_array((~mine).astype(np.float64))
    neighbours = (keep @ self.neighbours + rest @ other.neighbours).tocsr()
    neighbours.eliminate_zeros()
    vectors = self.vectors
    if vectors is not None:
      vectors = np.where(mine[:, None], vectors, other.vectors)
    return dataclasses.replace(self, neighbours=neighbours, vectors=vectors)


def from_vectors(ids: ItemIds, vectors: Float[np.ndarray, 'n D']) -> Evidence:
  """Returns what vectors say that are of the space of the ids' vectors.

  A row of zeros says nothing.

  Raises:
    GenrecError: if the ids were made without vectors, or of another width.
  """
  width = None if ids.vectors is None else ids.vectors.shape[1]
  if vectors.ndim != 2 or vectors.shape[1] != width:
    raise GenrecError(
      f'Got vectors of shape {list(vectors.shape)} for new items, but the ids'
      f' were made {"without vectors" if width is None else f"of {width}"}'
      ' numbers an item; give vectors of the same source, or text or'
      ' interactions in place of them.'
    )
  alike = _most_alike(_unit_rows(vectors), _unit_rows(ids.vectors))
  return Evidence(alike, np.asarray(vectors, np.float32))


def from_text(ids: ItemIds, items: pa.Table, new_items: pa.Table) -> Evidence:
  """Returns what titles and attributes say of new items.

  Neighbours are the items with the most similar text: the cosine of TF-IDF
  vectors, by the terms that items with ids have.

  Args:
    ids: the ids of N items.
    items: their N rows, with title and attributes.
    new_items: n rows with the same columns.
  """
  existing, new = tfidf_of_others(
    items.select(TEXT_COLUMNS), new_items.select(TEXT_COLUMNS)
  )
  return _among(ids, _most_alike(new, existing))


def from_interactions(
  ids: ItemIds,
  taken: scipy.sparse.csr_array,
  new_taken: scipy.sparse.csr_array,
) -> Evidence:
  """Returns what the first interactions say of new items.

  Neighbours are the items that share users with them, by the cosine of the
  sets of users.

  Args:
    ids: the ids of N items.
    taken: 1 where a user took an item, [U, N].
    new_taken: 1 where a user took a new item, [U, n].
  """
  alike = _most_alike(*(_unit_rows(t.T.tocsr()) for t in (new_taken, taken)))
  return _among(ids, alike)


def new_codes(
  ids: ItemIds,
  evidence: Evidence,
  *,
  taken: Int[np.ndarray, 'm L'] | None = None,
) -> Int[np.ndarray, 'n L']:
  """Returns the codes of new items; those of the others stay as they are.

  Items get them in their order, so adding items one by one gives what adding
  them at once does. Items of which nothing is known get the first codes that
  are free.

  Args:
    ids: the ids that are given.
    evidence: what is known of the new items.
    taken: the codes of items that were added before.

  Raises:
    GenrecError: if there are not enough free codes.
  """
  free = FreeCodes(ids, taken)
  if ids.quantizer is not None and evidence.vectors is not None:
    codes = [
      free.take_nearest(row, ids.quantizer.codebooks)
      for row in ids.quantizer.encode(evidence.vectors)
    ]
  else:
    neighbours = evidence.neighbours
    codes = []
    for start, end in zip(neighbours.indptr[:-1], neighbours.indptr[1:]):
      rows = neighbours.indices[start:end]
      codes.append(free.take_voted(ids.codes[rows], neighbours.data[start:end]))
  return np.array(codes, np.int32).reshape(-1, ids.num_levels)


def add_cold_items(
  ids: ItemIds,
  items: pa.Table,
  cold_items: Int[np.ndarray, 'C'],
  *,
  shuffle: bool = False,
  seed: int = 0,
) -> ItemIds:
  """Gives ids by their text to items that were held out of training.

  Args:
    ids: of all other items of the table, in its order.
    items: all items, with title and attributes.
    cold_items: rows of those held out, ascending.
    shuffle: deal the new codes out among these items at random: the control
      that shows what knowing their text is worth.
    seed: of the order in which they get codes, and of the control.

  Returns:
    The ids of all items of the table. Items without text, of which nothing is
    known, stand where a random other item does.
  """
  generator = np.random.default_rng(seed)
  order = generator.permutation(cold_items)
  warm = np.setdiff1d(np.arange(items.num_rows), cold_items)
  evidence = from_text(ids, items.take(warm), items.take(order))
  known = evidence.known
  anywhere = generator.integers(ids.num_items, size=len(order))
  evidence = evidence.or_else(_as_these(ids, anywhere))
  cold_codes = new_codes(ids, evidence)
  if shuffle:
    cold_codes = generator.permutation(cold_codes)
  codes = np.empty((items.num_rows, ids.num_levels), np.int32)
  codes[warm], codes[order] = ids.codes, cold_codes
  vectors = None
  if ids.vectors is not None:
    vectors = np.empty((len(codes), ids.vectors.shape[1]), np.float32)
    vectors[warm], vectors[order] = ids.vectors, evidence.vectors
  told = f'{len(order):,} items that train never saw, by their text'
  if not known.all():
    told += f' ({(~known).sum():,} without any stand anywhere)'
  if shuffle:
    told += '; then dealt out among them at random'
  return dataclasses.replace(
    ids,
    codes=codes,
    vectors=vectors,
    facts={**ids.facts, 'cold_items': told},
  )


def new_user_codes(
  ids: ItemIds,
  taken: scipy.sparse.csr_array,
  new_taken: scipy.sparse.csr_array,
) -> Int[np.ndarray, 'u Lu']:
  """Returns the codes of new users; they may share them with others.

  Hashed users are hashed by the numbers after those of the others. All other
  codes are those for which the users vote, code by code, who took the same
  items (cosine of the sets).

  Args:
    ids: the ids, of U users.
    taken: 1 where a user took an item, [U, N].
    new_taken: 1 where a new user took an item, [u, N].

  Raises:
    GenrecError: if a user took nothing that another did, unless hashed.
  """
  if ids.facts.get('user_method') == 'hashed_users':
    num_users = len(ids.user_codes) + new_taken.shape[0]
    codes, _ = hashed_users(
      *(np.zeros(0, np.int64),) * 2,
      num_users,
      ids.num_items,
      num_codes=ids.user_codebook_sizes[0],
      seed=ids.facts['seed'],
    )
    return codes[len(ids.user_codes) :]
  likeness = _most_alike(_unit_rows(new_taken), _unit_rows(taken))
  alone = np.flatnonzero(np.diff(likeness.indptr) == 0)
  if len(alone):
    raise GenrecError(
      f'{len(alone)} of {new_taken.shape[0]} new users (the first is number'
      f' {alone[0]}) took no item that another user took: nothing is known of'
      ' them. Leave them out until they have.'
    )
  codes = np.empty((new_taken.shape[0], ids.user_codes.shape[1]), np.int32)
  for number in range(len(codes)):
    span = slice(*likeness.indptr[number : number + 2])
    votes, weights = ids.user_codes[likeness.indices[span]], likeness.data[span]
    for level, column in enumerate(votes.T):
      codes[number, level] = np.bincount(column, weights).argmax()
      weights = weights * (column == codes[number, level])
  return codes


def _among(ids: ItemIds, neighbours: scipy.sparse.csr_array) -> Evidence:
  """Returns the evidence of neighbours: their vectors' mean, so weighted.

  It is scaled to the length that vectors have on average: a mean is shorter.
  """
  if ids.vectors is None:
    return Evidence(neighbours, None)
  means = neighbours @ ids.vectors.astype(np.float64)
  lengths = np.linalg.norm(means, axis=1, keepdims=True)
  usual = np.linalg.norm(ids.vectors[ids.vectors.any(axis=1)], axis=1).mean()
  means *= usual / np.where(lengths > 0, lengths, 1)
  return Evidence(neighbours, means.astype(np.float32))


def _as_these(ids: ItemIds, rows: Int[np.ndarray, 'n']) -> Evidence:
  """Returns the evidence of new items that are each like one of the items."""
  places = (np.arange(len(rows)), rows)
  shape = len(rows), ids.num_items
  return _among(
    ids, scipy.sparse.csr_array((np.ones(len(rows)), places), shape)
  )


def _most_alike(new, existing):
  """Returns the NUM_NEIGHBOURS largest products of rows, if positive, as csr.

  Of equal ones those of the lower numbers.

  Args:
    new: [n, D], dense or sparse.
    existing: [N, D].
  """
  blocks = []
  for start in range(0, new.shape[0], ROWS_AT_ONCE):
    block = new[start : start + ROWS_AT_ONCE] @ existing.T
    block = scipy.sparse.csr_array(block)
    row = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
    order = np.lexsort((block.indices, -block.data, row))
    place = np.arange(len(row)) - block.indptr[row]
    kept = order[(place < NUM_NEIGHBOURS) & (block.data[order] > 0)]
    blocks.append(
      scipy.sparse.csr_array(
        (block.data[kept], (row[kept], block.indices[kept])), block.shape
      )
    )
  return scipy.sparse.vstack(blocks, format='csr')


def _unit_rows(rows):
  """Scales rows, dense or sparse, to length 1; zeros stay zeros."""
  if scipy.sparse.issparse(rows):
    lengths = np.sqrt(rows.multiply(rows).sum(axis=1))
    return (
      scipy.sparse.diags_array(1 / np.where(lengths > 0, lengths, 1)) @ rows
    )
  lengths = np.linalg.norm(rows, axis=1, keepdims=True)
  return rows / np.where(lengths > 0, lengths, 1)
