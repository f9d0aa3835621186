"""The audit passes honest data, and fails on every leak planted in it."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from genrec_jax.data import audit, splits
from genrec_jax.data.audit import LeakError
from genrec_jax.data.dataset import RawTables, build_dataset
from genrec_jax.data.splits import TEST, TRAIN, VALIDATION
from genrec_jax.data.token_cache import Ragged

NUM_ITEMS = 300


def make_dataset(seed=0, num_users=200, copies=0):
  """Users who each walk along their own stretch of the catalogue."""
  random = np.random.default_rng(seed)
  user = np.repeat(np.arange(num_users), 8)
  item = random.integers(NUM_ITEMS, size=num_users)[:, None] * np.ones(8, int)
  item = (item + random.integers(-6, 7, item.shape)).ravel() % NUM_ITEMS
  table = pa.table(
    {
      'user': user.astype(str),
      'item': item.astype(str),
      'time': random.permutation(len(user)) + 1,
    }
  )
  table = pa.concat_tables([table, table.slice(0, copies)])
  return build_dataset('toy', RawTables(interactions=table))


DATASET = make_dataset()
SPLIT = splits.leave_one_out(DATASET)


def with_part(rows, part, split=SPLIT):
  changed = split.part.copy()
  changed[rows] = part
  return dataclasses.replace(split, part=changed)


@pytest.mark.parametrize('make_split', splits.SPLITS.values())
def test_honest_splits_pass(make_split):
  audit.audit_split(DATASET, make_split(DATASET))


@pytest.mark.parametrize(
  ('row', 'part', 'message'),
  [
    (7, TRAIN, 'come after one'),  # the last row into train
    (0, TEST, 'come after one'),  # the first row into test
    (5, VALIDATION, 'second target'),
    (5, 4, 'none'),
  ],
)
def test_a_row_in_the_wrong_part(row, part, message):
  # Row 7 is the first user's last; validation is before it.
  with pytest.raises(LeakError, match=message):
    audit.audit_split(DATASET, with_part(row, part))


def test_parts_that_overlap_in_time():
  split = splits.global_temporal(DATASET)
  late = np.flatnonzero(split.part == VALIDATION)[0]
  with pytest.raises(LeakError, match='not before the first'):
    audit.audit_split(
      DATASET,
      dataclasses.replace(
        with_part(late, TRAIN, split), protocol='global_temporal'
      ),
    )


def test_rows_that_are_not_in_order_of_time():
  backwards = DATASET.interactions.set_column(
    2, 'time', pa.array(DATASET.time[::-1])
  )
  dataset = dataclasses.replace(DATASET, interactions=backwards)
  with pytest.raises(LeakError, match='earlier in time'):
    audit.audit_split(dataset, splits.leave_one_out(dataset))


def test_a_record_both_in_train_and_held_out():
  dataset = make_dataset(copies=8)  # the first user's rows twice
  with pytest.raises(LeakError, match='duplicates='):
    audit.audit_split(dataset, splits.leave_one_out(dataset))


def test_a_split_of_other_data():
  with pytest.raises(LeakError, match='made for the dataset'):
    audit.audit_split(make_dataset(seed=1), SPLIT)


def ids_manifest(**changes):
  inputs = {
    'dataset': DATASET.fingerprint,
    'split': SPLIT.fingerprint,
    'train': splits.train_fingerprint(DATASET, SPLIT),
  }
  return {'kind': 'ids', 'inputs': inputs | changes}


def test_ids_of_all_interactions():
  audit.audit_ids(ids_manifest(), DATASET, SPLIT)
  all_train = dataclasses.replace(SPLIT, part=np.zeros_like(SPLIT.part))
  everything = splits.train_fingerprint(DATASET, all_train)
  with pytest.raises(LeakError, match='held-out ones included'):
    audit.audit_ids(ids_manifest(train=everything), DATASET, SPLIT)


@pytest.mark.parametrize('kind', ['dataset', 'split', 'train'])
def test_ids_of_something_else(kind):
  with pytest.raises(LeakError, match=f'built from the {kind}'):
    audit.audit_ids(ids_manifest(**{kind: 'other'}), DATASET, SPLIT)


def digits(numbers):
  return np.stack([numbers // 100, numbers // 10 % 10, numbers % 10], axis=1)


def number_by(order):
  """Returns codes that are numbers given by first appearance in `order`."""
  _, first = np.unique(order, return_index=True)
  return digits(np.argsort(np.argsort(first)))


def build_by_train_order(dataset, split):
  # The items that train never saw come by source id, not by number.
  _, item = splits.train_interactions(dataset, split)
  ids = np.array(dataset.items['item_id'].to_pylist(), int)
  return number_by(np.concatenate([item, np.argsort(ids)]))


def build_by_all_order(dataset, split):
  # The sequential ids of P5.
  everything = np.arange(dataset.num_items)
  return number_by(np.concatenate([dataset.item, everything]))


def build_by_number(dataset, split):
  return digits(np.arange(dataset.num_items))


def build_at_random(dataset, split):
  return digits(np.random.default_rng(0).permutation(dataset.num_items))


@pytest.mark.parametrize('build', [build_by_train_order, build_at_random])
def test_honest_builders_pass(build):
  audit.audit_builder(build, DATASET, SPLIT)


@pytest.mark.parametrize(
  ('build', 'message'),
  [
    (build_by_all_order, 'when held-out interactions change'),
    (build_by_number, 'looks at item numbers'),
  ],
)
def test_builders_that_know_the_future(build, message):
  with pytest.raises(LeakError, match=message):
    audit.audit_builder(build, DATASET, SPLIT)


# ids of two codes; the third item's is shorter.
ITEM_TOKENS = np.array([[10, 20], [10, 21], [12, 0], [11, 20], [13, 22]])
PROMPT = [3, 4]


def input_of(items, extra=()):
  shown = [t for item in items for t in ITEM_TOKENS[item] if t]
  return [*PROMPT, *shown, *extra]


def audit_one(shown, history, target, *, extra=(), candidates=None):
  """Audits a clean example before and after the one that is given."""
  clean = ([0, 1], 4)
  audit.audit_inputs(
    inputs=Ragged.from_rows(
      [input_of(clean[0]), input_of(shown, extra), input_of(clean[0])]
    ),
    target=np.array([clean[1], target, clean[1]]),
    item_tokens=ITEM_TOKENS,
    history=Ragged.from_rows([clean[0], history, clean[0]]),
    candidates=candidates and Ragged.from_rows([[], candidates, []]),
  )


def test_inputs_that_hold_their_history_pass():
  audit_one([0, 1, 3], [0, 1, 3], target=4)
  audit_one([0, 1], [0, 1], target=3)  # shares both codes, one with each
  audit_one([1], [0, 1], target=2)  # a history cut short
  audit_one([0, 4, 4], [0, 4, 4], target=4)  # consumed again and again
  audit_one([0, 2, 1, 3], [0], target=2, candidates=[2, 1, 3])


@pytest.mark.parametrize(
  'leak',
  [
    {'extra': [13, 22]},
    {'extra': [13]},  # its first code alone
    {'extra': [22, 13]},  # backwards
    {'shown': [0, 1, 4, 4], 'history': [0, 1, 4]},  # once more than known
    {'shown': [0, 1, 2, 4], 'candidates': [2]},  # not a candidate
  ],
)
def test_inputs_that_hold_their_target(leak):
  arguments = {'shown': [0, 1], 'history': [0, 1], 'target': 4} | leak
  with pytest.raises(LeakError, match=r'1 of 3 inputs .* examples \[1\]'):
    audit_one(**arguments)


def test_a_target_made_of_known_codes():
  # Each code of item 3 is in the history, but not one after the other.
  audit_one([1, 0], [1, 0, 3, 0], target=3)
  with pytest.raises(LeakError):
    audit_one([1], [1, 0], target=3, extra=[11, 20])


@pytest.mark.parametrize('chunk', [1, 40, 1 << 22])
def test_a_leak_is_found_in_any_chunk(chunk, monkeypatch):
  monkeypatch.setattr(audit, 'CHUNK', chunk)
  random = np.random.default_rng(0)
  histories = [random.integers(0, 4, n).tolist() for n in range(30)]
  rows = [input_of(history) for history in histories]
  arguments = {
    'target': np.full(30, 4),
    'item_tokens': ITEM_TOKENS,
    'history': Ragged.from_rows(histories),
  }
  audit.audit_inputs(inputs=Ragged.from_rows(rows), **arguments)
  for leaking in (0, 17, 29):
    planted = [row + [13, 22] * (i == leaking) for i, row in enumerate(rows)]
    with pytest.raises(LeakError, match=rf'examples \[{leaking}\]'):
      audit.audit_inputs(inputs=Ragged.from_rows(planted), **arguments)
