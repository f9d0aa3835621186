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

All of it is drawn with a seed, and `next_item_probabilities` gives the true
distribution that no recommender can beat.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from genrec_jax.data import simulator_texts as texts
from genrec_jax.data.dataset import RawTables

NUM_LINES = len(texts.ACTIVITIES) * texts.BRANDS_PER_ACTIVITY
NUM_CATEGORIES = texts.CATEGORIES_PER_ACTIVITY
NUM_STYLES = len(texts.STYLES)
LINE_SIZE = NUM_CATEGORIES * NUM_STYLES
NUM_ITEMS = NUM_LINES * LINE_SIZE
NUM_PERSONAS = 12

# How users behave: probabilities, and weights in log-odds.
EXPLORE = 0.08  # take something from any line
STAY = 0.3  # otherwise: from the line of the last item
NEXT_CATEGORY = 2.5  # the category that comes after the last of that line
SAME_CATEGORY = -1.5  # nobody needs two kettles
FAVOURITE_STYLE = 1.6
APPEAL = 0.6  # spread of what all find appealing (normal, over items)
MIN_LENGTH, MAX_LENGTH, MEAN_LENGTH = 5, 32, 14.0
DAY = 24 * 60 * 60
START = 1_577_836_800  # 2020-01-01


@dataclasses.dataclass(frozen=True, eq=False)
class World:
  """The truth about items and users.

  Item i is place i % LINE_SIZE of line i // LINE_SIZE; its category is the
  place // NUM_STYLES and its style the place % NUM_STYLES.

  Attributes:
    line_popularity: share of each line, a Zipf law.
    appeal: log-odds of each place of each line to be taken.
    quality: stars above the average of each place of each line.
    taste: share of each line in what a user takes; most are 0.
    style: the favourite style of each user.
    strictness: stars below the average that a user gives.
    persona: the group of each user, with tastes, genders and ages in common.
    seed: of all the draws.
  """

  line_popularity: Float[np.ndarray, 'lines']
  appeal: Float[np.ndarray, 'lines places']
  quality: Float[np.ndarray, 'lines places']
  taste: Float[np.ndarray, 'U lines']
  style: Int[np.ndarray, 'U']
  strictness: Float[np.ndarray, 'U']
  persona: Int[np.ndarray, 'U']
  seed: int

  def line_probabilities(
    self, user: Int[np.ndarray, 'B'], last_line: Int[np.ndarray, 'B']
  ) -> Float[np.ndarray, 'B lines']:
    """Returns the shares of the lines in what users take next.

    Args:
      user: rows of users.
      last_line: line of the last item, -1 where it is the first.
    """
    stay = np.eye(NUM_LINES)[last_line] * (last_line >= 0)[:, None]
    others = self.taste[user] * (1 - stay)
    others /= others.sum(axis=1, keepdims=True)
    weight = STAY * stay.sum(axis=1, keepdims=True)
    chosen = weight * stay + (1 - weight) * others
    return (1 - EXPLORE) * chosen + EXPLORE * self.line_popularity

  def place_probabilities(
    self,
    user: Int[np.ndarray, 'B'],
    line: Int[np.ndarray, 'B'],
    last_place: Int[np.ndarray, 'B'],
    owned: Bool[np.ndarray, 'B places'],
  ) -> Float[np.ndarray, 'B places']:
    """Returns the shares of a line's items in what users take from it next.

    Args:
      user: rows of users.
      line: the line that each takes from.
      last_place: the last place of that line that the user took, or -1.
      owned: which of them the user has already; none is taken twice.
    """
    place = np.arange(LINE_SIZE)
    category, style = place // NUM_STYLES, place % NUM_STYLES
    step = (category - last_place[:, None] // NUM_STYLES) % NUM_CATEGORIES
    logits = self.appeal[line] + (
      FAVOURITE_STYLE * (style == self.style[user][:, None])
    )
    # Who took nothing yet from the line starts with its first category.
    logits += NEXT_CATEGORY * (step == 1)
    logits += SAME_CATEGORY * (step == 0)
    logits = np.where(owned, -np.inf, logits)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def make_world(*, seed: int = 0, num_users: int = 2500) -> World:
  """Draws a catalogue and its users.

  Users of one persona are drawn to the same lines and styles, so that there
  is something to learn from one user about another.
  """
  random = np.random.default_rng([seed, 0])
  popularity = 1 / (2 + random.permutation(NUM_LINES))
  popularity /= popularity.sum()
  appeal = random.normal(0, APPEAL, (NUM_LINES, LINE_SIZE))
  persona = random.integers(NUM_PERSONAS, size=num_users)
  drawn_to = 1.5 * random.gumbel(size=(NUM_PERSONAS, NUM_LINES))
  liking = np.log(popularity) + drawn_to[persona]
  liking = liking + random.gumbel(size=liking.shape)
  followed = 2 + random.integers(3, size=num_users)
  rank = np.argsort(np.argsort(-liking, axis=1), axis=1)
  taste = np.where(rank < followed[:, None], 1 / (1.5 + rank), 0)
  of_style = 1.5 * random.gumbel(size=(NUM_PERSONAS, NUM_STYLES))
  style = of_style[persona] + random.gumbel(size=(num_users, NUM_STYLES))
  return World(
    line_popularity=popularity,
    appeal=appeal,
    quality=0.5 * appeal + random.normal(0, 0.4, appeal.shape),
    taste=taste / taste.sum(axis=1, keepdims=True),
    style=style.argmax(axis=1),
    strictness=random.normal(0, 0.4, num_users),
    persona=persona,
    seed=seed,
  )


def take_items(
  world: World,
) -> tuple[Int[np.ndarray, 'M'], Int[np.ndarray, 'M']]:
  """Returns who took what: users, and items in each user's order."""
  random = np.random.default_rng([world.seed, 1])
  num_users = len(world.style)
  lengths = MIN_LENGTH + random.geometric(
    1 / (MEAN_LENGTH - MIN_LENGTH + 1), num_users
  )
  lengths = np.minimum(lengths - 1, MAX_LENGTH)
  state = _State(num_users)
  taken = np.full((num_users, MAX_LENGTH), -1)
  for t in range(lengths.max()):
    user = np.flatnonzero(lengths > t)
    line = _draw(random, world.line_probabilities(user, state.last_line[user]))
    place = _draw(
      random,
      world.place_probabilities(
        user, line, state.last_place[user, line], state.owned[user, line]
      ),
    )
    state.take(user, line, place)
    taken[user, t] = line * LINE_SIZE + place
  user, t = np.nonzero(taken >= 0)
  return user, taken[user, t]


def next_item_probabilities(
  world: World,
  user: Int[np.ndarray, 'B'],
  histories: Int[np.ndarray, 'B T'],
) -> Float[np.ndarray, 'B N']:
  """Returns the true distribution of the next item.

  Args:
    world: the truth.
    user: rows of users.
    histories: all their items, most recent last, -1 on the left.
  """
  count = len(user)
  state = _State(count)
  for items in histories.T:
    row = np.flatnonzero(items >= 0)
    state.take(row, items[row] // LINE_SIZE, items[row] % LINE_SIZE)
  lines = world.line_probabilities(user, state.last_line)
  places = world.place_probabilities(
    np.repeat(user, NUM_LINES),
    np.tile(np.arange(NUM_LINES), count),
    state.last_place.ravel(),
    state.owned.reshape(-1, LINE_SIZE),
  )
  places = places.reshape(count, NUM_LINES, LINE_SIZE)
  return (lines[:, :, None] * places).reshape(count, NUM_ITEMS)


class _State:
  """What users have taken so far."""

  def __init__(self, count: int):
    self.last_line = np.full(count, -1)
    self.last_place = np.full((count, NUM_LINES), -1)
    self.owned = np.zeros((count, NUM_LINES, LINE_SIZE), bool)

  def take(self, row, line, place):
    self.last_line[row] = line
    self.last_place[row, line] = place
    self.owned[row, line, place] = True


def _draw(random, probabilities: Float[np.ndarray, 'B n']):
  ends = np.cumsum(probabilities, axis=1)
  points = random.random(len(ends)) * ends[:, -1]
  # Never a choice of probability 0, not even at the end.
  return (ends > points[:, None]).argmax(axis=1)


def simulate(
  *, seed: int = 0, num_users: int = 2500, num_dialogues: int = 300
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
  items, strong, weak = _describe_items(world, random)
  users = _describe_users(world, random)

  time = _draw_times(random, user, num_users)
  order = np.argsort(time)
  user, item, time = user[order], item[order], time[order]
  line, place = np.divmod(item, LINE_SIZE)
  likes_style = place % NUM_STYLES == world.style[user]
  stars = 3.7 + world.quality[line, place] + 0.8 * likes_style
  stars += 0.6 * (world.taste[user, line] > 0.4) - world.strictness[user]
  stars += random.normal(0, 0.5, len(user))
  rating = np.clip(np.rint(stars), 1, 5)
  sentiment = np.searchsorted([2.5, 3.5], rating)
  feature = np.where(sentiment == 2, strong[item], weak[item])
  reviews = texts.write_reviews(
    random,
    sentiment=sentiment.tolist(),
    likes_style=likes_style.tolist(),
    feature=feature.tolist(),
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
      **reviews,
      'feature': pa.array(feature, pa.string()),
    }
  )
  return RawTables(
    interactions=interactions,
    items=items,
    users=users,
    dialogues=_hold_dialogues(world, random, items, num_dialogues),
    facts={'simulator': {'seed': seed, 'num_users': num_users}},
  )


def _describe_items(world, random):
  """Returns the items table, and the strong and weak feature of each item."""
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
  strong, other = random.permuted(
    np.tile(np.arange(texts.FEATURES_PER_CATEGORY), (NUM_ITEMS, 1)), axis=1
  ).T[:2]
  strong, weak = (
    features[np.arange(NUM_ITEMS), choice] for choice in (strong, other)
  )
  columns = {'brand': brand, 'activity': activity, 'category': category}
  columns['style'] = style
  table = {
    # Source ids tell nothing: they are numbered at random.
    'item_id': [f'i{n:04d}' for n in random.permutation(NUM_ITEMS)],
    'title': [f'{b} {s} {c}' for b, _, c, s, _ in names],
    'attributes': [list(row[:4]) for row in names],
    **{name: list(values) for name, values in columns.items()},
    'strong_feature': strong,
    'weak_feature': weak,
    'world_row': np.arange(NUM_ITEMS, dtype=np.int32),
  }
  return pa.table(table), strong, weak


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


def _hold_dialogues(world, random, items, num_dialogues):
  """Lets users name what they took, and be offered what they would take."""
  user = random.integers(len(world.style), size=num_dialogues)
  state = _State(num_dialogues)
  row = np.arange(num_dialogues)
  taken = []
  for _ in range(3):
    line = _draw(random, world.taste[user])
    if taken:
      line = state.last_line
    place = _draw(
      random,
      world.place_probabilities(
        user, line, state.last_place[row, line], state.owned[row, line]
      ),
    )
    state.take(row, line, place)
    taken.append((line * LINE_SIZE + place).tolist())
  likes, first, second = taken
  return texts.write_dialogues(
    titles=items['title'].to_pylist(),
    item_ids=items['item_id'].to_pylist(),
    likes=likes,
    offers=list(zip(first, second)),
  )
