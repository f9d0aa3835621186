"""Training batches straight from a SeqIO task, without a token cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from genrec_jax.data.batches import Batch, check_position
from genrec_jax.types import PAD_ID, GenrecError

TOO_LONG = 'an example is longer than allowed'


class TaskBatches:
  """An endless, resumable iterator over length-bucketed batches of a task.

  The same batches as `data.batches.TrainBatches` in kind, made as they are
  needed: every epoch has other templates and candidates. An epoch is a
  pipeline of its own, seeded by its number; it drops the examples that do not
  fill a bucket's last batch. To resume is to go to the epoch and skip the
  batches that were seen in it, which costs at most an epoch of the pipeline.

  With several processes each makes the global batch and takes its rows, so
  that all agree on the bucket.
  """

  def __init__(
    self,
    task: seqio.Task | str,
    *,
    batch_size: int,
    max_input_length: int,
    max_target_length: int,
    bucket_boundaries: Sequence[int] = (),
    seed: int = 0,
    process_index: int = 0,
    process_count: int = 1,
  ):
    """Makes the iterator; arguments as for `TrainBatches`."""
    if batch_size < 1 or batch_size % process_count:
      raise GenrecError(
        f'batch_size={batch_size} is not a positive multiple of the'
        f' {process_count} processes; choose one that is.'
      )
    if isinstance(task, str):
      task = seqio.get_mixture_or_task(task)
    self._task = task
    self._boundaries = sorted({*bucket_boundaries, max_input_length})
    self._max_target_length = max_target_length
    rows = batch_size // process_count
    self._share = slice(process_index * rows, (process_index + 1) * rows)
    self._settings = {
      'task': task.name,
      'num_examples': task.num_input_examples('train'),
      'batch_size': batch_size,
      'bucket_boundaries': self._boundaries,
      'seed': seed,
    }
    self._go_to(0, 0)

  def __iter__(self) -> TaskBatches:
    return self

  def __next__(self) -> Batch:
    try:
      example = next(self._iterator, None)
    except tf.errors.InvalidArgumentError as error:
      if TOO_LONG not in str(error):
        raise
      raise GenrecError(
        f'An example of {self._task.name} is longer than'
        f' max_input_length={self._boundaries[-1]} or'
        f' max_target_length={self._max_target_length}; raise them, or'
        ' tokenize with a shorter history.'
      ) from error
    if example is None:
      if self._batch == 0:
        raise GenrecError(
          f'{self._task.name} has too few examples for one batch of'
          f' {self._settings["batch_size"]}; lower batch_size.'
        )
      self._go_to(self._epoch + 1, 0)
      return next(self)
    self._batch += 1
    targets = example['targets'][self._share]
    return {
      'encoder_input_tokens': example['inputs'][self._share],
      'decoder_input_tokens': np.pad(targets[:, :-1], ((0, 0), (1, 0))),
      'decoder_target_tokens': targets,
      'decoder_loss_weights': (targets != PAD_ID).astype(np.int32),
    }

  def get_state(self) -> dict[str, Any]:
    """Returns the position and what it depends on, JSON values."""
    return {'epoch': self._epoch, 'batch': self._batch, **self._settings}

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes to a position that `get_state` returned.

    Raises:
      GenrecError: if it was a position among other batches.
    """
    check_position(state, self._settings)
    self._go_to(state['epoch'], state['batch'])

  def _go_to(self, epoch: int, batch: int) -> None:
    self._epoch, self._batch = epoch, batch
    dataset = self._task.get_dataset(
      sequence_length=None,
      split='train',
      shuffle=True,
      seed=(self._settings['seed'] * 1_000_003 + epoch * 101) % 2**31,
      num_epochs=1,
      try_in_mem_cache=False,
    )
    limits = {
      'inputs': self._boundaries[-1],
      'targets': self._max_target_length,
    }

    def keep_features(example):
      for name, limit in limits.items():
        tf.debugging.assert_less_equal(tf.size(example[name]), limit, TOO_LONG)
      return {name: example[name] for name in limits}

    batch_size = self._settings['batch_size']
    dataset = dataset.map(
      keep_features, num_parallel_calls=tf.data.AUTOTUNE
    ).bucket_by_sequence_length(
      lambda example: tf.size(example['inputs']),
      bucket_boundaries=[length + 1 for length in self._boundaries],
      bucket_batch_sizes=[batch_size] * (len(self._boundaries) + 1),
      padded_shapes={'inputs': [None], 'targets': [self._max_target_length]},
      pad_to_bucket_boundary=True,
      drop_remainder=True,
    )
    dataset = dataset.skip(batch).prefetch(tf.data.AUTOTUNE)
    self._iterator = dataset.as_numpy_iterator()
