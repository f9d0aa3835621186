"""A wish to stop, which comes as a signal; every process hears of it.

A scheduler that takes a machine back sends SIGTERM and kills half a minute
later; a person presses Ctrl-C. In one process the signal is seen at once. With
several, JAX's preemption service carries SIGTERM from the process that got it
to the others and names the step after which all of them stop, so that they
save one and the same checkpoint.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils


class Interrupted(Exception):
  """Comes out of what `StopRequest.interrupting` surrounds."""


class StopRequest:
  """A context manager that watches for SIGTERM and SIGINT.

  A second signal interrupts at once. Only the main thread gets signals.
  """

  def __init__(self):
    self._number = None
    self._interruptible = False
    self._before = {}

  def __enter__(self) -> StopRequest:
    is_main = threading.current_thread() is threading.main_thread()
    # Of several processes, JAX's service has taken SIGTERM already.
    if is_main and jax.process_count() == 1:
      self._before = {
        number: signal.signal(number, self._handle)
        for number in (signal.SIGTERM, signal.SIGINT)
      }
    return self

  def __exit__(self, *_) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def seen_at(self, step: int) -> bool:
    """Returns whether to stop after this step; to be asked at each one.

    All processes get the same answer.
    """
    if (
      jax.process_count() > 1
      and multihost_utils.reached_preemption_sync_point(step)
    ):
      self._number = signal.SIGTERM
    return self._number is not None

  @contextlib.contextmanager
  def interrupting(self) -> Iterator[None]:
    """Lets a signal break off what is done inside.

    Of several processes, only as a whole: there it is done to the end.

    Raises:
      Interrupted: when a signal comes.
    """
    if self._number is not None:
      raise Interrupted
    self._interruptible = True
    try:
      yield
    finally:
      self._interruptible = False

  @property
  def signal(self) -> signal.Signals | None:
    """The signal that was seen, None before there is one."""
    return None if self._number is None else signal.Signals(self._number)

  def _handle(self, number, frame) -> None:
    del frame
    if self._number is not None:
      raise KeyboardInterrupt
    self._number = number
    if self._interruptible:
      self._interruptible = False
      raise Interrupted
