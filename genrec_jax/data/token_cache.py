"""The token cache: tokenized examples on disk, ready to be batched.

What SeqIO tasks make once, training, decoding and evaluation read from here
with NumPy alone, memory-mapped: a machine that trains needs no TensorFlow.

The directory (artefact kind 'tokens'):

  item_tokens.npy    int32 [N, L]: the ID of every item, PAD_ID at the tail
  item_names.json    the names of the items, by row
  vocabulary.json    the token layout (TokenLayout.as_dict())
  text.model         the SentencePiece model, where there is text
  TASK/PART/*.npy    one `TokenExamples`; PART is train, validation or test
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Int32, Integer

from genrec_jax import artifacts
from genrec_jax.types import PAD_ID, GenrecError, PathLike, unknown_name

PARTS = ('train', 'validation', 'test')
RAGGED = ('inputs', 'targets', 'history')
FLAT = ('user', 'target', 'tied')
ARRAYS = (*RAGGED, *(f'{name}_offsets' for name in RAGGED), *FLAT)


@dataclasses.dataclass(frozen=True, eq=False)
class Ragged:
  """Rows of different lengths: row i is values[offsets[i]:offsets[i + 1]]."""

  values: Integer[np.ndarray, 'tokens']
  offsets: Int[np.ndarray, 'rows+1']

  @classmethod
  def from_rows(cls, rows: Iterable, dtype=np.int32) -> Ragged:
    """Returns the ragged array of an iterable of sequences of integers."""
    rows = [np.asarray(row, dtype) for row in rows]
    return cls(
      values=np.concatenate(rows) if rows else np.zeros(0, dtype),
      offsets=np.cumsum([0] + [len(row) for row in rows], dtype=np.int64),
    )

  def __len__(self) -> int:
    return len(self.offsets) - 1

  def __getitem__(self, row: int) -> np.ndarray:
    row = range(len(self))[row]
    return self.values[self.offsets[row] : self.offsets[row + 1]]

  @functools.cached_property
  def lengths(self) -> Int[np.ndarray, 'rows']:
    """The length of every row."""
    return np.diff(self.offsets)

  def padded(
    self, rows: Int[np.ndarray, 'B'], width: int
  ) -> Int32[np.ndarray, 'B width']:
    """Returns rows as a dense array, PAD_ID on the right; row -1 is empty.

    Rows must not be longer than `width`.
    """
    lengths = np.where(rows < 0, 0, self.lengths[rows])
    assert lengths.max(initial=0) <= width
    column = np.arange(width)
    inside = column < lengths[:, None]
    result = np.full((len(rows), width), PAD_ID, np.int32)
    places = self.offsets[rows][:, None] + column
    result[inside] = self.values[places[inside]]
    return result


@dataclasses.dataclass(frozen=True, eq=False)
class TokenExamples:
  """Tokenized examples of one task and part, E of them.

  Attributes:
    inputs: tokens that the encoder reads.
    targets: tokens that the decoder must produce.
    user: row of the user.
    target: row of the item to be found.
    tied: whether the target has the same time as the item before it.
    history: rows of all earlier items of the user, oldest first: what "seen"
      means, however short the input is. Rows may be empty in the train part,
      where nothing reads them and they would grow with the square of a
      user's length.
  """

  inputs: Ragged
  targets: Ragged
  user: Int32[np.ndarray, 'E']
  target: Int32[np.ndarray, 'E']
  tied: Bool[np.ndarray, 'E']
  history: Ragged

  def __post_init__(self):
    for field in dataclasses.fields(self):
      assert len(getattr(self, field.name)) == len(self.inputs), field.name

  def __len__(self) -> int:
    return len(self.inputs)

  def arrays(self) -> dict[str, np.ndarray]:
    """Returns the flat arrays by file name."""
    return {
      **{name: getattr(self, name).values for name in RAGGED},
      **{f'{name}_offsets': getattr(self, name).offsets for name in RAGGED},
      **{name: getattr(self, name) for name in FLAT},
    }

  @classmethod
  def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> TokenExamples:
    """Returns the examples whose `arrays()` are given."""
    return cls(
      **{
        name: Ragged(arrays[name], arrays[f'{name}_offsets']) for name in RAGGED
      },
      **{name: arrays[name] for name in FLAT},
    )


@dataclasses.dataclass(frozen=True, eq=False)
class TokenCache:
  """A token cache on disk; arrays are memory-mapped when they are asked for."""

  directory: pathlib.Path
  manifest: dict[str, Any]
  layout: dict[str, Any]
  item_tokens: Int32[np.ndarray, 'N L']
  item_names: list[str]

  @classmethod
  def load(
    cls,
    directory: PathLike,
    *,
    inputs: Mapping[str, str] | None = None,
    vocabulary: str | None = None,
  ) -> TokenCache:
    """Opens a token cache.

    Args:
      directory: where `write_token_cache` put it.
      inputs: fingerprints by kind ('dataset', 'split', 'ids') that it must
        have been made from; any that are not given are not checked.
      vocabulary: the `vocabulary_fingerprint` that it must have, for example
        that of the run which a checkpoint belongs to.

    Raises:
      GenrecError: if there is none, or it was made from other inputs, or its
        vocabulary is another one than the manifest's or the expected.
    """
    directory = pathlib.Path(directory)
    manifest = artifacts.read_manifest(directory, 'tokens')
    way_out = 'run `genrec tokenize` again, or pass what it was made from'
    for kind, fingerprint in (inputs or {}).items():
      artifacts.check_input(manifest, kind, fingerprint, way_out)
    cache = cls(
      directory=directory,
      manifest=manifest,
      layout=json.loads(_read_bytes(directory / 'vocabulary.json')),
      item_tokens=_map_array(directory / 'item_tokens.npy'),
      item_names=json.loads(_read_bytes(directory / 'item_names.json')),
    )
    found = _fingerprint_vocabulary(directory)
    for expected, owner in (
      (manifest['vocabulary'], 'the manifest names'),
      (vocabulary, 'this run needs'),
    ):
      if expected is not None and found != expected:
        raise GenrecError(
          f'The token cache {os.fspath(directory)} was made for the vocabulary'
          f' {found[:12]}, but {owner} {expected[:12]}; {way_out}.'
        )
    return cache

  @property
  def fingerprint(self) -> str:
    """The sha256 of the whole content."""
    return self.manifest['fingerprint']

  @property
  def vocabulary_fingerprint(self) -> str:
    """The sha256 of token layout, text model and item tokens.

    Models and caches with the same one read and write the same tokens.
    """
    return self.manifest['vocabulary']

  @property
  def vocab_size(self) -> int:
    """The number of rows of the model's token table."""
    return self.layout['vocab_size']

  @property
  def text_model(self) -> pathlib.Path | None:
    """The SentencePiece model file, None where there is no text."""
    path = self.directory / 'text.model'
    return path if path.exists() else None

  def tasks(self) -> list[str]:
    """Returns the names of the tasks."""
    return list(self.manifest['tasks'])

  def item_task(self, task: str | None = None) -> str:
    """Returns the task of that name, or the first whose answer is an item.

    Raises:
      GenrecError: if its answer is no item, or no task's is.
    """
    facts = self.manifest.get('settings', {}).get('tasks', {})
    known = [
      name
      for name in self.tasks()
      if facts.get(name, {}).get('answer', 'item') == 'item'
    ]
    if task is None and known:
      return known[0]
    if task not in known:
      raise unknown_name('task with items for answers', str(task), known)
    return task

  def parts(self, task: str) -> list[str]:
    """Returns the parts that a task has."""
    if task not in self.manifest['tasks']:
      raise unknown_name('task of the token cache', task, self.tasks())
    return list(self.manifest['tasks'][task])

  def examples(self, task: str, part: str) -> TokenExamples:
    """Returns the examples of a task's part, memory-mapped."""
    if part not in self.parts(task):
      raise unknown_name(f'part of task {task!r}', part, self.parts(task))
    folder = self.directory / task / part
    arrays = {name: _map_array(folder / f'{name}.npy') for name in ARRAYS}
    for name in RAGGED:
      if arrays[f'{name}_offsets'][-1] != len(arrays[name]):
        raise GenrecError(
          f'{folder / name}.npy holds {len(arrays[name])} values, expected'
          f' {arrays[f"{name}_offsets"][-1]}; run `genrec tokenize` again.'
        )
    return TokenExamples.from_arrays(arrays)


