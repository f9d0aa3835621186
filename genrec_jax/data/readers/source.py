"""Raw files: their gzip, their encoding, their lines, and their bad rows."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import zlib
from typing import Any

from absl import logging

from genrec_jax.types import GenrecError, PathLike, unknown_name

ON_BAD_ROW = ('error', 'skip')
_GZIP_MAGIC = b'\x1f\x8b'
_BLOCK = 1 << 20
_EXAMPLES = 5


class BadRows:
  """The bad rows of one file: the first is raised, or all are counted."""

  def __init__(
    self, path: PathLike, on_bad_row: str = 'error', unit: str = 'line'
  ):
    if on_bad_row not in ON_BAD_ROW:
      raise unknown_name('on_bad_row', on_bad_row, ON_BAD_ROW)
    self.path = os.fspath(path)
    self._skip = on_bad_row == 'skip'
    self._unit = unit
    self._reasons: dict[int, str] = {}

  def add(self, number: int, reason: str) -> None:
    """Notes that row `number` (from 1) is bad, and why."""
    self._reasons.setdefault(int(number), reason)

  def settle(self) -> dict[str, Any]:
    """Raises for the first bad row, or returns the count and examples.

    Returns:
      The fact `skipped_rows` of the file; empty when no row was bad.
    """
    if not self._reasons:
      return {}
    examples = [
      f'{self._unit} {number}: {self._reasons[number]}'
      for number in sorted(self._reasons)[:_EXAMPLES]
    ]
    count = len(self._reasons)
    if not self._skip:
      others = f' ({count} such rows in all.)' if count > 1 else ''
      raise GenrecError(
        f'{self.path}, {examples[0]}.{others} Mend the file, or pass'
        ' --on_bad_row=skip to leave such rows out and count them.'
      )
    logging.warning(
      '%s: skipped %d bad rows; %s', self.path, count, '; '.join(examples)
    )
    return {file_name(self.path): {'count': count, 'examples': examples}}


@dataclasses.dataclass(frozen=True)
class Source:
  """A raw file, decompressed and in UTF-8.

  Attributes:
    path: where it lies.
    sha256: of the decompressed bytes as they were, whatever the encoding.
    data: the text in UTF-8, without undecodable lines.
    numbers: the line number in the file of each line of `data`; None for
      1, 2, 3, ...
  """

  path: str
  sha256: str
  data: bytes
  numbers: tuple[int, ...] | None = None

  def lines(self) -> tuple[list[int], list[bytes]]:
    """Returns the lines that are not blank, each with its number."""
    split = self.data.split(b'\n')
    numbers = self.numbers or range(1, len(split) + 1)
    pairs = [(n, line) for n, line in zip(numbers, split) if line.strip()]
    return [n for n, _ in pairs], [line for _, line in pairs]

  def facts(self, bad: BadRows) -> dict[str, Any]:
    """Settles the bad rows; returns the file's facts for RawTables."""
    return {
      'sources': {file_name(self.path): self.sha256},
      'skipped_rows': bad.settle(),
    }


def file_name(path: PathLike) -> str:
  """Returns the file's name without `.gz`: what its decompressed bytes are."""
  return pathlib.Path(path).name.removesuffix('.gz')


def read_source(
  path: PathLike, bad: BadRows, encoding: str = 'utf-8'
) -> Source:
  """Reads a file into memory, through gzip where it starts as gzip does.

  Args:
    path: the file.
    bad: gets the lines that are not in the encoding.
    encoding: a Python codec's name.

  Raises:
    GenrecError: if it is missing, empty, not whole, or the encoding unknown.
  """
  path = os.fspath(path)
  try:
    data = pathlib.Path(path).read_bytes()
  except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
    raise GenrecError(
      f'Cannot read {path}: {error.strerror.lower()}; pass the path of a raw'
      ' file.'
    ) from error
  if data.startswith(_GZIP_MAGIC):
    data = _decompress(path, data)
  if not data.strip():
    raise GenrecError(f'{path}, line 1: the file is empty; download it again.')
  sha256 = hashlib.sha256(data).hexdigest()
  try:
    text, numbers = data.decode(encoding), None
  except LookupError as error:
    raise GenrecError(
      f'{path}: unknown encoding {encoding!r}; pass a codec that Python knows,'
      ' such as utf-8 or iso-8859-1.'
    ) from error
  except UnicodeDecodeError:
    text, numbers = _decode_lines(data, bad, encoding)
  text = text.removeprefix('\ufeff')
  return Source(path, sha256, text.encode(), numbers)


def _decompress(path: str, data: bytes) -> bytes:
  """Decompresses gzip, member after member; says where it breaks off."""
  blocks = []
  view = memoryview(data)
  position = 0
  try:
    while data.startswith(_GZIP_MAGIC, position):
      member = zlib.decompressobj(wbits=31)
      while not member.eof and position < len(data):
        block = view[position : position + _BLOCK]
        blocks.append(member.decompress(block))
        position += len(block) - len(member.unused_data)
      if not member.eof:
        raise zlib.error('it ends before the end of the gzip stream')
    if bytes(view[position:]).strip(b'\0'):
      raise zlib.error('bytes that are not gzip follow the gzip stream')
  except zlib.error as error:
    line = sum(block.count(b'\n') for block in blocks) + 1
    raise GenrecError(
      f'{path}, line {line}: the gzip file is truncated or damaged ({error});'
      ' download it again.'
    ) from error
  return b''.join(blocks)


def _decode_lines(
  data: bytes, bad: BadRows, encoding: str
) -> tuple[str, tuple[int, ...]]:
  """Decodes line by line, reporting the lines that are not in the encoding."""
  lines, numbers = [], []
  for number, line in enumerate(data.split(b'\n'), 1):
    try:
      lines.append(line.decode(encoding))
      numbers.append(number)
    except UnicodeDecodeError as error:
      byte = line[error.start]
      bad.add(
        number, f'byte 0x{byte:02x} at {error.start + 1} is not {encoding}'
      )
  return '\n'.join(lines), tuple(numbers)
