"""One split for all: by hand, by properties, and on disk."""

import numpy as np
import pyarrow as pa
import pytest

from genrec_jax.data import splits
from genrec_jax.data.dataset import RawTables, build_dataset
from genrec_jax.data.splits import TEST, TRAIN, UNUSED, VALIDATION
from genrec_jax.types import GenrecError


def make_dataset(rows, clock=True):
  user, item, time = zip(*rows)
  columns = {'user': map(str, user), 'item': map(str, item)}
  table = {name: pa.array(list(values)) for name, values in columns.items()}
  if clock:
    table['time'] = pa.array(time, pa.int64())
  return build_dataset('toy', RawTables(interactions=pa.table(table)))


def random_dataset(seed=0, num_users=40, num_items=30):
  random = np.random.default_rng(seed)
  return make_dataset(
    [
      (user, random.integers(num_items), random.integers(1, 1000))
      for user in range(num_users)
      for _ in range(random.integers(1, 12))
    ]
  )


# Items by number: a=0, b=1, c=2, d=3, e=4; times are not in file order.
BY_HAND = [
  ('u', 'a', 10),
  ('u', 'b', 20),
  ('u', 'd', 41),
  ('u', 'c', 40),
  ('v', 'a', 15),
  ('v', 'e', 50),
  ('w', 'b', 5),
  ('w', 'c', 25),
  ('w', 'd', 25),
]


def test_leave_one_out_by_hand():
  dataset = make_dataset(BY_HAND)
  split = splits.leave_one_out(dataset)
  expected = [TRAIN, TRAIN, VALIDATION, TEST]  # u
  expected += [TRAIN, TRAIN]  # v has too few rows
  expected += [TRAIN, VALIDATION, TEST]  # w
  assert split.part.tolist() == expected
  assert splits.leave_one_out(dataset, min_train=2).part.tolist() == (
    expected[:6] + [TRAIN, TRAIN, TRAIN]
  )


def test_global_temporal_by_hand():
  dataset = make_dataset(BY_HAND)
  split = splits.global_temporal(
    dataset, validation_fraction=0.2, test_fraction=0.2
  )
  # Times 5 10 15 20 25 25 | 40 | 41 50: .2 of nine rows is nearest to two
  # rows for test, and then .4 of nine to three rows for both.
  assert split.settings['test_from'] == 41
  assert split.settings['validation_from'] == 40
  expected = [TRAIN, TRAIN, VALIDATION, TEST]
  expected += [TRAIN, TEST]
  expected += [TRAIN, TRAIN, TRAIN]
  assert split.part.tolist() == expected


def test_global_temporal_parts_do_not_overlap_in_time():
  dataset = random_dataset()
  split = splits.global_temporal(dataset)
  part, time = split.part, dataset.time
  assert time[part == TRAIN].max() < time[part == VALIDATION].min()
  assert time[part == VALIDATION].max() < time[part == TEST].min()
  assert np.mean(part == TEST) == pytest.approx(0.1, abs=0.02)
  # A row that has no history is not to be predicted.
  held_out = np.flatnonzero(time >= time[part == VALIDATION].min())
  first = dataset.user_offsets[dataset.user[held_out]] == held_out
  np.testing.assert_array_equal(part[held_out] == UNUSED, first)
  assert first.any()


def test_global_temporal_needs_a_clock():
  with pytest.raises(GenrecError, match='leave_one_out'):
    splits.global_temporal(make_dataset(BY_HAND, clock=False))


@pytest.mark.parametrize('make_split', splits.SPLITS.values())
def test_examples_follow_the_rows(make_split):
  dataset = random_dataset()
  split = make_split(dataset)
  for part in (TRAIN, VALIDATION, TEST):
    examples = splits.examples(dataset, split, part)
    expected = [
      (u, rows[k], rows[:k])
      for u in range(dataset.num_users)
      for rows in [np.flatnonzero(dataset.user == u)]
      for k in range(1, len(rows))
      if split.part[rows[k]] == part
    ]
    assert len(examples) == len(expected) > 0
    padded = examples.padded_histories(5)
    whole, last = examples.ragged_histories(), examples.ragged_histories(5)
    for i, (user, row, history) in enumerate(expected):
      history = dataset.item[history].tolist()
      assert examples.user[i] == user
      assert examples.target[i] == dataset.item[row]
      assert examples.history(i).tolist() == history
      assert whole[i].tolist() == history
      assert last[i].tolist() == history[-5:]
      assert padded[i].tolist() == ([-1] * 5 + history)[-5:]


def test_tied_targets():
  split_and_data = []
  for clock in (True, False):
    dataset = make_dataset(BY_HAND, clock)
    split = splits.leave_one_out(dataset)
    split_and_data.append(splits.examples(dataset, split, TEST).tied.tolist())
  assert split_and_data == [[False, True], [False, False]]


def test_train_interactions_hold_nothing_else():
  dataset = make_dataset(BY_HAND)
  split = splits.leave_one_out(dataset)
  user, item = splits.train_interactions(dataset, split)
  names = np.array(dataset.items['item_id'].to_pylist())
  assert list(zip(user.tolist(), names[item].tolist())) == [
    (0, 'a'), (0, 'b'), (1, 'a'), (1, 'e'), (2, 'b'),
  ]  # fmt: skip
  changed = make_dataset([*BY_HAND[:-1], ('w', 'a', 25)])
  assert splits.train_fingerprint(
    changed, splits.leave_one_out(changed)
  ) == splits.train_fingerprint(dataset, split)


def test_counts_by_hand():
  dataset = make_dataset(BY_HAND)
  counts = splits.count_split(dataset, splits.leave_one_out(dataset))
  assert counts['train'] == {'rows': 5, 'users': 3}
  # d, the last item of u and w, is never trained on.
  assert counts['test'] == {
    'rows': 2,
    'users': 2,
    'cold_items': 2,
    'cold_users': 0,
    'tied': 1,
  }


def test_split_on_disk(tmp_path):
  dataset = random_dataset()
  dataset.save(tmp_path)
  split = splits.global_temporal(dataset)
  splits.save_split(split, dataset, tmp_path)
  loaded = splits.load_split(tmp_path, type(dataset).load(tmp_path))
  np.testing.assert_array_equal(loaded.part, split.part)
  assert loaded.fingerprint == split.fingerprint
  assert loaded.settings == split.settings
  with pytest.raises(GenrecError, match='made for the dataset'):
    splits.load_split(tmp_path, random_dataset(seed=1))
  np.save(tmp_path / 'split.npy', split.part[::-1])
  with pytest.raises(GenrecError, match='do not belong together'):
    splits.load_split(tmp_path, dataset)
