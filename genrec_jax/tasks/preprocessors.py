"""Preprocessors: history truncation, and writing examples by template."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import seqio
import tensorflow as tf

from genrec_jax.data.texts import learnt_part
from genrec_jax.tasks.definitions import TaskDefinition
from genrec_jax.tasks.prompts import Slot, Template
from genrec_jax.tasks.slots import (
  CANDIDATES,
  OFFERED,
  RETRIEVED_ITEMS,
  TokenTables,
  sample_unseen,
  shuffle,
)
from genrec_jax.types import EOS_ID, GenrecError

Preprocessor = Callable[[tf.data.Dataset], tf.data.Dataset]


def truncate_history(max_items: int) -> Preprocessor:
  """Returns a preprocessor that drops the oldest items of long histories."""
  if max_items < 1:
    raise GenrecError(f'max_history={max_items} must be at least 1.')

  @seqio.map_over_dataset
  def truncate(example):
    cut = ('history', 'history_ratings')
    last = {name: example[name][-max_items:] for name in cut if name in example}
    return {**example, **last}

  return truncate


def draw_candidates(*, num_candidates: int, num_items: int) -> Preprocessor:
  """Returns a preprocessor that adds `candidates`: what to choose from.

  They are the target and different random items that the user has not had
  (fewer than `num_candidates` where fewer are left), in random order. An
  example that has candidates keeps them.
  """
  if not 2 <= num_candidates <= num_items:
    raise GenrecError(
      f'num_candidates={num_candidates} must lie between 2 and the {num_items}'
      ' items of the catalogue.'
    )

  @seqio.map_over_dataset(num_seeds=1)
  def draw(example, seed):
    if CANDIDATES in example:
      return example
    seed = _example_seed(example, seed)
    target = example['target'][None]
    negatives = sample_unseen(
      tf.concat([example['seen'], target], axis=0),
      num_items=num_items,
      num_samples=num_candidates - 1,
      seed=tf.random.experimental.stateless_fold_in(seed, -1),
    )
    candidates = shuffle(
      tf.concat([target, negatives], axis=0),
      tf.random.experimental.stateless_fold_in(seed, -2),
    )
    return {**example, CANDIDATES: candidates}

  return draw


def offer_item(*, num_items: int) -> Preprocessor:
  """Returns a preprocessor that adds `offered`: an item to say yes or no to.

  It is the target, or as often an item that the user has not had. An example
  that has an item offered keeps it.
  """

  @seqio.map_over_dataset(num_seeds=1)
  def offer(example, seed):
    if OFFERED in example:
      return example
    seed = _example_seed(example, seed)
    target = example['target']
    other = sample_unseen(
      tf.concat([example['seen'], target[None]], axis=0),
      num_items=num_items,
      num_samples=1,
      seed=tf.random.experimental.stateless_fold_in(seed, -1),
    )
    # Who has had all items is offered the target.
    offers = tf.concat([other, target[None]], axis=0)
    drawn = tf.random.stateless_uniform(
      [], tf.random.experimental.stateless_fold_in(seed, -2), 0, 2, tf.int32
    )
    return {**example, OFFERED: offers[tf.minimum(drawn, tf.size(offers) - 1)]}

  return offer


def write_prompts(
  templates: Sequence[Template],
  definition: TaskDefinition,
  tokens: TokenTables,
  *,
  max_answer: int | None = None,
) -> Preprocessor:
  """Returns a preprocessor that adds `inputs` and `targets`, int32 tokens.

  It empties `candidates` and `retrieved_items` where the template does not
  show them. An answer that is no item is followed by eos.

  Args:
    templates: the formulations.
    definition: of the task; says what their slots stand for.
    tokens: of items, users and text.
    max_answer: how many tokens, eos included, the answer of a train example
      has at most; others stay whole, to be measured against.

  A train example draws one of the templates, and other random things, by the
  seed that SeqIO gives it: other ones each epoch. Any other example takes the
  first template and a seed of its own, so that it is the same in every run.

  Raises:
    GenrecError: if a template has a slot that there is not, or inputs that
      say nothing.
  """
  parsed = definition.parse(templates)
  for template, (inputs, _) in zip(templates, parsed):
    _check_informative(template, inputs, tokens)
  # Every part of any template goes into one pool, and a template is a row of
  # part numbers: a gather assembles it, whichever it is.
  parts = list(dict.fromkeys(p for both in parsed for row in both for p in row))
  number = {part: i for i, part in enumerate(parts)}
  rows = [
    tf.ragged.constant(
      [[number[part] for part in both[side]] for both in parsed],
      dtype=tf.int32,
      row_splits_dtype=tf.int32,
    )
    for side in (0, 1)
  ]
  literals = {
    part: np.array(tokens.vocabulary.encode_text(part.text), np.int32)
    for part in parts
    if not isinstance(part, Slot)
  }

  offers = {
    name: tf.constant([Slot(name) in inputs for inputs, _ in parsed])
    for name in (CANDIDATES, RETRIEVED_ITEMS)
  }

  def end_answer(answer, is_train):
    if max_answer is not None:
      shorter = tf.size(learnt_part(answer, max_answer))
      answer = answer[: tf.where(is_train, shorter, tf.size(answer))]
    return tf.concat([answer, [EOS_ID]], axis=0)

  @seqio.map_over_dataset(num_seeds=1)
  def write(example, seed):
    seed = _example_seed(example, seed)
    values = [
      definition.slots[part.name](
        example, tokens, tf.random.experimental.stateless_fold_in(seed, i)
      )
      if isinstance(part, Slot)
      else tf.constant(literals[part])
      for i, part in enumerate(parts)
    ]
    template = 0
    if len(templates) == 1:
      inputs, targets = (
        tf.concat([values[number[part]] for part in side], axis=0)
        for side in parsed[0]
      )
    else:
      drawn = tf.random.stateless_uniform(
        [], seed, 0, len(templates), dtype=tf.int32
      )
      template = tf.where(example['train'], drawn, 0)
      pool = tf.RaggedTensor.from_row_lengths(
        tf.concat(values, axis=0),
        tf.stack([tf.size(value) for value in values]),
        validate=False,
      )
      inputs, targets = (
        tf.gather(pool, side[template]).flat_values for side in rows
      )
    # An item ends where the trie says, or brings its own eos.
    if definition.answer != 'item':
      targets = end_answer(targets, example['train'])
    written = {**example, 'inputs': inputs, 'targets': targets}
    for name in offers:
      if name in example:
        shown = tf.where(offers[name][template], tf.size(example[name]), 0)
        written[name] = example[name][:shown]
    return written

  return write


def _example_seed(example, seed) -> tf.Tensor:
  """Returns the seed given in training, else one of the example alone."""
  own = tf.stack([example['row'], tf.zeros_like(example['row'])])
  return tf.where(example['train'], tf.cast(tf.stack(seed), own.dtype), own)


def _check_informative(template: Template, inputs, tokens: TokenTables) -> None:
  names = {part.name for part in inputs if isinstance(part, Slot)}
  if not names or (names == {'user'} and not tokens.has_users):
    raise GenrecError(
      f'The template {template.name!r} ({template.inputs!r}) says nothing'
      ' about the user, because users have no tokens; use {profile} or'
      ' {history}, or ids with user tokens.'
    )
