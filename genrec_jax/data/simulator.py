"""The simulator: the embedded default, a made-up shop whose truth is known.

The catalogue: an activity (hiking, coffee, ...) has five categories of things,
in the order in which one comes to need them. A line is what a brand makes for
an activity: every category in every style. So an item is a place in a line,
(category, style), and items of one line belong together.

The shoppers: a user follows a few lines, prefers a style, and goes back and
forth between the lines. Within a line, what is taken next depends on what was
last taken FROM THAT LINE: mostly the category that comes after it. So the
last item alone says little (it is often of another line), the recent items
together say much; and what is popular says least.

What they say: stars follow from the item and the user's taste; a review speaks
of the one feature that its author cares about; and a dialogue's offers from
what was said before (simulator_dialogues.py).

All of it is drawn with a seed; simulator_world.py has the true distributions.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from genrec_jax.data import simulator_dialogues
from genrec_jax.data import simulator_texts as texts
from genrec_jax.data.dataset import RawTables
from genrec_jax.data.simulator_world import (
  LINE_SIZE,
  NOISE,
  NUM_ITEMS,
  NUM_PERSONAS,
  NUM_STYLES,
  draw,
  draw_strength,
  make_world,
  take_items,
  true_feature,
)

DAY = 24 * 60 * 60
START = 1_577_836_800  # 2020-01-01


def simulate(
  *, seed: int = 0, num_users: int = 2500, num_dialogues: int = 1000
) -> RawTables:
  """Returns the simulated shop as raw tables, for `build_dataset`.

  Interactions stand in the order of time. The tables also tell the truth: the
  line, category, style and features of items, the taste of users, and
  `world_row`, the number of an item or user in
  `make_world(**facts['simulator'])`.
  """
  world = make_world(seed=seed, num_users=num_users)
  random = np.random.default_rng([seed, 2])
  user, item = take_items(world)
  draw_strength(random)
  items = _describe_items(world, random)
  users = _describe_users(world, random)

  time = _draw_times(random, user, num_users)
  order = np.argsort(time)
  user, item, time = user[order], item[order], time[order]
  stars = world.mean_stars(user, item) + random.normal(0, NOISE, len(user))
  rating = np.clip(np.rint(stars), 1, 5)
  sentiment = np.searchsorted([2.5, 3.5], rating)
  feature = true_feature(world, user, item)
  likes_style = item % LINE_SIZE % NUM_STYLES == world.style[user]
  written = texts.write_reviews(
    random,
    sentiment=sentiment.tolist(),
    likes_style=likes_style.tolist(),
    feature=feature,
    **{
      name: items[name].take(pa.array(item)).to_pylist()
      for name in ('brand', 'category', 'style')
    },
  )
  interactions = pa.table(
    {
      'user': users['user_id'].take(pa.array(user)),
      'item': items['item_id'].take(pa.array(item)),
      'time': pa.array(time, pa.int64()),
      'rating': pa.array(rating, pa.float32()),
      **written,
      'feature': pa.array(feature, pa.string()),
      'sentiment': pa.array(sentiment - 1, pa.int8()),
    }
  )
  return RawTables(
    interactions=interactions,
    items=items,
    users=users,
    dialogues=_hold_dialogues(world, users, items, item, num_dialogues),
    facts={'simulator': {'seed': seed, 'num_users': num_users}},
  )


def _describe_items(world, random):
  """Returns the items table."""
  names = []
  for number, (activity, categories) in enumerate(texts.ACTIVITIES.items()):
    for brand in range(texts.BRANDS_PER_ACTIVITY):
      brand = (number * texts.BRANDS_PER_ACTIVITY + brand) % len(texts.BRANDS)
      for category, features in categories.items():
        for style in texts.STYLES:
          names.append(
            (texts.BRANDS[brand], activity, category, style, features)
          )
  brand, activity, category, style, features = zip(*names)
  features = np.array(features)
  strength = world.strength.reshape(NUM_ITEMS, -1)
  rows = np.arange(NUM_ITEMS)
  columns = {'brand': brand, 'activity': activity, 'category': category}
  columns['style'] = style
  table = {
    # Source ids tell nothing: they are numbered at random.
    'item_id': [f'i{n:04d}' for n in random.permutation(NUM_ITEMS)],
    'title': [f'{b} {s} {c}' for b, _, c, s, _ in names],
    'attributes': [list(row[:4]) for row in names],
    **{name: list(values) for name, values in columns.items()},
    'strong_feature': features[rows, strength.argmax(axis=1)],
    'weak_feature': features[rows, strength.argmin(axis=1)],
    'world_row': np.arange(NUM_ITEMS, dtype=np.int32),
  }
  return pa.table(table)


def _describe_users(world, random):
  num_users = len(world.style)
  women = random.uniform(0.2, 0.8, NUM_PERSONAS)[world.persona]
  age = random.uniform(22, 62, NUM_PERSONAS)[world.persona]
  age = age + random.normal(0, 7, num_users)
  return pa.table(
    {
      'user_id': [f'u{n:04d}' for n in random.permutation(num_users)],
      'gender': np.where(random.random(num_users) < women, 'F', 'M'),
      'age': np.clip(np.rint(age), 16, 80).astype(np.int32),
      'favourite_style': np.array(texts.STYLES)[world.style],
      'cares_about': world.cares_about.astype(np.int32),
      'persona': world.persona.astype(np.int32),
      'world_row': np.arange(num_users, dtype=np.int32),
    }
  )


def _draw_times(random, user, num_users):
  """Returns distinct times in seconds, ascending within each user."""
  gaps = 1 + random.exponential(9 * DAY, len(user))
  offsets = np.searchsorted(user, np.arange(num_users))
  gaps[offsets] = random.uniform(0, 900 * DAY, num_users)
  since = np.cumsum(gaps)
  since -= (since - gaps)[offsets][user]
  time = START + since.astype(np.int64)
  # Later ones of equal times give way by a second.
  order = np.argsort(time, kind='stable')
  steps = np.arange(len(time))
  time[order] = np.maximum.accumulate(time[order] - steps) + steps
  return time


def _hold_dialogues(world, users, items, taken, num_dialogues):
  """Lets users name what they like, and be offered what they ask for."""
  random = np.random.default_rng([world.seed, 4])
  user = random.integers(len(world.style), size=num_dialogues)
  return simulator_dialogues.write_dialogues(
    random,
    line=draw(random, world.taste[user]),
    favourite_style=world.style[user],
    seekers=users['user_id'].take(pa.array(user)).to_pylist(),
    item_ids=items['item_id'].to_pylist(),
    taken=np.isin(np.arange(NUM_ITEMS), taken),
  )
