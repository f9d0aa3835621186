"""Several processes, on one host or many, that do one run together.

Each is started with the same command; `jax.distributed` joins them. All of
them compute; the first alone writes and prints.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from genrec_jax.types import GenrecError

_EXPLICIT = ('coordinator_address', 'num_processes', 'process_id')
# A process that is silent for so long is lost, and the others stop.
HEARTBEAT_SECONDS = 30
# One process may prepare data for hours while the others wait.
_PATIENCE_SECONDS = 24 * 3600
_LOST = re.compile(
  'Gloo|NCCL|UNAVAILABLE|DEADLINE_EXCEEDED|heartbeat|coordination', re.I
)


def read_flags(given: Mapping[str, str]) -> dict[str, str | int]:
  """Returns what `jax.distributed.initialize` takes, from texts of flags.

  Raises:
    GenrecError: if one has no such value, or one of them is missing.
  """
  detect = given.get('distributed', 'none')
  if detect not in ('auto', 'none'):
    raise GenrecError(
      f'Got --distributed={detect}, expected auto (join the processes that the'
      ' cluster has started) or none.'
    )
  settings = {name: given[name] for name in _EXPLICIT if name in given}
  for name in ('num_processes', 'process_id'):
    if name in settings and not settings[name].isdecimal():
      raise GenrecError(
        f'Got --{name}={settings[name]}, expected a whole number.'
      )
    settings |= {name: int(settings[name])} if name in settings else {}
  missing = [name for name in _EXPLICIT if name not in settings]
  if settings and missing and detect == 'none':
    raise GenrecError(
      f'Got --{next(iter(settings))} without --{missing[0]}; several processes'
      f' need --{", --".join(_EXPLICIT)}, or --distributed=auto.'
    )
  if not missing and settings['process_id'] >= settings['num_processes']:
    raise GenrecError(
      f'Got --process_id={settings["process_id"]}, expected from 0 to'
      f' num_processes - 1 = {settings["num_processes"] - 1}.'
    )
  return settings


@contextlib.contextmanager
def joined(
  flags: Mapping[str, str], report: Callable[[str], None]
) -> Iterator[None]:
  """Joins this process with the others while the block runs.

  Must come before JAX looks for devices. What any but the first prints is
  dropped. Where the block fails, the process ends at once: the others cannot
  go on without it, and see that it is gone.

  Args:
    flags: those of the command that speak of processes.
    report: prints an error.

  Raises:
    GenrecError: if the flags are wrong, or the processes do not come together.
  """
  settings = read_flags(flags)
  if not settings and flags.get('distributed') != 'auto':
    yield
    return
  try:
    jax.distributed.initialize(
      **settings, heartbeat_timeout_seconds=HEARTBEAT_SECONDS
    )
  except (ValueError, RuntimeError) as error:
    raise GenrecError(
      f'The processes do not come together: {str(error).splitlines()[0]} Give'
      f' --{", --".join(_EXPLICIT)} where no cluster tells them.'
    ) from error
  try:
    with contextlib.ExitStack() as stack:
      if not is_first():
        nowhere = stack.enter_context(open(os.devnull, 'w'))
        stack.enter_context(contextlib.redirect_stdout(nowhere))
      yield
  except SystemExit:
    jax.distributed.shutdown()
    raise
  except BaseException as error:
    status = _tell(error, report)
    sys.stdout.flush()
    sys.stderr.flush()
    if is_first():
      # The others end with a stack trace as soon as it is gone; most mistakes
      # are found by all, who can say so first.
      time.sleep(2)
    # Not sys.exit: leaving in good order waits for the others.
    os._exit(status)
  jax.distributed.shutdown()


def is_first() -> bool:
  """Returns whether this process is the one that writes and prints."""
  return jax.process_index() == 0


def barrier(name: str) -> None:
  """Waits until every process has come here; a name is for one time."""
  if jax.process_count() > 1:
    wait = ocp.multihost.get_barrier_sync_fn()
    wait(key=f'genrec_{name}', timeout_ms=_PATIENCE_SECONDS * 1000)


def all_agree(value: bool) -> bool:
  """Returns whether the value is True in every process."""
  if jax.process_count() == 1:
    return value
  return bool(np.all(multihost_utils.process_allgather(np.array(value))))


def _tell(error: BaseException, report: Callable[[str], None]) -> int:
  """Reports why a process ends; returns its exit status."""
  which = f'Process {jax.process_index()} of {jax.process_count()}'
  if isinstance(error, GenrecError):
    report(f'{which} stops: {error}')
    return 1
  if isinstance(error, KeyboardInterrupt):
    report(f'{which} was interrupted. Run the same command again to go on.')
    return 130
  if isinstance(error, RuntimeError | ValueError) and _LOST.search(str(error)):
    report(
      f'{which} has lost another one and stops: {str(error).splitlines()[0]}.'
      ' Look for an earlier error in the output of the others. The same'
      ' command, with as many processes as there are then, goes on from the'
      ' last checkpoint.'
    )
    return 1
  sys.excepthook(type(error), error, error.__traceback__)
  return 1
