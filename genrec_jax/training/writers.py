"""Metrics on disk: JSON lines, and TensorBoard event files.

`metrics.jsonl` holds one object a line, {"step": 100, "split": "train", ...},
and is the record that reports read. TensorBoard's event files are written
without TensorFlow or protobuf: a scalar needs five fields of its schema.
"""

from __future__ import annotations

import json
import os
import pathlib
import socket
import struct
import time
from collections.abc import Mapping

from genrec_jax import artifacts
from genrec_jax.types import PathLike


class JsonLinesWriter:
  """Appends rows of metrics to a file, one JSON object a line."""

  def __init__(self, path: PathLike, *, resumed_step: int = 0):
    """Opens the file.

    Args:
      path: the file; made if it is not there.
      resumed_step: rows of later steps are dropped, as they will come again,
        and so is a line that was cut short.
    """
    path = pathlib.Path(path)
    kept = [row for row in read_rows(path) if row['step'] <= resumed_step]
    artifacts.write_text(path, ''.join(json.dumps(row) + '\n' for row in kept))
    self._path = path
    self._file = open(path, 'a', encoding='utf-8')

  def write(self, step: int, split: str, metrics: Mapping[str, float]) -> None:
    """Appends one row."""
    row = {'step': step, 'split': split, **metrics}
    with artifacts.disk_errors(self._path):
      self._file.write(json.dumps(row) + '\n')
      self._file.flush()

  def close(self) -> None:
    """Closes the file."""
    self._file.close()


def read_rows(path: PathLike) -> list[dict]:
  """Reads a file of JSON lines, without a last line that was cut short."""
  path = pathlib.Path(path)
  if not path.exists():
    return []
  text = path.read_text(encoding='utf-8')
  complete = text[: text.rfind('\n') + 1]
  return [json.loads(line) for line in complete.splitlines()]


class TensorBoardWriter:
  """Writes scalars as `SPLIT/NAME` to an event file of its own.

  Format: TFRecords of tensorflow.Event (tensorflow/core/util/event.proto and
  framework/summary.proto), whose field numbers are given below.
  """

  def __init__(self, directory: PathLike, *, resumed_step: int = 0):
    """Opens a new event file.

    Args:
      directory: what to point TensorBoard at.
      resumed_step: TensorBoard drops what older event files hold of later
        steps.
    """
    directory = pathlib.Path(directory)
    with artifacts.disk_errors(directory):
      directory.mkdir(parents=True, exist_ok=True)
      name = f'events.out.tfevents.{time.time_ns()}.{socket.gethostname()}'
      self._file = open(directory / f'{name}.{os.getpid()}', 'wb')
    self._write(0, _bytes(3, b'brain.Event:2'))  # Event.file_version
    # Event.session_log.status = START: purges from this step on.
    self._write(resumed_step + 1, _bytes(7, _varint(1, 1)))

  def write(self, step: int, split: str, metrics: Mapping[str, float]) -> None:
    """Writes one event with a value a metric."""
    values = b''.join(
      # Summary.value: Value.tag and Value.simple_value.
      _bytes(
        1,
        _bytes(1, f'{split}/{name}'.encode())
        + struct.pack('<Bf', 2 << 3 | 5, value),
      )
      for name, value in metrics.items()
    )
    self._write(step, _bytes(5, values))  # Event.summary
    self._file.flush()

  def close(self) -> None:
    """Closes the file."""
    self._file.close()

  def _write(self, step: int, what: bytes) -> None:
    # Event.wall_time and Event.step.
    event = struct.pack('<Bd', 1 << 3 | 1, time.time()) + _varint(2, step)
    event += what
    length = struct.pack('<Q', len(event))
    with artifacts.disk_errors(self._file.name):
      self._file.write(
        length + _masked_crc(length) + event + _masked_crc(event)
      )


def _varint(field: int, value: int) -> bytes:
  return bytes([field << 3]) + _encode_varint(value)


def _bytes(field: int, value: bytes) -> bytes:
  return bytes([field << 3 | 2]) + _encode_varint(len(value)) + value


def _encode_varint(value: int) -> bytes:
  encoded = b''
  while value > 127:
    encoded += bytes([value & 127 | 128])
    value >>= 7
  return encoded + bytes([value])


def _crc_table() -> list[int]:
  table = []
  for value in range(256):
    for _ in range(8):
      value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    table.append(value)
  return table


CRC_TABLE = _crc_table()


def _masked_crc(data: bytes) -> bytes:
  """Returns CRC-32C, rotated and shifted as TFRecords have it."""
  crc = 0xFFFFFFFF
  for byte in data:
    crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 255]
  crc ^= 0xFFFFFFFF
  masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
  return struct.pack('<I', masked)
