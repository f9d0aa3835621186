"""The training loop, to be read from top to bottom.

Every batch comes from a thread that reads ahead; every step is dispatched
while the one before it computes. Metrics stay on the devices until a row is
due (every `log_period` steps, and before an evaluation or a checkpoint). The
same seed gives the same bits, interrupted or not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from genrec_jax.models.token_tables import table_width
from genrec_jax.training import optimizers, partitioning, steps, writers
from genrec_jax.training.checkpoints import Checkpoints
from genrec_jax.training.meter import Meter
from genrec_jax.training.prefetch import Prefetcher
from genrec_jax.training.settings import keep_settings
from genrec_jax.training.stopping import Interrupted, StopRequest
from genrec_jax.types import GenrecError, PathLike, unknown_name

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Progress:
  """What decides the best checkpoint and early stopping; kept in checkpoints.

  Attributes:
    best_step: the first step with the best value, None before an evaluation.
    best_value: the highest value of the metric so far.
    stale: evaluations since then.
    pending: whether a signal broke off the evaluation of this step.
  """

  best_step: int | None = None
  best_value: float | None = None
  stale: int = 0
  pending: bool = False

  def after(self, step: int, value: float) -> Progress:
    """Returns the progress after an evaluation."""
    if self.best_value is None or value > self.best_value:
      return Progress(step, value)
    return Progress(self.best_step, self.best_value, self.stale + 1)


def train(
  *,
  model,
  make_train_batches: Callable[[], Iterator],
  run_dir: PathLike,
  num_steps: int,
  evaluate: Callable[[PyTree, int], Mapping[str, float]] | None = None,
  eval_period: int | None = None,
  checkpoint_period: int = 1000,
  log_period: int = 100,
  keep: int = 3,
  best_metric: str = 'recall@10',
  early_stopping_patience: int | None = None,
  seed: int = 0,
  model_parallel: int = 1,
  axis_rules: partitioning.AxisRules = partitioning.AXIS_RULES,
  accumulation_steps: int = 1,
  initial_params: Callable[[PyTree], PyTree] | None = None,
  token_rows: Callable[[int], tuple[np.ndarray, np.ndarray]] | None = None,
  inputs: Mapping[str, str] | None = None,
  settings: Mapping[str, Any] | None = None,
  accept_changes: bool = False,
  devices=None,
) -> Progress:
  """Trains a model, or goes on from the last checkpoint of the run.

  Args:
    model: as DESIGN has it: `get_initial_variables`, `loss_fn`,
      `optimizer_def`, `loss_normalizing_factor`.
    make_train_batches: returns an endless iterator over batches, each process
      its own rows, with `get_state` and `set_state`.
    run_dir: checkpoints go to `checkpoints/`, metrics to `logs/`.
    num_steps: updates in all.
    evaluate: (params, step) to metrics on validation data, called at the end
      and every `eval_period` steps; gets the average of the parameters where
      the optimizer keeps one.
    eval_period: steps between evaluations; None for one at the end.
    checkpoint_period: steps between checkpoints; one at the end is made too,
      and one at each new best value.
    log_period: steps between rows of metrics.
    keep: latest checkpoints kept, beside the best.
    best_metric: the metric whose highest value is the best.
    early_stopping_patience: stop after so many evaluations in a row without a
      better value; None for never.
    seed: of initialization and dropout.
    model_parallel: devices that share one copy of the model.
    axis_rules: logical axis to mesh axis.
    accumulation_steps: parts of a batch that are computed one by one.
    initial_params: from the shapes and shardings of the parameters to those
      that a run starts from; by default they are drawn.
    token_rows: from the width of the token tables to tokens and the rows that
      they start with, whatever the other parameters are.
    inputs: fingerprints of what is trained on; checkpoints of others are
      refused.
    settings: what else made the run, JSON values by name; None for nothing.
    accept_changes: go on from checkpoints of other settings; else they are
      refused.
    devices: which devices to use; by default all.

  Returns:
    The best step and value.

  Raises:
    GenrecError: if the loss is not finite, or the run was of other settings.
    SystemExit: after SIGTERM or Ctrl-C, when a checkpoint is saved.
  """
  run_dir = pathlib.Path(run_dir)
  mesh = partitioning.make_mesh(model_parallel, devices)
  put = functools.partial(
    partitioning.put_batch,
    sharding=partitioning.batch_sharding(mesh, axis_rules),
  )
  say = print_line if jax.process_index() == 0 else lambda line: None

  with contextlib.ExitStack() as stack:
    stack.enter_context(partitioning.partitioned(mesh, axis_rules))
    checkpoints = Checkpoints(run_dir / 'checkpoints', keep=keep, inputs=inputs)
    stack.callback(checkpoints.close)
    abstract = steps.abstract_state(model, mesh, axis_rules)
    batches = make_train_batches()

    for line in keep_settings(
      checkpoints.directory,
      settings,
      step=checkpoints.latest_step() or 0,
      accept=accept_changes,
    ):
      say(line)
    restored = checkpoints.restore_last(abstract)
    if restored:
      start, state, position, progress = restored
      progress = Progress(**progress)
      if position is None:
        say(f'T5X wrote checkpoint {start}: the batches start from the first.')
      else:
        batches.set_state(position)
    else:
      start, progress = 0, Progress()
      params = initial_params and initial_params(abstract.params)
      state = steps.initial_state(
        model,
        mesh,
        abstract,
        seed=seed,
        params=params,
        token_rows=token_rows and token_rows(table_width(abstract.params)),
      )

    def is_done(step, progress):
      patience = early_stopping_patience or float('inf')
      return not progress.pending and (
        step >= num_steps or progress.stale >= patience
      )

    if is_done(start, progress):
      say(f'Training is done: {run_dir} is at step {start}; nothing to do.')
      return progress
    num_params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    say(
      f'{"Going on" if start else "Starting"} at step {start} of {num_steps}:'
      f' {num_params:,} parameters on'
      f' {mesh.size} {mesh.devices.flat[0].device_kind}'
      f' {dict(mesh.shape)}'
    )

    log = stack.enter_context(open_writers(run_dir / 'logs', start))
    meter = Meter(start, num_steps)
    stop = stack.enter_context(StopRequest())

    def measure(state, step, progress):
      """Evaluates, and returns the progress; a signal leaves that pending."""
      try:
        with stop.interrupting(), meter.paused():
          params = optimizers.evaluation_params(state.params, state.opt_state)
          values = dict(evaluate(params, step))
      except Interrupted:
        return dataclasses.replace(progress, pending=True)
      if best_metric not in values:
        raise unknown_name('best_metric', best_metric, values)
      progress = progress.after(step, values[best_metric])
      log(step, 'validation', values)
      say(
        f'  validation: {best_metric} {values[best_metric]:.4f} (best'
        f' {progress.best_value:.4f} at step {progress.best_step})'
      )
      return progress

    if progress.pending:
      progress = dataclasses.replace(progress, pending=False)
      if evaluate:
        progress = measure(state, start, progress)
      checkpoints.rewrite_progress(start, dataclasses.asdict(progress))
    train_step = steps.make_train_step(
      model, mesh, abstract, seed=seed, accumulation_steps=accumulation_steps
    )
    batches = stack.enter_context(Prefetcher(batches, put))
    step, stopped = start, progress.pending
    while not (stopped or is_done(step, progress)):
      step += 1
      batch = meter.wait_for(batches)
      state, metrics, finite = meter.dispatch(train_step, state, batch)
      meter.add(batch, metrics, finite)

      stopped = stop.seen_at(step)
      eval_due = evaluate and is_due(step, eval_period, num_steps)
      save_due = stopped or is_due(step, checkpoint_period, num_steps)
      if not (eval_due or save_due or step % log_period == 0):
        continue

      row = meter.row() | learning_rate(model, step)
      bad_step = meter.first_bad_step()
      if bad_step is not None:
        checkpoints.wait()
        raise not_finite(bad_step, checkpoints)
      log(step, 'train', row)
      say(meter.line(row))

      if eval_due:
        progress = measure(state, step, progress)
        stopped |= progress.pending
        save_due |= stopped or progress.best_step == step
      if save_due or is_done(step, progress):
        with meter.paused():
          checkpoints.save(
            state,
            step=step,
            position=batch.position,
            progress=dataclasses.asdict(progress),
          )

    checkpoints.wait()
    if not is_done(step, progress):
      say(
        f'Stopped by {stop.signal.name} at step {step}; a checkpoint is saved.'
        ' Run the same command again to go on.'
      )
      raise SystemExit(128 + stop.signal)
    reason = f' ({progress.stale} evaluations without a better {best_metric})'
    say(f'Training is done at step {step}{reason * (step < num_steps)}.')
    return progress


def learning_rate(model, step: int) -> dict[str, float]:
  """Returns the learning rate of a step, where the optimizer tells it."""
  schedule = getattr(model.optimizer_def, 'learning_rate', None)
  # Schedules count the updates before the step.
  return (
    {} if schedule is None else {'learning_rate': float(schedule(step - 1))}
  )


def is_due(step: int, period: int | None, num_steps: int) -> bool:
  """Returns whether something of a period is due; at the end it always is."""
  return step == num_steps or bool(period and step % period == 0)


def not_finite(step: int, checkpoints: Checkpoints) -> GenrecError:
  """Returns the error for a loss or gradients that are not finite."""
  good = checkpoints.latest_step()
  last = f'checkpoint_{good}' if good else 'none yet'
  return GenrecError(
    f'The loss, its gradients or the update are not finite at step {step};'
    f' training is stopped. The last good checkpoint in'
    f' {checkpoints.directory}: {last}.'
    ' Lower the learning rate, warm it up for longer or set clip_norm, and run'
    ' the same command again; it goes on from there.'
  )


@contextlib.contextmanager
def open_writers(directory: pathlib.Path, resumed_step: int) -> Iterator:
  """Yields write(step, split, metrics); only process 0 writes."""
  if jax.process_index():
    yield lambda *_: None
    return
  with (
    contextlib.closing(
      writers.JsonLinesWriter(
        directory / 'metrics.jsonl', resumed_step=resumed_step
      )
    ) as lines,
    contextlib.closing(
      writers.TensorBoardWriter(directory, resumed_step=resumed_step)
    ) as board,
  ):

    def write(step, split, metrics):
      lines.write(step, split, metrics)
      board.write(step, split, metrics)

    yield write


def print_line(line: str) -> None:
  """Prints a line at once, also into a pipe."""
  print(line, flush=True)
