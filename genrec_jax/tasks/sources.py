"""The examples of a dataset and a split, as a SeqIO source.

An example is one interaction to be predicted:

  history  int32 [T], items before it, oldest first: what a prompt may show
  seen     int32 [T], the same; stays whole however the history is cut
  user     int32, row of the user
  target   int32, row of the item
  tied     bool, whether it has the same time as the item before it
  row      int64, row of the interaction
  train    bool, whether it is in the train part
"""

from __future__ import annotations

import functools

import seqio
import tensorflow as tf

from genrec_jax.data import splits
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.splits import Split
from genrec_jax.data.token_cache import PARTS

# The accelerator is JAX's: TensorFlow would take all of its memory.
tf.config.set_visible_devices([], 'GPU')


def examples_source(dataset: Dataset, split: Split) -> seqio.FunctionDataSource:
  """Returns a source of all examples; their order is that of the dataset.

  It shuffles all examples of a part among each other, anew each repetition.
  """
  parts = {
    name: splits.examples(dataset, split, splits.PART_NAMES.index(name))
    for name in PARTS
  }
  return seqio.FunctionDataSource(
    functools.partial(_read, parts),
    splits=PARTS,
    num_input_examples={name: len(part) for name, part in parts.items()},
  )


def _read(parts, split, shuffle_files, seed=None) -> tf.data.Dataset:
  examples = parts[split]
  items = tf.constant(examples.items)
  starts = tf.constant(examples.starts)
  columns = {
    'user': tf.constant(examples.user),
    'target': tf.constant(examples.target),
    'tied': tf.constant(examples.tied),
    'row': tf.constant(examples.rows),
  }

  def read(place):
    example = {name: column[place] for name, column in columns.items()}
    history = items[starts[place] : example['row']]
    train = tf.constant(split == 'train')
    return {'history': history, 'seen': history, **example, 'train': train}

  # Numbers are shuffled, not examples: a buffer of all of them is small.
  places = tf.data.Dataset.range(len(examples))
  if shuffle_files and len(examples):
    places = places.shuffle(len(examples), seed=seed)
  return places.map(read, num_parallel_calls=tf.data.AUTOTUNE)
