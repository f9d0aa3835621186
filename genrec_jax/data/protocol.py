"""Between raw rows and a data set: order, duplicates, k-core, what is said."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TIES = ('source', 'random', 'item')
DUPLICATES = ('keep', 'first', 'last')


def encode(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
  """Returns codes by first appearance, and the value of each code."""
  encoded = column.combine_chunks().dictionary_encode()
  return encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary


def tie_keys(table, item, item_ids, ties, seed) -> tuple[np.ndarray, ...]:
  """Returns the keys within a user, the least significant first."""
  # lexsort is stable: file order is the last key of all.
  time = [table['time'].to_numpy()] if 'time' in table.column_names else []
  if ties == 'source' or not time:
    position = 'position' in table.column_names
    return (*([table['position'].to_numpy()] if position else []), *time)
  if ties == 'random':
    return (np.random.default_rng(seed).permutation(len(item)), *time)
  ids = item_ids
  if pc.all(pc.match_substring_regex(ids, r'^\d{1,18}$')).as_py():
    ids = ids.cast(pa.int64())
  rank = pc.rank(ids, tiebreaker='dense').to_numpy()
  return (rank[item], *time)


def without_duplicates(kept, user, item, duplicates) -> np.ndarray:
  """Returns `kept` with one row a (user, item) pair, in the same order."""
  ordered = kept if duplicates == 'first' else kept[::-1]
  pair = user[ordered].astype(np.int64) * (item.max(initial=0) + 1)
  _, first = np.unique(pair + item[ordered], return_index=True)
  first.sort()
  return ordered[first] if duplicates == 'first' else ordered[first][::-1]


def core(user: np.ndarray, item: np.ndarray, k_core: int) -> np.ndarray:
  """Returns which rows are in the k-core."""
  keep = np.ones(len(user), bool)
  while k_core > 1:
    users = np.bincount(user[keep], minlength=user.max(initial=0) + 1)
    items = np.bincount(item[keep], minlength=item.max(initial=0) + 1)
    remaining = keep & (users[user] >= k_core) & (items[item] >= k_core)
    if remaining.sum() == keep.sum():
      break
    keep = remaining
  return keep


def renumber(codes, ids, kept) -> tuple[np.ndarray, pa.Array]:
  """Closes the gaps that filtering left; the order of numbers is kept."""
  present = np.zeros(len(ids), bool)
  present[codes[kept]] = True
  numbers = np.cumsum(present, dtype=np.int32) - np.int32(1)
  return numbers[codes], ids.filter(pa.array(present))


def join(ids: pa.Array, key: str, side: pa.Table | None) -> pa.Table:
  """Returns one row an id, with what the side table's first such row says."""
  columns = {key: ids.cast(pa.string())}
  if key == 'item_id':
    columns['title'] = pa.nulls(len(ids), pa.string())
    columns['attributes'] = pa.nulls(len(ids), pa.list_(pa.string()))
  if side is not None:
    rows = pc.index_in(ids, value_set=side[key].cast(pa.string()))
    for name, column in zip(side.column_names, side.take(rows).columns):
      if name != key:
        columns[name] = column
  if key == 'item_id':
    empty = pa.scalar([], pa.list_(pa.string()))
    attributes = columns['attributes'].cast(pa.list_(pa.string()))
    columns['title'] = columns['title'].cast(pa.string())
    columns['attributes'] = pc.coalesce(attributes, empty)
  return pa.table(columns).combine_chunks()
