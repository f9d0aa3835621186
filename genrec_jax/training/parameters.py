"""Parameters alone, as a checkpoint of T5X without an optimizer's state.

  DIRECTORY/state    {target: parameters, state: {step}}

`genrec import` writes such a one, and training starts from it:

  initial_params/manifest.json    where they come from, for which vocabulary
  initial_params/checkpoint_0     the parameters
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax
import numpy as np
import orbax.checkpoint as ocp

from genrec_jax import artifacts
from genrec_jax.types import GenrecError, PathLike

PyTree = Any
INITIAL = 'initial_params'
_FIRST = 'checkpoint_0'


def write_parameters(
  directory: PathLike, params: PyTree, *, step: int = 0
) -> None:
  """Writes parameters as the checkpoint `directory`, which is not there yet."""
  tree = {'target': params, 'state': {'step': np.int32(step)}}
  with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
    checkpointer.save(
      pathlib.Path(directory).absolute(),
      args=ocp.args.Composite(state=ocp.args.PyTreeSave(tree)),
    )


def read_parameters(
  directory: PathLike, abstract: PyTree | None = None
) -> PyTree:
  """Returns the parameters of a checkpoint that Orbax wrote.

  Args:
    directory: the checkpoint, with `state` in it.
    abstract: their shapes and shardings, as they are wanted on devices; None
      for NumPy arrays as they are.
  """
  path = pathlib.Path(directory).absolute() / 'state'
  if abstract is None:
    saved = ocp.PyTreeCheckpointHandler().metadata(path).tree
    target = flax.traverse_util.flatten_dict(saved['target'])
    wanted, restore = (
      flax.traverse_util.unflatten_dict(dict.fromkeys(target, value))
      for value in (0, ocp.RestoreArgs(restore_type=np.ndarray))
    )
  else:
    wanted = abstract
    restore = ocp.checkpoint_utils.construct_restore_args(abstract)
  restored = ocp.PyTreeCheckpointer().restore(
    path,
    args=ocp.args.PyTreeRestore(
      {'target': wanted}, restore_args={'target': restore}, partial_restore=True
    ),
  )
  return restored['target']


def write_initial(
  run_dir: PathLike, params: PyTree, *, vocabulary: str, **facts: Any
) -> pathlib.Path:
  """Writes what the training of a run starts from; returns where.

  Args:
    run_dir: the run.
    params: NumPy arrays.
    vocabulary: fingerprint of the vocabulary that they are for.
    **facts: where they come from; JSON values.
  """
  directory = pathlib.Path(run_dir) / INITIAL
  with artifacts.write_directory(directory) as path:
    write_parameters(path / _FIRST, params)
    artifacts.write_manifest(
      path,
      kind=INITIAL,
      fingerprint=artifacts.arrays_sha256(*jax.tree.leaves(params)),
      inputs={'vocabulary': vocabulary},
      **facts,
    )
  return directory


def initial_inputs(run_dir: PathLike, *, vocabulary: str) -> Mapping[str, str]:
  """Returns the fingerprint of what a run starts from, by its kind.

  Empty where the run starts from parameters that are drawn.

  Raises:
    GenrecError: if they are for another vocabulary.
  """
  directory = pathlib.Path(run_dir) / INITIAL
  if not (directory / artifacts.MANIFEST).exists():
    return {}
  manifest = artifacts.read_manifest(directory, INITIAL)
  artifacts.check_input(
    manifest,
    'vocabulary',
    vocabulary,
    f'run `genrec import` again, or remove {directory}',
  )
  return {INITIAL: manifest['fingerprint']}


def read_initial(run_dir: PathLike, abstract: PyTree) -> PyTree:
  """Returns what the training of a run starts from, on the devices.

  Args:
    run_dir: the run.
    abstract: shapes and shardings of the model's parameters.

  Raises:
    GenrecError: if they are of another model.
  """
  directory = pathlib.Path(run_dir) / INITIAL
  path = directory.absolute() / _FIRST / 'state'
  saved = ocp.PyTreeCheckpointHandler().metadata(path).tree
  check_shapes(
    saved['target'],
    abstract,
    what=f'The parameters in {directory} are of another model',
    way_out=(
      'run `genrec import` again with the configuration that is trained, or'
      f' remove {directory}'
    ),
  )
  return read_parameters(directory / _FIRST, abstract)


def check_shapes(
  found: PyTree, expected: PyTree, *, what: str, way_out: str
) -> None:
  """Holds the arrays that were saved against those that are wanted.

  Args:
    found: arrays, or anything with shapes.
    expected: the same of the model in hand.
    what: how the error begins.
    way_out: how it ends.

  Raises:
    GenrecError: if a name is missing on either side, or a shape differs.
  """
  there, here = array_shapes(found), array_shapes(expected)
  name = first_difference(there, here)
  if name is not None:
    raise GenrecError(
      f'{what}: {name} is {there.get(name, "absent")} there and'
      f' {here.get(name, "absent")} here; {way_out}.'
    )


def first_difference(
  found: Mapping[str, Any], expected: Mapping[str, Any]
) -> str | None:
  """Returns the first name whose values differ, None where all agree."""
  return next(
    (
      name
      for name in sorted(found.keys() | expected.keys())
      if found.get(name) != expected.get(name)
    ),
    None,
  )


def array_shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
  """Returns the shapes of a tree of arrays, by name."""
  flat = flax.traverse_util.flatten_dict(tree, sep='/')
  return {name: tuple(leaf.shape) for name, leaf in flat.items()}
