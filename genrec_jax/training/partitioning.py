"""Where arrays live: a (data, model) mesh and rules for logical axes.

Models name the axes of their parameters and activations ('embed', 'mlp',
'heads', ...); the rules say which of them are cut over which axis of the mesh.
The names and the default rules are T5X's. The same program then runs on one
device, on several, and on several hosts.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.core
import flax.traverse_util
import jax
import numpy as np
import optax
from flax.linen import partitioning as flax_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genrec_jax.types import GenrecError

PyTree = Any
AxisRules = Sequence[tuple[str, str | None]]

# Tensor parallelism as in T5X; every logical axis that a model may name. What
# comes first goes first: an array takes an axis of the mesh once, so with
# ('embed', 'data') after ('batch', 'data') parameters are cut along their
# width and activations, which have a batch, are not (gin/meshes/).
AXIS_RULES: AxisRules = (
  ('batch', 'data'),
  ('vocab', 'model'),
  ('embed', None),
  ('mlp', 'model'),
  ('heads', 'model'),
  ('kv', None),
  ('joined_kv', 'model'),
  ('relpos_buckets', None),
  ('length', None),
  ('target_length', None),
  ('layers', None),
)


def make_mesh(
  model_parallel: int = 1, devices: Sequence[jax.Device] | None = None
) -> Mesh:
  """Returns a mesh with the axes 'data' and 'model'.

  Args:
    model_parallel: the number of devices that share one copy of the model;
      the other factor of the device count is data parallelism.
    devices: which devices; by default all, over all processes.

  Raises:
    GenrecError: if the devices cannot be divided so.
  """
  devices = jax.devices() if devices is None else list(devices)
  if model_parallel < 1 or len(devices) % model_parallel:
    raise GenrecError(
      f'model_parallel={model_parallel} does not divide the {len(devices)}'
      ' devices; choose one of their divisors.'
    )
  return jax.make_mesh(
    (len(devices) // model_parallel, model_parallel),
    ('data', 'model'),
    axis_types=(jax.sharding.AxisType.Auto,) * 2,
    devices=devices,
  )


@contextlib.contextmanager
def partitioned(mesh: Mesh, rules: AxisRules | None = None) -> Iterator[None]:
  """Lets models constrain their activations by logical axis names.

  Args:
    mesh: the devices.
    rules: logical axis to mesh axis; by default those of the context, as
      where a training run measures itself, else AXIS_RULES.
  """
  if rules is None:
    rules = flax_partitioning.get_axis_rules() or AXIS_RULES
  # Flax leaves constraints out where only `with mesh` says what the mesh is;
  # `jax.set_mesh` would put every array that is made here on all devices.
  with (
    jax.sharding.use_abstract_mesh(mesh.abstract_mesh),
    flax_partitioning.axis_rules(rules),
  ):
    yield


def replicated(mesh: Mesh) -> NamedSharding:
  """Returns the sharding of what every device holds whole."""
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh, rules: AxisRules = AXIS_RULES) -> NamedSharding:
  """Returns the sharding of batches: cut along their first axis."""
  return NamedSharding(
    mesh, flax_partitioning.logical_to_mesh_axes(('batch',), rules)
  )


def parameter_shardings(
  variables: Mapping[str, PyTree], mesh: Mesh, rules: AxisRules = AXIS_RULES
) -> PyTree:
  """Returns the sharding of every parameter.

  Args:
    variables: what `get_initial_variables` returns, abstract or not: 'params',
      and their logical axes in 'params_axes' (AxisMetadata by `NAME_axes`).
    mesh: the devices.
    rules: logical axis to mesh axis.

  Raises:
    GenrecError: if a parameter has no axis names, or an axis that is cut is
      not a multiple of the number of devices it is cut over.
  """
  params = flax.traverse_util.flatten_dict(
    flax.core.unfreeze(variables['params']), sep='/'
  )
  axes = flax.core.unfreeze(
    flax_partitioning.get_axis_names(variables['params_axes'])
  )
  axes = flax.traverse_util.flatten_dict(axes, sep='/')
  shardings = {}
  for name, array in params.items():
    if name not in axes:
      raise GenrecError(
        f'Parameter {name} has no logical axes; declare it with'
        ' flax.linen.partitioning.param_with_axes.'
      )
    spec = flax_partitioning.logical_to_mesh_axes(axes[name], rules)
    for size, logical, physical in zip(array.shape, axes[name], spec):
      cut = int(np.prod([mesh.shape[axis] for axis in _names(physical)]))
      if size % cut:
        raise GenrecError(
          f'Parameter {name} has {size} {logical!r}, which cannot be cut over'
          f' the {cut} devices of mesh axis {physical!r}; change'
          ' model_parallel, the number of devices or the axis rules.'
        )
    shardings[name] = NamedSharding(mesh, spec)
  return flax.traverse_util.unflatten_dict(shardings, sep='/')


def optimizer_shardings(
  optimizer: optax.GradientTransformation,
  params: PyTree,
  shardings: PyTree,
  mesh: Mesh,
) -> PyTree:
  """Returns the shardings of an optimizer state.

  What has the shape of its parameter (moments, averages) lies as that one
  does; the rest (counts, Adafactor's row and column sums) is replicated.
  """
  whole = replicated(mesh)
  return optax.tree_utils.tree_map_params(
    optimizer,
    lambda leaf, param, sharding: (
      sharding if leaf.shape == param.shape else whole
    ),
    jax.eval_shape(optimizer.init, params),
    params,
    shardings,
    transform_non_params=lambda _: whole,
  )


def put_batch(
  batch: Mapping[str, np.ndarray], sharding: NamedSharding
) -> dict[str, jax.Array]:
  """Returns the global batch of which each process holds its own rows.

  Raises:
    GenrecError: if the rows cannot be divided over the local devices.
  """
  shares = len(sharding.mesh.local_devices) // sharding.mesh.shape['model']
  rows = len(next(iter(batch.values())))
  if rows % max(shares, 1):
    raise GenrecError(
      f'A batch of {rows} rows a process cannot be divided over {shares}'
      ' data-parallel devices; choose a batch_size that is a multiple of them.'
    )
  return {
    name: jax.make_array_from_process_local_data(sharding, array)
    for name, array in batch.items()
  }


def use_compilation_cache(directory: str | None = None) -> pathlib.Path:
  """Keeps compiled programs on disk, so that a next run starts at once.

  Args:
    directory: where; by default $JAX_COMPILATION_CACHE_DIR, else
      $XDG_CACHE_HOME/genrec_jax/xla, else ~/.cache/genrec_jax/xla.

  Returns:
    The directory.
  """
  if directory is None:
    directory = os.environ.get('JAX_COMPILATION_CACHE_DIR')
  if directory is None:
    home = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
    directory = pathlib.Path(home) / 'genrec_jax' / 'xla'
  jax.config.update('jax_compilation_cache_dir', os.fspath(directory))
  # A small model compiles in parts of a second each, and they add up.
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)
  return pathlib.Path(directory)


def _names(physical: str | tuple[str, ...] | None) -> tuple[str, ...]:
  if physical is None:
    return ()
  return (physical,) if isinstance(physical, str) else tuple(physical)
