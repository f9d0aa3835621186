"""Tests of SASRec: order, causality, packing, losses and determinism."""

import functools
import itertools

import jax
import numpy as np
import pytest

from genrec_jax.baselines import sasrec_network
from genrec_jax.baselines.protocol import recommend
from genrec_jax.baselines.sasrec import SASRec
from genrec_jax.data.token_cache import Ragged
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.types import GenrecError

NUM_ITEMS = 12
SMALL = {
  'width': 16,
  'num_layers': 1,
  'num_heads': 2,
  'mlp_width': 16,
  'max_length': 20,
  'num_negatives': 6,
  'num_rows': 2,
  'dropout': 0.1,
  'learning_rate': 0.01,
}


def walks(num_users, generator):
  """Users and items of walks around a cycle of items, either way."""
  lengths = generator.integers(3, 7, num_users)
  first = generator.integers(0, NUM_ITEMS, num_users)
  way = generator.choice([-1, 1], num_users)
  items = [f + w * np.arange(n) for f, w, n in zip(first, way, lengths)]
  user = np.repeat(np.arange(num_users), lengths)
  return user, np.concatenate(items) % NUM_ITEMS


def pad(rows, width):
  padded = np.full((len(rows), width), -1, np.int32)
  for row, items in zip(padded, rows):
    row[width - len(items) :] = items
  return padded


@pytest.fixture(scope='module')
def fitted():
  return fit(max_epochs=12, patience=3, num_validation=50)


@pytest.fixture(scope='module')
def network():
  return sasrec_network.Network(
    num_items=NUM_ITEMS,
    max_length=8,
    width=16,
    num_layers=2,
    num_heads=2,
    mlp_width=16,
    dropout=0.5,
  )


@pytest.fixture(scope='module')
def params(network):
  nothing = np.zeros((1, 1), np.int32)
  params = jax.jit(network.init)(jax.random.key(0), nothing, nothing, nothing)
  # Of unit deviation, so that every item and position makes a difference.
  generator = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: generator.normal(size=x.shape).astype(np.float32), params
  )


def fit(**settings):
  user, item = walks(200, np.random.default_rng(0))
  return SASRec(**SMALL | settings).fit(user, item, NUM_ITEMS)


@pytest.fixture(scope='module')
def states_of(network, params):
  """The function from one sequence of 8 items [1, 8] to its states."""
  places = np.arange(8)[None]
  apply = jax.jit(network.apply)
  return lambda items: apply(params, items, np.ones_like(places), places)


def test_it_learns_an_order_that_sets_of_items_do_not_tell(fitted):
  # {3, 4} is followed by 5 one way and by 2 the other way.
  user, item = walks(100, np.random.default_rng(1))
  last = np.flatnonzero(np.diff(user, append=-1))
  histories = Ragged(
    np.delete(item, last), np.cumsum([0, *(np.bincount(user) - 1)])
  )
  lists = recommend(fitted, histories, top_k=1)
  assert (lists[:, 0] == item[last]).mean() > 0.95


def test_the_number_of_epochs_is_the_best_and_trained_on_all(fitted):
  best = fitted.best_num_epochs
  assert best == np.argmax(fitted.validation) + 1
  assert len(fitted.validation) == min(12, best + 3)
  again = fit(num_epochs=best)
  assert again.validation == []
  histories = pad([[1], [3, 4], [9, 8, 7]], 3)
  np.testing.assert_array_equal(
    fitted.scores(histories), again.scores(histories)
  )


