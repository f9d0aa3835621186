"""How long steps take and what they say, between two rows of metrics."""

from __future__ import annotations

import collections
import contextlib
import functools
import time
from collections.abc import Iterator, Mapping

import jax

from genrec_jax.training.prefetch import Prefetched, Prefetcher


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
