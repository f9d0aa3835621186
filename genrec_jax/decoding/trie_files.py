"""A trie as an artefact: one file an array, read memory-mapped."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from genrec_jax import artifacts
from genrec_jax.decoding import (
  bitmaps,
  child_ranges,
  level_logits,
  levels,
  sparse_level,
)
from genrec_jax.decoding.trie import Trie
from genrec_jax.types import GenrecError, PathLike

KIND = 'trie'
_CLASSES = {
  part.__name__: part
  for part in (
    Trie,
    sparse_level.Sparse,
    levels.Dense,
    levels.Hybrid,
    bitmaps.Bitmaps,
    child_ranges.Offsets,
    child_ranges.Exceptions,
    child_ranges.Identity,
    level_logits.Alphabet,
  )
}


def save_trie(
  trie: Trie, directory: PathLike, *, inputs: Mapping[str, str] | None = None
) -> None:
  """Writes a trie; the directory is replaced if it exists.

  Args:
    trie: the catalogue.
    directory: where to.
    inputs: fingerprints of what it was made from, as 'ids'.
  """
  arrays = [np.asarray(array) for array in jax.tree.leaves(trie)]
  names = []

  def write(array, name):
    names.append(f'{name}.npy')
    np.save(path / names[-1], np.asarray(array))
    return {'file': names[-1]}

  with artifacts.write_directory(directory) as path:
    structure = _describe(trie, write, 'trie')
    artifacts.write_manifest(
      path,
      kind=KIND,
      fingerprint=artifacts.arrays_sha256(*arrays),
      inputs=inputs or {},
      num_items=trie.num_items,
      structure=structure,
    )


def load_trie(directory: PathLike, *, verify: bool = True) -> Trie:
  """Returns a saved trie, its arrays memory-mapped.

  A jitted function takes it as it is and copies it to its device; to copy it
  once, `jax.device_put` it.

  Args:
    directory: what `save_trie` wrote.
    verify: whether to read all of it once and compare it with its manifest.

  Raises:
    GenrecError: if there is no trie, or a file is not the one written.
  """
  manifest = artifacts.read_manifest(directory, KIND)
  path = pathlib.Path(directory)

  def read(name):
    try:
      return np.load(path / name, mmap_mode='r')
    except (OSError, ValueError) as error:
      raise GenrecError(
        f'The trie at {path} lacks a whole {name} ({error}); build and save it'
        ' again.'
      ) from error

  trie = _restore(manifest['structure'], read)
  if verify:
    found = artifacts.arrays_sha256(*jax.tree.leaves(trie))
    if found != manifest['fingerprint']:
      raise GenrecError(
        f'The trie at {path} has the fingerprint {found[:12]}, but its manifest'
        f' says {manifest["fingerprint"][:12]}: a file was changed after it was'
        ' written. Build and save it again.'
      )
  return trie


def _describe(part: Any, write: Callable[..., Any], name: str) -> Any:
  """Returns a part as JSON values, with arrays as names of files."""
  if dataclasses.is_dataclass(part):
    fields = {
      field.name: _describe(
        getattr(part, field.name), write, f'{name}.{field.name}'
      )
      for field in dataclasses.fields(part)
    }
    return {'class': type(part).__name__, 'fields': fields}
  if isinstance(part, tuple):
    return [
      _describe(value, write, f'{name}.{number}')
      for number, value in enumerate(part)
    ]
  if part is None or isinstance(part, int):
    return part
  return write(part, name)


def _restore(value: Any, read: Callable[[str], np.ndarray]) -> Any:
  if isinstance(value, list):
    return tuple(_restore(part, read) for part in value)
  if not isinstance(value, dict):
    return value
  if 'file' in value:
    return read(value['file'])
  fields = {name: _restore(v, read) for name, v in value['fields'].items()}
  return _CLASSES[value['class']](**fields)
