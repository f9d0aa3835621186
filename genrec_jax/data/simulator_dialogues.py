"""What the simulator's shoppers ask for, and are offered.

What is offered is decided by what was said: of the line of the item that the
seeker likes, the category that comes after it or that is asked for, in the
style that is asked for. What is said is decided by the seeker's taste: lines
and a style.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int

from genrec_jax.data import simulator_texts as texts
from genrec_jax.data.dialogues import RAW_DIALOGUES, RECOMMENDER, SEEKER
from genrec_jax.data.texts import MENTION

FAVOURITE = 0.7  # chance that the style asked for is the favourite one
ATTEMPTS = 20  # to find items that somebody has taken
NUM_PLACES = texts.CATEGORIES_PER_ACTIVITY * len(texts.STYLES)
LIKES = (
  f'Hello! I really like my {MENTION}.',
  f'Hi, I got the {MENTION} and I am happy with it.',
  f'Good morning. My {MENTION} is just right, is there more like it?',
)
QUESTIONS = (
  'Good to hear. Which colour do you like?',
  'Sure, is there a colour you prefer?',
)
ASKS = ('Something in {style}.', '{Style}, please.', 'I like {style} best.')
FIRST_OFFERS = (
  f'Then have a look at the {MENTION}: it goes well with it.',
  f'What goes with it is the {MENTION}.',
)
OTHER_CATEGORIES = (
  'I have one of these. Is there a {category}?',
  'What I need is rather a {category}.',
)
OTHER_STYLES = (
  'Is there one in {style}, too?',
  'Nice, but I would like it in {style}.',
)
SECOND_OFFERS = (f'What about the {MENTION}?', f'There is the {MENTION}.')
THANKS = ('That is what I was looking for, thank you.', 'Great, I take it!')


def write_dialogues(
  random: np.random.Generator,
  *,
  line: Int[np.ndarray, 'D'],
  favourite_style: Int[np.ndarray, 'D'],
  seekers: Sequence[str],
  item_ids: Sequence[str],
  taken: Bool[np.ndarray, 'N'],
) -> pa.Table:
  """Returns dialogues in which a seeker is offered two items in turn.

  Args:
    random: draws what is not decided by taste.
    line: of the item that each seeker likes.
    favourite_style: of each seeker.
    seekers: source id of each seeker.
    item_ids: source ids of all items, line by line, category by category.
    taken: whether anyone has taken an item: no other is talked about, so that
      dialogues add nothing to the catalogue. Where a line has none that fit,
      there is no dialogue.

  Returns:
    `RAW_DIALOGUES`, and the column `seeker`.
  """
  activities = list(texts.ACTIVITIES.values())
  rows = []
  for number, seeker in enumerate(seekers):
    kind = line[number]
    for _ in range(ATTEMPTS):
      places, reply = _draw_places(random, favourite_style[number])
      items = {
        turn: kind * NUM_PLACES + category * len(texts.STYLES) + style
        for turn, (category, style) in places.items()
      }
      if taken[list(items.values())].all():
        break
    else:
      continue
    categories = list(activities[kind // texts.BRANDS_PER_ACTIVITY])
    turns = (LIKES, QUESTIONS, ASKS, FIRST_OFFERS, reply, SECOND_OFFERS, THANKS)
    for turn, sayings in enumerate(turns):
      category, style = places[3 if turn < 4 else 5]
      style = texts.STYLES[style].lower()
      saying = sayings[random.integers(len(sayings))].format(
        style=style,
        Style=style.capitalize(),
        category=categories[category].lower(),
      )
      rows.append(
        {
          'dialogue_id': f'd{number:04d}',
          'turn': turn,
          'role': RECOMMENDER if turn % 2 else SEEKER,
          'text': saying,
          'items': [item_ids[items[turn]]] if turn in items else [],
          'seeker': seeker,
        }
      )
  schema = RAW_DIALOGUES.append(pa.field('seeker', pa.string()))
  return pa.Table.from_pylist(rows, schema)


def _draw_places(random, favourite_style):
  """Draws (category, style) of the items that are named, by turn.

  Returns:
    Those of turns 0, 3 and 5, and what the seeker may say in turn 4.
  """
  num_categories, num_styles = texts.CATEGORIES_PER_ACTIVITY, len(texts.STYLES)
  category = random.integers(num_categories)
  after = (category + 1) % num_categories
  style = random.integers(num_styles)
  if random.random() < FAVOURITE:
    style = favourite_style
  places = {0: (category, random.integers(num_styles)), 3: (after, style)}
  if random.random() < 0.5:
    other = (category + random.integers(2, num_categories)) % num_categories
    return {**places, 5: (other, style)}, OTHER_CATEGORIES
  other = (style + random.integers(1, num_styles)) % num_styles
  return {**places, 5: (after, other)}, OTHER_STYLES
