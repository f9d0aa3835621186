#!/usr/bin/env python3
"""Starts a genrec command on a cluster, by a recipe of configs/clusters.

  tools/launch.py CLUSTER [--dry_run] [--SETTING=VALUE ...] -- COMMAND ...
  tools/launch.py slurm --dry_run --partition=gpu -- genrec train --run_dir=r

CLUSTER is the name of a recipe or the path of a TOML of your own. With
--dry_run the commands are printed as a shell takes them, and nothing runs.
"""

import pathlib
import re
import shlex
import subprocess
import sys
import tomllib

from genrec_jax.arguments import suggest
from genrec_jax.types import GenrecError, unknown_name

RECIPES = pathlib.Path(__file__).resolve().parents[1] / 'configs' / 'clusters'


def read_recipe(name: str) -> dict:
  """Returns a recipe by its name, or by its path where it ends in .toml."""
  path = pathlib.Path(name)
  if path.suffix != '.toml':
    path = RECIPES / f'{name}.toml'
  if not path.is_file():
    known = sorted(path.stem for path in RECIPES.glob('*.toml'))
    raise unknown_name('cluster', name, known)
  return tomllib.loads(path.read_text(encoding='utf-8'))


def settings_of(recipe: dict, given: dict[str, str]) -> dict[str, str]:
  """Returns the recipe's settings with those given in their place.

  Raises:
    GenrecError: if the recipe has no such setting, or one has no value.
  """
  known = recipe['settings']
  for name in given:
    if name not in known:
      raise GenrecError(
        f'{recipe["title"]} has no setting {name!r}{suggest(name, known)}; it'
        f' has: {", ".join(known)}.'
      )
  settings = {name: str(value) for name, value in {**known, **given}.items()}
  missing = [name for name, value in settings.items() if not value]
  if missing:
    raise GenrecError(
      f'{recipe["title"]} needs {", ".join(missing)}; pass'
      f' {" ".join(f"--{name}=…" for name in missing)}, or set it in a copy of'
      ' the recipe.'
    )
  return settings


def fill(text: str, values: dict[str, str]) -> str:
  """Puts values for {names}; braces of other kinds stay as they are."""
  return re.sub(r'\{(\w+)\}', lambda m: values.get(m[1], m[0]), text)


def commands_of(
  recipe: dict, settings: dict[str, str], command: list[str]
) -> list[tuple[list[str], str | None]]:
  """Returns the commands to run, each with what goes to its stdin."""
  # What goes into a script is quoted for its shell.
  quoted = {name: shlex.quote(value) for name, value in settings.items()}
  quoted['command'] = shlex.join(command)
  files = {
    file['name']: fill(file['text'].lstrip('\n'), quoted)
    for file in recipe['files']
  }
  return [
    (
      [fill(argument, settings | files) for argument in step['argv']],
      files[step['stdin']] if 'stdin' in step else None,
    )
    for step in recipe['commands']
  ]


def as_shell(argv: list[str], stdin: str | None) -> str:
  """Returns a command as one types it."""
  line = shlex.join(argv)
  return line if stdin is None else f"{line} <<'GENREC'\n{stdin}GENREC"


def main(arguments: list[str]) -> int:
  """Runs or prints the commands; returns the first status that is not 0."""
  if '--help' in arguments or not arguments:
    print(__doc__.strip())
    return 0
  split = arguments.index('--') if '--' in arguments else len(arguments)
  (cluster, *flags), command = arguments[:split], arguments[split + 1 :]
  if not command:
    raise GenrecError(
      'Got no command to start; put it after --, as in: tools/launch.py'
      f' {cluster} -- genrec train --run_dir=DIR.'
    )
  dry_run = '--dry_run' in flags
  given = {}
  for flag in flags:
    match = re.fullmatch(r'--(\w+)=(.*)', flag, re.DOTALL)
    if match:
      given[match[1]] = match[2]
    elif flag != '--dry_run':
      raise GenrecError(f'Got {flag!r}, expected --dry_run or --NAME=VALUE.')
  recipe = read_recipe(cluster)
  for argv, stdin in commands_of(recipe, settings_of(recipe, given), command):
    print(as_shell(argv, stdin), flush=True)
    if not dry_run:
      status = subprocess.run(argv, input=stdin, text=True).returncode
      if status:
        return status
  return 0


if __name__ == '__main__':
  try:
    sys.exit(main(sys.argv[1:]))
  except GenrecError as error:
    sys.exit(f'launch.py: {error}')
