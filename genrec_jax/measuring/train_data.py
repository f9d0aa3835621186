"""What floors learn from: the train part of the run's dataset."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from genrec_jax import artifacts
from genrec_jax.answering.run import Run
from genrec_jax.data import dialogue_split, dialogues, splits
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.texts import MENTION, text_rows
from genrec_jax.data.token_cache import Ragged, TokenExamples
from genrec_jax.ids.textual import words
from genrec_jax.types import GenrecError

UserItem = tuple[Int[np.ndarray, 'R'], Int[np.ndarray, 'R']]


@dataclasses.dataclass(frozen=True, eq=False)
class TrainData:
  """A dataset and its split, as floors need them."""

  dataset: Dataset
  split: splits.Split

  def interactions(self) -> UserItem:
    """Returns user and item of the train interactions."""
    return splits.train_interactions(self.dataset, self.split)

  def has(self, *columns: str) -> bool:
    """Returns whether the interactions have such columns."""
    return set(columns) <= set(self.dataset.interactions.column_names)

  def ratings(self) -> tuple[*UserItem, Float[np.ndarray, 'R']]:
    """Returns user, item and rating of the train interactions that have one."""
    rows = self._train_rows('rating')
    values = self.dataset.interactions['rating'].take(rows)
    return (
      self.dataset.user[rows],
      self.dataset.item[rows],
      values.cast(pa.float64()).to_numpy(),
    )

  def texts(self, column: str) -> tuple[*UserItem, list[str]]:
    """Returns user, item and text of the train interactions that have one."""
    rows = self._train_rows(column)
    return (
      self.dataset.user[rows],
      self.dataset.item[rows],
      self.dataset.interactions[column].take(rows).to_pylist(),
    )

  def rated_texts(
    self, column: str
  ) -> tuple[list[str], Float[np.ndarray, 'R']]:
    """Returns text and rating of the train interactions that have both."""
    train = self.split.part == splits.TRAIN
    rows = text_rows(self.dataset.interactions, train, [column, 'rating'])
    table = self.dataset.interactions.take(rows)
    ratings = table['rating'].cast(pa.float64()).to_numpy()
    return table[column].to_pylist(), ratings

  def column(
    self, column: str, examples: TokenExamples
  ) -> list[str | float | None]:
    """Returns the values of a column in the interactions of examples."""
    rows = interaction_rows(self.dataset, examples)
    return self.dataset.interactions[column].take(rows).to_pylist()

  def all_features(self) -> list[str]:
    """Returns the features that explanations may name; there may be none."""
    if not self.has('feature'):
      return []
    found = pc.unique(self.dataset.interactions['feature']).drop_null()
    return [feature for feature in found.to_pylist() if words(feature)]

  def mentions(self) -> UserItem:
    """Returns dialogue and item of each mention in train dialogues."""
    dialogue, item = dialogues.mention_pairs(self.dataset.dialogues)
    train = self.split.dialogue_part[dialogue] == splits.TRAIN
    return dialogue[train], item[train]

  def replies(self) -> tuple[*UserItem, list[str]]:
    """Returns dialogue, first item and text of the train turns that name items.

    In the texts, items are their names.
    """
    found = dialogue_split.examples(self.dataset, self.split, splits.TRAIN)
    names = self.dataset.item_names()
    named = dialogues.mentions(self.dataset.dialogues)
    texts = []
    for row, text in zip(
      found.rows, self.dataset.dialogues['text'].take(found.rows).to_pylist()
    ):
      for item in named[row]:
        text = text.replace(MENTION, names[item], 1)
      texts.append(text)
    first = found.targets.values[found.targets.offsets[:-1]]
    return found.dialogue, first, texts

  def _train_rows(self, column: str) -> Int[np.ndarray, 'R']:
    train = self.split.part == splits.TRAIN
    return text_rows(self.dataset.interactions, train, [column])


def load_train_data(run: Run) -> TrainData:
  """Loads the dataset of a run.

  Raises:
    GenrecError: if it is not there, or the tokens were not made from it.
  """
  directory = run.directory / 'dataset'
  if not (directory / artifacts.MANIFEST).exists():
    raise GenrecError(
      f'The baselines learn from {directory}, which is not there; copy it here,'
      ' or pass --baselines="()" for the model alone.'
    )
  dataset = Dataset.load(directory)
  split = splits.load_split(directory, dataset)
  artifacts.check_input(
    run.cache.manifest,
    'split',
    split.fingerprint,
    'run `genrec tokenize` again',
  )
  return TrainData(dataset, split)


def earlier_items(dataset: Dataset, examples: TokenExamples) -> Ragged:
  """Returns the items that users had before the targets of train examples.

  Token caches leave them out. Where a user had a target more than once, they
  are those before the first time.

  Raises:
    GenrecError: if a user never had the target.
  """
  histories = []
  for row, (user, target) in enumerate(zip(examples.user, examples.target)):
    start, stop = dataset.user_offsets[user : user + 2]
    had = np.flatnonzero(dataset.item[start:stop] == target)
    if not len(had):
      raise GenrecError(
        f'Example {row} is of item {target}, which user {user} of the dataset'
        ' never had; run `genrec tokenize` again.'
      )
    histories.append(dataset.item[start : start + had[0]])
  return Ragged.from_rows(histories)


def interaction_rows(
  dataset: Dataset, examples: TokenExamples
) -> Int[np.ndarray, 'E']:
  """Returns the row of the interaction that each example is of.

  A history holds all interactions of its user before that one.

  Raises:
    GenrecError: if the examples are not of this dataset's held-out parts.
  """
  rows = dataset.user_offsets[examples.user] + examples.history.lengths
  inside = rows < dataset.user_offsets[np.asarray(examples.user) + 1]
  found = dataset.item[np.where(inside, rows, 0)]
  wrong = ~inside | (found != examples.target)
  if wrong.any():
    raise GenrecError(
      f'{wrong.sum()} of {len(rows)} examples are of no interaction of the'
      f' dataset, such as example {int(wrong.argmax())}; run `genrec tokenize`'
      ' again.'
    )
  return rows
