"""Checkpoints: Orbax, in the tree that T5X reads and writes.

  checkpoints/manifest.json      what the run was trained on, and with
  checkpoints/checkpoint_N/
    state      {target: params, state: {step, param_states: optimizer state}}
    dataset    the position in the data, JSON
    progress   the best metric so far, JSON
    checksums  of the state's bits and of the position, JSON

A checkpoint takes its name when it is complete, so that a process killed while
saving leaves none. One that cannot be read all the same (copied in part, a bad
disk) is set aside as `unreadable_checkpoint_N`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pathlib
import re
import shutil
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import flax.traverse_util
import jax
import numpy as np
import orbax.checkpoint as ocp

from genrec_jax import artifacts
from genrec_jax.training import hosts
from genrec_jax.training.checkpoint_files import (
  find_checkpoint,
  list_checkpoints,
  progress_file,
  sort_checkpoints,
)
from genrec_jax.training.checksum import checksum
from genrec_jax.training.parameters import check_shapes
from genrec_jax.training.steps import TrainState
from genrec_jax.training.t5x_tree import from_t5x_tree, to_t5x_tree
from genrec_jax.types import GenrecError, PathLike

PyTree = Any


class Checkpoints:
  """The checkpoints of one run, written in the background."""

  def __init__(
    self,
    directory: PathLike,
    *,
    keep: int = 3,
    inputs: Mapping[str, str] | None = None,
  ):
    """Opens the directory, or makes it.

    Args:
      directory: where; checkpoints of an earlier process are taken up.
      keep: number of latest checkpoints kept, beside the best.
      inputs: fingerprints of what is trained on ('tokens', 'vocabulary').

    Raises:
      GenrecError: if the checkpoints there were trained on other inputs.
    """
    if keep < 1:
      raise GenrecError(f'Got keep={keep}, expected at least 1 checkpoint.')
    self.directory = pathlib.Path(directory).absolute()
    open_manifest(self.directory, dict(inputs or {}))
    self._policy = _LatestAndBest(keep)
    with artifacts.disk_errors(self.directory):
      self._manager = ocp.CheckpointManager(
        self.directory,
        options=ocp.CheckpointManagerOptions(
          step_prefix='checkpoint',
          cleanup_tmp_directories=True,
          preservation_policy=self._policy,
        ),
      )

  def latest_step(self) -> int | None:
    """Returns the last complete checkpoint's step, None if there is none."""
    return max(list_checkpoints(self.directory), default=None)

  def save(
    self,
    state: TrainState,
    *,
    step: int,
    position: Mapping[str, Any],
    progress: Mapping[str, Any],
  ) -> None:
    """Saves a checkpoint; returns as soon as the state is copied.

    Args:
      state: the train state, which may be donated afterwards.
      step: its step.
      position: the state of the data iterator after that step.
      progress: at least 'best_step', which is then kept.
    """
    self._policy.best_step = progress['best_step']
    tree = to_t5x_tree(state)
    with _disk_errors(self.directory):
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.PyTreeSave(tree),
          dataset=ocp.args.JsonSave(dict(position)),
          progress=ocp.args.JsonSave(dict(progress)),
          checksums=ocp.args.JsonSave(_checksums(tree, position)),
        ),
        force=True,
      )

  def restore_last(
    self, abstract: TrainState
  ) -> tuple[int, TrainState, dict[str, Any] | None, dict[str, Any]] | None:
    """Returns the step, and what `restore` does, of the last one that is whole.

    Those after it that cannot be read are set aside, with a warning; None if
    there is none that can.

    Raises:
      GenrecError: if its arrays are not those of `abstract`.
    """
    complete, incomplete = sort_checkpoints(self.directory)
    while complete:
      step, problem = complete.pop(), None
      try:
        restored = self.restore(abstract, step)
      except GenrecError:
        raise
      except Exception as error:
        # Whatever a library makes of bytes that are not its own.
        problem = error
      if hosts.all_agree(problem is None):
        break
      told = ' '.join(str(problem or 'another process cannot').split())
      self._set_aside(step, f'reading it fails: {told[:300]}')
    else:
      step, restored = 0, None
    # What is left of older ones, deleted in part, bears no name that is needed.
    for later in (other for other in incomplete if other > step):
      self._set_aside(later, f'it lacks {incomplete[later]}')
    return restored and (step, *restored)

  def restore(
    self, abstract: TrainState, step: int
  ) -> tuple[TrainState, dict[str, Any] | None, dict[str, Any]]:
    """Returns (state, position, progress) of a checkpoint.

    One that T5X wrote has no position that we could read: it is None, and no
    step is the best.

    Raises:
      GenrecError: if its arrays are not those of `abstract`.
      ValueError: if they are not those that were saved.
    """
    tree = to_t5x_tree(abstract)
    self._check_shapes(tree, step)
    path = self.directory / f'checkpoint_{step}'
    names = []
    if (path / 'progress').exists() or (path / 'checksums').exists():
      names += ['dataset', 'progress']
    # We of old wrote none.
    if (path / 'checksums').exists():
      names += ['checksums']
    restored = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.PyTreeRestore(
          tree,
          restore_args=ocp.checkpoint_utils.construct_restore_args(tree),
        ),
        **{name: ocp.args.JsonRestore() for name in names},
      ),
    )
    saved = restored.get('checksums')
    position = restored.get('dataset')
    found = _checksums(restored['state'], position)
    if saved not in (None, found):
      raise ValueError(f'its checksums are {found}, and {saved} were saved')
    progress = restored.get('progress') or {'best_step': None}
    self._policy.best_step = progress['best_step']
    state = from_t5x_tree(restored['state'], abstract)
    return state, position, progress

  def rewrite_progress(self, step: int, progress: Mapping[str, Any]) -> None:
    """Replaces the progress of a checkpoint that is complete."""
    self._policy.best_step = progress['best_step']
    if jax.process_index() == 0:
      artifacts.write_text(
        progress_file(self.directory, step), json.dumps(dict(progress))
      )

  def wait(self) -> None:
    """Waits until what was saved is on disk."""
    with _disk_errors(self.directory):
      self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits, and lets the directory go."""
    with _disk_errors(self.directory):
      self._manager.close()

  def _set_aside(self, step: int, reason: str) -> None:
    name = f'checkpoint_{step}'
    logging.warning(
      'Checkpoint %s is passed over: %s. It is kept as unreadable_%s.',
      self.directory / name,
      reason,
      name,
    )
    if jax.process_index() == 0:
      aside = self.directory / f'unreadable_{name}'
      shutil.rmtree(aside, ignore_errors=True)
      (self.directory / name).rename(aside)
    hosts.barrier(f'unreadable_{name}')
    self._manager.reload()

  def _check_shapes(self, tree: PyTree, step: int) -> None:
    check_shapes(
      _metadata(self.directory, step),
      tree,
      what=(
        f'Checkpoint {step} of {self.directory} is of another model or'
        ' optimizer'
      ),
      way_out=(
        'use the configuration that the run was started with, or another'
        ' run_dir'
      ),
    )


class _LatestAndBest:
  """Orbax's preservation policy: the latest few, and the best."""

  def __init__(self, keep: int):
    self.keep, self.best_step = keep, None

  def should_preserve(self, checkpoints, *, context) -> list[bool]:
    """Returns which of the checkpoints, in the order of steps, stay."""
    del context
    first = len(checkpoints) - self.keep
    return [
      index >= first or checkpoint.step == self.best_step
      for index, checkpoint in enumerate(checkpoints)
    ]


