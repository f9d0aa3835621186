"""Tests of what is measured of codes, against counting by hand."""

import collections
import itertools

import numpy as np
import pytest

from genrec_jax.ids import inspection
from genrec_jax.types import GenrecError


def taken_together(num_blocks=4, block=6, num_users=80):
  """Returns histories of users who each keep to one block of items."""
  generator = np.random.default_rng(0)
  user = np.repeat(np.arange(num_users), 5)
  item = generator.integers(0, block, len(user)) + block * (user % num_blocks)
  return user, item, num_blocks * block


def some_codes(num_items, sizes, seed=0):
  generator = np.random.default_rng(seed)
  every = np.array(list(itertools.product(*map(range, sizes))))
  return generator.permutation(every)[:num_items]


def shared_codes(a, b):
  return next((n for n, (x, y) in enumerate(zip(a, b)) if x != y), len(a))


def test_groups_are_the_prefixes():
  codes = np.array([[2, 0, 1], [2, 0, -1], [0, 1, 1], [2, 1, 1], [0, -1, -1]])
  groups = inspection.prefix_groups(codes)
  for length in (1, 2, 3):
    for a, b in itertools.product(range(5), repeat=2):
      equal = (codes[a, :length] == codes[b, :length]).all()
      assert (groups[length - 1][a] == groups[length - 1][b]) == equal


def test_neighbors_are_those_of_the_largest_cosine():
  user, item, num_items = taken_together()
  users = [set(user[item == i].tolist()) for i in range(num_items)]
  neighbors = inspection.nearest_neighbors(
    user, item, num_items, num_neighbors=3
  )
  for one in range(num_items):
    cosine = [
      len(users[one] & users[i]) / np.sqrt(len(users[one]) * len(users[i]))
      for i in range(num_items)
    ]
    cosine[one] = 0
    best = sorted(cosine, reverse=True)[:3]
    assert [cosine[i] for i in neighbors[one]] == pytest.approx(best)
    assert (neighbors[one] != one).all()


def test_overlap_is_that_counted_pair_by_pair():
  user, item, num_items = taken_together()
  codes = some_codes(num_items, (3, 4, 4))
  neighbors = inspection.nearest_neighbors(
    user, item, num_items, num_neighbors=4
  )
  shares = np.zeros((num_items, 3))
  drawn = np.zeros(num_items)
  generator = np.random.default_rng(1)
  for one in range(num_items):
    shared = [shared_codes(codes[one], other) for other in codes]
    for length in (1, 2, 3):
      shares[one, length - 1] = np.mean(
        [shared[other] >= length for other in neighbors[one]]
      )
    shared[one] = -1
    for _ in range(400):  # ties at random, as often as it takes
      ties = generator.permutation(num_items)
      nearest = np.lexsort((ties, -np.asarray(shared)))[:4]
      drawn[one] += np.isin(nearest, neighbors[one]).mean() / 400
  found = inspection.neighbourhood_overlap(
    codes, user, item, num_neighbors=4, num_shuffles=1
  )
  assert found['prefixes'] == pytest.approx(shares.mean(axis=0))
  assert found['nearest'] == pytest.approx(drawn.mean(), abs=0.01)


