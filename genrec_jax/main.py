"""The `genrec` command: flags, gin, dispatch.

  genrec COMMAND --run_dir=runs/NAME [--gin_file=FILE] [--gin.NAME=VALUE]
                 [--ARGUMENT=VALUE]

Every command is the entry function of one module, and every keyword of that
function is a flag. One gin file describes a whole run; it is kept as
`config.gin` in the run directory, where later commands find it again.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pathlib
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from genrec_jax import arguments as command_line
from genrec_jax import artifacts, configuration
from genrec_jax.commands import COMMANDS, PIPELINE, TOGETHER, overview
from genrec_jax.types import GenrecError, unknown_name


def main(argv: Sequence[str] | None = None) -> int:
  """Runs one command; returns the exit status."""
  arguments = list(sys.argv[1:] if argv is None else argv)
  # TensorFlow's greetings, where `tokenize` imports it.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  try:
    return run_command(arguments)
  except GenrecError as error:
    _print_error(str(error))
    return 1
  except BrokenPipeError:
    # Whoever read what is printed (`| head`) has seen enough.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
  except OSError as error:
    # gin wraps what it passes on, and the number is left in the text alone.
    number = re.match(r'\[Errno (\d+)\]', str(error))
    try:
      with artifacts.disk_errors(
        error.filename or 'the output', 'read or write'
      ):
        raise OSError(int(number[1]), '') if number else error
    except GenrecError as translated:
      _print_error(str(translated))
      return 1
    except OSError:
      raise error from None
  except KeyboardInterrupt:
    _print_error('Interrupted. Run the same command again to go on.')
    return 130


def run_command(arguments: list[str]) -> int:
  """Parses the arguments of one command and calls its entry function."""
  if not arguments or arguments[0] in ('--help', '-h', 'help'):
    print(overview(__doc__))
    return 0
  command, arguments = arguments[0], arguments[1:]
  if command != 'run' and command not in COMMANDS:
    raise unknown_name('command', command, [*COMMANDS, 'run'])
  if any(a in ('--help', '-h') for a in arguments):
    print(command_help(command))
    return 0
  if command == 'experiment':
    arguments = configuration.named_experiment(arguments)
  texts, gin_files, bindings = command_line.parse(arguments)
  joining = {k: texts.pop(k) for k in configuration.HOST_FLAGS if k in texts}
  if not joining:
    return run_steps(command, texts, gin_files, bindings)
  # Late, because it takes seconds.
  from genrec_jax.training import hosts

  with hosts.joined(joining, _print_error):
    return run_steps(
      command, texts, gin_files, bindings, hosts.is_first(), hosts.barrier
    )


def run_steps(
  command: str,
  texts: dict[str, str],
  gin_files: list[str],
  bindings: list[str],
  is_first: bool = True,
  barrier: Callable[[str], None] = lambda step: None,
) -> int:
  """Runs a command, or those of the pipeline one after the other.

  Args:
    command: its name.
    texts: flags, as they were written.
    gin_files: gin files.
    bindings: gin bindings.
    is_first: whether this is the first of the processes, which does alone
      what they do not do together.
    barrier: waits for them all.
  """
  steps = PIPELINE if command == 'run' else (command,)
  entries = {step: entry_function(step) for step in steps}
  run_dir = texts.pop('run_dir', None)
  if run_dir is None:
    raise GenrecError(
      f'`genrec {command}` needs --run_dir=DIR, the directory where this'
      ' run keeps its artefacts (for example --run_dir=runs/first).'
    )
  if command == 'run' and texts:
    raise GenrecError(
      f'`genrec run` takes no --{next(iter(texts))}; bind it in the gin file or'
      ' with --gin.COMMAND.ARGUMENT=VALUE, or run the commands one by one.'
    )
  flags = {
    name: command_line.read_flag(command, entries[steps[0]], name, text)
    for name, text in texts.items()
  }
  configured, config = configure(run_dir, gin_files, bindings, entries)
  for step in steps:
    if len(steps) > 1:
      print(f'\n── {step} ' + '─' * (72 - len(step)), flush=True)
    given = {'run_dir': run_dir, **flags}
    if 'settings' in inspect.signature(entries[step]).parameters:
      given['settings'] = bound_values(entries[step]) | {
        f'{step}.{step}.{name}': value for name, value in flags.items()
      }
    if is_first:
      with configuration.recorded(
        run_dir, step, texts, gin_files, bindings, config
      ):
        call(step, configured[step], given)
    elif step in TOGETHER:
      call(step, configured[step], given)
    barrier(step)
  return 0


def command_help(command: str) -> str:
  """Returns the help of one command, from its entry function."""
  if command == 'run':
    return f'Runs {", ".join(PIPELINE)}.\n\n{configuration.GIN_HELP}'
  return command_line.help_text(
    command, entry_function(command), configuration.GIN_HELP
  )


def entry_function(command: str) -> Callable[..., Any]:
  """Imports a command's module and returns the function of its name."""
  try:
    module = importlib.import_module(COMMANDS[command])
  except ModuleNotFoundError as error:
    raise configuration.missing_package(command, error) from error
  return getattr(module, module.__name__.rpartition('.')[2])