def write_token_cache(
  directory: PathLike,
  *,
  layout: Mapping[str, Any],
  item_tokens: Int32[np.ndarray, 'N L'],
  item_names: list[str],
  examples: Mapping[str, Mapping[str, TokenExamples]],
  inputs: Mapping[str, str],
  text_model: PathLike | None = None,
  settings: Mapping[str, Any] | None = None,
) -> None:
  """Writes a token cache, replacing the one that is there.

  Args:
    directory: where to; written whole or not at all.
    layout: `TokenLayout.as_dict()`; its 'vocab_size' bounds every token.
    item_tokens: the ID of every item in tokens, PAD_ID at the tail.
    item_names: the name of every item.
    examples: by task, then by part.
    inputs: fingerprints of what it was made from: 'dataset', 'split', 'ids'.
    text_model: the SentencePiece model file, where there is text.
    settings: how the examples were made, for the manifest; JSON values.

  Raises:
    GenrecError: if a token, an item or a name of a task or part is none.
  """
  vocab_size, num_items = layout['vocab_size'], len(item_tokens)
  if len(item_names) != num_items:
    raise GenrecError(
      f'Got {len(item_names)} item names for {num_items} items; pass one'
      ' name an item.'
    )
  _check_range('item tokens', item_tokens, vocab_size)
  token_dtype = np.uint16 if vocab_size <= 1 << 16 else np.int32
  stored = {'inputs': token_dtype, 'targets': token_dtype, 'tied': np.bool_}
  digest = hashlib.sha256()
  with artifacts.write_directory(directory) as temporary:
    np.save(temporary / 'item_tokens.npy', item_tokens.astype(np.int32))
    artifacts.write_json(temporary / 'item_names.json', list(item_names))
    artifacts.write_json(temporary / 'vocabulary.json', dict(layout))
    if text_model is not None:
      shutil.copyfile(text_model, temporary / 'text.model')
    vocabulary = _fingerprint_vocabulary(temporary)
    digest.update(vocabulary.encode())
    counts = {}
    for task, parts in examples.items():
      if not re.fullmatch(r'\w[\w.-]*', task):
        raise GenrecError(
          f'Task name {task!r} cannot be a folder; use letters, digits, "_",'
          ' "-" and ".".'
        )
      counts[task] = {part: len(parts[part]) for part in parts}
      for part, part_examples in parts.items():
        if part not in PARTS:
          raise unknown_name('part', part, PARTS)
        where = f'{task}/{part}'
        _check_range(f'{where} inputs', part_examples.inputs.values, vocab_size)
        _check_range(
          f'{where} targets', part_examples.targets.values, vocab_size
        )
        _check_range(f'{where} target items', part_examples.target, num_items)
        _check_range(
          f'{where} history items', part_examples.history.values, num_items
        )
        folder = temporary / task / part
        folder.mkdir(parents=True)
        for name, array in part_examples.arrays().items():
          default = np.int64 if name.endswith('_offsets') else np.int32
          array = np.ascontiguousarray(array, stored.get(name, default))
          np.save(folder / f'{name}.npy', array)
          digest.update(f'{where}/{name}'.encode())
          digest.update(artifacts.arrays_sha256(array).encode())
    artifacts.write_manifest(
      temporary,
      kind='tokens',
      fingerprint=digest.hexdigest(),
      inputs=inputs,
      vocabulary=vocabulary,
      vocab_size=vocab_size,
      tasks=counts,
      settings=dict(settings or {}),
    )


