"""A tiny model and its data, for the tests and for a process of its own.

python tests/training/tiny.py RUN_DIR CACHE_DIR SECONDS [CHECKPOINT_PERIOD]
"""

import functools
import sys
import time

import jax
import numpy as np

from genrec_jax.data import batches, token_cache
from genrec_jax.models import encoder_decoder, transformer
from genrec_jax.training import optimizers, partitioning, trainer

NUM_STEPS = 30


def make_model(optimizer=None, *, dropout_rate=0.1, **settings):
  config = transformer.T5Config(
    vocab_size=128,
    emb_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=32,
    num_encoder_layers=1,
    num_decoder_layers=1,
    dropout_rate=dropout_rate,
  )
  if optimizer is None:
    optimizer = optimizers.adamw(learning_rate=1e-2, average_decay=0.9)
  return encoder_decoder.EncoderDecoder(
    transformer.Transformer(config), optimizer_def=optimizer, **settings
  )


def make_batches(
  batch_size=16, bucket_boundaries=(8,), cls=batches.TrainBatches, **settings
):
  """Targets repeat the last item of the input, so there is much to learn."""
  random = np.random.default_rng(0)
  inputs = [random.integers(3, 128, random.integers(3, 16)) for _ in range(200)]
  targets = [row[-3 : -3 + random.integers(2, 4) or None] for row in inputs]
  examples = token_cache.TokenExamples(
    inputs=token_cache.Ragged.from_rows(inputs),
    targets=token_cache.Ragged.from_rows(targets),
    user=np.arange(200, dtype=np.int32),
    target=np.zeros(200, np.int32),
    tied=np.zeros(200, bool),
    history=token_cache.Ragged.from_rows([[]] * 200),
  )
  return cls(
    examples,
    batch_size=batch_size,
    max_input_length=16,
    max_target_length=3,
    bucket_boundaries=bucket_boundaries,
    **settings,
  )


def evaluate(params, step):
  """A metric of the parameters that rises, then falls."""
  del params
  return {'recall@10': 0.5 - abs(step - 15) / 100}


def train(run_dir, **settings):
  defaults = {
    'model': settings.pop('model', None) or make_model(),
    'make_train_batches': make_batches,
    'num_steps': NUM_STEPS,
    'evaluate': evaluate,
    'eval_period': 5,
    'checkpoint_period': 10,
    'log_period': 5,
    'keep': 1,
    'devices': jax.devices()[:1],
  }
  return trainer.train(run_dir=run_dir, **(defaults | settings))


class SlowBatches(batches.TrainBatches):
  seconds = 0.0

  def __next__(self):
    time.sleep(self.seconds)
    return super().__next__()


if __name__ == '__main__':
  partitioning.use_compilation_cache(sys.argv[2])
  SlowBatches.seconds = float(sys.argv[3])
  train(
    sys.argv[1],
    make_train_batches=functools.partial(make_batches, cls=SlowBatches),
    checkpoint_period=int(sys.argv[4]) if len(sys.argv) > 4 else 10,
  )
