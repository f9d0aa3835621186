"""Arguments: what the command line and gin files give, and what fits where.

A signature with its types is the one description of an argument. Values are
held against it before a command starts, so that `BATCH_SIZE = 'abc'` is not
found out in the middle of a library.
"""

from __future__ import annotations

import ast
import collections.abc
import difflib
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

from genrec_jax.types import GenrecError

# What the command itself gives to the functions that take it.
_GIVEN = ('run_dir', 'settings')
_KINDS = {
  int: 'a whole number',
  float: 'a number',
  str: 'a string',
  bool: 'True or False',
  type(None): 'None',
}
_LISTS = (collections.abc.Sequence, tuple, list)
_MAPPINGS = (collections.abc.Mapping, dict)


def parse(
  arguments: Sequence[str],
) -> tuple[dict[str, str], list[str], list[str]]:
  """Splits arguments into (texts of flags, gin files, gin bindings)."""
  flags, gin_files, bindings = {}, [], []
  waiting = list(arguments)
  while waiting:
    argument = waiting.pop(0)
    match = re.fullmatch(r'--([^=]+?)(?:=(.*))?', argument, re.DOTALL)
    if match is None:
      raise GenrecError(
        f'Got {argument!r}, expected --NAME=VALUE; see `genrec --help`.'
      )
    name, value = match.groups()
    if value is None:
      if waiting and not waiting[0].startswith('--'):
        value = waiting.pop(0)
      else:
        value = 'True'
    if name == 'gin_file':
      gin_files.append(value)
    elif name.startswith('gin.'):
      bindings.append(f'{name[len("gin.") :]} = {value}')
    else:
      flags[name.replace('-', '_')] = value
  return flags, gin_files, bindings


def read_flag(command: str, function: Callable[..., Any], name: str, text: str):
  """Returns a flag's value: a Python literal, or the text itself.

  Raises:
    GenrecError: if the command has no such flag (it lists those it has), or
      neither is of the type that it takes.
  """
  if name == 'run_dir':
    return text
  known = ['run_dir', *(n for n in hints(function) if n not in _GIVEN)]
  if name not in known:
    raise GenrecError(
      f'`genrec {command}` has no --{name}{suggest(name, known)}; it takes:'
      f' {", ".join(f"--{name}" for name in known)}.'
    )
  hint = hints(function)[name]
  try:
    value = ast.literal_eval(text)
  except (ValueError, SyntaxError):
    value = text
  # A directory may be called 2024, and a list may be given as A,B or, its one
  # entry, as A; what has blanks, too, is one: "Home, Kitchen".
  others = [text, (value,), (text,)]
  if re.fullmatch(r'[^\s,]+(,[^\s,]+)+', text):
    others.insert(1, tuple(text.split(',')))
  for other in others:
    if not fits(value, hint) and fits(other, hint):
      value = other
  check(f'--{name}', value, hint)
  return value


def help_text(command: str, function: Callable[..., Any], general: str) -> str:
  """Returns the help of a command, from its function and the flags of all."""
  lines = [
    f'genrec {command}',
    '',
    inspect.getdoc(function) or '',
    '',
    'Flags:',
    textwrap.indent(general, '  '),
  ]
  for name, parameter in inspect.signature(function).parameters.items():
    if name in _GIVEN:
      continue
    default = parameter.default
    value = (
      '(required)'
      if default is inspect.Parameter.empty
      else f'(default: {_short(default)})'
    )
    lines.append(f'  --{name}  {value}')
  return '\n'.join(lines)


def hints(function: Callable[..., Any]) -> dict[str, Any]:
  """Returns the type of each argument of a function or class."""
  parameters = inspect.signature(function, eval_str=True).parameters
  empty = inspect.Parameter.empty
  return {
    name: Any if parameter.annotation is empty else parameter.annotation
    for name, parameter in parameters.items()
    if parameter.kind is not inspect.Parameter.VAR_KEYWORD
  }


def check(name: str, value: Any, hint: Any, note: str = '') -> None:
  """Raises an error that names the argument if a value is not of its type."""
  if not fits(value, hint):
    raise GenrecError(
      f'Got {name} = {value!r}{note}, expected {describe(hint)}.'
    )


def fits(value: Any, hint: Any) -> bool:
  """Returns whether a value as one writes it in gin is of a type.

  Only what is written as a literal is judged: numbers, texts, True, False,
  None, lists and dictionaries of them. Of types that have no literal (paths
  apart) any object will do that is none of these.
  """
  origin, inner = typing.get_origin(hint), typing.get_args(hint)
  if hint is Any or not _is_literal(value):
    return True
  if origin in (typing.Union, types.UnionType):
    return any(fits(value, one) for one in inner)
  if origin is typing.Literal:
    return value in inner
  if hint is None or hint is type(None):
    return value is None
  if isinstance(value, bool):
    return hint is bool
  if hint is float:
    return isinstance(value, (int, float))
  if hint in (int, str):
    return isinstance(value, hint)
  if (origin or hint) in _LISTS:
    inner = [one for one in inner if one is not ...] or [Any]
    return isinstance(value, (tuple, list)) and all(
      fits(entry, inner[min(place, len(inner) - 1)])
      for place, entry in enumerate(value)
    )
  if (origin or hint) in _MAPPINGS:
    key_hint, value_hint = inner or (Any, Any)
    return isinstance(value, dict) and all(
      fits(key, key_hint) and fits(entry, value_hint)
      for key, entry in value.items()
    )
  return False


def describe(hint: Any) -> str:
  """Returns a type in words."""
  origin, inner = typing.get_origin(hint), typing.get_args(hint)
  if origin in (typing.Union, types.UnionType):
    names = dict.fromkeys(describe(one) for one in inner)
    if 'a path' in names:
      names.pop('a string', None)
    return ' or '.join(names)
  if origin is typing.Literal:
    return f'one of {", ".join(map(repr, inner))}'
  if hint in _KINDS:
    return _KINDS[hint]
  if (origin or hint) in _LISTS:
    of = describe(inner[0]) if inner else ''
    return 'a list' + (f', each entry {of}' if of else '')
  if (origin or hint) in _MAPPINGS:
    return 'a dictionary'
  if (origin or hint) is collections.abc.Callable:
    return 'a function (@NAME)'
  name = getattr(hint, '__name__', str(hint))
  return 'a path' if name == 'PathLike' else f'@{name}()'


def suggest(name: str, known) -> str:
  """Returns ' (did you mean X?)' if one of the known names is near."""
  close = difflib.get_close_matches(name, list(known), n=1)
  return f' (did you mean {close[0]}?)' if close else ''


def _is_literal(value: Any) -> bool:
  kinds = (bool, int, float, str, tuple, list, dict, type(None))
  return isinstance(value, kinds)


def _short(value: Any) -> str:
  if isinstance(value, tuple):
    return f'({", ".join(map(_short, value))})'
  if callable(value):
    return getattr(value, '__name__', str(value))
  return repr(value)
