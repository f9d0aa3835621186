"""The data sets that are described in TOML: those of configs/, and a user's.

A description says where the files come from, how to read them, under which
protocol, and how many users, items and interactions must come out. The schema
is in configs/datasets/README.md.
"""

from __future__ import annotations

import dataclasses
import inspect
import pathlib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from genrec_jax import artifacts
from genrec_jax.data import simulator, synthetic
from genrec_jax.data.dataset import RawTables
from genrec_jax.data.readers import (
  amazon,
  delimited,
  explanations,
  item_attributes,
  json_lines,
  movielens,
  opendialkg,
  parquet,
  recbole,
  redial,
  sequences,
  tfds,
)
from genrec_jax.types import GenrecError, PathLike, unknown_name

READERS: dict[str, Callable[..., RawTables]] = {
  'amazon_metadata': amazon.read_metadata,
  'amazon_reviews': amazon.read_reviews,
  'delimited': delimited.read,
  'explanations': explanations.read,
  'item_attributes': item_attributes.read,
  'json_lines': json_lines.read,
  'movielens': movielens.read,
  'opendialkg_dialogues': opendialkg.read_dialogues,
  'opendialkg_items': opendialkg.read_items,
  'parquet': parquet.read,
  'recbole': recbole.read,
  'redial_dialogues': redial.read_dialogues,
  'redial_items': redial.read_items,
  'sequences': sequences.read,
  'simulator': simulator.simulate,
  'synthetic': synthetic.draw,
  'tfds': tfds.read,
}
COUNTS = ('users', 'items', 'interactions', 'dialogues')
_PROTOCOL = ('ties', 'duplicates', 'k_core', 'unused', 'split')
_PACKAGE = pathlib.Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True)
class File:
  """One raw file of a layout: its possible names, and how to read it."""

  reader: str
  names: tuple[str, ...]  # none for readers of no file
  optional: bool
  options: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Description:
  """A data set's TOML; the fields are those of configs/datasets/README.md."""

  name: str
  title: str
  source: tuple[str, ...]
  licence: str
  notes: str
  folder: str
  protocol: Mapping[str, Any]
  layouts: Mapping[str, tuple[File, ...]]
  expected: Mapping[str, Mapping[str, Any]]
  path: pathlib.Path


def directory() -> pathlib.Path:
  """Returns configs/datasets: of the installed package, or of the checkout."""
  for root in (_PACKAGE / '_configs', _PACKAGE.parent / 'configs'):
    if (root / 'datasets').is_dir():
      return root / 'datasets'
  raise GenrecError(
    f'No configs/datasets in {_PACKAGE} nor beside it; install the package'
    ' again, or pass the path of a TOML of your own as the dataset.'
  )


def known_datasets() -> list[str]:
  """Returns the names of the data sets in configs/datasets."""
  return sorted(path.stem for path in directory().glob('*.toml'))


def describe(dataset: PathLike) -> Description:
  """Returns the description of a known name, or of a path to a TOML.

  Raises:
    GenrecError: if there is none, or it does not follow the schema.
  """
  path = pathlib.Path(dataset)
  if path.suffix != '.toml':
    if str(dataset) not in known_datasets():
      raise GenrecError(
        f'{unknown_name("dataset", str(dataset), known_datasets())} For data'
        ' of your own, pass the path of a .toml (configs/datasets/README.md'
        ' says what is in it).'
      )
    path = directory() / f'{dataset}.toml'
  try:
    with artifacts.reading(path):
      text = path.read_text(encoding='utf-8')
    return _parse(tomllib.loads(text), path)
  except FileNotFoundError as error:
    raise GenrecError(
      f'No file {path}; pass the path of a .toml, or one of:'
      f' {", ".join(known_datasets())}.'
    ) from error
  except ValueError as error:
    if isinstance(error, GenrecError):
      raise
    raise GenrecError(f'{path} is no TOML in UTF-8: {error}.') from error


