"""What is written about items is kept, and what changed of it is counted."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pytest

from genrec_jax.data import splits, texts
from genrec_jax.data.dataset import RawTables, build_dataset
from genrec_jax.data.dialogues import RAW_DIALOGUES, mention_pairs
from genrec_jax.data.readers import amazon
from genrec_jax.types import GenrecError

ODD = {
  'emoji': ('So good 😀👍🏽', 'So good 😀👍🏽'),
  'right to left': (
    '\u202bמצוין, 5 כוכבים\u202c',
    '\u202bמצוין, 5 כוכבים\u202c',
  ),
  'ten thousand words': ('word ' * 9_999 + 'end', 'word ' * 9_999 + 'end'),
  'line breaks': ('one\r\ntwo\tthree', 'one\r\ntwo\tthree'),
  'control characters': ('a\x00b\x1bc\x9fd', 'a b c d'),
  'the mark of a mention': ('a \ufffc b', 'a   b'),
  'blank': (' \n', None),
  'empty': ('', None),
  'controls alone': ('\x00', None),
}


@pytest.mark.parametrize('written, kept', ODD.values(), ids=ODD)
def test_odd_reviews_stay_rows(tmp_path, written, kept):
  path = tmp_path / 'reviews.json'
  record = {
    'reviewerID': 'u',
    'asin': 'i',
    'overall': 5.0,
    'unixReviewTime': 86400,
    'summary': 'x',
  }
  others = [{**record, 'reviewText': text} for text in ('first', written)]
  path.write_text('\n'.join(map(json.dumps, others)))
  dataset = build_dataset('t', amazon.read_reviews(path))
  # A user of one item, too.
  assert dataset.interactions['review'].to_pylist() == ['first', kept]
  assert dataset.interactions['rating'].to_pylist() == [5, 5]
  assert dataset.facts['texts']['review'] == {
    'blank': int(kept is None),
    'replaced': int(any(c in written for c in '\x00\x1b\x9f\ufffc')),
  }


def _explained(interactions, explanations):
  return build_dataset(
    't',
    RawTables(
      interactions=pa.table(
        dict(zip(('user', 'item', 'time'), zip(*interactions)))
      ),
      explanations=pa.table(
        {
          'user': [user for user, _, _ in explanations],
          'item': [item for _, item, _ in explanations],
          'feature': ['f'] * len(explanations),
          'opinion': ['o'] * len(explanations),
          'sentiment': pa.array([-1] * len(explanations), pa.int8()),
          'explanation': [sentence for _, _, sentence in explanations],
        }
      ),
    ),
  )


def test_the_first_explanation_goes_to_the_first_of_its_interactions():
  dataset = _explained(
    # b took y twice: the later one stands first in the file.
    [('a', 'x', 1), ('b', 'y', 9), ('b', 'y', 3), ('c', 'x', 2)],
    [
      ('b', 'y', 'one'),
      ('z', 'x', 'of no user'),
      ('b', 'y', 'two'),
      ('a', 'x', 'three'),
      ('a', 'y', 'of no pair'),
    ],
  )
  rows = dataset.interactions.to_pylist()
  assert [(row['time'], row['explanation']) for row in rows] == [
    (1, 'three'),
    (3, None),
    (9, 'one'),
    (2, None),
  ]
  assert [row['sentiment'] for row in rows] == [-1, None, -1, None]
  assert dataset.facts['explanations'] == {
    'rows': 5,
    'joined': 2,
    'further': 1,
    'unmatched': 2,
  }


def test_explanations_are_in_one_place():
  interactions = pa.table({'user': ['u'], 'item': ['i'], 'feature': ['f']})
  with pytest.raises(GenrecError, match="column 'feature'.*leave out one"):
    texts.join_explanations(interactions, pa.table({}))


def test_text_rows_have_all_that_is_asked_for():
  table = pa.table(
    {'review': ['a', None, 'b', 'c'], 'summary': ['s', 't', None, 'u']}
  )
  among = np.array([True, True, True, False])
  rows = texts.text_rows(table, among, ('review',))
  assert rows.tolist() == [0, 2]
  rows = texts.text_rows(table, among, ('review', 'summary'))
  assert rows.tolist() == [0]
  with pytest.raises(GenrecError, match="'feature'; expected.*review, summary"):
    texts.text_rows(table, among, ('feature',))


def _turns(*turns):
  """Dialogues of (id, turn, text, items); seeker and recommender in turn."""
  roles = ('seeker', 'recommender')
  rows = [(*turn[:2], roles[turn[1] % 2], *turn[2:]) for turn in turns]
  return pa.table(
    [
      pa.array(column, field.type)
      for column, field in zip(zip(*rows), RAW_DIALOGUES)
    ],
    RAW_DIALOGUES,
  )


def test_dialogues_alone_are_a_data_set_whose_users_are_their_seekers():
  told = _turns(
    ('d', 0, 'I like \ufffc and \ufffc', ['b', 'a']),
    ('d', 1, 'ok', []),
    ('e', 0, '\x00', []),
    ('e', 1, '\ufffc', ['b']),
  )
  dataset = build_dataset('t', RawTables(dialogues=told))
  assert dataset.counts == {
    'users': 2,
    'items': 2,
    'interactions': 0,
    'dialogues': 2,
    'dialogue_turns': 4,
  }
  assert dataset.users['user_id'].to_pylist() == ['d', 'e']
  assert dataset.items['item_id'].to_pylist() == ['b', 'a']
  assert dataset.dialogue_offsets.tolist() == [0, 2, 4]
  assert [pairs.tolist() for pairs in mention_pairs(dataset.dialogues)] == [
    [0, 0, 1],
    [0, 1, 0],
  ]
  # Who says nothing has said so.
  assert dataset.dialogues['text'].to_pylist()[2] == ''
  assert dataset.facts['texts']['dialogues'] == {'blank': 1, 'replaced': 1}
  assert not len(splits.leave_one_out(dataset).part)


def test_of_dialogues_with_one_id_the_first_counts():
  told = _turns(
    ('d', 0, 'first', []),
    ('d', 1, 'yes', []),
    ('e', 0, 'other', []),
    ('d', 0, 'again', []),
    ('d', 1, 'yes', []),
    ('d', 2, 'longer', []),
  )
  dataset = build_dataset('t', RawTables(dialogues=told))
  assert dataset.dialogues['text'].to_pylist() == ['first', 'yes', 'other']
  assert dataset.facts['dropped_rows']['repeated_dialogues'] == 3


WRONG = {
  'starts late': ([('d', 1, 'a', [])], 'turns one after the other'),
  'skips a turn': (
    [('d', 0, 'a', []), ('d', 2, 'b', [])],
    'turns one after the other',
  ),
  'goes on elsewhere': (
    [('d', 0, 'a', []), ('e', 0, 'b', []), ('d', 1, 'c', [])],
    'turns one after the other',
  ),
  'names an item nowhere': ([('d', 0, 'a', ['x'])], 'one U.FFFC in the text'),
  'mentions nothing': ([('d', 0, '\ufffc', [])], 'one U.FFFC in the text'),
}


@pytest.mark.parametrize('turns, reason', WRONG.values(), ids=WRONG)
def test_dialogues_that_no_reader_would_yield_are_refused(turns, reason):
  with pytest.raises(GenrecError, match=f'1 turns of dialogues.*{reason}'):
    build_dataset('t', RawTables(dialogues=_turns(*turns)))


def test_roles_are_known():
  told = _turns(('d', 0, 'a', []))
  told = told.set_column(2, 'role', pa.array(['user']))
  with pytest.raises(GenrecError, match='a role of seeker or recommender'):
    build_dataset('t', RawTables(dialogues=told))


def test_items_of_interactions_come_before_those_that_are_only_talked_about():
  told = _turns(('d', 0, '\ufffc\ufffc', ['new', 'x']))
  interactions = pa.table({'user': ['u', 'u'], 'item': ['x', 'y']})
  dataset = build_dataset('t', RawTables(interactions, dialogues=told))
  assert dataset.items['item_id'].to_pylist() == ['x', 'y', 'new']
  assert dataset.users['user_id'].to_pylist() == ['u']
  assert dataset.dialogues['items'].to_pylist() == [[2, 0]]
  for one, other in itertools.pairwise(dataset.user_offsets.tolist()):
    assert other - one == 2