def vocab_size(directory: PathLike) -> int:
  """Returns the number of rows of the token table that a cache needs."""
  return artifacts.read_manifest(directory, 'tokens')['vocab_size']


def _check_range(what: str, values: np.ndarray, stop: int) -> None:
  if values.size and not 0 <= values.min() <= values.max() < stop:
    raise GenrecError(
      f'The {what} lie in {values.min()}..{values.max()}, expected'
      f' 0..{stop - 1}; the examples were made with other IDs or another'
      ' vocabulary.'
    )


def _fingerprint_vocabulary(directory: pathlib.Path) -> str:
  digest = hashlib.sha256()
  layout = json.loads(_read_bytes(directory / 'vocabulary.json'))
  digest.update(json.dumps(layout, sort_keys=True).encode())
  digest.update(
    artifacts.arrays_sha256(_map_array(directory / 'item_tokens.npy')).encode()
  )
  if (directory / 'text.model').exists():
    digest.update(artifacts.file_sha256(directory / 'text.model').encode())
  return digest.hexdigest()


def _read_bytes(path: pathlib.Path) -> bytes:
  try:
    return path.read_bytes()
  except FileNotFoundError as error:
    raise GenrecError(
      f'The token cache lacks {path}; run `genrec tokenize` again.'
    ) from error


def _map_array(path: pathlib.Path) -> np.ndarray:
  try:
    # As a plain array: indexing a np.memmap costs a Python call more a slice.
    return np.asarray(np.load(path, mmap_mode='r'))
  except (OSError, ValueError, EOFError) as error:
    raise GenrecError(
      f'Cannot read {path} of the token cache ({error}); run `genrec'
      ' tokenize` again.'
    ) from error