def _parse(values: dict[str, Any], path: pathlib.Path) -> Description:
  fields = {field.name for field in dataclasses.fields(Description)} - {'path'}
  _check_keys(values, fields, path, '')
  for key in ('name', 'layouts'):
    if not values.get(key):
      raise GenrecError(
        f'{path} has no {key!r}; see configs/datasets/README.md.'
      )
  protocol = values.get('protocol', {})
  _check_keys(protocol, _PROTOCOL, path, '[protocol] ')
  layouts = {}
  for layout in values['layouts']:
    _check_keys(layout, ('name', 'files'), path, '[[layouts]] ')
    layouts[layout.get('name', 'default')] = tuple(
      _parse_file(file, path) for file in layout.get('files', ())
    )
  for variant, expected in values.get('expected', {}).items():
    allowed = (*COUNTS, 'sha256')
    _check_keys(expected, allowed, path, f'[expected.{variant}] ')
  source = values.get('source', ())
  return Description(
    name=values['name'],
    title=values.get('title', values['name']),
    source=(source,) if isinstance(source, str) else tuple(source),
    licence=values.get('licence', ''),
    notes=values.get('notes', ''),
    folder=values.get('folder', values['name']),
    protocol=protocol,
    layouts=layouts,
    expected=values.get('expected', {}),
    path=path,
  )


def _parse_file(values: dict[str, Any], path: pathlib.Path) -> File:
  where = '[[layouts.files]] '
  _check_keys(values, ('reader', 'file', 'optional', 'options'), path, where)
  reader = values.get('reader', '')
  if reader not in READERS:
    raise GenrecError(f'{path}: {unknown_name("reader", reader, READERS)}')
  parameters = inspect.signature(READERS[reader]).parameters
  options = values.get('options', {})
  allowed = [name for name in parameters if name not in ('path', 'on_bad_row')]
  _check_keys(options, allowed, path, f'the options of {reader} ')
  names = values.get('file', ())
  names = (names,) if isinstance(names, str) else tuple(names)
  if ('path' in parameters) != bool(names):
    need = 'needs a' if 'path' in parameters else 'takes no'
    raise GenrecError(f'{path}: the reader {reader} {need} `file`.')
  return File(reader, names, values.get('optional', False), options)


def _check_keys(values, allowed, path: pathlib.Path, where: str) -> None:
  for key in values:
    if key not in allowed:
      unknown = unknown_name('key', key, allowed)
      raise GenrecError(f'{path}: {where}{unknown}')


def read_raw(
  description: Description,
  *,
  data_dir: PathLike | None = None,
  layout: str | None = None,
  on_bad_row: str = 'error',
  seed: int = 0,
) -> RawTables:
  """Reads the files of a data set.

  Args:
    description: of the data set.
    data_dir: holds the files, or the data set's folder with them. None: where
      a user's own TOML lies.
    layout: a name in the description's layouts; None takes the first whose
      files are all there.
    on_bad_row: 'error' or 'skip', for every file.
    seed: for readers that draw.

  Raises:
    GenrecError: if files are missing (it says where to get them) or bad.
  """
  if layout is not None and layout not in description.layouts:
    raise unknown_name('layout', layout, description.layouts)
  candidates = [layout] if layout is not None else list(description.layouts)
  places = _places(description, data_dir)
  for name in candidates:
    files = description.layouts[name]
    with artifacts.reading(data_dir or description.path.parent):
      paths = [_find(file.names, places) for file in files]
    if all(p or f.optional or not f.names for p, f in zip(paths, files)):
      parts = []
      for file, path in zip(files, paths):
        if path or not file.names:
          with artifacts.reading(path or file.reader):
            parts.append(_read(file, path, on_bad_row, seed))
      return _combine(parts, {'layout': name})
  raise _missing_files(description, candidates, places)


def _places(description, data_dir) -> list[pathlib.Path]:
  if data_dir is None and description.path.parent != directory():
    data_dir = description.path.parent
  if data_dir is None:
    return []
  return [pathlib.Path(data_dir) / description.folder, pathlib.Path(data_dir)]


def _find(names: Sequence[str], places) -> pathlib.Path | None:
  """Returns the first file there is, with or without .gz."""
  for place in places:
    for name in names:
      for path in (place / name, place / f'{name}.gz'):
        if path.is_file():
          return path
  return None


