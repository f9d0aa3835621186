"""Checkpoints: Orbax, in the tree that T5X reads and writes.

  checkpoints/manifest.json      what the run was trained on, and with
  checkpoints/checkpoint_N/
    state      {target: params, state: {step, param_states: optimizer state}}
    dataset    the position in the data, JSON
    progress   the best metric so far, JSON

A checkpoint takes its name when it is complete, so that a process killed while
saving leaves none.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import flax.serialization
import flax.traverse_util
import jax
import numpy as np
import orbax.checkpoint as ocp

from genrec_jax import artifacts
from genrec_jax.training.steps import TrainState
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
    self._open_manifest(dict(inputs or {}))
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
    with _disk_errors(self.directory):
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.PyTreeSave(to_t5x_tree(state)),
          dataset=ocp.args.JsonSave(dict(position)),
          progress=ocp.args.JsonSave(dict(progress)),
        ),
        force=True,
      )

  def restore(
    self, abstract: TrainState, step: int
  ) -> tuple[TrainState, dict[str, Any], dict[str, Any]]:
    """Returns (state, position, progress) of a checkpoint.

    Raises:
      GenrecError: if its arrays are not those of `abstract`.
    """
    tree = to_t5x_tree(abstract)
    self._check_shapes(tree, step)
    restored = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.PyTreeRestore(
          tree,
          restore_args=ocp.checkpoint_utils.construct_restore_args(tree),
        ),
        dataset=ocp.args.JsonRestore(),
        progress=ocp.args.JsonRestore(),
      ),
    )
    self._policy.best_step = restored['progress']['best_step']
    state = from_t5x_tree(restored['state'], abstract)
    return state, restored['dataset'], restored['progress']

  def wait(self) -> None:
    """Waits until what was saved is on disk."""
    with _disk_errors(self.directory):
      self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits, and lets the directory go."""
    with _disk_errors(self.directory):
      self._manager.close()

  def _open_manifest(self, inputs: dict[str, str]) -> None:
    if (self.directory / artifacts.MANIFEST).exists():
      check_inputs(self.directory, inputs)
    elif jax.process_index() == 0:
      artifacts.write_manifest(
        self.directory, kind='checkpoints', fingerprint='', inputs=inputs
      )

  def _check_shapes(self, tree: PyTree, step: int) -> None:
    saved = _shapes(_metadata(self.directory, step))
    expected = _shapes(tree)
    differing = [
      name
      for name in sorted(saved.keys() | expected.keys())
      if saved.get(name) != expected.get(name)
    ]
    if differing:
      name = differing[0]
      raise GenrecError(
        f'Checkpoint {step} of {self.directory} is of another model or'
        f' optimizer: {name} is {saved.get(name, "absent")} there and'
        f' {expected.get(name, "absent")} here ({len(differing)} arrays'
        ' differ). Use the configuration that the run was started with, or'
        ' another run_dir.'
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


def list_checkpoints(directory: PathLike) -> list[int]:
  """Returns the steps of the complete checkpoints, ascending.

  An incomplete one (copied or deleted in part; Orbax itself leaves none under
  that name) is passed over with a warning.
  """
  steps = []
  for path in pathlib.Path(directory).glob('checkpoint_*'):
    match = re.fullmatch(r'checkpoint_(\d+)', path.name)
    if not match:
      continue
    needed = ('_CHECKPOINT_METADATA', 'state/_METADATA', 'state/manifest.ocdbt')
    missing = [name for name in needed if not (path / name).exists()]
    if missing:
      logging.warning(
        'Checkpoint %s is incomplete (it lacks %s) and is passed over.',
        path,
        missing[0],
      )
    else:
      steps.append(int(match.group(1)))
  return sorted(steps)


def find_checkpoint(directory: PathLike, step: str | int = 'best') -> int:
  """Returns the step of a checkpoint: 'best', 'last', or a number.

  Raises:
    GenrecError: if there is no such one; the message lists those there are.
  """
  directory = pathlib.Path(directory)
  steps = list_checkpoints(directory)
  if not steps:
    raise GenrecError(
      f'No checkpoint in {directory}; run `genrec train` first, or pass the'
      ' right directory.'
    )
  if step == 'last':
    return steps[-1]
  found = _best_step(directory, steps[-1]) if step == 'best' else step
  if found is None:
    raise GenrecError(
      f'No best checkpoint in {directory}: nothing was evaluated while it'
      " was trained. Pass 'last', or one of the steps"
      f' {", ".join(map(str, steps))}.'
    )
  if found not in steps:
    raise GenrecError(
      f'No checkpoint {step if step == found else f"{found} ({step})"} in'
      f" {directory}; expected 'best', 'last' or one of the steps"
      f' {", ".join(map(str, steps))}.'
    )
  return found


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


def to_t5x_tree(state: TrainState) -> PyTree:
  """Returns the tree of T5X's checkpoints, without empty optimizer states."""
  optimizer = flax.serialization.to_state_dict(state.opt_state)
  flat = flax.traverse_util.flatten_dict(optimizer)
  return {
    'target': state.params,
    'state': {
      'step': state.step,
      'param_states': flax.traverse_util.unflatten_dict(flat),
    },
  }


def from_t5x_tree(tree: PyTree, like: TrainState) -> TrainState:
  """Returns the state whose `to_t5x_tree` is given; `like` is its structure."""
  optimizer = flax.traverse_util.flatten_dict(
    flax.serialization.to_state_dict(like.opt_state), keep_empty_nodes=True
  )
  saved = flax.traverse_util.flatten_dict(tree['state'].get('param_states', {}))
  return TrainState(
    step=tree['state']['step'],
    params=tree['target'],
    opt_state=flax.serialization.from_state_dict(
      like.opt_state, flax.traverse_util.unflatten_dict(optimizer | saved)
    ),
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


def _best_step(directory: pathlib.Path, last: int) -> int | None:
  # Where Orbax's JsonSave puts the JSON.
  path = directory / f'checkpoint_{last}' / 'progress' / 'metadata'
  return json.loads(path.read_text(encoding='utf-8'))['best_step']


def _metadata(directory: pathlib.Path, step: int) -> PyTree:
  path = directory / f'checkpoint_{step}' / 'state'
  return ocp.PyTreeCheckpointHandler().metadata(path).tree


def _shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
  flat = flax.traverse_util.flatten_dict(tree, sep='/')
  return {name: tuple(leaf.shape) for name, leaf in flat.items()}
