"""The truth of the simulator: what its shoppers take, and what they think.

All of it is drawn with a seed, and no method can beat the true distributions:
`next_item_probabilities`, `rating_probabilities` and `true_feature`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.special
from jaxtyping import Bool, Float, Int

from genrec_jax.data import simulator_texts as texts

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
# How they rate: stars.
STARS = 3.7
LIKED_STYLE = 0.8
LIKED_LINE = 0.6  # one that makes up more than MUCH of the taste
MUCH = 0.4
FEATURE = 0.7  # the feature that the user cares about is strong, or weak
NOISE = 0.5  # spread (normal)
MIN_LENGTH, MAX_LENGTH, MEAN_LENGTH = 5, 32, 14.0


@dataclasses.dataclass(frozen=True, eq=False)
class World:
  """The truth about items and users.

  Item i is place i % LINE_SIZE of line i // LINE_SIZE; its category is the
  place // NUM_STYLES and its style the place % NUM_STYLES.

  Attributes:
    line_popularity: share of each line, a Zipf law.
    appeal: log-odds of each place of each line to be taken.
    quality: stars above the average of each place of each line.
    strength: of each feature of each place of each line: 1 for the one that
      is strong, -1 for the one that is weak, 0 else.
    taste: share of each line in what a user takes; most are 0.
    style: the favourite style of each user.
    strictness: stars below the average that a user gives.
    cares_about: which of an item's features each user speaks of.
    persona: the group of each user, with tastes, genders and ages in common.
    seed: of all the draws.
  """

  line_popularity: Float[np.ndarray, 'lines']
  appeal: Float[np.ndarray, 'lines places']
  quality: Float[np.ndarray, 'lines places']
  strength: Int[np.ndarray, 'lines places features']
  taste: Float[np.ndarray, 'U lines']
  style: Int[np.ndarray, 'U']
  strictness: Float[np.ndarray, 'U']
  cares_about: Int[np.ndarray, 'U']
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

  def mean_stars(
    self, user: Int[np.ndarray, 'B'], item: Int[np.ndarray, 'B']
  ) -> Float[np.ndarray, 'B']:
    """Returns the stars that users would give without noise or rounding."""
    line, place = np.divmod(item, LINE_SIZE)
    stars = STARS + self.quality[line, place] - self.strictness[user]
    stars += LIKED_STYLE * (place % NUM_STYLES == self.style[user])
    stars += LIKED_LINE * (self.taste[user, line] > MUCH)
    return stars + FEATURE * self.strength[line, place, self.cares_about[user]]


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
  random_features = np.random.default_rng([seed, 3])
  drawn = (NUM_PERSONAS, texts.FEATURES_PER_CATEGORY)
  cares = 1.5 * random_features.gumbel(size=drawn)[persona]
  cares = cares + random_features.gumbel(size=cares.shape)
  return World(
    line_popularity=popularity,
    appeal=appeal,
    quality=0.5 * appeal + random.normal(0, 0.4, appeal.shape),
    # `simulate` draws them again, and goes on with the same stream.
    strength=draw_strength(np.random.default_rng([seed, 2])),
    taste=taste / taste.sum(axis=1, keepdims=True),
    style=style.argmax(axis=1),
    strictness=random.normal(0, 0.4, num_users),
    cares_about=cares.argmax(axis=1),
    persona=persona,
    seed=seed,
  )


def draw_strength(
  random: np.random.Generator,
) -> Int[np.ndarray, 'lines places features']:
  """Draws which feature of each item is strong and which is weak."""
  features = np.tile(np.arange(texts.FEATURES_PER_CATEGORY), (NUM_ITEMS, 1))
  strong, weak = random.permuted(features, axis=1).T[:2]
  strength = (features == strong[:, None]).astype(int)
  strength -= features == weak[:, None]
  return strength.reshape(NUM_LINES, LINE_SIZE, -1)


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
    line = draw(random, world.line_probabilities(user, state.last_line[user]))
    place = draw(
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


def rating_probabilities(
  world: World, user: Int[np.ndarray, 'B'], item: Int[np.ndarray, 'B']
) -> Float[np.ndarray, 'B 5']:
  """Returns the true chances of 1, 2, 3, 4 and 5 stars.

  Their mean is the best guess of a rating; 4 or 5 stars is a yes.
  """
  stars = world.mean_stars(user, item)[:, None]
  below = scipy.special.ndtr((np.arange(1.5, 5) - stars) / NOISE)
  return np.diff(below, axis=1, prepend=0, append=1)


def true_feature(
  world: World, user: Int[np.ndarray, 'B'], item: Int[np.ndarray, 'B']
) -> list[str]:
  """Returns the feature that each user speaks of where it is this item."""
  categories = [
    features
    for activity in texts.ACTIVITIES.values()
    for features in activity.values()
  ]
  activity = item // LINE_SIZE // texts.BRANDS_PER_ACTIVITY
  category = activity * NUM_CATEGORIES + item % LINE_SIZE // NUM_STYLES
  pairs = zip(category, world.cares_about[user])
  return [categories[row][feature] for row, feature in pairs]


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


def draw(
  random: np.random.Generator, probabilities: Float[np.ndarray, 'B n']
) -> Int[np.ndarray, 'B']:
  """Draws a column for each row."""
  ends = np.cumsum(probabilities, axis=1)
  points = random.random(len(ends)) * ends[:, -1]
  # Never a choice of probability 0, not even at the end.
  return (ends > points[:, None]).argmax(axis=1)