def _read(file: File, path, on_bad_row: str, seed: int) -> RawTables:
  reader = READERS[file.reader]
  parameters = inspect.signature(reader).parameters
  options = dict(file.options)
  if 'on_bad_row' in parameters:
    options['on_bad_row'] = on_bad_row
  if 'seed' in parameters:
    options.setdefault('seed', seed)
  return reader(*([path] if path else []), **options)


def _combine(parts: Sequence[RawTables], facts: dict[str, Any]) -> RawTables:
  """Puts the tables of several files together.

  Dialogues may come in several files, and so may what is said of items.
  """
  tables: dict[str, list[pa.Table]] = {}
  facts = {**facts, 'sources': {}, 'skipped_rows': {}}
  for part in parts:
    for field in dataclasses.fields(RawTables):
      table = getattr(part, field.name)
      if isinstance(table, pa.Table):
        tables.setdefault(field.name, []).append(table)
    for key, value in part.facts.items():
      if isinstance(value, dict):
        facts[key] = facts.get(key, {}) | value
      else:
        facts[key] = value
  for name, several in tables.items():
    if len(several) > 1 and name not in ('items', 'dialogues'):
      raise GenrecError(
        f'Two files of one layout hold the {name}; put each table into one'
        ' file, or the files into two layouts.'
      )
  return RawTables(
    **{
      name: pa.concat_tables(several, promote_options='default')
      for name, several in tables.items()
    },
    facts=facts,
  )


def _missing_files(description, candidates, places) -> GenrecError:
  needed = '; or '.join(
    ', '.join(
      ' or '.join(file.names)
      for file in description.layouts[name]
      if file.names and not file.optional
    )
    for name in candidates
  )
  where = (
    f'looked in {" and ".join(map(str, places))}'
    if places
    else 'no --data_dir was given'
  )
  source = ' and '.join(description.source) or 'their publisher'
  return GenrecError(
    f'{description.name} needs the files {needed} (gzip or not), but {where}.'
    f' Get them from {source}, and pass the directory they are in as'
    ' --data_dir.'
  )


def choose_variant(description: Description, expected: str | None) -> str:
  """Returns which [expected.*] to check: the one asked for, or the default.

  Raises:
    GenrecError: for a variant that the description has not.
  """
  known = list(description.expected)
  if expected is None:
    published = len(known) != 1 and 'published' in known
    expected = 'published' if published else (*known, 'off')[0]
  if expected not in (*known, 'off'):
    kind = f'variant of {description.name}'
    raise unknown_name(kind, expected, [*known, 'off'])
  return expected


def check_expected(
  description: Description,
  counts: Mapping[str, int],
  sources: Mapping[str, str],
  variant: str,
) -> None:
  """Checks what was read against what the description expects.

  Args:
    description: of the data set.
    counts: of the data set that was built.
    sources: sha256 of the decompressed bytes by file name.
    variant: what `choose_variant` returned.

  Raises:
    GenrecError: for another count or another file; it shows both.
  """
  if variant == 'off':
    return

  def differing(name: str) -> list[str]:
    expected = description.expected[name]
    return [
      key for key in COUNTS if key in expected and counts[key] != expected[key]
    ]

  expected = description.expected[variant]
  off = '--expected=off goes on without this check'
  if differing(variant):
    others = [name for name in description.expected if not differing(name)]
    if others:
      off = f'--expected={others[0]} stands for these counts; {off}'
    got = _counts({key: counts[key] for key in COUNTS if key in expected})
    raise GenrecError(
      f'{description.name}: got {got}; expected {_counts(expected)}'
      f' ({variant!r}). The files or the protocol are not those of the'
      f' benchmark: get them from {" and ".join(description.source)}, or, if'
      f' you mean it, {off}.'
    )
  for name, sha256 in expected.get('sha256', {}).items():
    if sources.get(name, sha256) != sha256:
      raise GenrecError(
        f'{description.name}: the decompressed bytes of {name} have the sha256'
        f' {sources[name]}, expected {sha256} ({variant!r}). Download it'
        f' again from {" and ".join(description.source)}, or, if you mean'
        f' it, {off}.'
      )


def _counts(counts: Mapping[str, Any]) -> str:
  return ', '.join(f'{counts[key]:,} {key}' for key in COUNTS if key in counts)
