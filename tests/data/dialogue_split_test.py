"""A dialogue is in one part, and what ids are made of is in train."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from genrec_jax.data import dialogue_split, splits
from genrec_jax.data.dataset import Dataset, RawTables, build_dataset
from genrec_jax.data.dialogues import RAW_DIALOGUES
from genrec_jax.data.splits import TEST, TRAIN, UNUSED, VALIDATION
from genrec_jax.types import GenrecError


def _dataset(dialogues, part=None, interactions=None):
  """Dialogues are lists of turns, a turn the items it names."""
  rows = [
    {
      'dialogue_id': f'd{number}',
      'turn': turn,
      'role': ('seeker', 'recommender')[turn % 2],
      'text': ' '.join(['so', *['\ufffc'] * len(items)]),
      'items': items,
      'part': part and part[number],
    }
    for number, turns in enumerate(dialogues)
    for turn, items in enumerate(turns)
  ]
  schema = RAW_DIALOGUES.append(pa.field('part', pa.string()))
  table = pa.Table.from_pylist(rows, schema)
  if part is None:
    table = table.drop_columns(['part'])
  return build_dataset('t', RawTables(interactions, dialogues=table))


def _split(dataset, **options):
  return dialogue_split.split_dialogues(
    dataset, splits.leave_one_out(dataset), **options
  )


MANY = [[['a'], [f'i{n % 7}'], [], [f'i{n % 5}', 'b']] for n in range(100)]


def test_fractions_are_of_the_dialogues_and_the_seed_decides_which():
  dataset = _dataset(MANY)
  parts = [_split(dataset, seed=seed).dialogue_part for seed in (0, 0, 1)]
  assert np.bincount(parts[0]).tolist() == [81, 9, 10]
  np.testing.assert_array_equal(parts[0], parts[1])
  assert (parts[0] != parts[2]).any()


def test_the_parts_of_the_source_are_kept():
  own = ['test' if n % 4 == 0 else 'train' for n in range(100)]
  part = _split(_dataset(MANY, own)).dialogue_part
  assert ((part == TEST) == (np.array(own) == 'test')).all()
  assert (part == VALIDATION).sum() == 8  # of 75
  with pytest.raises(GenrecError, match="'dev'; expected one of: test, train"):
    _split(_dataset(MANY, ['dev'] * 100))


def test_examples_are_turns_that_recommend_after_another_turn():
  dataset = _dataset(
    [
      [['x'], ['y', 'x', 'y'], ['z'], []],
      [[], [], ['x'], ['x', 'z']],
      [['x'], ['y']],
    ]
  )
  split = dataclasses.replace(
    splits.leave_one_out(dataset),
    dialogue_part=np.array([TRAIN, TRAIN, TEST], np.int8),
  )
  train = dialogue_split.examples(dataset, split, TRAIN)
  ids = dataset.items['item_id'].to_pylist()

  def named(ragged):
    return [[ids[item] for item in ragged[e]] for e in range(len(ragged))]

  assert train.rows.tolist() == [1, 7] and train.starts.tolist() == [0, 4]
  assert train.dialogue.tolist() == [0, 1]
  assert named(train.targets) == [['y', 'x'], ['x', 'z']]
  assert named(train.mentioned) == [['x'], ['x']]
  test = dialogue_split.examples(dataset, split, TEST)
  assert test.rows.tolist() == [9] and named(test.targets) == [['y']]
  counts = dialogue_split.count_dialogues(dataset, split)
  assert counts['train'] == {
    'dialogues': 2,
    'examples': 2,
    'cold': 0,
    'repeated': 0,
  }
  assert counts['test']['cold'] == 0 and counts['validation']['examples'] == 0


def test_examples_need_a_split_of_the_dialogues():
  dataset = _dataset(MANY)
  with pytest.raises(GenrecError, match='0 dialogues, but the dataset has 100'):
    dialogue_split.examples(dataset, splits.leave_one_out(dataset), TRAIN)


def test_ids_of_dialogues_alone_see_train_dialogues_alone():
  changed = [turns[:] for turns in MANY]
  dataset = _dataset(MANY)
  split = _split(dataset)
  for number in np.flatnonzero(split.dialogue_part != TRAIN):
    changed[number] = [['a'], ['b'], ['a'], ['b', 'b', 'b']]
  other = _dataset(changed)
  user, item = splits.train_interactions(dataset, split)
  again = splits.train_interactions(other, _split(other))
  names = [d.items['item_id'].to_numpy() for d in (dataset, other)]
  np.testing.assert_array_equal(user, again[0])
  np.testing.assert_array_equal(names[0][item], names[1][again[1]])
  assert user.max() < dataset.num_users
  expected = [
    (number, item)
    for number in np.flatnonzero(split.dialogue_part == TRAIN)
    for items in MANY[number]
    for item in items
  ]
  assert list(zip(user, names[0][item])) == expected


def test_ids_of_interactions_do_not_see_dialogues():
  interactions = pa.table({'user': ['u'] * 4, 'item': ['x', 'y', 'z', 'x']})
  dataset = _dataset(MANY, interactions=interactions)
  user, item = splits.train_interactions(dataset, _split(dataset))
  assert user.tolist() == [0, 0] and item.tolist() == [0, 1]


def test_train_dialogues_about_items_held_out_are_unused():
  dataset = _dataset(MANY)
  ids = dataset.items['item_id'].to_pylist()
  split = dataclasses.replace(
    splits.leave_one_out(dataset),
    cold_items=np.array([ids.index('i6')], np.int32),
  )
  cold = [number for number in range(100) if number % 7 == 6]
  part = dialogue_split.split_dialogues(dataset, split).dialogue_part
  without = _split(dataset).dialogue_part
  for number in range(100):
    expected = without[number]
    if number in cold and expected == TRAIN:
      expected = UNUSED
    assert part[number] == expected


def test_the_one_split_keeps_its_dialogues_on_disk(tmp_path):
  dataset = _dataset(MANY)
  dataset.save(tmp_path)
  plain, split = splits.leave_one_out(dataset), _split(dataset)
  assert split.fingerprint != plain.fingerprint
  assert split.fingerprint != _split(dataset, seed=1).fingerprint
  splits.save_split(split, dataset, tmp_path)
  loaded = splits.load_split(tmp_path, Dataset.load(tmp_path))
  np.testing.assert_array_equal(loaded.dialogue_part, split.dialogue_part)
  assert loaded.fingerprint == split.fingerprint
  assert loaded.settings['dialogues']['seed'] == 0
  np.save(tmp_path / 'dialogue_split.npy', split.dialogue_part[::-1])
  with pytest.raises(GenrecError, match='do not belong together'):
    splits.load_split(tmp_path, dataset)


def test_interactions_alone_have_the_split_they_always_had(tmp_path):
  interactions = pa.table({'user': ['u'] * 4, 'item': ['x', 'y', 'z', 'x']})
  dataset = build_dataset('t', RawTables(interactions))
  split = splits.leave_one_out(dataset)
  # What a release without dialogues wrote.
  assert split.fingerprint.startswith('c2e167660792eb2a')
  dataset.save(tmp_path)
  splits.save_split(split, dataset, tmp_path)
  assert not (tmp_path / 'dialogue_split.npy').exists()
