"""Batches hold each example, padded little, in an order that can be resumed."""

import itertools
import json

import numpy as np
import pytest

from genrec_jax.data import batches
from genrec_jax.data.batches import TrainBatches, eval_batches, suggest_buckets
from genrec_jax.data.token_cache import Ragged, TokenExamples
from genrec_jax.types import GenrecError


def make_examples(lengths, target_length=3, first=1):
  """Every input of example e is filled with the token e + first."""
  count = len(lengths)
  return TokenExamples(
    inputs=Ragged.from_rows(
      np.full(length, first + e) for e, length in enumerate(lengths)
    ),
    targets=Ragged.from_rows(
      np.arange(1 + e % target_length) + 1 for e in range(count)
    ),
    user=np.arange(count, dtype=np.int32),
    target=np.zeros(count, np.int32),
    tied=np.zeros(count, bool),
    history=Ragged.from_rows([[]] * count),
  )


def make_batches(examples, **changes):
  return TrainBatches(
    examples,
    **{
      'batch_size': 8,
      'max_input_length': 24,
      'max_target_length': 3,
      'bucket_boundaries': (8, 16),
      'seed': 3,
      **changes,
    },
  )


def take(iterator, count):
  return list(itertools.islice(iterator, count))


def first_tokens(taken):
  return np.concatenate([b['encoder_input_tokens'][:, 0] for b in taken])


def assert_same(left, right):
  assert left.keys() == right.keys()
  for name in left:
    np.testing.assert_array_equal(left[name], right[name], err_msg=name)


LENGTHS = np.random.default_rng(0).integers(1, 25, 101)


def test_every_epoch_visits_each_example():
  iterator = make_batches(make_examples(LENGTHS))
  assert (iterator.num_examples, iterator.steps_per_epoch) == (101, 13)
  orders = []
  for _ in range(3):
    seen = first_tokens(take(iterator, iterator.steps_per_epoch))
    counts = np.bincount(seen, minlength=102)[1:]
    # Only the 13 * 8 - 101 rows that fill the last batch come twice.
    assert counts.min() == 1 and counts.sum() == 104
    orders.append(seen)
  assert not np.array_equal(orders[0], orders[1])


def test_batches_are_padded_to_their_bucket():
  examples = make_examples(LENGTHS)
  too_wide = 0
  for batch in take(make_batches(examples), 13):
    width = batch['encoder_input_tokens'].shape[1]
    lengths = LENGTHS[batch['encoder_input_tokens'][:, 0] - 1]
    assert width in (8, 16, 24) and lengths.max() <= width
    too_wide += lengths.min() <= width - 8
  assert too_wide <= 2  # One at each cut between two buckets.


def test_features_by_hand():
  examples = TokenExamples(
    inputs=Ragged.from_rows([[7, 8, 9]]),
    targets=Ragged.from_rows([[4, 5]]),
    user=np.zeros(1, np.int32),
    target=np.zeros(1, np.int32),
    tied=np.zeros(1, bool),
    history=Ragged.from_rows([[]]),
  )
  (batch,) = take(
    TrainBatches(
      examples, batch_size=1, max_input_length=4, max_target_length=3
    ),
    1,
  )
  expected = {
    'encoder_input_tokens': [[7, 8, 9, 0]],
    'decoder_input_tokens': [[0, 4, 5]],
    'decoder_target_tokens': [[4, 5, 0]],
    'decoder_loss_weights': [[1, 1, 0]],
  }
  assert_same(batch, {k: np.array(v, np.int32) for k, v in expected.items()})
  assert {array.dtype for array in batch.values()} == {np.dtype(np.int32)}


def mixture():
  return [
    (make_examples(LENGTHS), 3.0),
    (make_examples(LENGTHS[:20], first=1001), 1.0),
  ]


@pytest.mark.parametrize('source', [make_examples(LENGTHS), mixture()])
def test_resumed_equals_uninterrupted(source, monkeypatch):
  monkeypatch.setattr(batches, 'CHOICES', 16)
  whole = take(make_batches(source), 60)
  interrupted = make_batches(source)
  take(interrupted, 37)
  state = json.loads(json.dumps(interrupted.get_state()))
  resumed = make_batches(source)
  resumed.set_state(state)
  for left, right in zip(take(resumed, 23), whole[37:]):
    assert_same(left, right)


