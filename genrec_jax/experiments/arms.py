"""The arms of an experiment: runs that differ in one thing.

ARM/seed_N/            a run directory like any other
ARM/seed_N/arm.json    what it was made with, what each command cost
ARM/seed_N/arm.log     what the commands printed
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from genrec_jax import artifacts
from genrec_jax.types import GenrecError, PathLike

DATASET = 'dataset'
RECORD = 'arm.json'
LOG = 'arm.log'
LOCK = '.lock'


@dataclasses.dataclass(frozen=True)
class Arm:
  """What one arm has that the others do not.

  Attributes:
    name: what it is called in tables.
    gin_files: after that of the experiment.
    bindings: gin bindings over the files, 'NAME = VALUE'.
  """

  name: str
  gin_files: tuple[str, ...] = ()
  bindings: tuple[str, ...] = ()

  def __post_init__(self):
    if not self.slug:
      raise GenrecError(
        f'An arm is called {self.name!r}; expected a name with letters or'
        ' digits from which its directory can have one.'
      )

  @classmethod
  def parse(cls, name: str, entries: Sequence[str]) -> Arm:
    """Reads an arm as it is written: gin files and bindings in any order.

    Raises:
      GenrecError: if an entry is neither.
    """
    files = tuple(e for e in entries if e.endswith('.gin') and '=' not in e)
    bindings = tuple(e for e in entries if re.match(r'[\w./]+\s*=', e))
    for entry in entries:
      if entry not in (*files, *bindings):
        raise GenrecError(
          f'The arm {name!r} has {entry!r}; expected gin files'
          " ('ids/rq_vae.gin') and bindings ('NUM_LEVELS = 2')."
        )
    return cls(name, files, bindings)

  @property
  def slug(self) -> str:
    """Its name as a directory's."""
    return re.sub(r'[^a-z0-9]+', '_', self.name.lower()).strip('_')


@dataclasses.dataclass(frozen=True)
class ArmRun:
  """A run of an arm with one seed.

  Attributes:
    arm: whose.
    seed: of ids, training and everything else.
    directory: the run's.
    costs: by command, 'seconds' and 'peak_gb' (of the whole process).
    error: what the command that failed said; None if none did.
  """

  arm: Arm
  seed: int
  directory: pathlib.Path
  costs: dict[str, dict[str, float]]
  error: str | None = None


@contextlib.contextmanager
def alone(directory: PathLike) -> Iterator[None]:
  """Holds an experiment's directory, so that two do not write the same arms.

  Raises:
    GenrecError: if another process holds it.
  """
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  with open(directory / LOCK, 'a') as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise GenrecError(
        f'An experiment is running in {directory} already; wait for it, or'
        ' choose another --run_dir.'
      ) from error
    yield  # the lock goes with the file, however the process ends


def run_arm(
  arm: Arm,
  seed: int,
  directory: PathLike,
  *,
  base: str,
  settings: Sequence[str],
  commands: Sequence[Sequence[str]],
  dataset: PathLike | None,
) -> ArmRun:
  """Runs the commands of an arm that have not been run yet.

  Each in a process of its own, so that one does not pay for another's memory
  and what it costs is its own. A command that fails ends the arm, not the
  experiment.

  Args:
    arm: which.
    seed: bound as SEED.
    directory: of the arm's runs; this one's is a folder in it.
    base: the gin file that all arms start from.
    settings: gin bindings of all arms; the arm's own come after them.
    commands: commands with their flags, in order, each a sequence of words.
    dataset: the artefact that all arms share; None where the commands make one.

  Returns:
    The run, with its error if a command failed.

  Raises:
    GenrecError: if the directory holds a run that was made with other
      settings or data.
  """
  directory = pathlib.Path(directory) / arm.slug / f'seed_{seed}'
  record_path = directory / RECORD
  made_from: dict[str, Any] = {
    'base': base,
    'settings': list(settings),
    'gin_files': list(arm.gin_files),
    'bindings': list(arm.bindings),
    'seed': seed,
  }
  if dataset is not None:
    made_from['dataset'] = artifacts.read_manifest(dataset, DATASET)[
      'fingerprint'
    ]
  record = _read(record_path) or {'made_from': made_from, 'costs': {}}
  _check_same(directory, record['made_from'], made_from)
  if dataset is not None and not (directory / DATASET).exists():
    _share(pathlib.Path(dataset), directory / DATASET)
  artifacts.write_json(record_path, record)
  flags = [f'--gin_file={name}' for name in (base, *arm.gin_files)]
  for binding in (*settings, *arm.bindings, f'SEED = {seed}'):
    macro, _, value = binding.partition('=')
    flags.append(f'--gin.{macro.strip()}={value.strip()}')
  for command in commands:
    name = ' '.join(command)
    if name in record['costs']:
      continue
    # The first command makes config.gin, which the others read.
    configured = any(known for known in record['costs'])
    done = _genrec(
      directory, [*command, *(() if configured else flags)], directory / LOG
    )
    if isinstance(done, str):
      return ArmRun(arm, seed, directory, record['costs'], done)
    record['costs'][name] = done
    artifacts.write_json(record_path, record)
  return ArmRun(arm, seed, directory, record['costs'])


