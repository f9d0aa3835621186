"""Gives ids to items that come later; nothing is trained, no id changes."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse
from jaxtyping import Int

from genrec_jax import artifacts
from genrec_jax.answering.prompts import shorten
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.readers.new_items import (
  read_first_interactions,
  read_new_items,
)
from genrec_jax.data.splits import load_split, train_interactions
from genrec_jax.ids import cold_start
from genrec_jax.ids.content import new_item_vectors
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.ids.new_items import NewItems
from genrec_jax.types import GenrecError, PathLike, unknown_name

EVIDENCE = ('vectors', 'interactions', 'text')
NUM_LIKE = 5  # neighbours that are written down
SHOWN_LIKE = 3  # and printed
SHOWN_ITEMS = 20


def add_items(
  *,
  run_dir: PathLike,
  items: PathLike,
  interactions: PathLike | None = None,
  vectors: PathLike | None = None,
  evidence: Sequence[str] = EVIDENCE,
  allow_unknown: bool = False,
  on_bad_row: str = 'error',
) -> str:
  """Gives ids to the items of a file, beside those that the run has.

  Nothing is trained and no id changes. An item's code is chosen by what the
  file says of it: it stands with the items of the run that it is like. Reads
  RUN_DIR/dataset and RUN_DIR/ids, and writes RUN_DIR/new_items (manifest.json,
  codes.npy, items.jsonl); a second call adds to it. `genrec recommend` lists
  new items from then on. Prints each item's id with the items that it is like,
  so that a person can judge.

  Args:
    run_dir: the run's directory.
    items: the new items: JSON Lines (.jsonl), Parquet, TSV or CSV with the
      columns item_id and, where known, title and attributes (a list, or text
      with '|' between them).
    interactions: who took them first: a file of the same formats with the
      columns user_id and item_id, and any time. Users need not be known; what
      they took of the run's items says whom the new ones are like.
    vectors: a vector for new items, in the space that the run's ids were made
      from: .npy with a row for each item (or X.ids.txt beside it), or Parquet
      with item_id.
    evidence: what an item's code is chosen by: the first of these that says
      anything of it.
    allow_unknown: give items of which nothing is known the first codes that
      are free, in place of refusing them.
    on_bad_row: 'error' or 'skip' rows that cannot be read.

  Returns:
    What is printed.

  Raises:
    GenrecError: if a file cannot be read, an item has an id already, nothing
      is known of one, no code is free, or the run has no ids.
  """
  if isinstance(evidence, str):
    evidence = (evidence,)
  for name in evidence:
    if name not in EVIDENCE:
      raise unknown_name('evidence', name, EVIDENCE)
  run_dir = pathlib.Path(run_dir)
  ids = ItemIds.load(run_dir / 'ids')
  dataset = Dataset.load(run_dir / 'dataset')
  artifacts.check_input(
    {'kind': 'ids', 'inputs': ids.inputs},
    'dataset',
    dataset.fingerprint,
    'run `genrec build_ids` again',
  )
  before = load_new_items(run_dir, dataset, ids)
  table = read_new_items(items, on_bad_row=on_bad_row)
  _refuse_known(table['item_id'], dataset, before)
  found = {}
  if vectors is not None:
    width = None if ids.vectors is None else ids.vectors.shape[1]
    found['vectors'] = cold_start.from_vectors(
      ids, new_item_vectors(vectors, table['item_id'], width)
    )
  if interactions is not None:
    rows = read_first_interactions(interactions, on_bad_row=on_bad_row)
    found['interactions'] = cold_start.from_interactions(
      ids, *_count_taken(rows, run_dir, dataset, table['item_id'], before)
    )
  found['text'] = cold_start.from_text(ids, dataset.items, table)
  chosen = [name for name in evidence if name in found]
  if not chosen:
    raise GenrecError(
      f'Got evidence={tuple(evidence)}, but no such file; pass --vectors or'
      " --interactions, or let 'text' be among the evidence."
    )
  known_by, known = _choose(found, chosen)
  _refuse_unknown(table, known_by, chosen, allow_unknown)
  codes = cold_start.new_codes(ids, known, taken=before.codes)
  records = _describe(table, known_by, known, dataset)
  after = before.append(
    codes,
    records,
    {
      'num_items': len(records),
      'sha256': {
        kind: artifacts.file_sha256(path)
        for kind, path in (
          ('items', items),
          ('interactions', interactions),
          ('vectors', vectors),
        )
        if path is not None
      },
    },
  )
  after.save(run_dir / 'new_items')
  text = tell(records, codes, ids, len(before))
  print(f'{text}\n\nWritten to {run_dir / "new_items"}.', flush=True)
  return text


def load_new_items(
  run_dir: pathlib.Path, dataset: Dataset, ids: ItemIds
) -> NewItems:
  """Returns the items that were added to a run so far, perhaps none.

  Raises:
    GenrecError: if they were added to other ids.
  """
  directory = run_dir / 'new_items'
  if (directory / artifacts.MANIFEST).exists():
    return NewItems.load(directory, ids=ids.fingerprint)
  return NewItems(
    codes=np.zeros((0, ids.num_levels), np.int32),
    records=(),
    inputs={'dataset': dataset.fingerprint, 'ids': ids.fingerprint},
  )


def tell(
  records: Sequence[Mapping[str, Any]],
  codes: Int[np.ndarray, 'n L'],
  ids: ItemIds,
  num_before: int,
) -> str:
  """Returns the new items with their codes and whom they are like, as text."""
  gained = f'{len(records):,} new items have ids'
  if len(records) == 1:
    gained = '1 new item has an id'
  others = f'the {ids.num_items:,} items of the run keep theirs'
  if num_before:
    others += f', and so do the {num_before:,} added before'
  lines = [f'{gained}; {others}.']
  for record, code in list(zip(records, codes))[:SHOWN_ITEMS]:
    lines.append(f'\n  {record["item_id"]}  {shorten(record["name"], 60)}')
    spelt = ' > '.join(str(digit) for digit in code if digit >= 0)
    beside = _count_beside(code, ids.codes)
    lines.append(
      f'      code {spelt}, chosen by {record["known_by"] or "nothing"};'
      f' {beside}'
    )
    for other in record['like'][:SHOWN_LIKE]:
      lines.append(
        f'      like {other["likeness"]:.2f}  {shorten(other["name"], 60)}'
      )
  if len(records) > SHOWN_ITEMS:
    lines.append(f'\n  and {len(records) - SHOWN_ITEMS:,} more')
  return '\n'.join(lines)


def _count_beside(code, codes) -> str:
  """Says how many items of the run share the first codes of a new one."""
  told, same = [], np.ones(len(codes), bool)
  for level in range(int((code >= 0).sum()) - 1):
    same &= codes[:, level] == code[level]
    told.append(f'{same.sum():,}')
  if not told:
    return 'its one code is its own'
  return f'{" > ".join(told)} of the run share its prefix'


def _refuse_known(
  item_ids: pa.ChunkedArray, dataset: Dataset, before: NewItems
) -> None:
  for known, where in (
    (dataset.items['item_id'], 'of the run'),
    (pa.array(before.item_ids, pa.string()), 'added before'),
  ):
    repeated = item_ids.filter(pc.is_in(item_ids, value_set=known))
    if len(repeated):
      raise GenrecError(
        f'{len(repeated)} of the {len(item_ids)} items have an id already, the'
        f' first being {repeated[0].as_py()!r}, an item {where}; ids do not'
        ' change, so leave them out. (To take back all that were added, remove'
        ' new_items/ of the run.)'
      )


def _count_taken(
  rows: pa.Table,
  run_dir: pathlib.Path,
  dataset: Dataset,
  new_ids: pa.ChunkedArray,
  before: NewItems,
) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]:
  """Returns who took items of the run, [U, N], and new ones, [U, n].

  Of the run the train interactions count, as for all ids; of the file all do,
  also of users that the run does not know.

  Raises:
    GenrecError: if the file speaks of an item that is neither.
  """
  known_ids = dataset.items['item_id'].combine_chunks()
  new_ids = pa.chunked_array(new_ids).combine_chunks()
  item = pc.index_in(rows['item'], value_set=known_ids)
  new_item = pc.index_in(rows['item'], value_set=new_ids)
  stranger = pc.and_(pc.is_null(item), pc.is_null(new_item))
  earlier = pa.array(before.item_ids, pa.string())
  stranger = pc.and_(
    stranger, pc.invert(pc.is_in(rows['item'], value_set=earlier))
  )
  if pc.any(stranger).as_py():
    strangers = pc.unique(rows['item'].filter(stranger))
    raise GenrecError(
      f'The interactions speak of {len(strangers)} items that are neither of'
      f' the run nor new, the first being {strangers[0].as_py()!r}; add them to'
      ' the file of items, or leave these rows out.'
    )
  users = pc.unique(
    pa.chunked_array(
      [*dataset.users['user_id'].chunks, *rows['user'].chunks], pa.string()
    )
  )
  user = pc.index_in(rows['user'], value_set=users).to_numpy()
  split = load_split(run_dir / 'dataset', dataset)
  train_user, train_item = train_interactions(dataset, split)
  counts = []
  for found, more_user, more_item, width in (
    (item, train_user, train_item, len(known_ids)),
    (new_item, train_user[:0], train_item[:0], len(new_ids)),
  ):
    found = found.fill_null(-1).to_numpy()
    pairs = (
      np.concatenate([more_user, user[found >= 0]]),
      np.concatenate([more_item, found[found >= 0]]),
    )
    taken = scipy.sparse.csr_array(
      (np.ones(len(pairs[0])), pairs), (len(users), width)
    )
    taken.sum_duplicates()
    taken.data[:] = 1
    counts.append(taken)
  return counts[0], counts[1]


def _choose(
  found: Mapping[str, cold_start.Evidence], names: Sequence[str]
) -> tuple[list[str | None], cold_start.Evidence]:
  """Returns by which evidence each item is known, and what is known."""
  evidence = found[names[0]]
  known_by = np.where(evidence.known, names[0], None)
  for name in names[1:]:
    known_by[~evidence.known & found[name].known] = name
    evidence = evidence.or_else(found[name])
  return known_by.tolist(), evidence


def _refuse_unknown(
  table: pa.Table,
  known_by: Sequence[str | None],
  chosen: Sequence[str],
  allowed: bool,
) -> None:
  unknown = [
    item_id
    for item_id, name in zip(table['item_id'].to_pylist(), known_by)
    if name is None
  ]
  if unknown and not allowed:
    raise GenrecError(
      f'Nothing is known of {len(unknown)} of the {table.num_rows} items, the'
      f' first being {unknown[0]!r}: no item of the run is like it by'
      f' {" or ".join(chosen)}. Give a title, attributes, first'
      ' interactions or vectors; leave them out until there are some; or pass'
      ' --allow_unknown=True, for ids that mean nothing.'
    )


def _describe(
  table: pa.Table,
  known_by: Sequence[str | None],
  evidence: cold_start.Evidence,
  dataset: Dataset,
) -> list[dict[str, Any]]:
  """Returns what is written of each item, JSON values."""
  item_ids, names = dataset.items['item_id'].to_pylist(), dataset.item_names()
  neighbours = evidence.neighbours
  records = []
  for row, (item_id, title) in enumerate(
    zip(table['item_id'].to_pylist(), table['title'].to_pylist())
  ):
    span = slice(*neighbours.indptr[row : row + 2])
    like, weight = neighbours.indices[span], neighbours.data[span]
    best = np.lexsort((like, -weight))[:NUM_LIKE]
    records.append(
      {
        'item_id': item_id,
        'name': title or item_id,
        'known_by': known_by[row],
        'like': [
          {
            'item_id': item_ids[like[place]],
            'name': names[like[place]],
            'likeness': round(float(weight[place]), 4),
          }
          for place in best
        ],
      }
    )
  return records
