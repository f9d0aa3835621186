"""What stands in the slots of a template: token ids, made from an example.

A slot is a function `slot(example, tokens, seed) -> int32 [tokens]`, run in a
TensorFlow graph. `example` is described in sources.py, `tokens` is a
`TokenTables`, and `seed` is the example's own, for stateless random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from genrec_jax.data.item_ratings import LIKED
from genrec_jax.data.user_attributes import NO_VALUE, UserAttributes
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.tasks.prompts import USER_ATTRIBUTES, WANTED
from genrec_jax.tasks.vocabulary import RecommendationVocabulary
from genrec_jax.types import EOS_ID, PAD_ID, GenrecError

Example = Mapping[str, tf.Tensor]
SlotFunction = Callable[[Example, 'TokenTables', tf.Tensor], tf.Tensor]

TARGET = 'target'  # the slot of the item to be found
CANDIDATES = 'candidates'  # the slot of items to choose from, and its feature
OFFERED = 'offered'  # the slot of an item to say yes or no to, and its feature
RETRIEVED_ITEMS = 'retrieved_items'  # slots and features, see retrieved.py
RETRIEVED_TEXT = 'retrieved_text'
ITEM_RATINGS = 'item_ratings'  # slot and feature: the stars others gave
YES, NO = 'yes', 'no'
HISTORIES = ('history', 'rated_history', 'profile')  # slots of items before
TEXTS = ('feature', 'explanation', 'review', 'summary')  # slots and columns


class TokenTables:
  """The tokens of items, users and text.

  Attributes:
    num_items: N.
    has_users: whether users have tokens.
    vocabulary: for text.
    max_text: how many tokens of a text an input shows: its first.
    attribute_dropout: the share of train examples that hide what users are.

  Raises:
    GenrecError: if that is no share.
  """

  def __init__(
    self,
    ids: ItemIds,
    vocabulary: RecommendationVocabulary,
    *,
    titles: Sequence[str] | None = None,
    attributes: UserAttributes | None = None,
    attribute_dropout: float = 0.0,
    max_text: int = 128,
  ):
    self.num_items = ids.num_items
    self.has_users = bool(ids.user_codebook_sizes)
    self.vocabulary = vocabulary
    self.max_text = max_text
    self._titles = None if titles is None else tf.constant(titles)
    layout = vocabulary.layout
    self._items = tf.constant(layout.item_tokens(ids.codes))
    users = np.zeros((1, 0), np.int32)
    if self.has_users:
      users = layout.user_tokens(ids.user_codes)
    self._users = tf.constant(users)
    if not 0 <= attribute_dropout <= 1:
      raise GenrecError(
        f'attribute_dropout={attribute_dropout} must be a share, from 0 to 1.'
      )
    self.attribute_dropout = attribute_dropout
    phrases = [] if attributes is None else attributes.phrases()
    sizes = [len(of_column) for of_column in phrases]
    # The unknown value, -1, of each column stands before its others.
    self._first_phrase = tf.constant(np.cumsum([0, *sizes])[:-1] - NO_VALUE)
    self._phrases = tf.ragged.constant(
      [vocabulary.encode_text(text) for ones in phrases for text in ones],
      dtype=tf.int32,
      ragged_rank=1,
    )

  def items(self, items: tf.Tensor) -> tf.Tensor:
    """Returns the tokens of items, one after the other, without eos."""
    tokens = tf.reshape(tf.gather(self._items, items), [-1])
    if self.vocabulary.layout.variable_length:
      tokens = tf.boolean_mask(tokens, tokens > EOS_ID)
    return tokens

  def answer(self, item: tf.Tensor) -> tf.Tensor:
    """Returns the tokens of one item, with eos where ids differ in length."""
    tokens = self._items[item]
    if self.vocabulary.layout.variable_length:
      tokens = tf.boolean_mask(tokens, tokens > PAD_ID)
    return tokens

  def user(self, user: tf.Tensor) -> tf.Tensor:
    """Returns the tokens of a user; none where users have none."""
    return self._users[user if self.has_users else 0]

  def text(self, text: tf.Tensor) -> tf.Tensor:
    """Returns the text pieces of a string; codes in it stay text."""
    return self.vocabulary.encode_text_tf(text)

  def attributes(self, values: tf.Tensor) -> tf.Tensor:
    """Returns the text pieces of a user's attributes [C], column by column."""
    rows = self._first_phrase + tf.cast(values, self._first_phrase.dtype)
    return tf.gather(self._phrases, rows).flat_values

  def title(self, item: tf.Tensor) -> tf.Tensor:
    """Returns the text pieces of an item's title; none where it has none."""
    return self.text(self._titles[item])[: self.max_text]

  def item_runs(self, items: tf.Tensor) -> tf.RaggedTensor:
    """Returns the tokens of items, a row each, without eos."""
    tokens = tf.gather(self._items, items)
    return tf.ragged.boolean_mask(tokens, tokens > EOS_ID)


def user_slot(example, tokens, seed):
  """The tokens of the user; none where the ids have none."""
  del seed
  return tokens.user(example['user'])


def history_slot(example, tokens, seed):
  """The last items, oldest first."""
  del seed
  return tokens.items(example['history'])


def profile_slot(example, tokens, seed):
  """Who the user is: their tokens, or else their items in random order."""
  if tokens.has_users:
    return tokens.user(example['user'])
  return tokens.items(shuffle(example['history'], seed))


def candidates_slot(example, tokens, seed):
  """The target among random items, as `draw_candidates` drew them."""
  del seed
  return tokens.items(example[CANDIDATES])


def target_slot(example, tokens, seed):
  """The item to be found."""
  del seed
  return tokens.answer(example['target'])