def _genrec(
  directory: pathlib.Path, words: Sequence[str], log: pathlib.Path
) -> dict[str, float] | str:
  """Runs a command; returns what it cost, or its last lines if it failed."""
  command, *flags = words
  start = time.monotonic()
  with open(log, 'ab') as file:
    begin = file.tell()
    file.write(f'$ genrec {" ".join(words)}\n'.encode())
    file.flush()
    process = subprocess.Popen(
      [sys.executable, '-m', 'genrec_jax.main', command]
      + [f'--run_dir={directory}', *flags],
      stdin=subprocess.DEVNULL,
      stdout=file,
      stderr=subprocess.STDOUT,
    )
    try:
      with _ending_by_exception():
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
      process.terminate()  # a training saves a checkpoint
      process.wait()
      raise
    process.returncode = os.waitstatus_to_exitcode(status)
  if process.returncode:
    said = log.read_bytes()[begin:].decode(errors='replace')
    return _last_words(said) or f'exit status {process.returncode}'
  # Kilobytes on Linux, bytes on macOS.
  unit = 2**30 if sys.platform == 'darwin' else 2**20
  return {
    'seconds': time.monotonic() - start,
    'peak_gb': usage.ru_maxrss / unit,
  }


@contextlib.contextmanager
def _ending_by_exception() -> Iterator[None]:
  """Makes SIGTERM an exception, so that what was started can be ended, too."""
  if threading.current_thread() is not threading.main_thread():
    yield
    return

  def stop(number, frame):
    raise SystemExit(128 + number)

  before = signal.signal(signal.SIGTERM, stop)
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)


def _last_words(said: str) -> str:
  """Returns the error of a command, or the last line that it printed."""
  if '\ngenrec: ' in said:
    return ' '.join(said.rpartition('\ngenrec: ')[2].split())
  return (said.strip().splitlines() or [''])[-1]


def _check_same(
  directory: pathlib.Path, known: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
  changed = [
    f'{name} from {known.get(name)!r} to {wanted.get(name)!r}'
    for name in {**known, **wanted}
    if known.get(name) != wanted.get(name)
  ]
  if changed:
    raise GenrecError(
      f'{directory} was made with other settings: {"; ".join(changed)}. Go on'
      ' with those, choose another --run_dir, or remove that directory.'
    )


def _share(dataset: pathlib.Path, place: pathlib.Path) -> None:
  """Puts a dataset into a run; its files are linked where that is possible."""
  with artifacts.write_directory(place) as temporary:
    for path in sorted(dataset.rglob('*')):
      target = temporary / path.relative_to(dataset)
      if path.is_dir():
        target.mkdir()
        continue
      try:
        os.link(path, target)  # files are replaced, never changed
      except OSError:
        shutil.copyfile(path, target)


def _read(path: pathlib.Path) -> dict[str, Any] | None:
  if not path.exists():
    return None
  try:
    return json.loads(path.read_text(encoding='utf-8'))
  except ValueError as error:
    raise GenrecError(
      f'{path} is damaged ({error}); remove {path.parent} and run the'
      ' experiment again.'
    ) from error