def configure(
  run_dir: str,
  gin_files: Sequence[str],
  bindings: Sequence[str],
  entries: dict[str, Callable[..., Any]],
) -> tuple[dict[str, Callable[..., Any]], str]:
  """Parses the run's gin configuration.

  With --gin_file, files and bindings become the run's `config.gin`. Without,
  that file is read back, and bindings hold for this command alone (those that
  stayed would make a look at the test part a habit).

  Returns:
    The entries bound by it, and its text.
  """
  import gin

  gin.clear_config()
  # Beside files gin looks into Python packages, and it breaks on a folder that
  # is none, such as the runs/ that people keep where they work.
  del gin.config._FILE_READERS[1:]
  stored = pathlib.Path(run_dir) / configuration.CONFIG
  files = [configuration.find_gin_file(name) for name in gin_files]
  if not files and stored.exists():
    files = [str(stored)]
  for place in configuration.gin_search_paths():
    gin.add_config_file_search_path(str(place))
  # Macros a gin file may use; flags and bindings win over them.
  given = [f'RUN_DIR = {os.fspath(run_dir)!r}', *bindings]
  for function in entries.values():
    gin.external_configurable(function, module=function.__module__)
  try:
    gin.parse_config_files_and_bindings(files, (), finalize_config=False)
    check_macros(bindings, gin.config_str())
    gin.parse_config(given)
    check_types()
    config = gin.config_str()
    gin.finalize()
  except ModuleNotFoundError as error:
    raise configuration.missing_package('this configuration', error) from error
  except (ValueError, AttributeError, SyntaxError, OSError, KeyError) as error:
    if isinstance(error, GenrecError):
      raise
    raise _gin_error(error, files) from error
  bound = {
    name: gin.get_configurable(function) for name, function in entries.items()
  }
  return bound, config


def check_types() -> None:
  """Refuses a bound value that is not of the type of its argument."""
  from gin import config

  for (_, selector), values in config._CONFIG.items():
    function = config._REGISTRY[selector].wrapped
    if selector.startswith('gin.'):
      continue
    hints = command_line.hints(function)
    for name, value in values.items():
      place = f'{selector.removeprefix("genrec_jax.")}.{name}'
      macro, value = _follow(value)
      if macro:
        command_line.check(macro, value, hints[name], f' for {place}')
      else:
        command_line.check(place, value, hints[name])


def bound_values(function: Callable[..., Any]) -> dict[str, Any]:
  """Returns what is bound to a function and to all that it refers to.

  By `module.function.argument`, as text or JSON values, without the arguments
  that are at their defaults and without places (`run_dir`).
  """
  from gin import config

  found, waiting, seen = {}, [f'{function.__module__}.{function.__name__}'], []
  while waiting:
    selector = waiting.pop(0)
    seen.append(selector)
    registered = config._REGISTRY[selector].wrapped
    parameters = inspect.signature(registered).parameters
    for (_, other), values in config._CONFIG.items():
      for name, value in values.items() if other == selector else ():
        value = _follow(value)[1]
        configurable = getattr(value, 'configurable', None)
        reference = configurable and configurable.selector
        if reference and reference not in (*waiting, *seen):
          waiting.append(reference)
        if name in parameters and value == parameters[name].default:
          continue
        if name != 'run_dir':
          place = f'{selector.removeprefix("genrec_jax.")}.{name}'
          found[place] = str(value) if reference else value
  return found