def test_seed_decides_the_order():
  examples = make_examples(LENGTHS)
  orders = [
    first_tokens(take(make_batches(examples, seed=seed), 13)).tolist()
    for seed in (1, 1, 2)
  ]
  assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize(
  'changes',
  [
    {'seed': 4},
    {'batch_size': 16},
    {'bucket_boundaries': (8,)},
    {'target_boundaries': (2,)},
  ],
)
def test_refuses_a_position_among_other_batches(changes):
  examples = make_examples(LENGTHS)
  state = make_batches(examples).get_state()
  with pytest.raises(GenrecError, match=next(iter(changes))):
    make_batches(examples, **changes).set_state(state)


def test_refuses_a_position_among_other_examples():
  state = make_batches(make_examples(LENGTHS)).get_state()
  with pytest.raises(GenrecError, match='examples'):
    make_batches(make_examples(LENGTHS[::-1])).set_state(state)


def test_processes_share_the_rows_of_the_global_batch():
  examples = make_examples(LENGTHS)
  shares = [
    take(make_batches(examples, process_index=i, process_count=4), 26)
    for i in range(4)
  ]
  for n, batch in enumerate(take(make_batches(examples), 26)):
    joined = {
      name: np.concatenate([share[n][name] for share in shares])
      for name in batch
    }
    assert_same(joined, batch)


def test_mixture_follows_its_rates():
  iterator = make_batches(mixture())
  taken = take(iterator, 400)
  from_second = [b['encoder_input_tokens'][0, 0] > 1000 for b in taken]
  # Within four standard deviations of a binomial with p = 1/4.
  assert abs(np.mean(from_second) - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 400)
  # Each source still goes through its own epochs.
  seen = first_tokens([b for b, s in zip(taken, from_second) if s])
  counts = np.bincount(seen[: 3 * 8] - 1001, minlength=20)
  assert counts.min() == 1 and counts.max() <= 2


def test_items_are_not_padded_to_the_longest_text():
  texts = make_examples(LENGTHS[:40], target_length=20, first=1001)
  sources = [(make_examples(LENGTHS, target_length=2), 1.0), (texts, 1.0)]
  iterator = make_batches(
    sources, max_target_length=20, target_boundaries=(2, 9)
  )
  widths = set()
  for batch in take(iterator, 100):
    width = batch['decoder_target_tokens'].shape[1]
    longest = (batch['decoder_target_tokens'] > 0).sum(axis=1).max()
    assert longest <= width
    if batch['encoder_input_tokens'][0, 0] <= 1000:
      assert width == 2
    widths.add(width)
  assert widths == {2, 9, 20}


def test_too_long_targets_are_refused():
  with pytest.raises(GenrecError, match='max_target_length'):
    make_batches(make_examples(LENGTHS), max_target_length=2)


def test_too_long_inputs_are_refused():
  with pytest.raises(GenrecError, match='max_input_length'):
    make_batches(make_examples([3, 25, 30]))


def test_eval_batches_hold_each_example_once():
  examples = make_examples(LENGTHS)
  indices = []
  for index, batch in eval_batches(
    examples, batch_size=8, max_input_length=24, bucket_boundaries=(8, 16)
  ):
    assert len(index) == 8
    for e, row, target in zip(
      index, batch['encoder_input_tokens'], batch['decoder_target_tokens']
    ):
      expected = [] if e < 0 else examples.inputs[e].tolist()
      assert row[row > 0].tolist() == expected
      assert target.any() == (e >= 0)
    indices.append(index)
  indices = np.concatenate(indices)
  np.testing.assert_array_equal(np.sort(indices[indices >= 0]), np.arange(101))


def padded_size(lengths, boundaries):
  return np.array(boundaries)[np.searchsorted(boundaries, lengths)].sum()


def test_suggested_buckets_are_the_best():
  random = np.random.default_rng(1)
  for num_buckets in (1, 2, 3):
    lengths = random.geometric(0.08, 200).clip(max=45)
    suggested = suggest_buckets(lengths, num_buckets, multiple=4)
    top = -(-lengths.max() // 4) * 4
    assert len(suggested) <= num_buckets and suggested[-1] == top
    best = min(
      padded_size(lengths, (*inner, top))
      for count in range(num_buckets)
      for inner in itertools.combinations(range(4, top, 4), count)
    )
    assert padded_size(lengths, suggested) == best


def test_more_buckets_than_lengths():
  assert suggest_buckets(np.array([8, 8, 20]), 5) == (8, 24)
