"""The examples of a dataset and a split, as SeqIO sources.

An example is one interaction to be predicted or spoken of:

  history  int32 [T], items before it, oldest first: what a prompt may show
  seen     int32 [T], the same; stays whole however the history is cut
  user     int32, row of the user
  target   int32, row of the item
  tied     bool, whether it has the same time as the item before it
  row      int64, row of the interaction
  train    bool, whether it is in the train part

and the columns that its task needs: texts as strings, `rating` as float32,
with it `history_ratings` float32 [T] (NaN where there is none). An example of
a dialogue is a turn of the recommender that names items, and has instead

  dialogue int32 [S], the tokens of the turns before it
  reply    int32 [S], those of the turn
  history  the items that those turns named; the target is one of the turn's
  user     number of the dialogue

Further features are what was retrieved (retrieved.py), what is wanted, and what
the user is (data/user_attributes.py).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import seqio
import tensorflow as tf

from genrec_jax.data import dialogue_split, dialogues, splits, texts
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.splits import Examples, Split
from genrec_jax.data.token_cache import PARTS, Ragged

# The accelerator is JAX's: TensorFlow would take all of its memory.
tf.config.set_visible_devices([], 'GPU')


@dataclasses.dataclass(frozen=True, eq=False)
class DialogueTargets:
  """Examples of dialogues, with the attributes of `splits.Examples`.

  Attributes:
    rows: row of the turn.
    starts: row of the first turn of its dialogue.
    user: number of the dialogue.
    target: an item that the turn names.
    tied: False.
    mentioned: items that the turns before it name, each once.
    named: the same as often as they are named.
  """

  rows: np.ndarray
  starts: np.ndarray
  user: np.ndarray
  target: np.ndarray
  tied: np.ndarray
  mentioned: Ragged
  named: Ragged

  def __len__(self) -> int:
    return len(self.rows)

  def ragged_histories(self) -> Ragged:
    """Returns the items mentioned."""
    return self.mentioned


def interaction_examples(
  dataset: Dataset, split: Split, part: str, columns: Sequence[str] = ()
) -> Examples:
  """Returns the examples of a part that have a value in each of the columns.

  Without columns they are those of item tasks: each has a history.
  """
  number = splits.PART_NAMES.index(part)
  if not columns:
    return splits.examples(dataset, split, number)
  rows = texts.text_rows(dataset.interactions, split.part == number, columns)
  return splits.examples_at(dataset, rows)


def dialogue_examples(
  dataset: Dataset, split: Split, part: str, *, every_target: bool
) -> DialogueTargets:
  """Returns the turns of a part that name items.

  Args:
    dataset: the dataset.
    split: its split.
    part: the part.
    every_target: whether a turn is an example for each of the items that it
      names, or one with the first of them.
  """
  number = splits.PART_NAMES.index(part)
  found = dialogue_split.examples(dataset, split, number)
  named = dialogues.mentions(dataset.dialogues)
  counts = found.targets.lengths if every_target else np.ones(len(found), int)
  turns = np.repeat(np.arange(len(found)), counts)
  first = found.targets.offsets[:-1]
  target = found.targets.values if every_target else found.targets.values[first]
  return DialogueTargets(
    rows=found.rows[turns],
    starts=found.starts[turns],
    user=found.dialogue[turns],
    target=target.astype(np.int32),
    tied=np.zeros(len(turns), bool),
    mentioned=Ragged.from_rows(found.mentioned[turn] for turn in turns),
    named=Ragged.from_rows(
      named.values[named.offsets[start] : named.offsets[row]]
      for start, row in zip(found.starts[turns], found.rows[turns])
    ),
  )


def interactions_source(
  dataset: Dataset,
  parts: Mapping[str, Examples],
  columns: Sequence[str] = (),
  more: Mapping[str, Mapping[str, Ragged | list[str]]] | None = None,
) -> seqio.FunctionDataSource:
  """Returns a source of interactions; their order is that of the dataset.

  It shuffles all examples of a part among each other, anew each repetition.

  Args:
    dataset: the dataset.
    parts: the examples of each part.
    columns: of the interactions, that examples have.
    more: further features of each part, a row an example.
  """
  read = {}
  for part, examples in parts.items():
    between = examples.starts, examples.rows
    runs = {'history': (dataset.item, *between)}
    if 'rating' in columns:
      ratings = _values(dataset.interactions['rating'])
      runs['history_ratings'] = (ratings, *between)
    further = {
      name: _values(dataset.interactions[name].take(examples.rows))
      for name in columns
    }
    more_runs, more_values = _tell_apart((more or {}).get(part, {}))
    read[part] = _Part(examples, runs | more_runs, further | more_values)
  return _source(read)


def _tell_apart(features: Mapping[str, Ragged | list[str]]):
  """Returns the runs among features, and those of one value an example."""
  runs = {
    name: (_narrow(run.values), run.offsets[:-1], run.offsets[1:])
    for name, run in features.items()
    if isinstance(run, Ragged)
  }
  return runs, {n: v for n, v in features.items() if n not in runs}


def _narrow(values: np.ndarray) -> np.ndarray:
  """Returns whole numbers as int32; others are stars, in float32."""
  whole = np.issubdtype(values.dtype, np.integer)
  return values.astype(np.int32 if whole else np.float32)


def dialogues_source(
  parts: Mapping[str, DialogueTargets],
  tokens: Mapping[str, Mapping[str, Ragged]],
  more: Mapping[str, Mapping[str, Ragged | list[str]]] | None = None,
) -> seqio.FunctionDataSource:
  """Returns a source of turns.

  Args:
    parts: the examples of each part.
    tokens: the `dialogue` and the `reply` of each, a row an example.
    more: further features of each part, likewise.
  """
  return _source(
    {
      part: _Part(
        examples,
        *_tell_apart(
          {
            'history': examples.mentioned,
            **tokens[part],
            **(more or {}).get(part, {}),
          }
        ),
      )
      for part, examples in parts.items()
    }
  )


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
  """The examples of a part as arrays.

  Attributes:
    examples: the E examples.
    runs: features of any length: values, and where each example's start and
      stop in them.
    further: features of one value an example.
  """

  examples: Examples | DialogueTargets
  runs: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
  further: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def _source(parts: Mapping[str, _Part]) -> seqio.FunctionDataSource:
  return seqio.FunctionDataSource(
    functools.partial(_read, parts),
    splits=PARTS,
    num_input_examples={
      name: len(part.examples) for name, part in parts.items()
    },
  )


def _read(parts, split, shuffle_files, seed=None) -> tf.data.Dataset:
  examples = parts[split].examples
  runs = {
    name: tuple(tf.constant(array) for array in run)
    for name, run in parts[split].runs.items()
  }
  columns = {
    'user': tf.constant(examples.user),
    'target': tf.constant(examples.target),
    'tied': tf.constant(examples.tied),
    'row': tf.constant(examples.rows),
    **{name: tf.constant(v) for name, v in parts[split].further.items()},
  }

  def read(place):
    example = {name: column[place] for name, column in columns.items()}
    for name, (values, starts, stops) in runs.items():
      example[name] = values[starts[place] : stops[place]]
    train = tf.constant(split == 'train')
    return {**example, 'seen': example['history'], 'train': train}

  # Numbers are shuffled, not examples: a buffer of all of them is small.
  places = tf.data.Dataset.range(len(examples))
  if shuffle_files and len(examples):
    places = places.shuffle(len(examples), seed=seed)
  return places.map(read, num_parallel_calls=tf.data.AUTOTUNE)


def _values(column: pa.ChunkedArray) -> np.ndarray | list[str]:
  """Returns numbers, NaN where there is none, or texts, '' likewise."""
  if pa.types.is_string(column.type):
    return pc.fill_null(column, '').to_pylist()
  numbers = pc.fill_null(column.cast(pa.float32()), np.nan)
  return numbers.to_numpy()
