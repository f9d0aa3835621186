"""Texts that can be read off their inputs fail a run, and others do not."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from genrec_jax.data import dialogue_split, simulator, splits, text_audit
from genrec_jax.data.audit import LeakError
from genrec_jax.data.dataset import RawTables, build_dataset
from genrec_jax.data.dialogues import RAW_DIALOGUES
from genrec_jax.data.token_cache import Ragged

REVIEW = 'the tone is warm and the neck is straight as an arrow'
PROMPT = 'Write what u1 says of i3 with the summary'


def _audit(inputs, targets, known=None, **options):
  text_audit.audit_target_texts(inputs, targets, known=known, **options)


def test_a_review_is_not_in_its_own_input():
  clean = f'{PROMPT} : warm tone'
  _audit([clean, clean], [REVIEW, 'Fine.'])
  with pytest.raises(LeakError, match=r'1 of 2 inputs of x .* rows \[70\]'):
    _audit(
      [clean, f'{clean} {REVIEW.upper()}'],
      [REVIEW, REVIEW],
      rows=np.array([60, 70]),
      name='x',
    )


def test_eight_words_of_a_review_are_too_many_and_seven_are_not():
  words = REVIEW.split()
  _audit([f'{PROMPT} {" ".join(words[2:9])}'], [REVIEW])
  with pytest.raises(LeakError):
    _audit([f'{PROMPT} {" ".join(words[2:10])}'], [REVIEW])


def test_a_summary_may_be_in_its_review_and_nowhere_else():
  review, summary = 'a warm tone , oh so warm tone', 'Warm tone'
  _audit([f'Sum up : {review}'], [summary], known=[review])
  with pytest.raises(LeakError):
    _audit([f'Sum up : {review} Warm tone'], [summary], known=[review])
  with pytest.raises(LeakError):
    _audit([f'Sum up : {review}'], [summary])


def test_a_word_is_not_a_part_of_another():
  _audit(['goodness me, not so well'], ['good'])
  with pytest.raises(LeakError):
    _audit(['so good me'], ['GOOD'])


def test_tokens_are_told_apart_whatever_their_bytes():
  # The four bytes of 1 stand across those of 1 << 16 and 0.
  inputs = Ragged.from_rows([[1 << 16, 0, 5], [], [7, 8]])
  targets = Ragged.from_rows([[1], [3], []])
  text_audit.audit_targets(inputs, targets)
  with pytest.raises(LeakError, match=r'rows \[0\]'):
    text_audit.audit_targets(inputs, Ragged.from_rows([[0, 5], [3], []]))


def _brute(inputs, target, known, window):
  length = min(window, len(target))

  def runs(tokens):
    return [
      tuple(tokens[i : i + length]) for i in range(len(tokens) - length + 1)
    ]

  return length > 0 and any(
    runs(inputs).count(run) > runs(known).count(run) for run in runs(target)
  )


def test_what_leaks_is_what_brute_force_says():
  random = np.random.default_rng(0)
  leaks = 0
  for _ in range(300):
    inputs, target, known = (
      random.integers(3, size=random.integers(7)).tolist() for _ in range(3)
    )
    window = int(random.integers(1, 4))
    expected = _brute(inputs, target, known, window)
    leaks += expected
    rows = [Ragged.from_rows([tokens]) for tokens in (inputs, target, known)]
    if expected:
      with pytest.raises(LeakError):
        text_audit.audit_targets(*rows[:2], known=rows[2], window=window)
    else:
      text_audit.audit_targets(*rows[:2], known=rows[2], window=window)
  assert 50 < leaks < 250


def _reviewed(rows):
  names = ('user', 'item', 'time', 'review', 'explanation')
  return build_dataset('t', RawTables(pa.table(dict(zip(names, zip(*rows))))))


def test_a_copy_of_a_held_out_text_in_train_of_the_same_pair_leaks():
  rows = [
    ('u', 'x', 1, 'Great tone.', None),
    ('u', 'y', 2, 'Great tone.', None),
    ('u', 'z', 3, 'ok', 'ok'),
    ('u', 'w', 4, 'fine', None),
  ]
  dataset = _reviewed(rows)
  # The same words of another item are counted, not refused.
  text_audit.audit_texts(dataset, splits.leave_one_out(dataset))
  for last in (
    ('u', 'x', 5, ' great  TONE.', None),
    ('u', 'x', 5, 'other', 'Great tone.'),
  ):
    dataset = _reviewed([*rows, last])
    with pytest.raises(LeakError, match=r'rows \[.*4.*\].*--duplicates=first'):
      text_audit.audit_texts(dataset, splits.leave_one_out(dataset))
  dataset = _reviewed([*rows, ('u', 'x', 5, 'tone', None)])
  text_audit.audit_texts(dataset, splits.leave_one_out(dataset))


def test_copies_across_parts_are_counted():
  dataset = _reviewed(
    [
      ('u', 'x', 1, 'Good', None),
      ('u', 'y', 2, 'good ', None),
      ('u', 'z', 3, 'bad', None),
      ('v', 'x', 1, None, 'no'),
      ('v', 'y', 2, 'bad', None),
      ('v', 'z', 3, 'new', None),
    ]
  )
  counts = text_audit.count_copies(dataset, splits.leave_one_out(dataset))
  assert counts['review'] == {'rows': 5, 'copies': 4, 'held_out': 1}
  assert counts['explanation'] == {'rows': 1, 'copies': 0, 'held_out': 0}


def test_a_dialogue_is_in_one_part_whatever_its_ids():
  turns = [('d', 0, 'hi'), ('d', 1, 'oh'), ('e', 0, 'hi'), ('e', 1, 'oh')]
  rows = [
    {
      'dialogue_id': name,
      'turn': turn,
      'role': ('seeker', 'recommender')[turn],
      'text': text,
      'items': [],
    }
    for name, turn, text in turns
  ]
  told = pa.Table.from_pylist(rows, RAW_DIALOGUES)
  dataset = build_dataset('t', RawTables(dialogues=told))
  split = splits.leave_one_out(dataset)

  def audit(*parts):
    part = np.array(parts, np.int8)
    text_audit.audit_texts(
      dataset, dataclasses.replace(split, dialogue_part=part)
    )

  audit(splits.TEST, splits.TEST)
  with pytest.raises(LeakError, match=r"\['d', 'e'\] say the same"):
    audit(splits.TRAIN, splits.TEST)
  with pytest.raises(LeakError, match='parts of 1 dialogues.* has 2'):
    audit(splits.TRAIN)


def test_the_simulator_passes():
  dataset = build_dataset('s', simulator.simulate(num_users=200))
  split = dialogue_split.split_dialogues(dataset, splits.leave_one_out(dataset))
  text_audit.audit_texts(dataset, split)
