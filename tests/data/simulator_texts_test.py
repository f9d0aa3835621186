"""What simulated shoppers say follows from their taste, and can be learnt."""

import collections
import re

import numpy as np
import pyarrow.compute as pc
import pytest

from genrec_jax.data import simulator, simulator_texts, simulator_world
from genrec_jax.data.dataset import build_dataset
from genrec_jax.data.dialogues import mentions
from genrec_jax.data.splits import TRAIN, leave_one_out

LINE_SIZE, NUM_STYLES = simulator_world.LINE_SIZE, simulator_world.NUM_STYLES
CATEGORIES = [
  name.lower()
  for activity in simulator_texts.ACTIVITIES.values()
  for name in activity
]
STYLES = [style.lower() for style in simulator_texts.STYLES]


@pytest.fixture(scope='module')
def dataset():
  return build_dataset('simulated', simulator.simulate())


@pytest.fixture(scope='module')
def world(dataset):
  return simulator_world.make_world(**dataset.facts['simulator'])


@pytest.fixture(scope='module')
def train(dataset):
  return leave_one_out(dataset).part == TRAIN


def column(table, name):
  return np.array(table[name].to_pylist())


@pytest.fixture(scope='module')
def pairs(dataset):
  """Who and what in each interaction, by the numbers of the world."""
  of_user = column(dataset.users, 'world_row')
  of_item = column(dataset.items, 'world_row')
  return of_user[dataset.user], of_item[dataset.item]


def test_ratings_are_drawn_from_their_truth(dataset, world, pairs):
  chances = simulator_world.rating_probabilities(world, *pairs)
  assert chances.shape == (dataset.num_interactions, 5)
  assert np.allclose(chances.sum(axis=1), 1) and (chances >= 0).all()
  rating = column(dataset.interactions, 'rating').astype(int)
  assert set(rating) == {1, 2, 3, 4, 5}
  for stars in range(1, 6):
    given = rating == stars
    for likely in np.array_split(np.argsort(chances[:, stars - 1]), 10):
      p = chances[likely, stars - 1]
      error = np.sqrt((p * (1 - p)).sum()) + 1
      assert abs(given[likely].sum() - p.sum()) < 4 * error


def _bias(rating, groups, count, damping=5):
  """Mean of each group of a few, drawn to 0."""
  total = np.bincount(groups, rating, count)
  return total / (np.bincount(groups, minlength=count) + damping)


def test_ratings_can_be_learnt_and_more_so_with_taste(
  dataset, world, pairs, train
):
  rating = column(dataset.interactions, 'rating')
  user, item = dataset.user, dataset.item
  style = column(dataset.items, 'style')
  taken = np.zeros((dataset.num_users, NUM_STYLES))
  number = np.searchsorted(sorted(set(style)), style)[item]
  np.add.at(taken, (user[train], number[train]), 1)
  likes = (taken.argmax(axis=1)[user] == number).astype(int)

  guess = np.full(len(rating), rating[train].mean())
  errors = {}

  def learn(name, groups):
    nonlocal guess
    rest = (rating - guess)[train]
    guess = guess + _bias(rest, groups[train], groups.max() + 1)[groups]
    errors[name] = np.sqrt(np.mean((rating - guess)[~train] ** 2))

  learn('mean', np.zeros(len(rating), int))
  learn('item', item)
  learn('user', user)
  learn('style', likes)
  chances = simulator_world.rating_probabilities(world, *pairs)
  best = np.sqrt(np.mean((chances @ np.arange(1, 6) - rating)[~train] ** 2))
  assert errors['user'] < errors['item'] - 0.02
  assert errors['style'] < errors['user'] - 0.01
  assert best < errors['style'] - 0.1


def test_a_yes_is_likelier_for_whom_it_is_true(dataset, world, pairs):
  likely = simulator_world.rating_probabilities(world, *pairs)[:, 3:].sum(1)
  liked = column(dataset.interactions, 'rating') >= 4
  assert liked[likely > 0.9].mean() > 0.9
  assert liked[likely < 0.1].mean() < 0.1


def test_features_are_what_the_user_cares_about(dataset, world, pairs):
  feature = dataset.interactions['feature'].to_pylist()
  assert feature == simulator_world.true_feature(world, *pairs)
  categories = column(dataset.items, 'category')[dataset.item]
  cares = column(dataset.users, 'cares_about')[dataset.user]
  features = {
    name: features
    for activity in simulator_texts.ACTIVITIES.values()
    for name, features in activity.items()
  }
  assert feature == [features[c][k] for c, k in zip(categories, cares)]


def test_features_can_be_learnt_from_what_others_of_one_taste_say(
  dataset, train
):
  """Who says the same of a category says the same of the next one, too."""
  feature = column(dataset.interactions, 'feature')
  category = column(dataset.items, 'category')[dataset.item]
  common = collections.defaultdict(collections.Counter)
  together = collections.defaultdict(collections.Counter)
  said = collections.defaultdict(list)
  for row in np.flatnonzero(train):
    common[category[row]][feature[row]] += 1
    said[dataset.user[row]].append((category[row], feature[row]))
  for facts in said.values():
    for fact in facts:
      for what, name in facts:
        together[fact, what][name] += 1
  hits = collections.Counter()
  held_out = np.flatnonzero(~train)
  for row in held_out:
    votes = collections.Counter()
    for fact in said[dataset.user[row]]:
      counts = together[fact, category[row]]
      for name, count in counts.items():
        votes[name] += count / sum(counts.values())
    known = common[category[row]].most_common(1)[0][0]
    learnt = votes.most_common(1)[0][0] if votes else known
    hits['common'] += known == feature[row]
    hits['taste'] += learnt == feature[row]
  assert hits['common'] < 0.6 * len(held_out)
  assert hits['taste'] > 0.9 * len(held_out)


