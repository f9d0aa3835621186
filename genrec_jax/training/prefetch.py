"""The next batches, read and put on the devices while a step computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from genrec_jax.types import PAD_ID


class Prefetched(NamedTuple):
  """A batch on the devices, and what the loop wants to know of it.

  Attributes:
    arrays: the global batch.
    examples: rows of this process.
    tokens: tokens of this process that are not padding, encoder and decoder.
    position: `get_state()` of the iterator after this batch.
  """

  arrays: dict[str, jax.Array]
  examples: int
  tokens: int
  position: dict[str, Any]


class Prefetcher:
  """Reads an iterator in a thread, a few batches ahead.

  A context manager; an exception of the iterator comes out of `next`.
  """

  def __init__(
    self,
    batches: Iterator[dict[str, np.ndarray]],
    put: Callable[[dict[str, np.ndarray]], dict[str, jax.Array]],
    *,
    ahead: int = 2,
  ):
    self._batches, self._put = batches, put
    self._queue = queue.Queue(ahead)
    self._stop = threading.Event()
    self._thread = threading.Thread(target=self._read, daemon=True)

  def __enter__(self) -> Prefetcher:
    self._thread.start()
    return self

  def __exit__(self, *_) -> None:
    self._stop.set()
    while self._thread.is_alive():
      # The thread may wait for room in the queue.
      try:
        self._queue.get_nowait()
      except queue.Empty:
        self._thread.join(0.01)

  def __next__(self) -> Prefetched:
    item = self._queue.get()
    if isinstance(item, BaseException):
      raise item
    return item

  def _read(self) -> None:
    try:
      while not self._stop.is_set():
        batch = next(self._batches)
        tokens = sum(
          np.count_nonzero(batch[name] != PAD_ID)
          for name in ('encoder_input_tokens', 'decoder_target_tokens')
        )
        self._queue.put(
          Prefetched(
            arrays=self._put(batch),
            examples=len(batch['decoder_target_tokens']),
            tokens=tokens,
            position=self._batches.get_state(),
          )
        )
    except BaseException as error:
      self._queue.put(error)
