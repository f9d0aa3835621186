"""Dialogues as people type them."""

import pytest

from genrec_jax.data.dialogues import RECOMMENDER, SEEKER
from genrec_jax.data.lookup import Lookup
from genrec_jax.data.texts import MENTION
from genrec_jax.tasks.typed_dialogues import read_turns
from genrec_jax.types import GenrecError

ITEMS = Lookup('item', ['1', '2'], ['[REC] (2007)', 'Alien'])


def said(text):
  turns, unknown = read_turns(text, ITEMS)
  return [(t['role'], t['text'], t['items']) for t in turns], unknown


def test_turns_are_told_apart_by_who_speaks():
  turns, unknown = said('Hi! System: Hello. User: I saw [Alien].')
  assert turns == [
    (SEEKER, 'Hi!', []),
    (RECOMMENDER, 'Hello.', []),
    (SEEKER, f'I saw {MENTION}.', [1]),
  ]
  assert unknown == []


def test_neighbours_of_one_speaker_are_one_turn():
  turns, _ = said('User: [1]\nUser: and [2], SuperUser: no mark')
  assert turns == [
    (SEEKER, f'{MENTION} and {MENTION}, SuperUser: no mark', [0, 1])
  ]


def test_a_title_may_have_brackets_and_no_item_stays_text():
  turns, unknown = said('User: [[REC] (2007)] or [Aliens] [sic]')
  assert turns == [(SEEKER, f'{MENTION} or [Aliens] [sic]', [0])]
  assert unknown == ['Aliens', 'sic']


def test_what_marks_mentions_in_the_data_cannot_be_typed():
  turns, _ = said(f'User: a {MENTION} b')
  assert turns == [(SEEKER, 'a b', [])]


@pytest.mark.parametrize('text', ['', ' \n', 'User: System: '])
def test_a_dialogue_in_which_nothing_is_said_is_refused(text):
  with pytest.raises(GenrecError, match='nothing is said'):
    read_turns(text, ITEMS)