def test_strong_features_please_those_who_care(dataset):
  rating = column(dataset.interactions, 'rating')
  feature = column(dataset.interactions, 'feature')
  strong = column(dataset.items, 'strong_feature')[dataset.item] == feature
  weak = column(dataset.items, 'weak_feature')[dataset.item] == feature
  assert rating[strong].mean() > rating[weak].mean() + 0.8


def test_reviews_say_what_was_felt_in_the_words_of_the_explanation(dataset):
  rows = dataset.interactions.to_pylist()
  style = column(dataset.items, 'style')[dataset.item]
  favourite = column(dataset.users, 'favourite_style')[dataset.user]
  for row, has, likes in zip(rows, style, favourite):
    mood = int(np.searchsorted([2.5, 3.5], row['rating']))
    assert row['sentiment'] == mood - 1
    assert row['opinion'] in simulator_texts.OPINIONS[mood]
    assert row['explanation'] in row['review'] and row['summary']
    assert row['feature'] in row['explanation']
    assert row['opinion'] in row['explanation']
    assert ('just my colour' in row['review']) == (has == likes)


def _asked_for(said, kind):
  """The last word of a kind in what was said, as a number, or None."""
  words = CATEGORIES if kind == 'category' else STYLES
  found = [
    (match.end(), number)
    for number, word in enumerate(words)
    for match in re.finditer(rf'\b{word}\b', said.lower())
  ]
  return max(found)[1] if found else None


@pytest.fixture(scope='module')
def offers(dataset):
  """For each offer: what was said and named before, and the item."""
  named = mentions(dataset.dialogues)
  rows = dataset.dialogues.to_pylist()
  world_row = column(dataset.items, 'world_row')
  found = []
  for row, turn in enumerate(rows):
    if turn['role'] == 'recommender' and turn['items']:
      start = row - turn['turn']
      before = named.values[named.offsets[start] : named.offsets[row]]
      said = ' '.join(
        before['text']
        for before in rows[start:row]
        if before['role'] == 'seeker'
      )
      found.append((said, world_row[before], world_row[turn['items'][0]]))
  return found


def test_what_is_offered_is_decided_by_what_was_said(offers):
  assert len(offers) > 1900
  for said, before, item in offers:
    line, place = divmod(before[0], LINE_SIZE)
    num_categories = simulator_world.NUM_CATEGORIES
    category = (place // NUM_STYLES + 1) % num_categories
    asked = _asked_for(said, 'category')
    if asked is not None:
      category = asked % num_categories
    expected = line * LINE_SIZE + category * NUM_STYLES
    assert item == expected + _asked_for(said, 'style')
    assert item not in before


def test_offers_can_be_learnt_from_what_was_said(offers):
  """Counts of (what is known, what is offered), an attribute at a time."""

  def attributes(item):
    line, place = divmod(int(item), LINE_SIZE)
    return line, *divmod(place, NUM_STYLES)

  def known(said, before):
    line, category, _ = attributes(before[0])
    asked = _asked_for(said, 'category')
    return line, (category, asked), _asked_for(said, 'style')

  learn, held_out = offers[:1500], offers[1500:]
  counts = collections.defaultdict(collections.Counter)
  popular = collections.Counter()
  for said, before, item in learn:
    popular[item] += 1
    for place, (fact, value) in enumerate(
      zip(known(said, before), attributes(item))
    ):
      counts[place, fact][value] += 1
  hits = collections.Counter()
  for said, before, item in held_out:
    guess = tuple(
      counts[place, fact].most_common(1)[0][0] if counts[place, fact] else -1
      for place, fact in enumerate(known(said, before))
    )
    hits['said'] += guess == attributes(item)
    hits['popular'] += popular.most_common(1)[0][0] == item
    hits['repeated'] += item in before
  assert hits['popular'] < 0.02 * len(held_out) and not hits['repeated']
  assert hits['said'] > 0.8 * len(held_out)


def test_seekers_talk_of_their_own_lines_and_mostly_their_own_style(
  dataset, world
):
  rows = dataset.dialogues.filter(pc.equal(dataset.dialogues['turn'], 0))
  number = dict(zip(dataset.users['user_id'].to_pylist(), range(10**6)))
  world_user = column(dataset.users, 'world_row')
  user = world_user[[number[seeker] for seeker in rows['seeker'].to_pylist()]]
  item = column(dataset.items, 'world_row')[
    [items[0] for items in rows['items'].to_pylist()]
  ]
  assert (world.taste[user, item // LINE_SIZE] > 0).all()
  asked = dataset.dialogues.filter(pc.equal(dataset.dialogues['turn'], 2))
  style = [_asked_for(text, 'style') for text in asked['text'].to_pylist()]
  favourite = np.mean(world.style[user] == style)
  assert 0.65 < favourite < 0.85


def test_dialogues_add_no_items(dataset):
  assert dataset.num_items == len(np.unique(dataset.item))
