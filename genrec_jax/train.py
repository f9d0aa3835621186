"""Trains the model on a run's tokens, or goes on where it was stopped."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from genrec_jax import evaluate as evaluation
from genrec_jax.data import token_cache
from genrec_jax.data.batches import TrainBatches, suggest_buckets
from genrec_jax.data.mixtures import mixing_rates
from genrec_jax.ids import token_vectors
from genrec_jax.ids.item_ids import ItemIds, TokenLayout
from genrec_jax.measuring.watching import watched_metric
from genrec_jax.training import parameters, partitioning, trainer
from genrec_jax.types import GenrecError, PathLike

# What may change while a run goes on: how long it is, how often it is looked
# at, where it is computed. A schedule that ends with num_steps binds it once
# more under its own name, which is not among these.
HARMLESS = (
  'train.train.num_steps',
  'train.train.eval_period',
  'train.train.checkpoint_period',
  'train.train.log_period',
  'train.train.keep',
  'train.train.early_stopping_patience',
  'train.train.model_parallel',
  'train.train.axis_rules',
  'train.train.accept_changes',
  'evaluate.make_evaluate_fn.batch_size',
)


def cached_batches(
  *,
  run_dir: PathLike,
  seed: int,
  batch_size: int = 256,
  tasks: Sequence[str] | Mapping[str, float] | None = None,
  rate_cap: int | None = None,
  rate_temperature: float = 1.0,
  num_buckets: int = 5,
  num_target_buckets: int = 2,
  bucket_boundaries: Sequence[int] | None = None,
) -> TrainBatches:
  """Returns this process's train batches of the run's token cache.

  Args:
    run_dir: the run directory.
    seed: of the order of the examples.
    batch_size: rows of a batch over all processes.
    tasks: those to train on, all by default; or the rate of each.
    rate_cap: where no rates are given, how many examples a task counts at
      most; see data/mixtures.py.
    rate_temperature: the same; a higher one makes rates more alike.
    num_buckets: input lengths that are compiled, chosen for least padding.
    num_target_buckets: the most target lengths, likewise.
    bucket_boundaries: the input lengths themselves, the longest included.
  """
  cache = evaluation.load_tokens(run_dir)
  sources = {
    task: cache.examples(task, 'train') for task in tasks or cache.tasks()
  }
  rates = tasks
  if not isinstance(tasks, Mapping):
    rates = mixing_rates(
      {task: len(source) for task, source in sources.items()},
      cap=rate_cap,
      temperature=rate_temperature,
    )
  inputs, targets = (
    np.concatenate(lengths)
    for lengths in zip(
      *((s.inputs.lengths, s.targets.lengths) for s in sources.values())
    )
  )
  if bucket_boundaries is None:
    bucket_boundaries = suggest_buckets(inputs, num_buckets)
  target_boundaries = suggest_buckets(targets, num_target_buckets, multiple=1)
  return TrainBatches(
    [(source, rates[task]) for task, source in sources.items()],
    batch_size=batch_size,
    max_input_length=bucket_boundaries[-1],
    max_target_length=target_boundaries[-1],
    bucket_boundaries=bucket_boundaries,
    target_boundaries=target_boundaries,
    seed=seed,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
    tasks=list(sources),
  )


def train(
  *,
  run_dir: PathLike,
  model,
  num_steps: int,
  make_train_batches: Callable[..., Iterator] = cached_batches,
  make_evaluate_fn: Callable[..., Callable] | None = (
    evaluation.make_evaluate_fn
  ),
  eval_period: int | None = None,
  checkpoint_period: int = 1000,
  log_period: int = 100,
  keep: int = 3,
  best_metric: str | None = None,
  early_stopping_patience: int | None = None,
  seed: int = 0,
  model_parallel: int = 1,
  axis_rules: partitioning.AxisRules = partitioning.AXIS_RULES,
  accumulation_steps: int = 1,
  start_from_vectors: bool = False,
  accept_changes: bool = False,
  settings: Mapping[str, Any] | None = None,
) -> trainer.Progress:
  """Trains a model on `<run_dir>/tokens`; see training/trainer.py.

  Writes `<run_dir>/checkpoints` and `<run_dir>/logs` (metrics.jsonl, and event
  files for TensorBoard). Starts from `<run_dir>/initial_params` where `genrec
  import` put them, else from parameters that are drawn. Stopped in any way,
  the same command goes on from the last checkpoint and ends with the same bits;
  finished, it does nothing.

  Args:
    run_dir: the run directory.
    model: the model class with its optimizer.
    num_steps: updates in all.
    make_train_batches: called with `run_dir` and `seed`; returns the batches,
      which may name their `tasks`.
    make_evaluate_fn: called with `run_dir`, `model` and `trained`, these tasks
      (None where they are not named); returns what measures the model on
      validation examples. None for no evaluation.
    eval_period: steps between evaluations; None for one at the end.
    checkpoint_period: steps between checkpoints.
    log_period: steps between rows of metrics.
    keep: latest checkpoints kept, beside the best.
    best_metric: the metric whose highest value is the best; by default
      'recall@10' where the run has one task and it asks for an item, else
      'log_likelihood', the mean over the tasks that are watched of the mean
      log-probability of a token of the true answers.
    early_stopping_patience: stop after so many evaluations in a row without a
      better value; None for never.
    seed: of initialization, dropout and the order of the examples.
    model_parallel: devices that share one copy of the model.
    axis_rules: logical axis to mesh axis (gin/meshes/).
    accumulation_steps: parts of a batch that are computed one by one.
    start_from_vectors: whether the embedding of an item's token starts as the
      mean of the vectors of the items that have it, those of `<run_dir>/ids`
      (ids/token_vectors.py); the other parameters are drawn.
    accept_changes: go on from a checkpoint that was trained with other
      settings than these.
    settings: JSON values by name that the arguments stand for; the command
      gives all that is bound. None: they are not compared.

  Returns:
    The best step and value.

  Raises:
    GenrecError: if the tokens are missing or not those of the checkpoints, the
      ids have no vectors to start from, the settings do not fit, or the loss
      is not finite.
  """
  partitioning.use_compilation_cache()
  cache = evaluation.load_tokens(run_dir)
  imported = parameters.initial_inputs(
    run_dir, vocabulary=cache.vocabulary_fingerprint
  )
  batches = make_train_batches(run_dir=run_dir, seed=seed)
  evaluate = None
  if make_evaluate_fn is not None:
    evaluate = make_evaluate_fn(
      run_dir=run_dir, model=model, trained=getattr(batches, 'tasks', None)
    )
  return trainer.train(
    model=model,
    make_train_batches=lambda: batches,
    run_dir=run_dir,
    num_steps=num_steps,
    evaluate=evaluate,
    eval_period=eval_period,
    checkpoint_period=checkpoint_period,
    log_period=log_period,
    keep=keep,
    best_metric=best_metric or watched_metric(cache),
    early_stopping_patience=early_stopping_patience,
    seed=seed,
    model_parallel=model_parallel,
    axis_rules=axis_rules,
    accumulation_steps=accumulation_steps,
    settings=None
    if settings is None
    else {k: v for k, v in settings.items() if k not in HARMLESS},
    accept_changes=accept_changes,
    initial_params=functools.partial(parameters.read_initial, run_dir)
    if imported
    else None,
    token_rows=functools.partial(
      _token_rows, run_dir=run_dir, cache=cache, seed=seed
    )
    if start_from_vectors
    else None,
    inputs={
      'tokens': cache.fingerprint,
      'vocabulary': cache.vocabulary_fingerprint,
      **imported,
    },
  )


def _token_rows(
  width: int,
  *,
  run_dir: PathLike,
  cache: token_cache.TokenCache,
  seed: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the tokens of items and the rows that training starts with."""
  initial = pathlib.Path(run_dir) / parameters.INITIAL
  if initial.exists():
    raise GenrecError(
      'Got start_from_vectors=True, and parameters that were imported, whose'
      ' tables have another scale; leave start_from_vectors out, or remove'
      f' {initial}.'
    )
  directory = pathlib.Path(run_dir) / 'ids'
  vectors = ItemIds.load(directory).vectors
  if vectors is None:
    raise GenrecError(
      f'Got start_from_vectors=True, but the ids in {directory} were made'
      ' without vectors; leave it out, or build ids by a method that takes'
      ' item_vectors (gin/ids/residual_kmeans.gin, hybrid_ids.gin).'
    )
  return token_vectors.token_vectors(
    cache.item_tokens, vectors, width, seed=seed
  )


def vocab_size(*, run_dir: PathLike) -> int:
  """Returns the number of rows of the token table, for the model's config."""
  return token_cache.vocab_size(pathlib.Path(run_dir) / 'tokens')


def item_token_ranges(*, run_dir: PathLike) -> tuple[tuple[int, int], ...]:
  """Returns the first token and the one after the last of each level of ids.

  For a model config that says where the blocks of an input are.
  """
  cache = evaluation.load_tokens(run_dir)
  layout = TokenLayout.from_dict(cache.layout)
  blocks = layout.item_blocks[: layout.num_levels]
  return tuple((block.start, block.stop) for block in blocks)
