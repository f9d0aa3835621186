"""The training loop, to be read from top to bottom.

Every batch comes from a thread that reads ahead; every step is dispatched
while the one before it computes. Metrics stay on the devices until a row is
due (every `log_period` steps, and before an evaluation or a checkpoint). The
same seed gives the same bits, interrupted or not.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from genrec_jax.training import optimizers, partitioning, steps, writers
from genrec_jax.training.checkpoints import Checkpoints
from genrec_jax.training.prefetch import Prefetched, Prefetcher
from genrec_jax.training.settings import keep_settings
from genrec_jax.types import GenrecError, PathLike, unknown_name

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Progress:
  """What decides the best checkpoint and early stopping; kept in checkpoints.

  Attributes:
    best_step: the first step with the best value, None before an evaluation.
    best_value: the highest value of the metric so far.
    stale: evaluations since then.
  """

  best_step: int | None = None
  best_value: float | None = None
  stale: int = 0

  def after(self, step: int, value: float) -> Progress:
    """Returns the progress after an evaluation."""
    if self.best_value is None or value > self.best_value:
      return Progress(step, value)
    return dataclasses.replace(self, stale=self.stale + 1)


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

    start = checkpoints.latest_step() or 0
    for line in keep_settings(
      checkpoints.directory, settings, step=start, accept=accept_changes
    ):
      say(line)
    if start:
      state, position, progress = checkpoints.restore(abstract, start)
      progress = Progress(**progress)
      batches.set_state(position)
    else:
      state = steps.initial_state(model, mesh, abstract, seed=seed)
      position, progress = batches.get_state(), Progress()
    patience = early_stopping_patience or float('inf')
    if start >= num_steps or progress.stale >= patience:
      say(f'Training is done: {run_dir} is at step {start}; nothing to do.')
      return progress
    num_params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    say(
      f'{"Going on" if start else "Starting"} at step {start} of {num_steps}:'
      f' {num_params:,} parameters on'
      f' {mesh.size} {mesh.devices.flat[0].device_kind}'
      f' {dict(mesh.shape)}'
    )

    train_step = steps.make_train_step(
      model, mesh, abstract, seed=seed, accumulation_steps=accumulation_steps
    )
    log = stack.enter_context(open_writers(run_dir / 'logs', start))
    meter = Meter(start, num_steps)
    stop = stack.enter_context(watch_signals())
    batches = stack.enter_context(Prefetcher(batches, put))

    for step in range(start + 1, num_steps + 1):
      batch = meter.wait_for(batches)
      state, metrics, finite = meter.dispatch(train_step, state, batch)
      meter.add(batch, metrics, finite)

      last = step == num_steps or bool(stop)
      eval_due = evaluate and is_due(step, eval_period, num_steps)
      save_due = last or is_due(step, checkpoint_period, num_steps)
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
        with meter.paused():
          params = optimizers.evaluation_params(state.params, state.opt_state)
          values = dict(evaluate(params, step))
        if best_metric not in values:
          raise unknown_name('best_metric', best_metric, values)
        progress = progress.after(step, values[best_metric])
        log(step, 'validation', values)
        say(
          f'  validation: {best_metric} {values[best_metric]:.4f} (best'
          f' {progress.best_value:.4f} at step {progress.best_step})'
        )
        save_due |= progress.best_step == step
        last |= progress.stale >= patience

      if save_due or last:
        with meter.paused():
          checkpoints.save(
            state,
            step=step,
            position=batch.position,
            progress=dataclasses.asdict(progress),
          )
      if last:
        break

    checkpoints.wait()
    if step < num_steps and progress.stale < patience:
      name = signal.Signals(stop[0]).name
      say(
        f'Stopped by {name} at step {step}; a checkpoint is saved. Run the'
        ' same command again to go on.'
      )
      raise SystemExit(128 + stop[0])
    reason = '' if step == num_steps else f' ({progress.stale} evaluations'
    reason += '' if step == num_steps else f' without a better {best_metric})'
    say(f'Training is done at step {step}{reason}.')
    return progress


class Meter:
  """Keeps the time and the metrics of the steps since the last row."""

  def __init__(self, step: int, num_steps: int):
    self._step, self._num_steps = step, num_steps
    self._shapes = set()
    self._recent = collections.deque(maxlen=2)
    self._bad_step = None
    self._clear()

  def _clear(self) -> None:
    self._results = []
    self._examples = self._tokens = 0
    self._waited = self._compiled = self._excluded = 0.0
    self._start = time.perf_counter()

  def wait_for(self, batches: Prefetcher) -> Prefetched:
    """Returns the next batch, counting the time if the devices were idle."""
    start = time.perf_counter()
    batch = next(batches)
    waited = time.perf_counter() - start
    if not self._recent or self._recent[-1].is_ready():
      self._waited += waited
    return batch

  def dispatch(self, train_step, state, batch: Prefetched):
    """Starts a step; no more than three are under way at a time."""
    if len(self._recent) == 2:
      self._recent[0].block_until_ready()
    start = time.perf_counter()
    result = train_step(state, batch.arrays)
    shape = tuple(sorted((k, v.shape) for k, v in batch.arrays.items()))
    if shape not in self._shapes:
      # The first call of a shape returns when it is compiled.
      self._shapes.add(shape)
      self._compiled += time.perf_counter() - start
    self._recent.append(result[-1])
    return result

  def add(self, batch: Prefetched, metrics, finite: jax.Array) -> None:
    """Counts a step."""
    self._step += 1
    self._examples += batch.examples * jax.process_count()
    self._tokens += batch.tokens * jax.process_count()
    self._results.append((self._step, metrics, finite))

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Leaves what is done inside out of the rates."""
    start = time.perf_counter()
    yield
    self._excluded += time.perf_counter() - start

  def row(self) -> dict[str, float]:
    """Returns the metrics of the steps since the last row, and starts anew."""
    results = jax.device_get(self._results)
    self._bad_step = next((n for n, _, ok in results if not ok), None)
    elapsed = time.perf_counter() - self._start
    seconds = max(elapsed - self._compiled - self._excluded, 1e-9)
    merged = functools.reduce(
      lambda a, b: {name: a[name].merge(b[name]) for name in a},
      [metrics for _, metrics, _ in results],
    )
    row = {
      **{name: float(metric.compute()) for name, metric in merged.items()},
      'examples_per_second': self._examples / seconds,
      'tokens_per_second': self._tokens / seconds,
      'input_wait': min(self._waited / seconds, 1.0),
      'seconds_per_step': seconds / len(results),
      'compile_seconds': self._compiled,
    }
    self._clear()
    return row

  def first_bad_step(self) -> int | None:
    """Returns the first step of the last row that was not finite."""
    return self._bad_step

  def line(self, row: Mapping[str, float]) -> str:
    """Returns a row for people to read."""
    left = (self._num_steps - self._step) * row['seconds_per_step']
    width = len(str(self._num_steps))
    line = (
      f'step {self._step:{width}}/{self._num_steps}'
      f'  loss {row["loss"]:.4f}'
      f'  {row["examples_per_second"]:,.0f} examples/s'
      f'  {row["tokens_per_second"]:,.0f} tokens/s'
      f'  input {row["input_wait"]:.0%}'
      f'  ETA {int(left // 60):02d}:{int(left % 60):02d}'
    )
    if row['compile_seconds'] > 0.5:
      line += f'  (compiled in {row["compile_seconds"]:.1f} s)'
    return line


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


@contextlib.contextmanager
def watch_signals() -> Iterator[list[int]]:
  """Yields a list that gets the number of a SIGTERM or SIGINT.

  A second signal interrupts at once. Only the main thread gets signals.
  """
  received = []
  if threading.current_thread() is not threading.main_thread():
    yield received
    return

  def handle(number, frame):
    del frame
    if received:
      raise KeyboardInterrupt
    received.append(number)

  watched = (signal.SIGTERM, signal.SIGINT)
  before = {number: signal.signal(number, handle) for number in watched}
  try:
    yield received
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def print_line(line: str) -> None:
  """Prints a line at once, also into a pipe."""
  print(line, flush=True)
