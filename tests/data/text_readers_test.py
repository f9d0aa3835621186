"""Readers of dialogues and explanations: small files, and the real ones."""

import collections
import gzip
import json
import pathlib

import pytest

from genrec_jax.data import catalogue
from genrec_jax.data.dataset import build_dataset
from genrec_jax.data.readers import explanations, opendialkg, redial
from genrec_jax.types import GenrecError

DATA = pathlib.Path(__file__).resolve().parents[3] / 'shared' / 'data'
SEEKER, RECOMMENDER = 7, 8
REDIAL = {
  'conversationId': '12',
  'initiatorWorkerId': SEEKER,
  'respondentWorkerId': RECOMMENDER,
  'movieMentions': {'111': 'Heat  (1995)', '222': 'Up (2009)', '50': None},
  'initiatorQuestions': {'111': {'suggested': 0, 'seen': 1, 'liked': 2}},
  'respondentQuestions': [],
  'messages': [
    {'senderWorkerId': SEEKER, 'text': 'Hi &gt;\r\n'},
    {'senderWorkerId': SEEKER, 'text': 'I saw @111,@111...and @50 first ones'},
    {'senderWorkerId': RECOMMENDER, 'text': ''},
    {'senderWorkerId': SEEKER, 'text': 'and @333'},
    {'senderWorkerId': RECOMMENDER, 'text': 'Try @222!'},
  ],
}
INFO = {
  '0': {'name': 'Thor', 'genre': ['Action'], 'actor': ['A B'], 'year': '2011'},
  '1': {'name': 'Thor: The Dark World'},
  '2': {'name': 'Her', 'writer': ['S J', 'S J']},
}
FIRST = {
  'dialog_id': 4,
  'turn_id': 1,
  'context': ['I like her and Thor: The Dark World.'],
  'entity': ['Thor: The Dark World', 'Zoe'],
  'rec': ['Thor'],
  'resp': 'With Letscher there is thor. Thor!',
}
SECOND = {
  'dialog_id': 4,
  'turn_id': 3,
  'context': [*FIRST['context'], FIRST['resp'], 'THOR? Seen.'],
  'entity': [*FIRST['entity'], 'Thor'],
  'rec': ['Her'],
  'resp': 'It stars Letscher.',
}
EXPLANATION = {
  'user': 'u',
  'item': 'i',
  'feature': 'tone',
  'opinion': 'warm',
  'sentiment': 1,
  'sentence': 'A warm tone.',
}


def _write(path, *records):
  path.write_text(''.join(json.dumps(record) + '\n' for record in records))
  return path


def _write_opendialkg(tmp_path, *records):
  (tmp_path / 'id2info.json').write_text(json.dumps(INFO))
  return _write(tmp_path / 'train.jsonl', *records)


def test_redial_marks_movies_and_joins_what_one_person_says(tmp_path):
  raw = redial.read_dialogues(_write(tmp_path / 'a.jsonl', REDIAL))
  turns = raw.dialogues.to_pylist()
  assert [turn['role'] for turn in turns] == ['seeker', 'recommender']
  assert [turn['turn'] for turn in turns] == [0, 1]
  # A message of nothing is no turn; 50 has no title and 333 is no mention.
  assert turns[0]['text'] == (
    'Hi > I saw \ufffc,\ufffc...and @50 first ones and @333'
  )
  assert turns[0]['items'] == ['111', '111'] and turns[1]['items'] == ['222']
  assert turns[0]['liked'] == [2, 2] and turns[0]['seen'] == [1, 1]
  assert turns[1]['liked'] == [None]
  assert raw.facts['unknown_mentions'] == {'a.jsonl': 2}
  titles = {row['item_id']: row['title'] for row in raw.items.to_pylist()}
  assert titles == {'111': 'Heat (1995)', '222': 'Up (2009)'}


def test_opendialkg_puts_the_records_of_a_dialogue_together(tmp_path):
  path = _write_opendialkg(tmp_path, SECOND, FIRST)
  raw = opendialkg.read_dialogues(path, part='train')
  turns = raw.dialogues.to_pylist()
  assert [turn['turn'] for turn in turns] == [0, 1, 2, 3]
  assert [turn['role'] for turn in turns] == ['seeker', 'recommender'] * 2
  assert [turn['text'] for turn in turns] == [
    # The longer name; 'her' is not what this turn is about.
    'I like her and \ufffc.',
    # Where the name stands with its case, only there.
    'With Letscher there is thor. \ufffc!',
    '\ufffc? Seen.',
    'It stars Letscher.',
  ]
  assert [turn['items'] for turn in turns] == [['1'], ['0'], ['0'], []]
  assert {turn['part'] for turn in turns} == {'train'}
  assert raw.facts['unplaced_mentions'] == {'train.jsonl': 1}
  assert set(raw.facts['sources']) == {'train.jsonl', 'id2info.json'}


def test_opendialkg_items_have_what_is_known_of_them(tmp_path):
  _write_opendialkg(tmp_path)
  items = opendialkg.read_items(tmp_path / 'id2info.json').items.to_pylist()
  assert items[0]['attributes'] == ['Action', 'A B']
  assert items[2] == {
    'item_id': '2',
    'title': 'Her',
    'attributes': ['S J'],
    'year': None,
  }