def restore_params(
  directory: PathLike,
  *,
  step: str | int = 'best',
  inputs: Mapping[str, str] | None = None,
) -> PyTree:
  """Returns the parameters of a checkpoint for evaluation, as NumPy arrays.

  Where the run kept a moving average of them, that is what is returned.

  Args:
    directory: the run's checkpoints.
    step: as in `find_checkpoint`.
    inputs: fingerprints that the run must have been trained on, by kind.

  Raises:
    GenrecError: if there is no such checkpoint, or of other inputs.
  """
  directory = pathlib.Path(directory).absolute()
  step = find_checkpoint(directory, step)
  check_inputs(directory, inputs or {})
  saved = flax.traverse_util.flatten_dict(_metadata(directory, step))
  average = {path for path in saved if 'average_of_params' in path}
  wanted = average or {path for path in saved if path[0] == 'target'}
  restored = ocp.PyTreeCheckpointer().restore(
    directory / f'checkpoint_{step}' / 'state',
    args=ocp.args.PyTreeRestore(
      flax.traverse_util.unflatten_dict({path: 0 for path in wanted}),
      restore_args=flax.traverse_util.unflatten_dict(
        {path: ocp.RestoreArgs(restore_type=np.ndarray) for path in wanted}
      ),
      partial_restore=True,
    ),
  )
  flat = flax.traverse_util.flatten_dict(restored)
  start = 1
  if average:
    start += next(iter(average)).index('average_of_params')
  return flax.traverse_util.unflatten_dict(
    {path[start:]: array for path, array in flat.items()}
  )


def open_manifest(directory: PathLike, inputs: Mapping[str, str]) -> None:
  """Checks the inputs of a directory of checkpoints, or writes them there.

  Raises:
    GenrecError: if the checkpoints there were trained on others.
  """
  if (pathlib.Path(directory) / artifacts.MANIFEST).exists():
    check_inputs(directory, inputs)
  elif jax.process_index() == 0:
    artifacts.write_manifest(
      directory, kind='checkpoints', fingerprint='', inputs=dict(inputs)
    )


def check_inputs(directory: PathLike, inputs: Mapping[str, str]) -> None:
  """Refuses checkpoints that were trained on other inputs than those given.

  Raises:
    GenrecError: if a fingerprint differs.
  """
  manifest = artifacts.read_manifest(directory, 'checkpoints')
  for kind, fingerprint in inputs.items():
    artifacts.check_input(
      manifest,
      kind,
      fingerprint,
      f'use what the checkpoints in {os.fspath(directory)} were trained on, or'
      ' train in another run_dir',
    )


@contextlib.contextmanager
def _disk_errors(directory: pathlib.Path) -> Iterator[None]:
  """As `artifacts.disk_errors`, also of TensorStore, which writes arrays."""
  with artifacts.disk_errors(directory):
    try:
      yield
    except ValueError as error:
      code = re.search(r"os_error_code='(\d+)'", str(error))
      if code is None:
        raise
      raise OSError(int(code.group(1)), str(error)) from error


def _checksums(tree: PyTree, position: Mapping[str, Any]) -> dict[str, int]:
  text = json.dumps(position, sort_keys=True)
  return {'state': checksum(tree), 'dataset': zlib.crc32(text.encode())}


def _metadata(directory: pathlib.Path, step: int) -> PyTree:
  path = directory / f'checkpoint_{step}' / 'state'
  return ocp.PyTreeCheckpointHandler().metadata(path).tree
