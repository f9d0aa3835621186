"""Several processes, on one host or many, that do one run together.

Each is started with the same command; `jax.distributed` joins them. All of
them compute; the first alone writes and prints.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from genrec_jax.types import GenrecError

FLAGS = {
  'distributed': (
    "'auto': join the processes that a Cloud TPU, SLURM, Open MPI or"
    ' Kubernetes has started; the run directory is one that all of them see'
  ),
  'coordinator_address': 'HOST:PORT of process 0, where nothing tells it',
  'num_processes': 'how many processes there are, likewise',
  'process_id': 'which of them this is, from 0, likewise',
}
# A process that is silent for so long is lost, and the others stop.
HEARTBEAT_SECONDS = 30
# One process may prepare data for hours while the others wait.
_PATIENCE_SECONDS = 24 * 3600
_LOST = re.compile(
  'Gloo|NCCL|UNAVAILABLE|DEADLINE_EXCEEDED|heartbeat|coordination', re.I
)


def take_flags(flags: dict[str, str]) -> dict[str, str | int]:
  """Removes the flags of this module from a command's, and reads them.

  Raises:
    GenrecError: if one has no such value, or one of them is missing.
  """
  given = {name: flags.pop(name) for name in FLAGS if name in flags}
  detect = given.pop('distributed', 'none')
  if detect not in ('auto', 'none'):
    raise GenrecError(
      f'Got --distributed={detect}, expected auto (join the processes that the'
      ' cluster has started) or none.'
    )
  for name in ('num_processes', 'process_id'):
    if name in given and not given[name].isdecimal():
      raise GenrecError(f'Got --{name}={given[name]}, expected a whole number.')
  numbers = {k: int(v) if v.isdecimal() else v for k, v in given.items()}
  if detect == 'auto':
    return {'distributed': 'auto', **numbers}
  missing = [name for name in FLAGS if name not in ('distributed', *given)]
  if given and missing:
    raise GenrecError(
      f'Got --{next(iter(given))} without --{missing[0]}; several processes'
      f' need all of --{", --".join(list(FLAGS)[1:])}, or --distributed=auto.'
    )
  if given and not 0 <= numbers['process_id'] < numbers['num_processes']:
    raise GenrecError(
      f'Got --process_id={given["process_id"]}, expected from 0 to'
      f' num_processes - 1 = {numbers["num_processes"] - 1}.'
    )
  return numbers


@contextlib.contextmanager
def joined(
  settings: Mapping[str, str | int], report: Callable[[str], None]
) -> Iterator[None]:
  """Joins this process with the others while the block runs.

  Must come before JAX looks for devices. Where the block fails, the process
  ends at once: the others cannot go on without it, and see that it is gone.

  Args:
    settings: what `take_flags` returned; nothing if it is empty.
    report: prints an error.
  """
  if not settings:
    yield
    return
  arguments = {k: v for k, v in settings.items() if k != 'distributed'}
  try:
    jax.distributed.initialize(
      **arguments, heartbeat_timeout_seconds=HEARTBEAT_SECONDS
    )
  except (ValueError, RuntimeError) as error:
    raise GenrecError(
      f'The processes cannot be joined: {error}. Give --coordinator_address,'
      ' --num_processes and --process_id where no cluster tells them.'
    ) from error
  try:
    yield
    barrier('end')
  except SystemExit:
    barrier('end')
    jax.distributed.shutdown()
    raise
  except BaseException as error:
    status = _tell(error, report)
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: leaving in good order waits for the others.
    os._exit(status)
  jax.distributed.shutdown()


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
    # All find the same mistake, and it is told once.
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
