"""Texts that were retrieved: of the item and the user, and not one's own."""

import numpy as np
import pytest

from genrec_jax.data.audit import LeakError
from genrec_jax.data.token_cache import Ragged
from genrec_jax.retrieval import audit
from genrec_jax.retrieval.sentences import (
  Documents,
  TextQueries,
  retrieve_sentences,
)
from genrec_jax.types import GenrecError

# Rows of a table: (user, item, text). Row 6 is held out.
TABLE = [
  (0, 0, 'the spout drips'),
  (0, 1, 'warm socks, really warm'),
  (1, 0, 'pours well, a warm handle'),
  (1, 1, 'scratchy'),
  (2, 0, 'the lid drips'),
  (2, 2, 'the lid drips'),
  (0, 2, 'a warm lid'),
  (0, 1, 'still warm'),  # user 0 wrote of item 1 twice
]
USER, ITEM, TEXTS = (list(column) for column in zip(*TABLE))
USER, ITEM = np.array(USER), np.array(ITEM)
TRAIN = np.array([0, 1, 2, 3, 4, 5, 7])


def documents():
  texts = [TEXTS[row] for row in TRAIN]
  return Documents(TRAIN, USER[TRAIN], ITEM[TRAIN], texts, texts)


def queries(rows, texts=None):
  return TextQueries(USER[rows], ITEM[rows], texts or [''] * len(rows))


@pytest.mark.parametrize('method', ['bm25', 'dense'])
def test_texts_are_of_the_item_or_of_the_user_and_never_of_both(method):
  rows = np.arange(len(TABLE))
  found = retrieve_sentences(method, documents(), queries(rows), num_results=10)
  for row in rows:
    got = found[row]
    assert set(got) <= set(TRAIN)
    same_user, same_item = USER[got] == USER[row], ITEM[got] == ITEM[row]
    assert (same_user ^ same_item).all()
  assert any(len(found[row]) for row in rows)


def test_those_nearest_to_the_user_come_first():
  # What user 0 writes is warm, and so is row 2 of item 0; of item 2 there is
  # a text that drips, as row 0 of the user does.
  found = retrieve_sentences(
    'bm25', documents(), queries(np.array([0, 6])), num_results=10
  )
  assert found[0][0] == 2
  assert found[1].tolist()[:2] == [5, 0]


def test_the_same_words_come_once():
  found = retrieve_sentences(
    'bm25',
    documents(),
    TextQueries(np.array([2]), np.array([3]), ['the lid drips']),
    num_results=10,
  )
  assert [TEXTS[row] for row in found[0]] == ['the lid drips']


def test_turns_come_from_other_dialogues():
  told = Documents(
    np.array([3, 7, 9]),
    np.array([0, 1, 1]),
    None,
    ['a b', 'a b', 'b'],
    ['x', 'y', 'z'],
  )
  found = retrieve_sentences(
    'bm25',
    told,
    TextQueries(np.array([0, 1, 5]), None, ['a b'] * 3, only_texts=True),
    num_results=1,
  )
  assert [found[row].tolist() for row in range(2)] == [[7], [3]]
  assert found[2][0] in (3, 7)


def audit_rows(rows, own):
  audit.audit_sentences(
    Ragged.from_rows(rows),
    queries(own),
    is_train=np.isin(np.arange(len(TABLE)), TRAIN),
    user=USER,
    item=ITEM,
    own=own,
    name='x',
  )


def test_the_audit_finds_what_an_example_must_not_know():
  own = np.array([1, 6])
  audit_rows([[0, 3], [0, 5]], own)
  for rows, complaint in (
    ([[0, 6], []], 'held out'),
    ([[1], []], 'their own'),
    ([[7], []], 'same user and item'),
  ):
    with pytest.raises(LeakError, match=f'1 of 2 examples of x .*{complaint}'):
      audit_rows(rows, own)


def test_what_was_retrieved_passes_the_audit():
  rows = np.arange(len(TABLE))
  found = retrieve_sentences('bm25', documents(), queries(rows), num_results=4)
  audit_rows([found[row] for row in rows], rows)


def test_without_train_texts_there_is_nothing_to_retrieve():
  none = Documents(TRAIN[:0], USER[:0], ITEM[:0], [], [])
  with pytest.raises(GenrecError, match='no text to retrieve'):
    retrieve_sentences('bm25', none, queries(np.array([0])), num_results=1)
