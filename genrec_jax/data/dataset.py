"""Dataset: who did what when, as Arrow tables with a manifest.

A reader yields `RawTables` (source ids, file order); `build_dataset` filters,
orders and numbers them. From there on the order of the interaction rows IS
the chronology, and everything else refers to users, items and interactions by
row number.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Int32, Int64

from genrec_jax import artifacts
from genrec_jax.data import content, dialogues, lookup, protocol, texts
from genrec_jax.types import GenrecError, PathLike, unknown_name

TABLES = ('interactions', 'items', 'users', 'dialogues')
_DAY = 24 * 60 * 60
# Types of the interaction columns that the rooms know by name; further columns
# of a source are carried along as they are.
_INTERACTIONS = {
  'user': pa.int32(),
  'item': pa.int32(),
  'time': pa.int64(),
  'rating': pa.float32(),
  'review': pa.string(),
  'summary': pa.string(),
  'feature': pa.string(),
  'opinion': pa.string(),
  'sentiment': pa.int8(),
  'explanation': pa.string(),
}


@dataclasses.dataclass(frozen=True, eq=False)
class RawTables:
  """What a reader yields: any of the tables, with source ids as strings.

  Attributes:
    interactions: `user`, `item` and, where the source has them, `time` (unix
      seconds), `position` (an order to keep among equal times), `rating`,
      `review`, `summary`, the columns of an explanation and further ones.
      Rows in file order.
    items: `item_id` and any of `title`, `attributes` (list of strings) and
      further columns. May hold items without interactions.
    users: `user_id` and further columns.
    dialogues: as `dialogues.RAW_DIALOGUES`, and further columns.
    explanations: of interactions in a file of their own: `user`, `item` and
      `texts.EXPLANATIONS`.
    facts: provenance; readers give `sources` (file name: sha256 of the
      decompressed bytes) and `skipped_rows`.
  """

  interactions: pa.Table | None = None
  items: pa.Table | None = None
  users: pa.Table | None = None
  dialogues: pa.Table | None = None
  explanations: pa.Table | None = None
  facts: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
  """Interactions, items, users and dialogues of one data set.

  Item and user numbers follow the first appearance of the source id in the
  raw file. That order knows the future (benchmark files are numbered along
  their sequences, held-out items included), so NO method may take an item's
  number for a signal: ids, ties of scores and models must not depend on it.

  Attributes:
    name: what it is called.
    interactions: user int32, item int32, time int64 (unix seconds; the
      position in the sequence where `facts['clock']` is 'order') and, where
      the source has them, rating float32, review and summary string, and of
      an explanation feature, opinion, explanation string and sentiment int8
      (-1, 0, 1), null where there are none. Sorted by (user, time, tie
      policy): a user's rows are contiguous.
    items: item_id, title, attributes list<string>, and further columns.
    users: user_id, and further columns.
    dialogues: see `dialogues.DIALOGUES`; empty where there are none.
    facts: the protocol: clock 'seconds' | 'days' | 'order', ties, duplicates,
      k_core, seed, sources, skipped and dropped rows, and what was mended in
      texts and joined of explanations.
  """

  name: str
  interactions: pa.Table
  items: pa.Table
  users: pa.Table
  dialogues: pa.Table
  facts: dict[str, Any]

  @property
  def num_users(self) -> int:
    """The number of users."""
    return self.users.num_rows

  @property
  def num_items(self) -> int:
    """The number of items."""
    return self.items.num_rows

  @property
  def num_interactions(self) -> int:
    """The number of interactions."""
    return self.interactions.num_rows

  @property
  def counts(self) -> dict[str, int]:
    """Users, items, interactions, dialogues and their turns."""
    return {
      'users': self.num_users,
      'items': self.num_items,
      'interactions': self.num_interactions,
      'dialogues': len(self.dialogue_offsets) - 1,
      'dialogue_turns': self.dialogues.num_rows,
    }

  @functools.cached_property
  def user(self) -> Int32[np.ndarray, 'M']:
    """User of each interaction."""
    return self.interactions['user'].to_numpy()

  @functools.cached_property
  def item(self) -> Int32[np.ndarray, 'M']:
    """Item of each interaction."""
    return self.interactions['item'].to_numpy()

  @functools.cached_property
  def time(self) -> Int64[np.ndarray, 'M']:
    """Time of each interaction."""
    return self.interactions['time'].to_numpy()

  @functools.cached_property
  def user_offsets(self) -> Int64[np.ndarray, 'U+1']:
    """Rows of user u are `user_offsets[u]:user_offsets[u + 1]`."""
    return np.searchsorted(self.user, np.arange(self.num_users + 1))

  @functools.cached_property
  def fingerprint(self) -> str:
    """The sha256 of the content of the four tables."""
    return content.tables_sha256(*(getattr(self, name) for name in TABLES))

  @functools.cached_property
  def dialogue_offsets(self) -> Int64[np.ndarray, 'D+1']:
    """Turns of dialogue d are `dialogue_offsets[d]:dialogue_offsets[d + 1]`."""
    return dialogues.dialogue_offsets(self.dialogues)

  def item_names(self) -> list[str]:
    """Returns the name of each item, see `lookup.item_names`."""
    return lookup.item_names(self.items)

  def save(self, directory: PathLike) -> None:
    """Writes Parquet tables and a manifest, replacing the whole directory."""
    with artifacts.write_directory(directory) as temporary:
      self.write(temporary)

  def write(self, directory: pathlib.Path) -> None:
    """Writes the files of `save` into a directory that is being made."""
    for name in TABLES:
      pq.write_table(
        getattr(self, name), directory / f'{name}.parquet', compression='zstd'
      )
    artifacts.write_manifest(
      directory,
      kind='dataset',
      fingerprint=self.fingerprint,
      inputs={},
      name=self.name,
      counts=self.counts,
      facts=self.facts,
    )

  @classmethod
  def load(cls, directory: PathLike) -> Dataset:
    """Reads what `save` wrote.

    Raises:
      GenrecError: if there is none, or a table is missing, broken or not the
        one that the manifest speaks of.
    """
    directory = pathlib.Path(directory)
    manifest = artifacts.read_manifest(directory, 'dataset')
    tables = {}
    for name in TABLES:
      path = directory / f'{name}.parquet'
      try:
        tables[name] = pq.read_table(path).combine_chunks()
      except (pa.ArrowInvalid, OSError) as error:
        raise GenrecError(
          f'Cannot read {path}: {error}. Run `genrec prepare` again.'
        ) from error
    dataset = cls(manifest['name'], **tables, facts=manifest['facts'])
    if dataset.fingerprint != manifest['fingerprint']:
      raise GenrecError(
        f'The tables in {directory} have the fingerprint'
        f' {dataset.fingerprint[:12]}, but its manifest says'
        f' {manifest["fingerprint"][:12]}: they were changed after they were'
        ' written. Run `genrec prepare` again.'
      )
    return dataset


def build_dataset(
  name: str,
  raw: RawTables,
  *,
  ties: Literal['source', 'random', 'item'] = 'source',
  duplicates: Literal['keep', 'first', 'last'] = 'keep',
  k_core: int = 0,
  unused: Literal['drop', 'keep'] = 'drop',
  seed: int = 0,
) -> Dataset:
  """Filters, orders and numbers raw tables.

  First each user's rows are put in order, then repeated (user, item) pairs are
  handled, then the k-core is taken, then users and items are numbered by first
  appearance in the raw file. Users without interactions are left out, and so
  are items, unless a dialogue mentions them or unused ones are kept. Of
  dialogues with one id the first counts. Where there are dialogues alone, each
  has a user of its own, its seeker.

  Args:
    name: the data set's name.
    raw: what a reader yielded.
    ties: the order of a user's rows of equal time: 'source' (the `position`
      column, then file order), 'random' (seeded), or 'item' (ascending source
      id, as numbers where all ids are whole numbers).
    duplicates: of the rows with the same user and item, 'keep' all, or the
      'first' or 'last' in time.
    k_core: drop users and items with fewer interactions than this, again and
      again until none is left; 0 or 1 keeps all.
    unused: 'keep' the items of the items table that nobody took.
    seed: for ties='random'.

  Raises:
    GenrecError: for values that no reader would yield, or if nothing is left.
  """
  if ties not in protocol.TIES:
    raise unknown_name('tie policy', ties, protocol.TIES)
  if duplicates not in protocol.DUPLICATES:
    raise unknown_name('duplicate policy', duplicates, protocol.DUPLICATES)
  if unused not in ('drop', 'keep'):
    raise unknown_name('policy of unused items', unused, ('drop', 'keep'))
  if not isinstance(k_core, int) or k_core < 0:
    raise GenrecError(f'k_core is {k_core!r}, expected a whole number from 0.')
  if raw.interactions is None and raw.dialogues is None:
    raise GenrecError(
      f'The raw tables of {name!r} hold neither interactions nor dialogues;'
      ' add the file that has them.'
    )
  table, facts = _checked_interactions(name, raw)
  user, user_ids = protocol.encode(table['user'])
  item, item_ids = protocol.encode(table['item'])
  clock = _clock(table)
  kept = np.lexsort(
    (*protocol.tie_keys(table, item, item_ids, ties, seed), user)
  )

  rows = len(kept)
  if duplicates != 'keep':
    kept = protocol.without_duplicates(kept, user, item, duplicates)
  dropped = {'duplicates': rows - len(kept)}
  rows = len(kept)
  kept = kept[protocol.core(user[kept], item[kept], k_core)]
  dropped['k_core'] = rows - len(kept)
  if table.num_rows and not len(kept):
    raise GenrecError(
      f'No interaction of {name!r} is left of {table.num_rows} after'
      f' duplicates={duplicates!r} and k_core={k_core}; lower k_core.'
    )

  user, user_ids = protocol.renumber(user, user_ids, kept)
  item, item_ids = protocol.renumber(item, item_ids, kept)
  if unused == 'keep' and raw.items is not None:
    listed = raw.items['item_id'].combine_chunks().cast(pa.string())
    item_ids = pc.unique(pa.concat_arrays([item_ids, listed]))
  told = dialogues.DIALOGUES.empty_table()
  if raw.dialogues is not None:
    told, repeated = dialogues.without_repeated(raw.dialogues)
    dropped['repeated_dialogues'] = repeated
    mentioned = pc.list_flatten(told['items']).cast(pa.string())
    item_ids = pc.unique(pa.concat_arrays([item_ids, pc.unique(mentioned)]))
    told, facts['texts']['dialogues'] = dialogues.number_items(told, item_ids)
    if raw.interactions is None:
      user_ids = pc.unique(told['dialogue_id'])
  user, item = user[kept], item[kept]
  columns = {'user': user, 'item': item}
  if clock == 'order':
    starts = np.searchsorted(user, user)
    columns['time'] = np.arange(len(user), dtype=np.int64) - starts
  interactions = {key: pa.array(value) for key, value in columns.items()}
  rest = table.drop_columns(['user', 'item']).take(kept)
  for column in rest.column_names:
    if column != 'position':
      interactions.setdefault(column, rest[column])
  return Dataset(
    name=name,
    interactions=pa.table(interactions).combine_chunks(),
    items=protocol.join(item_ids, 'item_id', raw.items),
    users=protocol.join(user_ids, 'user_id', raw.users),
    dialogues=told,
    facts={
      **raw.facts,
      **facts,
      'clock': clock,
      'ties': ties,
      'duplicates': duplicates,
      'k_core': k_core,
      **({'unused': unused} if unused != 'drop' else {}),
      'seed': seed,
      'numbering': 'first appearance in the raw file',
      'dropped_rows': dropped,
    },
  )


def _checked_interactions(
  name: str, raw: RawTables
) -> tuple[pa.Table, dict[str, Any]]:
  """Returns the table with its known columns cast, `time` after `item`.

  With explanations, and texts cleaned; and the facts of both.
  """
  table, facts = raw.interactions, {'texts': {}}
  if table is None:
    nothing = pa.array([], pa.string())
    return pa.table({'user': nothing, 'item': nothing}), facts
  for column in ('user', 'item'):
    if column not in table.column_names:
      raise GenrecError(
        f'The raw interactions of {name!r} have the columns'
        f' {table.column_names}, expected at least user and item.'
      )
  if raw.explanations is not None:
    table, facts['explanations'] = texts.join_explanations(
      table, raw.explanations
    )
  known = [column for column in _INTERACTIONS if column in table.column_names]
  others = [column for column in table.column_names if column not in known]
  table = table.select(known + others)
  for column in table.column_names:
    kind = _INTERACTIONS.get(column)
    if column in ('user', 'item'):
      kind = pa.string()
    if kind is not None:
      index = table.column_names.index(column)
      table = table.set_column(index, column, table[column].cast(kind))
  for column, kind in (('user', 'id'), ('item', 'id'), ('time', 'time')):
    if column in table.column_names and table[column].null_count:
      raise GenrecError(
        f'{table[column].null_count} rows of {name!r} have no {column} {kind};'
        ' drop them or fill them in.'
      )
  if 'time' in table.column_names and table.num_rows:
    earliest = pc.min(table['time']).as_py()
    if earliest < 0:
      raise GenrecError(
        f'The earliest time of {name!r} is {earliest}, expected unix seconds'
        ' from 0 on.'
      )
  if 'rating' in table.column_names:
    finite = pc.all(pc.is_finite(table['rating'])).as_py()
    if finite is False:
      raise GenrecError(
        f'Some ratings of {name!r} are not finite; drop those rows, or leave'
        ' the rating null.'
      )
  table, facts['texts'] = texts.clean_columns(table)
  return table, facts


def _clock(table: pa.Table) -> str:
  if 'time' not in table.column_names:
    return 'order'
  time = table['time'].to_numpy()
  return 'days' if not (time % _DAY).any() else 'seconds'