def test_the_seed_decides():
  histories = pad([[1], [3, 4], [9, 8, 7]], 3)
  one, same, other = (
    fit(num_epochs=1, seed=seed).scores(histories) for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(one, same)
  assert (one != other).all(axis=1).any()


def test_parameters_are_means_of_the_last_epochs():
  params = [
    fit(num_epochs=epochs, num_averaged=averaged).params
    for epochs, averaged in ((2, 1), (3, 1), (3, 2))
  ]
  expected = jax.tree.map(lambda x, y: (x + y) / 2, params[0], params[1])
  jax.tree.map(np.testing.assert_array_equal, params[2], expected)
  of_items = [p['params']['items']['embedding'] for p in (params[1], expected)]
  assert (of_items[0] != of_items[1]).any()


@pytest.fixture
def ids(tmp_path):
  """Ids of two codes an item, one alone for the last; where they are saved."""
  items = np.arange(NUM_ITEMS)
  codes = np.stack([items // 4, items % 4], axis=1).astype(np.int32)
  codes[-1] = [NUM_ITEMS // 4 + 1, -1]
  saved = ItemIds(codes, (NUM_ITEMS // 4 + 2, 4))
  saved.save(tmp_path / 'ids')
  return tmp_path / 'ids', codes


def test_with_ids_an_item_is_the_sum_of_its_codes(ids):
  directory, codes = ids
  model = fit(num_epochs=1, ids=directory)
  table = np.asarray(model.params['params']['items']['embedding'])
  assert len(table) == NUM_ITEMS // 4 + 2 + 4
  expected = table[codes[:, 0]]
  expected[:-1] += table[NUM_ITEMS // 4 + 2 + codes[:-1, 1]]
  np.testing.assert_allclose(
    sasrec_network.item_vectors(model.network, model.params),
    expected,
    rtol=1e-6,
  )
  # Reading and scoring take the same vectors: an own network that has them as
  # the vectors of its items says the same.
  own = fit(num_epochs=1)
  own.params = jax.tree.map(lambda x: x, model.params)
  own.params['params']['items']['embedding'] = expected
  histories = pad([[1], [3, 4], [9, 8, NUM_ITEMS - 1]], 3)
  np.testing.assert_allclose(
    model.scores(histories), own.scores(histories), rtol=1e-4, atol=1e-6
  )


def test_ids_of_other_items_are_refused(ids):
  user, item = walks(200, np.random.default_rng(0))
  with pytest.raises(GenrecError, match=f'ids of {NUM_ITEMS} items'):
    SASRec(**SMALL, ids=ids[0]).fit(user, item, NUM_ITEMS + 1)


def test_scores_depend_on_neither_the_batch_nor_the_padding():
  model = fit(num_epochs=1)
  generator = np.random.default_rng(0)
  rows = [generator.integers(0, NUM_ITEMS, 1 + n % 25) for n in range(100)]
  together = model.scores(pad(rows, 30))
  for row, scores in zip(rows[:30], together):
    alone = model.scores(row[None].astype(np.int32))
    np.testing.assert_allclose(alone[0], scores, rtol=1e-6, atol=1e-7)
  of_last = model.scores(pad([row[-20:] for row in rows], 20))
  np.testing.assert_array_equal(of_last, together)


def test_a_history_without_items_goes_by_popularity(fitted):
  scores = fitted.scores(pad([[], [3, 4]], 2))
  assert (scores[0] == 0).all() and (scores[1] != 0).any()


def test_later_items_do_not_change_earlier_states(states_of):
  items = np.arange(8, dtype=np.int32)[None]
  changed = np.where(items < 5, items, items + 3)
  before, after = states_of(items), states_of(changed)
  np.testing.assert_array_equal(before[:, :5], after[:, :5])
  assert (before[:, 5:] != after[:, 5:]).any(axis=2).all()


def test_packed_sequences_cost_what_they_cost_alone(network, params, states_of):
  generator = np.random.default_rng(0)
  # Of 1 item, which is no example, to more than the network reads.
  lengths = [1, *generator.integers(2, 8, 20), 9, 10, 14]
  rows = [generator.integers(0, NUM_ITEMS, n) for n in lengths]
  vectors = params['params']['items']['embedding']
  alone = []
  for row in rows:
    row = row[-9:]
    items = np.pad(row[:-1], (0, 9 - len(row)))[None]
    logits = np.asarray(states_of(items)[0, : len(row) - 1] @ vectors.T)
    losses = np.log(np.exp(logits).sum(axis=1))
    alone.extend(losses - logits[range(len(row) - 1), row[1:]])
  batches = list(
    sasrec_network.pack(
      Ragged.from_rows(rows), num_rows=3, width=8, generator=generator
    )
  )
  counts = [(batch.targets >= 0).sum() for batch in batches]
  loss = jax.jit(functools.partial(sasrec_network.batch_loss, network))
  losses = [loss(params, batch) for batch in batches]
  assert len(batches) > 2 and sum(counts) == len(alone)
  assert sum(counts[:-1]) > 0.8 * 3 * 8 * (len(batches) - 1)
  np.testing.assert_allclose(np.dot(counts, losses), np.sum(alone), rtol=1e-5)


@pytest.fixture
def places():
  """States of some places, vectors of 6 items, and targets."""
  generator = np.random.default_rng(0)
  return (
    generator.normal(size=(5, 4)).astype(np.float32),
    generator.normal(size=(6, 4)).astype(np.float32),
    np.array([0, 3, 3, 5, 1]),
  )


@pytest.mark.parametrize('log_q', [True, False])
def test_all_items_as_negatives_are_the_full_softmax(places, log_q):
  losses = sasrec_network.sampled_cross_entropy(
    *places, np.array([3, 0, 5, 1, 4, 2]), log_q=log_q
  )
  states, vectors, targets = places
  logits = np.float64(states) @ vectors.T
  expected = np.log(np.exp(logits).sum(axis=1)) - logits[range(5), targets]
  np.testing.assert_allclose(losses, expected, rtol=1e-5)
  np.testing.assert_allclose(
    sasrec_network.cross_entropy(*places), expected, rtol=1e-5
  )


def test_with_log_q_the_sum_over_negatives_is_unbiased(places):
  # exp(loss) - 1 is the sum over the other items, relative to the target.
  sums = [
    np.exp(sasrec_network.sampled_cross_entropy(*places, np.array(drawn))) - 1
    for drawn in itertools.combinations(range(6), 2)
  ]
  expected = np.exp(sasrec_network.cross_entropy(*places)) - 1
  np.testing.assert_allclose(np.mean(sums, axis=0), expected, rtol=1e-5)


def test_what_cannot_be_trained_is_refused():
  with pytest.raises(GenrecError, match='num_heads=3 does not divide width=16'):
    SASRec(width=16, num_heads=3)
  with pytest.raises(GenrecError, match='dropout=1'):
    SASRec(dropout=1)
  with pytest.raises(GenrecError, match='num_negatives=0'):
    SASRec(num_negatives=0)
  with pytest.raises(GenrecError, match='nothing follows'):
    SASRec().fit(np.arange(3), np.arange(3), 3)
  with pytest.raises(GenrecError, match='set num_epochs'):
    SASRec().fit(np.array([0, 0, 1]), np.arange(3), 3)
  with pytest.raises(GenrecError, match='lower learning_rate=1e'):
    fit(num_epochs=3, learning_rate=1e30)