def test_ids_of_the_blocks_overlap_and_shuffled_ones_do_not():
  user, item, num_items = taken_together()
  codes = np.column_stack([np.arange(num_items) // 6, np.arange(num_items) % 6])
  found = inspection.neighbourhood_overlap(
    codes, user, item, num_neighbors=3, num_shuffles=300
  )
  assert found['prefixes'] == pytest.approx([1, 0])
  # Under chance: 5 of the 23 others have the first code, 3 are neighbours.
  assert found['shuffled']['prefixes'][0] == pytest.approx(5 / 23, abs=0.01)
  assert found['nearest'] == pytest.approx(3 / 5)
  assert found['shuffled']['nearest'] == pytest.approx(3 / 23, abs=0.01)


def test_items_without_company_do_not_count():
  codes = np.arange(5)[:, None]
  found = inspection.neighbourhood_overlap(
    codes, np.array([0, 0, 1]), np.array([1, 3, 4])
  )
  assert found['items'] == 2
  assert found['prefixes'] == [0]
  with pytest.raises(GenrecError, match='No two of the 5 items'):
    inspection.neighbourhood_overlap(codes, np.array([0, 1]), np.array([1, 3]))


def information_by_hand(codes, lists):
  """Returns the mutual information of codes and values, pair by pair."""
  joint = collections.Counter()
  known = [(code, some) for code, some in zip(codes, lists) if some]
  for code, some in known:
    for value in some:
      joint[code, value] += 1 / len(some) / len(known)
  code, value = collections.Counter(), collections.Counter()
  for (c, v), mass in joint.items():
    code[c] += mass
    value[v] += mass
  return sum(
    mass * np.log2(mass / code[c] / value[v]) for (c, v), mass in joint.items()
  )


def test_information_is_that_counted_value_by_value():
  generator = np.random.default_rng(3)
  lists = [
    generator.choice(list('abcdef'), generator.integers(0, 4), replace=False)
    for _ in range(60)
  ]
  lists = [some.tolist() for some in lists]
  codes = some_codes(60, (4, 5, 6))
  found = inspection.attribute_information(
    codes, inspection.Attributes.of(lists)
  )
  everything = information_by_hand(range(60), lists)
  assert found['bits'] == pytest.approx(everything)
  assert found['items'] == sum(map(bool, lists))
  for level in range(3):
    single = information_by_hand(codes[:, level].tolist(), lists)
    prefix = [tuple(code) for code in codes[:, : level + 1].tolist()]
    together = information_by_hand(prefix, lists)
    assert found['levels'][level] == pytest.approx(single / everything)
    assert found['prefixes'][level] == pytest.approx(together / everything)


def test_adjusted_information_is_that_of_scikit_learn_where_lists_are_single():
  metrics = pytest.importorskip('sklearn.metrics')
  generator = np.random.default_rng(0)
  label = generator.integers(0, 6, 400)
  # Half of the first codes follow the label, and of the second none.
  code = np.where(generator.random(400) < 0.5, label, label[::-1])
  found = inspection.attribute_information(
    np.column_stack([code, generator.permutation(400)]),
    inspection.Attributes.of([[str(one)] for one in label]),
    num_shuffles=200,
  )
  entropy = found['bits'] * np.log(2)
  wanted = metrics.mutual_info_score(label, code) / entropy
  assert found['levels'][0] == pytest.approx(wanted)
  # Theirs is divided by the larger entropy, ours by that of the attribute.
  expected = metrics.cluster.expected_mutual_information(
    metrics.cluster.contingency_matrix(label, code, sparse=True), 400
  )
  assert found['shuffled']['levels'][0] == pytest.approx(
    expected / entropy, rel=0.05
  )
  # Whole ids tell all that there is, and shuffled ones do so as well.
  assert found['prefixes'][1] == pytest.approx(1)
  assert found['adjusted']['prefixes'][1] is None


def test_attributes_that_all_items_share_tell_nothing():
  attributes = inspection.Attributes.of([['a', 'b']] * 5)
  found = inspection.attribute_information(np.arange(5)[:, None], attributes)
  assert found['levels'] == [0]
  assert inspection.telling_values(attributes, np.arange(2)) == []
  nothing = inspection.Attributes.of([None, []])
  found = inspection.attribute_information(np.arange(2)[:, None], nothing)
  assert (found['items'], found['bits'], found['levels']) == (0, 0, [0])


def test_telling_values_by_hand():
  lists = [['a', 'x'], ['a', 'x'], ['b', 'x'], ['b', 'x', 'c'], None, ['x']]
  found = inspection.telling_values(
    inspection.Attributes.of(lists), np.array([2, 3, 4])
  )
  assert [one['value'] for one in found] == ['b', 'c']
  assert found[0] == {'value': 'b', 'items': 2, 'share': 1, 'lift': 2.5}
  assert found[1]['lift'] == pytest.approx(0.5 / (1 / 5))


def test_shared_codes_are_counted_from_the_first():
  codes = np.array([[1, 2, 3], [1, 2, -1], [1, 0, 3], [0, 2, 3], [1, -1, -1]])
  assert inspection.shared_codes(codes, 0).tolist() == [3, 2, 1, 0, 1]
  assert inspection.shared_codes(codes, 1).tolist() == [2, 2, 1, 0, 1]
