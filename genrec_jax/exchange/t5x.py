"""Weights from checkpoints of T5X, of either of its two formats.

The newer is Orbax's, as our own checkpoints are. The older, which T5 1.1 and
Flan-T5 were published in, is a file `checkpoint` (msgpack) that holds the small
arrays, and says of the large ones where TensorStore has them beside it.
"""

from __future__ import annotations

import pathlib
import re
from typing import Any

import flax.serialization
import flax.traverse_util
import numpy as np

from genrec_jax.exchange.t5_names import EMBEDDING, Weights, unstack_layers
from genrec_jax.training.parameters import read_parameters
from genrec_jax.types import GenrecError, PathLike


def is_t5x(directory: PathLike) -> bool:
  """Returns whether a directory is, or has, a checkpoint of T5X."""
  return _find(pathlib.Path(directory)) is not None


def read_weights(directory: PathLike) -> Weights:
  """Returns the weights of a T5, float32, layer by layer, under our names.

  Args:
    directory: a checkpoint, or a directory of several: the last is read.

  Raises:
    GenrecError: if there is none, or it is of another kind of model.
  """
  path = _find(pathlib.Path(directory))
  if path is None:
    raise GenrecError(
      f'No checkpoint of T5X in {directory}; expected `checkpoint_N`, with'
      ' `state` or a file `checkpoint` in it.'
    )
  try:
    is_new = (path / 'state').exists()
    tree = read_parameters(path) if is_new else _read_old(path)
  except (ValueError, KeyError, OSError) as error:
    raise GenrecError(
      f'Cannot read the checkpoint {path}: {error}; copy all of it again.'
    ) from error
  flat = flax.traverse_util.flatten_dict(tree, sep='/')
  if EMBEDDING not in flat:
    raise GenrecError(
      f'The checkpoint {path} has no {EMBEDDING}, so it is of no T5 of T5X; it'
      f' has {", ".join(sorted(flat)[:3])}.'
    )
  return unstack_layers(
    {name: np.asarray(weight, np.float32) for name, weight in flat.items()}
  )


def _find(directory: pathlib.Path) -> pathlib.Path | None:
  """Returns the directory of a checkpoint, None where there is none."""

  def is_one(path: pathlib.Path) -> bool:
    old, new = path / 'checkpoint', path / 'state' / '_METADATA'
    return old.is_file() or new.exists()

  if is_one(directory):
    return directory
  steps = {
    int(match[1]): path
    for path in directory.glob('checkpoint_*')
    if (match := re.fullmatch(r'checkpoint_(\d+)', path.name)) and is_one(path)
  }
  return steps[max(steps)] if steps else None


def _read_old(path: pathlib.Path) -> dict[str, Any]:
  """Returns the parameters of a checkpoint of the older format."""
  content = flax.serialization.msgpack_restore(
    (path / 'checkpoint').read_bytes()
  )
  # Before versions were written the optimizer was all of it.
  return _read_arrays(content.get('optimizer', content)['target'], path)


def _read_arrays(tree: Any, path: pathlib.Path) -> Any:
  if not isinstance(tree, dict):
    return tree
  if not {'driver', 'kvstore'} <= tree.keys():
    return {name: _read_arrays(part, path) for name, part in tree.items()}
  import tensorstore  # Orbax brings it

  place = tree['kvstore'].get('path') or tree['path']
  # Wherever it was written, it lies beside the file now.
  kvstore = {'driver': 'file', 'path': str(path / place.strip('/'))}
  spec = {'driver': tree['driver'], 'kvstore': kvstore}
  return tensorstore.open(spec, open=True, read=True).result().read().result()
