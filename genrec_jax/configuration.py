"""Configuration files: where gin files lie, and what a command ran with."""

from __future__ import annotations

import contextlib
import datetime
import pathlib
import re
from collections.abc import Iterator, Sequence

from genrec_jax import artifacts
from genrec_jax.types import GenrecError, unknown_name

CONFIG = 'config.gin'
STUDIES = 'studies'  # the folder of the experiments' gin files
GIN_HELP = """\
--run_dir=DIR         the run's directory; every command reads and writes there
--gin_file=FILE       a gin file (experiments/quickstart.gin); repeatable.
                      Default: config.gin of the run directory, if there
--gin.NAME=VALUE      binds a macro or parameter over the files; repeatable
--distributed=auto    joins the processes that a Cloud TPU, SLURM, Open MPI or
                      Kubernetes has started with this command; they share
                      the run directory. Or, where nothing tells:
--coordinator_address=HOST:PORT of the first, --num_processes=N, and
--process_id=I        which of them this is, from 0"""
# Of those, what says that there are several processes.
HOST_FLAGS = (
  'distributed',
  'coordinator_address',
  'num_processes',
  'process_id',
)


def gin_search_paths() -> list[pathlib.Path]:
  """Returns where gin files are looked for, after the current directory."""
  package = pathlib.Path(__file__).resolve().parent
  return [
    path for path in (package.parent / 'gin', package / '_gin') if path.is_dir()
  ]


def find_gin_file(name: str) -> str:
  """Returns the path of a gin file, here or in the search paths."""
  places = [pathlib.Path(), *gin_search_paths()]
  for place in places:
    if (place / name).is_file():
      return str(place / name)
  known = sorted(
    str(path.relative_to(place))
    for place in gin_search_paths()
    for path in place.glob('experiments/*.gin')
  )
  raise GenrecError(
    f'No gin file {name!r}; it is looked for here and in'
    f' {", ".join(map(str, places[1:]))}. Experiments there:'
    f' {", ".join(known)}.'
  )


def named_experiment(arguments: Sequence[str]) -> list[str]:
  """Returns the arguments of `genrec experiment NAME …` as flags.

  NAME stands for gin/studies/NAME.gin, and for runs/NAME where no directory is
  given. Without a name they stay as they are.

  Raises:
    GenrecError: if there is no such experiment; it lists those there are.
  """
  if not arguments or arguments[0].startswith('-'):
    return list(arguments)
  name, *others = arguments
  known = sorted(
    path.stem
    for place in gin_search_paths()
    for path in place.glob(f'{STUDIES}/*.gin')
  )
  if name not in known:
    raise unknown_name('experiment', name, known)
  if not any(re.match(r'--run_dir($|=)', argument) for argument in others):
    others = [f'--run_dir=runs/{name}', *others]
  return [f'--gin_file={STUDIES}/{name}.gin', *others]


@contextlib.contextmanager
def recorded(
  run_dir: str,
  command: str,
  flags: dict[str, str],
  gin_files: Sequence[str],
  bindings: Sequence[str],
  config: str,
) -> Iterator[None]:
  """Keeps what a command runs with: config.gin, and a line of its arguments.

  The file is there while the command runs, as results quote it; a command that
  fails puts back what was there. One that stops in good order (a checkpoint
  saved on SIGTERM) has done its part.
  """
  stored = pathlib.Path(run_dir) / CONFIG
  before = stored.read_text(encoding='utf-8') if stored.exists() else None
  if gin_files:
    artifacts.write_text(stored, config)
  status = 0
  try:
    yield
  except SystemExit as stop:
    status = stop.code
    raise
  except BaseException:
    status = None
    if gin_files and before is not None:
      artifacts.write_text(stored, before)
    elif gin_files:
      stored.unlink(missing_ok=True)
    raise
  finally:
    if status is not None:
      now = datetime.datetime.now(datetime.UTC)
      artifacts.append_json(
        stored.with_name('commands.jsonl'),
        {
          'time': now.isoformat(timespec='seconds'),
          'command': command,
          'status': status,
          'flags': flags,
          'gin_files': list(gin_files),
          'bindings': list(bindings),
        },
      )


def missing_package(
  command: str, error: ModuleNotFoundError
) -> ModuleNotFoundError | GenrecError:
  """Returns the error that names the extra that installs a missing package."""
  package = (error.name or '').split('.')[0]
  extras = {
    'safetensors': 'export',
    'seqio': 'tasks',
    'tensorflow': 'tasks',
    'tensorflow_datasets': 'tasks',
    'sentencepiece': 'tasks',
    'jinja2': 'report',
    'sklearn': 'report',
  }
  if package not in extras:
    return error
  return GenrecError(
    f'`genrec {command}` needs {package}, which is not installed; run'
    f" pip install 'genrec_jax[{extras[package]}]' (or '.[{extras[package]}]'"
    ' in a checkout).'
  )