def item_slot(example, tokens, seed):
  """The item that is spoken of."""
  del seed
  return tokens.items(example['target'][None])


def title_slot(example, tokens, seed):
  """What the item that is spoken of is called."""
  del seed
  return tokens.title(example['target'])


def rated_history_slot(example, tokens, seed):
  """The last items, oldest first, each followed by its rating."""
  del seed
  ratings = tokens.text(spell_ratings(example['history_ratings']))
  items = tokens.item_runs(example['history'])
  return tf.concat([items, tf.cast(ratings, items.dtype)], axis=1).flat_values


def item_ratings_slot(example, tokens, seed):
  """The last stars that other users gave the item, oldest first."""
  del seed
  ratings = tokens.text(spell_ratings(example[ITEM_RATINGS]))
  return tf.cast(ratings.flat_values, tf.int32)


def rating_slot(example, tokens, seed):
  """How many stars, as a number."""
  del seed
  return tokens.text(spell_ratings(example['rating']))


def liked_slot(example, tokens, seed):
  """Whether those are four stars or more: yes or no."""
  del seed
  return tokens.text(tf.where(example['rating'] >= LIKED, YES, NO))


def offered_slot(example, tokens, seed):
  """The target or another item, as `offer_item` drew it."""
  del seed
  return tokens.items(example[OFFERED][None])


def is_next_slot(example, tokens, seed):
  """Whether the item offered is the target: yes or no."""
  del seed
  return tokens.text(tf.where(example[OFFERED] == example['target'], YES, NO))


def retrieved_items_slot(example, tokens, seed):
  """Items near to the history or the dialogue, best first."""
  del seed
  return tokens.items(example[RETRIEVED_ITEMS])


def wanted_slot(example, tokens, seed):
  """An attribute of the target; nothing where it has none."""
  del seed
  return tokens.text(example[WANTED])


def user_attributes_slot(example, tokens, seed):
  """What the user is, column by column; what is not known is said, too.

  A share of train examples hides all of it, and the same share of the others
  each by itself: so that a model has learnt what an unknown attribute means,
  and can be asked with one or all hidden.
  """
  values = example[USER_ATTRIBUTES]
  if tokens.attribute_dropout:
    # The first draw is for all of them.
    drawn = tf.random.stateless_uniform([tf.size(values) + 1], seed)
    hidden = drawn < tokens.attribute_dropout
    hidden = (hidden[:1] | hidden[1:]) & example['train']
    values = tf.where(hidden, NO_VALUE, values)
  return tokens.attributes(values)


def text_slot(column: str, *, whole: bool = False) -> SlotFunction:
  """Returns the slot of a column of texts: its beginning, or the whole."""

  def slot(example, tokens, seed):
    del seed
    return tokens.text(example[column])[: None if whole else tokens.max_text]

  slot.__doc__ = f'The {column}.'
  return slot


def run_slot(feature: str) -> SlotFunction:
  """Returns the slot of a feature that holds tokens already."""

  def slot(example, tokens, seed):
    del tokens, seed
    return example[feature]

  slot.__doc__ = f'The {feature}.'
  return slot


SLOTS: dict[str, SlotFunction] = {
  'user': user_slot,
  'history': history_slot,
  'profile': profile_slot,
  CANDIDATES: candidates_slot,
  TARGET: target_slot,
  'item': item_slot,
  'title': title_slot,
  'rated_history': rated_history_slot,
  ITEM_RATINGS: item_ratings_slot,
  'rating': rating_slot,
  'liked': liked_slot,
  OFFERED: offered_slot,
  'is_next': is_next_slot,
  **{column: text_slot(column) for column in TEXTS},
  'dialogue': run_slot('dialogue'),
  'mentioned': history_slot,  # each item that a dialogue named once
  'reply': run_slot('reply'),
  RETRIEVED_ITEMS: retrieved_items_slot,
  RETRIEVED_TEXT: run_slot(RETRIEVED_TEXT),
  WANTED: wanted_slot,
  USER_ATTRIBUTES: user_attributes_slot,
}

# The column of the interactions that a slot reads.
COLUMNS = {
  'rated_history': 'rating',
  'rating': 'rating',
  'liked': 'rating',
  **{column: column for column in TEXTS},
}


def spell_ratings(ratings: tf.Tensor) -> tf.Tensor:
  """Returns ratings as texts: 4, 4.5; nothing where there is none (NaN)."""
  texts = tf.strings.as_string(ratings, shortest=True)
  return tf.where(tf.math.is_nan(ratings), '', texts)


def shuffle(values: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
  """Returns the values [T] in a random order, by a stateless seed."""
  keys = tf.random.stateless_uniform(tf.shape(values), seed)
  return tf.gather(values, tf.argsort(keys))


def sample_unseen(
  seen: tf.Tensor, *, num_items: int, num_samples: int, seed: tf.Tensor
) -> tf.Tensor:
  """Draws different items that are not in `seen`, all equally likely.

  Fewer than `num_samples` where fewer are left.
  """
  seen, _ = tf.unique(tf.sort(seen))
  unseen = num_items - tf.size(seen)
  # Twice as many as needed, so that enough differ; the run of neighbours
  # after them only counts where a small catalogue still had too few.
  drawn = tf.random.stateless_uniform(
    [2 * num_samples], seed, 0, tf.maximum(unseen, 1), tf.int32
  )
  neighbours = (drawn[0] + tf.range(num_samples)) % tf.maximum(unseen, 1)
  ranks, _ = tf.unique(tf.concat([drawn, neighbours], axis=0))
  ranks = ranks[: tf.minimum(num_samples, unseen)]
  # The r-th unseen item is r + the number of seen ones before it.
  gaps = seen - tf.range(tf.size(seen))
  return ranks + tf.searchsorted(gaps, ranks, side='right')
