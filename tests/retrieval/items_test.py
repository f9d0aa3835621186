"""Items that were retrieved for a history: near, known, and not by oneself."""

import dataclasses
import functools

import numpy as np
import pyarrow as pa
import pytest

from genrec_jax.data.audit import LeakError
from genrec_jax.data.token_cache import Ragged
from genrec_jax.retrieval import audit
from genrec_jax.retrieval.items import (
  NUM_FOLDS,
  ItemQueries,
  TrainPairs,
  fold_of,
  retrieve_items,
)
from genrec_jax.types import GenrecError

NUM_USERS, NUM_ITEMS, NUM_KINDS = 60, 24, 3
KINDS = ('kettle', 'boots', 'easel')
ITEMS = pa.table(
  {
    'title': [f'{KINDS[i % NUM_KINDS]} number {i}' for i in range(NUM_ITEMS)],
    'attributes': [[KINDS[i % NUM_KINDS]] for i in range(NUM_ITEMS)],
  }
)


@pytest.fixture
def train():
  """Users who keep to items of one kind: those of the same remainder."""
  random = np.random.default_rng(0)
  owner = np.repeat(np.arange(NUM_USERS), 6)
  item = random.integers(NUM_ITEMS // NUM_KINDS, size=len(owner)) * NUM_KINDS
  return TrainPairs(owner, item + owner % NUM_KINDS)


@pytest.fixture
def queries(train):
  histories = train.item.reshape(NUM_USERS, 6)[:, :3]
  return ItemQueries(np.arange(NUM_USERS), Ragged.from_rows(histories))


@pytest.mark.parametrize('method', ['bm25', 'dense'])
def test_what_is_retrieved_is_of_the_kind_of_the_history(
  method, train, queries
):
  found = retrieve_items(method, train, ITEMS, queries, num_results=3)
  for user in range(NUM_USERS):
    assert len(found[user]) == 3
    assert (found[user] % NUM_KINDS == user % NUM_KINDS).all()
    assert not set(found[user]) & set(queries.items[user])


@pytest.mark.parametrize('method', ['bm25', 'dense'])
def test_the_last_items_ask_and_none_that_was_seen_comes_back(method, train):
  """Of a history of kettles and, at last, boots, other boots are found."""
  boots = np.arange(1, NUM_ITEMS, NUM_KINDS)
  seen = Ragged.from_rows([[*boots[2:], 0, 3, boots[0]]])
  asked = ItemQueries(np.array([0]), seen, max_items=1)
  found = retrieve_items(method, train, ITEMS, asked, num_results=1)
  assert found[0].tolist() == [boots[1]]


@pytest.mark.parametrize('method', ['bm25', 'dense'])
def test_a_dialogue_is_answered_by_its_words(method, train):
  texts = ['is there an easel?', 'some boots please', 'hm']
  asked = ItemQueries(np.arange(3), Ragged.from_rows([[], [1], [0]]), texts)
  found = retrieve_items(method, train, ITEMS, asked, num_results=2)
  assert (found[0] % NUM_KINDS == 2).all() and len(found[0]) == 2
  assert (found[1] % NUM_KINDS == 1).all() and 1 not in found[1]
  assert (found[2] % NUM_KINDS == 0).all()


def test_items_that_only_the_own_fold_knows_are_not_retrieved(train, queries):
  # Item 3 is of kind 0 and of nobody but user 0's fold.
  folds = fold_of(train.owner)
  rare = train.without((train.item == 3) & (folds != 0))
  rare.item[np.flatnonzero(rare.owner == 0)[0]] = 3
  found = retrieve_items('bm25', rare, ITEMS, queries, num_results=NUM_ITEMS)
  has = [3 in found[user] for user in range(NUM_USERS)]
  assert not any(has[::NUM_FOLDS])
  assert any(has)


@pytest.mark.parametrize('method', ['bm25', 'dense'])
def test_the_audit_passes_what_does_not_know_itself(method, train, queries):
  retrieve = functools.partial(_retrieve, method)
  audit.audit_items(retrieve, retrieve(train, queries), train, queries)


@pytest.mark.parametrize(
  'fault', ['own rows', 'held-out rows', 'unknown items', 'the history']
)
def test_the_audit_finds_a_fault(fault, train, queries):
  retrieve = functools.partial(_retrieve, 'dense')
  found = retrieve(train, queries)
  if fault == 'own rows':

    def retrieve(train, queries):
      # In no fold: all train rows answer everyone.
      nobody = np.full(len(queries.owner), -1)
      return _retrieve(
        'dense', train, dataclasses.replace(queries, owner=nobody)
      )

    found = retrieve(train, queries)
  elif fault == 'held-out rows':
    held_out = np.arange(NUM_USERS)
    more = TrainPairs(
      np.concatenate([train.owner, held_out]),
      np.concatenate([train.item, (held_out * 7) % NUM_ITEMS]),
    )
    found = retrieve(more, queries)
  elif fault == 'unknown items':
    found.values[5] = NUM_ITEMS + 3
  else:
    found.values[found.offsets[4]] = queries.items[4][0]
  with pytest.raises(LeakError, match='of x'):
    audit.audit_items(retrieve, found, train, queries, name='x')


def _retrieve(method, train, queries):
  return retrieve_items(method, train, ITEMS, queries, num_results=3)


def test_a_catalogue_without_words_says_what_to_do(train, queries):
  nothing = pa.table(
    {
      'title': pa.nulls(NUM_ITEMS, pa.string()),
      'attributes': [[]] * NUM_ITEMS,
    }
  )
  with pytest.raises(GenrecError, match="retrieval='dense'"):
    retrieve_items('bm25', train, nothing, queries, num_results=2)
  found = retrieve_items('dense', train, nothing, queries, num_results=2)
  assert len(found.values)
  with pytest.raises(GenrecError, match='bm25, dense'):
    retrieve_items('bm52', train, ITEMS, queries, num_results=2)


@pytest.mark.parametrize('method', ['bm25', 'dense'])
def test_asking_together_is_asking_one_after_the_other(method, train, queries):
  parts = [queries.take(np.arange(7)), queries.take(np.arange(7, NUM_USERS))]
  together = _retrieve(method, train, ItemQueries.join(parts))
  alone = [_retrieve(method, train, part) for part in parts]
  assert [together[i].tolist() for i in range(NUM_USERS)] == [
    found[i].tolist() for found in alone for i in range(len(found))
  ]