def _follow(value: Any) -> tuple[str | None, Any]:
  """Returns the macro that a bound value names, if any, and its value."""
  from gin import config

  macro = None
  while getattr(value, 'selector', None) == 'gin.macro':
    macro = value.scoped_selector.removesuffix('/gin.macro')
    bound = config._CONFIG.get((macro, 'gin.macro'), {})
    if 'value' not in bound:
      break  # gin itself says what is required
    value = bound['value']
  return macro, value


def check_macros(bindings: Sequence[str], config: str) -> None:
  """Refuses to bind a macro that no gin file sets or reads."""
  known = set(re.findall(r'^(\w+) = |%(\w+)', config, re.MULTILINE))
  known = {name for names in known for name in names if name}
  for binding in bindings:
    name = binding.split(' = ')[0]
    if re.fullmatch(r'\w+', name) and name not in known | {'RUN_DIR'}:
      raise GenrecError(
        f'No gin file of this run has a macro {name}'
        f'{command_line.suggest(name, known)};'
        f' it has: {", ".join(sorted(known)) or "none"}.'
      )


def call(command: str, function: Callable[..., Any], flags) -> Any:
  """Calls an entry function, naming what its configuration lacks."""
  parameters = inspect.signature(inspect.unwrap(function)).parameters
  keywords = {k: v for k, v in flags.items() if k in parameters}
  try:
    return function(**keywords)
  except ModuleNotFoundError as error:
    raise configuration.missing_package(command, error) from error
  except RuntimeError as error:
    # gin: "Required bindings for `train` not provided in config: ['X']".
    if 'Required bindings' not in str(error):
      raise
    raise _gin_error(error, []) from error
  except TypeError as error:
    missing = re.search(r'missing \d+ required .*?: (.+?)(\n|$)', str(error))
    if missing is None:
      raise
    raise GenrecError(
      f'`genrec {command}` lacks {missing.group(1)}: pass a gin file that'
      ' binds it (--gin_file=experiments/quickstart.gin is one), or the flag'
      ' of that name.'
    ) from error


def _gin_error(error: Exception, files: Sequence[str]) -> GenrecError:
  """Says in one paragraph what a gin configuration got wrong."""
  import gin

  text = ' '.join(str(error).split())
  required = re.search(r'(\w+)/macro\.value set to `%gin\.REQUIRED`', text)
  if required:
    name = required[1]
    return GenrecError(
      f'The configuration needs a value for {name}; pass --gin.{name}=VALUE (a'
      f' string in quotes: --gin.{name}="\'text\'"), or set it in a gin file.'
    )
  unknown = re.search(
    r"(?:No configurable matching|configurable named|Configurable) '?([\w./]+)"
    r"|doesn't have a parameter named '(\w+)'"
    r"|has no attribute '(\w+)'",
    text,
  )
  hint = ''
  if 'malformed node' in text:
    hint = '. A string needs quotes: --gin.NAME="\'text\'"'
  if unknown:
    name = next(group for group in unknown.groups() if group)
    known = {s.split('.')[-1] for s in gin.config._REGISTRY._selector_map}
    hint = command_line.suggest(name.split('.')[-1], known)
  where = f' in {", ".join(files)}' if files else ''
  return GenrecError(
    f'The gin configuration{where} does not hold together: {text}{hint}.'
    ' Mend that line, or see the files under gin/ for the names there are.'
  )


def _print_error(text: str) -> None:
  # gin appends which configurable it was calling; the user need not know.
  text = text.split('\n  In call to configurable')[0]
  width = min(100, max(60, int(os.environ.get('COLUMNS', 80))))
  print(textwrap.fill(f'genrec: {text}', width), file=sys.stderr)


if __name__ == '__main__':
  sys.exit(main())
