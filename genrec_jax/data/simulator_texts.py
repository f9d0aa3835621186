"""The simulator's names, and what its shoppers say.

Every word follows from the truth: a review speaks of the feature that its
author cares about, praises what was rated well, and speaks of the style where
it is the shopper's favourite.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# An activity and its categories, in the order in which one needs them; each
# category with the features that its items are strong or weak in.
ACTIVITIES = {
  'Hiking': {
    'Trail Boots': ('grip', 'ankle support', 'waterproofing'),
    'Wool Socks': ('cushioning', 'warmth', 'fit'),
    'Day Pack': ('shoulder straps', 'pocket layout', 'rain cover'),
    'Walking Poles': ('locking clamps', 'handles', 'tip wear'),
    'Camp Stove': ('flame control', 'boil time', 'pot support'),
  },
  'Coffee': {
    'Hand Grinder': ('burr set', 'grind setting', 'crank'),
    'Pour-Over Dripper': ('flow rate', 'filter seat', 'heat retention'),
    'Gooseneck Kettle': ('spout', 'thermometer', 'handle balance'),
    'Bean Jar': ('seal', 'valve', 'opening'),
    'Travel Mug': ('lid', 'insulation', 'cup holder fit'),
  },
  'Gardening': {
    'Seed Tray': ('drainage', 'cell size', 'dome'),
    'Hand Trowel': ('blade', 'grip', 'depth scale'),
    'Watering Can': ('rose', 'balance', 'reach'),
    'Pruning Shears': ('edge', 'spring', 'safety catch'),
    'Plant Stand': ('stability', 'finish', 'shelf height'),
  },
  'Painting': {
    'Sketchbook': ('paper weight', 'binding', 'tooth'),
    'Watercolour Set': ('pigment', 'pans', 'lightfastness'),
    'Round Brush': ('point', 'bristle spring', 'ferrule'),
    'Mixing Palette': ('wells', 'surface', 'thumb hole'),
    'Table Easel': ('angle lock', 'ledge', 'drawer'),
  },
  'Cycling': {
    'Helmet': ('ventilation', 'fit dial', 'padding'),
    'Head Light': ('beam', 'battery', 'mount'),
    'Bottle Cage': ('hold', 'bolts', 'side entry'),
    'Saddle Bag': ('zip', 'strap', 'reflective strip'),
    'Floor Pump': ('gauge', 'valve head', 'base'),
  },
  'Baking': {
    'Mixing Bowl': ('pouring lip', 'non-slip base', 'depth'),
    'Rolling Pin': ('thickness rings', 'weight', 'bearing'),
    'Bread Tin': ('coating', 'corners', 'heat spread'),
    'Oven Gloves': ('heat protection', 'cuff length', 'finger room'),
    'Cake Stand': ('dome', 'turning', 'foot'),
  },
}
STYLES = ('Amber', 'Cedar', 'Cobalt', 'Ivory', 'Moss', 'Scarlet', 'Slate')
# Each brand makes things for two activities.
BRANDS = (
  'Northfell', 'Harrowby', 'Oakrill', 'Tamwick', 'Brindlemoor', 'Fennhollow',
  'Lumenby', 'Marrowell', 'Pellworth', 'Quillan', 'Rostrevane', 'Sandover',
  'Thistlewick', 'Umberly', 'Vantley', 'Wexcombe', 'Yarrowen', 'Zephrin',
)  # fmt: skip
BRANDS_PER_ACTIVITY = 6
CATEGORIES_PER_ACTIVITY = 5
FEATURES_PER_CATEGORY = 3

# By sentiment: 0 bad, 1 mixed, 2 good.
OPINIONS = (
  ('poor', 'flimsy', 'disappointing', 'badly made'),
  ('decent', 'fair', 'acceptable', 'all right'),
  ('excellent', 'superb', 'reliable', 'very well made'),
)
EXPLANATIONS = (
  (
    'The {feature} of my {thing} is {opinion}.',
    'Sadly the {feature} is {opinion}, and for a {brand} that is not enough.',
    'After two weeks the {feature} of my {thing} turned out {opinion}.',
  ),
  (
    'The {feature} is {opinion}, no more than that.',
    'The {thing} will do; the {feature} is {opinion}.',
    'For the price the {feature} of this {brand} model is {opinion}.',
  ),
  (
    'The {feature} of my {thing} is {opinion}.',
    'I use it every week and the {feature} is {opinion}.',
    'Another {brand} that I am happy with: the {feature} is {opinion}.',
  ),
)
# A review is the explanation, a word on the style, and one of these.
CLOSINGS = (
  ('', ' I would not buy it again.', ' I sent it back.'),
  ('', ' There are better ones.', ' I may keep it.'),
  ('', ' Recommended.', ' I would buy it again.'),
)
SUMMARIES = (
  ('{Opinion} {feature}', 'Let down by the {feature}', 'Not for me'),
  ('{Opinion} {feature}', 'It does the job', 'Fine, nothing special'),
  ('{Opinion} {feature}', 'Glad I bought it', 'Worth every penny'),
)
LIKES_STYLE = ' The {style} is just my colour.'


def write_reviews(
  random: np.random.Generator,
  *,
  sentiment: Sequence[int],
  brand: Sequence[str],
  category: Sequence[str],
  style: Sequence[str],
  likes_style: Sequence[bool],
  feature: Sequence[str],
) -> dict[str, list[str]]:
  """Returns the texts of interactions, a value a row in each column.

  Args:
    random: draws the words.
    sentiment: 0 bad, 1 mixed, 2 good.
    brand: of the item.
    category: of the item.
    style: of the item.
    likes_style: whether it is the shopper's favourite.
    feature: that the review speaks of.

  Returns:
    The columns review, summary, opinion and explanation.
  """
  columns = {'review': [], 'summary': [], 'opinion': [], 'explanation': []}
  draws = random.integers(1 << 30, size=(len(sentiment), 3)).tolist()
  rows = zip(sentiment, brand, category, style, likes_style, feature, draws)
  for mood, maker, thing, colour, liked, what, (one, two, three) in rows:
    opinion = OPINIONS[mood][one % len(OPINIONS[mood])]
    said = {
      'feature': what,
      'thing': thing.lower(),
      'brand': maker,
      'opinion': opinion,
      'Opinion': opinion.capitalize(),
    }
    sentence, closing = divmod(two % 9, 3)
    explanation = EXPLANATIONS[mood][sentence].format_map(said)
    on_style = LIKES_STYLE.format(style=colour.lower()) if liked else ''
    summary = SUMMARIES[mood][three % len(SUMMARIES[mood])]
    columns['review'].append(explanation + on_style + CLOSINGS[mood][closing])
    columns['summary'].append(summary.format_map(said))
    columns['opinion'].append(opinion)
    columns['explanation'].append(explanation)
  return columns
