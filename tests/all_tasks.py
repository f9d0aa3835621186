"""A simulated shop, and a run of all tasks on it, trained for a few steps."""

import dataclasses

import optax

from genrec_jax import tokenize, train
from genrec_jax.data import dialogue_split, simulator, splits
from genrec_jax.data.dataset import build_dataset
from genrec_jax.data.token_cache import vocab_size
from genrec_jax.ids.simple import random_ids
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import T5Config, Transformer

TASKS = (
  'sequential',
  'rating',
  'rating_yes_no',
  'sequential_yes_no',
  'explanation',
  'review',
  'summary',
  'conversation',
  'conversation_reply',
)


def save_shop(directory, raw):
  """Saves the dataset, split and random ids of raw tables; returns them."""
  dataset = build_dataset('shop', raw)
  split = dialogue_split.split_dialogues(dataset, splits.leave_one_out(dataset))
  dataset.save(directory / 'dataset')
  splits.save_split(split, dataset, directory / 'dataset')
  user, item = splits.train_interactions(dataset, split)
  ids = random_ids(
    user=user,
    item=item,
    num_users=dataset.num_users,
    num_items=dataset.num_items,
    num_levels=2,
    codebook_size=64,
  )
  inputs = {
    'dataset': dataset.fingerprint,
    'split': split.fingerprint,
    'train': splits.train_fingerprint(dataset, split),
  }
  ids = dataclasses.replace(ids, inputs=inputs)
  ids.save(directory / 'ids')
  return dataset, split, ids


def write_run(directory):
  """Makes everything from the dataset to a checkpoint of the model."""
  raw = simulator.simulate(seed=1, num_users=40, num_dialogues=60)
  save_shop(directory, raw)
  tokenize.tokenize(
    run_dir=directory,
    tasks=TASKS,
    templates='plain',
    max_history=6,
    max_answer=12,
    text_pieces=700,
  )
  train.train(
    run_dir=directory,
    model=load_model(directory),
    num_steps=8,
    make_evaluate_fn=None,
    make_train_batches=lambda **settings: train.cached_batches(
      batch_size=32, num_buckets=1, **settings
    ),
  )


def load_model(directory):
  config = T5Config(
    vocab_size=vocab_size(directory / 'tokens'),
    emb_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=16,
    num_encoder_layers=1,
    num_decoder_layers=1,
  )
  return EncoderDecoder(Transformer(config), optimizer_def=optax.adam(1e-2))