def _redial(tmp_path, record, **options):
  return redial.read_dialogues(
    _write(tmp_path / 'a.jsonl', REDIAL, record), **options
  ).dialogues


def _opendialkg(tmp_path, record, **options):
  path = _write_opendialkg(tmp_path, FIRST, record)
  return opendialkg.read_dialogues(path, part='test', **options).dialogues


def _explanations(tmp_path, record, **options):
  path = _write(tmp_path / 'e.jsonl', EXPLANATION, record)
  return explanations.read(path, **options).explanations


BAD = {
  'two people': (
    _redial,
    {**REDIAL, 'respondentWorkerId': SEEKER},
    'expected two people',
  ),
  'a stranger': (
    _redial,
    {**REDIAL, 'messages': [{'senderWorkerId': 9, 'text': 'x'}]},
    r'a message is from 9, expected one of \[7, 8\]',
  ),
  'nothing said': (_redial, {**REDIAL, 'messages': []}, 'messages is \\[\\]'),
  'a text that is none': (
    _redial,
    {**REDIAL, 'messages': [{'senderWorkerId': 7, 'text': 3}]},
    'expected one with a text',
  ),
  'titles that are none': (
    _redial,
    {**REDIAL, 'movieMentions': ['111']},
    'expected titles by movie',
  ),
  'answers that are none': (
    _redial,
    {**REDIAL, 'initiatorQuestions': {'111': {'seen': 'yes'}}},
    'expected answers by movie',
  ),
  'an unknown item': (
    _opendialkg,
    {**SECOND, 'rec': ['Alien']},
    "rec has 'Alien', which id2info.json does not name",
  ),
  'another story': (
    _opendialkg,
    {**SECOND, 'context': ['I', 'said', 'other things']},
    'does not go on from the response',
  ),
  'no response': (_opendialkg, {**SECOND, 'resp': None}, 'resp is None'),
  'a blank sentence': (
    _explanations,
    {**EXPLANATION, 'sentence': ' '},
    "sentence is ' ', expected text",
  ),
  'a sentiment in words': (
    _explanations,
    {**EXPLANATION, 'sentiment': 'good'},
    "sentiment is 'good', expected -1, 0 or 1",
  ),
  'half a surrogate pair': (
    _explanations,
    {**EXPLANATION, 'sentence': 'x \ud83d'},
    'surrogates not allowed',
  ),
}


@pytest.mark.parametrize('read, record, reason', BAD.values(), ids=BAD)
def test_a_bad_record_is_named_or_skipped(tmp_path, read, record, reason):
  with pytest.raises(GenrecError, match=f'l, line 2: .*{reason}'):
    read(tmp_path, record)
  good = read(tmp_path, record, on_bad_row='skip')
  assert good.equals(read(tmp_path, {}, on_bad_row='skip')) and len(good)


def test_fields_of_explanations_may_have_other_names(tmp_path):
  record = {**EXPLANATION, 'template': 'Sounds warm.'}
  path = _write(tmp_path / 'e.jsonl', record)
  read = explanations.read(path, columns={'explanation': 'template'})
  assert read.explanations['explanation'].to_pylist() == ['Sounds warm.']


def _real(name):
  description = catalogue.describe(name)
  if not (DATA / description.folder).is_dir():
    pytest.skip(f'no real data at {DATA}')
  return catalogue.read_raw(description, data_dir=DATA)


@pytest.fixture(scope='module')
def real_redial():
  return _real('redial')


def test_both_forms_of_redial_give_the_same_turns(real_redial):
  dialogues = collections.defaultdict(list)
  for turn in real_redial.dialogues.to_pylist():
    copies = dialogues[turn['dialogue_id']]
    copies += [[]] if turn['turn'] == 0 else []
    copies[-1].append(turn)
  twice = [copies for copies in dialogues.values() if len(copies) == 2]
  assert len(twice) == 88
  for first, second in twice:
    assert first == second


def test_every_mention_of_redial_is_a_movie_with_a_title(real_redial):
  dataset = build_dataset('redial', real_redial)
  assert dataset.counts['dialogues'] == 1813
  assert dataset.items['title'].null_count == 0
  mentioned = sum(map(len, dataset.dialogues['items'].to_pylist()))
  with gzip.open(DATA / 'redial' / 'dialogues_a.jsonl.gz') as file:
    assert mentioned > 2 * len(file.readlines())
  unknown = sum(real_redial.facts['unknown_mentions'].values())
  left = sum(text.count('@') for text in dataset.dialogues['text'].to_pylist())
  assert unknown == 1 and left < 40  # such as 'rushmore', typed by hand


def test_real_explanations_all_join_and_are_sentences_of_their_review():
  raw = _real('musical_instruments')
  dataset = build_dataset('musical_instruments', raw)
  assert dataset.facts['explanations'] == {
    'rows': 3882,
    'joined': 2971,
    'further': 911,
    'unmatched': 0,
  }
  told = 0
  for row in dataset.interactions.to_pylist():
    if row['explanation'] is not None:
      told += 1
      assert row['explanation'] in row['review']
      assert row['feature'] in row['explanation'].lower()
      assert row['sentiment'] in (-1, 1)
  assert told == 2971
