"""Seconds of calls, of several sides that take turns."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

# Seconds on the clock, and of CPU time of this process.
Seconds = tuple[float, float]


@dataclasses.dataclass(frozen=True, eq=False)
class Timing:
  """The seconds of N batches in R rounds.

  "At best" takes the shortest time of each batch among the rounds, where other
  work on the machine disturbs. CPU time counts no waiting, but threads that
  spin while they wait: compare it on one core.
  """

  seconds: Float[np.ndarray, 'R N']
  cpu_seconds: Float[np.ndarray, 'R N']
  requests: int  # of a batch

  @property
  def rates(self) -> Float[np.ndarray, 'R']:
    """Requests a second, by round."""
    return self.requests / self.seconds.mean(axis=1)

  @property
  def best_rate(self) -> float:
    """Requests a second, at best."""
    return float(self.requests / self.seconds.min(axis=0).mean())

  @property
  def cpu_ms(self) -> float:
    """Milliseconds of CPU time a request, at best."""
    return float(1e3 * self.cpu_seconds.min(axis=0).mean() / self.requests)

  def percentile_ms(self, percent: float) -> float:
    """Returns a percentile of a batch's time, in milliseconds."""
    return float(1e3 * np.percentile(self.seconds, percent))

  def describe(self) -> dict[str, float]:
    """Returns what is told of it; the rate is the median over rounds."""
    return {
      'requests_per_second': float(np.median(self.rates)),
      'requests_per_second_at_best': self.best_rate,
      'cpu_ms_per_request': self.cpu_ms,
      'p50_ms': self.percentile_ms(50),
      'p95_ms': self.percentile_ms(95),
    }


def time_calls(calls: Sequence[Callable[[], Any]]) -> list[Seconds]:
  """Returns the seconds of each call, which returns when its work is done."""
  seconds = []
  for call in calls:
    start = time.perf_counter(), time.process_time()
    call()
    ended = time.perf_counter(), time.process_time()
    seconds.append((ended[0] - start[0], ended[1] - start[1]))
  return seconds


def take_turns(
  sides: Mapping[str, Callable[[], Sequence[Seconds]]],
  *,
  requests: int,
  rounds: int,
) -> dict[str, Timing]:
  """Times sides in turns, so that what disturbs one disturbs all.

  Args:
    sides: by name what answers all batches and returns the seconds of each.
    requests: of a batch.
    rounds: how often, after one round that counts for nothing.
  """
  for side in sides.values():
    side()  # Compiles, and warms up.
  found: dict[str, list[Sequence[Seconds]]] = {name: [] for name in sides}
  for _ in range(rounds):
    for name, side in sides.items():
      found[name].append(side())
  return {
    name: Timing(*np.moveaxis(np.array(times), -1, 0), requests=requests)
    for name, times in found.items()
  }
