"""Artefacts: directories written whole or not at all, each with a manifest.

An artefact is a directory with a `manifest.json` that names its kind, its own
fingerprint, and the fingerprints of the artefacts it was made from, so that a
command can refuse to mix artefacts of different data, IDs or vocabularies.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from genrec_jax.types import GenrecError, PathLike

MANIFEST = 'manifest.json'


def file_sha256(path: PathLike) -> str:
  """Returns the sha256 of a file's bytes, in hexadecimal."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def arrays_sha256(*arrays: np.ndarray) -> str:
  """Returns the sha256 over the type, shape and bytes of arrays, in order."""
  digest = hashlib.sha256()
  for array in arrays:
    array = np.ascontiguousarray(array)
    digest.update(f'{array.dtype.str}{array.shape}'.encode())
    digest.update(array.data if array.size else b'')
  return digest.hexdigest()


@contextlib.contextmanager
def disk_errors(path: PathLike, action: str = 'write') -> Iterator[None]:
  """Turns a full disk or a forbidden path into an error with a way out."""
  try:
    yield
  except OSError as error:
    reasons = {
      errno.ENOSPC: 'the disk is full; free some space or choose another place',
      errno.EDQUOT: 'the disk quota is used up; free some space or choose'
      ' another place',
      errno.EACCES: 'permission is denied; choose another place',
      errno.ENOTDIR: 'a file is in the way of a directory; choose another'
      ' place',
      errno.EEXIST: 'a file is in the way of a directory; choose another place',
      errno.EROFS: 'it is on a read-only disk; choose another place',
    }
    if error.errno not in reasons:
      raise
    raise GenrecError(
      f'Cannot {action} {os.fspath(path)}: {reasons[error.errno]}. What was'
      ' there before is untouched.'
    ) from error


@contextlib.contextmanager
def reading(path: PathLike) -> Iterator[None]:
  """Turns a file or directory that may not be read into an error."""
  try:
    yield
  except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
    raise GenrecError(
      f'Cannot read {os.fspath(error.filename or path)}:'
      f' {error.strerror.lower()}; let the user who runs this read it, or pass'
      ' another path.'
    ) from error


@contextlib.contextmanager
def write_directory(path: PathLike) -> Iterator[pathlib.Path]:
  """Yields a temporary directory that becomes `path` when the block ends well.

  An existing `path` is replaced; when the block raises, it stays as it was.
  """
  path = pathlib.Path(path)
  with disk_errors(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(
      tempfile.mkdtemp(prefix=f'.{path.name}.', dir=path.parent)
    )
    try:
      yield temporary
      os.chmod(temporary, 0o755)
      if path.exists():
        replaced = temporary.with_name(temporary.name + '.old')
        os.replace(path, replaced)
        os.replace(temporary, path)
        shutil.rmtree(replaced)
      else:
        os.replace(temporary, path)
    finally:
      shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: PathLike, text: str) -> None:
  """Writes a text file through a temporary name."""
  path = pathlib.Path(path)
  with disk_errors(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(
      prefix=f'.{path.name}.', dir=path.parent
    )
    try:
      with os.fdopen(descriptor, 'w', encoding='utf-8') as file:
        file.write(text)
      os.chmod(temporary, 0o644)
      os.replace(temporary, path)
    finally:
      if os.path.exists(temporary):
        os.remove(temporary)


def write_json(path: PathLike, value: Any) -> None:
  """Writes JSON through a temporary name, keys in the order given."""
  write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + '\n')


def append_json(path: PathLike, value: Any) -> None:
  """Adds a line of JSON to a file, which is made if it is not there."""
  path = pathlib.Path(path)
  with disk_errors(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'a', encoding='utf-8') as file:
      file.write(json.dumps(value, ensure_ascii=False) + '\n')


def write_manifest(
  directory: PathLike,
  *,
  kind: str,
  fingerprint: str,
  inputs: Mapping[str, str],
  **facts: Any,
) -> None:
  """Writes an artefact's manifest.

  Args:
    directory: the artefact (usually what `write_directory` yielded).
    kind: what it is: 'dataset', 'ids', 'tokens', ...
    fingerprint: sha256 of its content.
    inputs: fingerprints of what it was made from, by kind.
    **facts: anything else worth knowing, JSON values.
  """
  write_json(
    pathlib.Path(directory) / MANIFEST,
    {
      'kind': kind,
      'fingerprint': fingerprint,
      'inputs': dict(inputs),
      **facts,
    },
  )


def read_manifest(directory: PathLike, kind: str) -> dict[str, Any]:
  """Reads an artefact's manifest and checks its kind.

  Raises:
    GenrecError: if there is no such artefact, or it is of another kind.
  """
  path = pathlib.Path(directory) / MANIFEST
  if not path.exists():
    raise GenrecError(
      f'No {kind} at {os.fspath(directory)}: expected {path}. Run the'
      f' command that makes it (`genrec --help` lists them in order), or'
      ' pass the right directory.'
    )
  try:
    manifest = json.loads(path.read_text(encoding='utf-8'))
  except ValueError as error:
    raise GenrecError(
      f'{path} is damaged ({error}); run the command that makes the {kind}'
      ' again.'
    ) from error
  if manifest.get('kind') != kind:
    raise GenrecError(
      f'{os.fspath(directory)} holds a {manifest.get("kind")!r} artefact,'
      f' expected {kind!r}; pass the right directory.'
    )
  return manifest


def check_input(
  manifest: Mapping[str, Any], kind: str, fingerprint: str, way_out: str
) -> None:
  """Refuses an artefact that was made from another input than the one at hand.

  Raises:
    GenrecError: if `manifest` names another fingerprint for input `kind`.
  """
  recorded = manifest['inputs'].get(kind)
  if recorded != fingerprint:
    raise GenrecError(
      f'The {manifest["kind"]} artefact was made from the {kind}'
      f' {str(recorded)[:12]}, but the {kind} at hand is {fingerprint[:12]};'
      f' {way_out}.'
    )
