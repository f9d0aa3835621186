"""The simulated shop is reproducible, and what it tells as truth is true."""

import numpy as np
import pytest

from genrec_jax.baselines.markov import Markov
from genrec_jax.baselines.popularity import Popularity
from genrec_jax.data import (
  simulator,
  simulator_world,
  splits,
)
from genrec_jax.data.dataset import build_dataset


@pytest.fixture(scope='module')
def dataset():
  return build_dataset('simulated', simulator.simulate())


@pytest.fixture(scope='module')
def world(dataset):
  return simulator_world.make_world(**dataset.facts['simulator'])


def column(table, name):
  return np.array(table[name].to_pylist())


def truth(world, dataset, examples):
  """The true probability of each item of the dataset, for each example."""
  of_item = column(dataset.items, 'world_row')
  of_user = column(dataset.users, 'world_row')
  histories = examples.padded_histories(simulator_world.MAX_LENGTH)
  histories = np.where(histories < 0, -1, of_item[histories])
  probabilities = simulator_world.next_item_probabilities(
    world, of_user[examples.user], histories
  )
  assert np.allclose(probabilities.sum(axis=1), 1)
  return probabilities[:, of_item]


def test_seed_decides_everything():
  fingerprints = [
    build_dataset(
      'simulated', simulator.simulate(seed=seed, num_users=50)
    ).fingerprint
    for seed in (0, 0, 1)
  ]
  assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_default_has_the_stated_shape(dataset):
  lengths = np.diff(dataset.user_offsets)
  assert dataset.num_users == 2500
  assert 30_000 < dataset.num_interactions < 40_000
  assert lengths.min() >= simulator_world.MIN_LENGTH
  assert lengths.max() <= simulator_world.MAX_LENGTH
  assert dataset.facts['clock'] == 'seconds'
  assert len(np.unique(dataset.time)) == dataset.num_interactions
  pairs = dataset.user.astype(np.int64) * dataset.num_items + dataset.item
  assert len(np.unique(pairs)) == len(pairs)  # nothing is taken twice
  assert len(set(dataset.item_names())) == dataset.num_items


def test_choices_follow_the_truth(dataset, world):
  examples = splits.examples(
    dataset, splits.leave_one_out(dataset), splits.TEST
  )
  probabilities = truth(world, dataset, examples)
  rows = np.arange(len(examples))
  chosen = probabilities[rows, examples.target]
  # The chance of what was chosen is on average what such choices would give.
  expected = (probabilities**2).sum(axis=1)
  error = (chosen - expected).std() / np.sqrt(len(chosen))
  assert abs((chosen - expected).mean()) < 4 * error
  seen = examples.padded_histories(simulator_world.MAX_LENGTH)
  example, place = np.nonzero(seen >= 0)
  assert not probabilities[example, seen[example, place]].any()


def test_truth_leaves_room_above_simple_methods(dataset, world):
  split = splits.leave_one_out(dataset)
  examples = splits.examples(dataset, split, splits.TEST)
  histories = examples.padded_histories(simulator_world.MAX_LENGTH)
  rows = np.arange(len(examples))

  def hit_rate(scores):
    scores = np.array(scores)
    example, place = np.nonzero(histories >= 0)
    scores[example, histories[example, place]] = -np.inf
    target = scores[rows, examples.target][:, None]
    above = (scores > target).sum(axis=1) + (scores == target).sum(axis=1) / 2
    return np.mean(above < 10)

  train = splits.train_interactions(dataset, split)
  popular, markov = (
    hit_rate(method.fit(*train, dataset.num_items).scores(histories))
    for method in (Popularity(), Markov())
  )
  best = hit_rate(truth(world, dataset, examples))
  assert 0.02 < popular < 0.08
  assert 0.08 < markov < 0.2
  assert best > 0.4


def test_items_of_a_line_are_taken_together(dataset):
  taken = np.zeros((dataset.num_users, dataset.num_items), np.float32)
  taken[dataset.user, dataset.item] = 1
  taken /= np.linalg.norm(taken, axis=0)
  similarity = taken.T @ taken
  line = column(dataset.items, 'world_row') // simulator_world.LINE_SIZE
  same = line[:, None] == line
  np.fill_diagonal(same, False)
  other = line[:, None] != line
  assert similarity[same].mean() > 4 * similarity[other].mean()
