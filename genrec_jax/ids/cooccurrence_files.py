"""Counts of pairs as an artefact: Parquet shards and a manifest.

A shard holds rows (item, other, count) of pairs with item < other, in any
order; any program may have written it.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse
from jaxtyping import Int

from genrec_jax import artifacts
from genrec_jax.types import GenrecError, PathLike

KIND = 'cooccurrences'
SCHEMA = pa.schema(
  [('item', pa.int32()), ('other', pa.int32()), ('count', pa.float32())]
)
SLAB = 2**22  # pairs


def save_counts(
  graph: scipy.sparse.csr_array,
  directory: PathLike,
  *,
  train: str,
  window: int | None,
  min_count: float,
) -> None:
  """Writes what `cooccurrence.count_cooccurrences` made, as one shard.

  Args:
    graph: float32 [N, N], symmetric.
    directory: replaced as a whole.
    train: `train_sha256` of the interactions that were counted.
    window: with which they were counted.
    min_count: what a pair counts at least.
  """
  with artifacts.write_directory(directory) as temporary:
    with pq.ParquetWriter(temporary / 'pairs.parquet', SCHEMA) as writer:
      for batch in _upper_pairs(graph):
        writer.write_batch(batch)
    write_counts_manifest(
      temporary, graph, train=train, window=window, min_count=min_count
    )


def write_counts_manifest(
  directory: PathLike,
  graph: scipy.sparse.csr_array,
  *,
  train: str,
  window: int | None,
  min_count: float,
  **facts,
) -> None:
  """Writes the manifest of shards that are there already; see `save_counts`."""
  artifacts.write_manifest(
    directory,
    kind=KIND,
    fingerprint=_sha256(graph),
    inputs={'train': train},
    num_items=graph.shape[0],
    pairs=graph.nnz // 2,
    window=window,
    min_count=min_count,
    **facts,
  )


def load_counts(
  directory: PathLike,
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_items: int,
  *,
  window: int | None,
) -> scipy.sparse.csr_array:
  """Reads counts of pairs, if they are those of these train interactions.

  Args:
    directory: what `save_counts` wrote.
    user: the user of each train interaction.
    item: its item.
    num_items: N.
    window: the window that is wanted.

  Returns:
    float32 [N, N], as `cooccurrence.count_cooccurrences` returns it.

  Raises:
    GenrecError: if they were counted from other interactions or with another
      window, or the files were changed since.
  """
  manifest = artifacts.read_manifest(directory, KIND)
  again = 'count them again (`count_cooccurrences`, then `save_counts`)'
  artifacts.check_input(manifest, 'train', train_sha256(user, item), again)
  if (manifest['num_items'], manifest['window']) != (num_items, window):
    raise GenrecError(
      f'{directory} counts pairs of {manifest["num_items"]} items with'
      f' window={manifest["window"]}, expected {num_items} items and'
      f' window={window}; set that window here, or {again} with this one.'
    )
  graph = read_shards(directory, num_items)
  if _sha256(graph) != manifest['fingerprint']:
    raise GenrecError(
      f'The pairs in {directory} are not those that its manifest speaks of:'
      f' they were changed after they were written; {again}.'
    )
  return graph


def read_shards(directory: PathLike, num_items: int) -> scipy.sparse.csr_array:
  """Returns the pairs of all shards as a symmetric matrix, float32 [N, N].

  The shards are read twice, a slab at a time: for the lengths of the rows, and
  for the entries. So little more is held than the result.
  """
  lengths = np.zeros(num_items, np.int64)
  for rows, _, _ in _entries(directory):
    lengths += np.bincount(rows, minlength=num_items)
  pointers = np.concatenate([[0], np.cumsum(lengths)])
  free = pointers[:-1].copy()
  others = np.empty(pointers[-1], np.int32)
  counts = np.empty(pointers[-1], np.float32)
  for rows, columns, values in _entries(directory):
    order = np.argsort(rows, kind='stable')
    rows = rows[order]
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    run = np.diff(first, append=len(rows))
    place = free[rows] + np.arange(len(rows)) - np.repeat(first, run)
    free[rows[first]] += run
    others[place], counts[place] = columns[order], values[order]
  graph = scipy.sparse.csr_array(
    (counts, others, pointers), (num_items, num_items)
  )
  graph.sort_indices()
  return graph


def train_sha256(user: Int[np.ndarray, 'R'], item: Int[np.ndarray, 'R']) -> str:
  """Returns what `data.splits.train_fingerprint` says of the same rows."""
  return artifacts.arrays_sha256(
    np.asarray(user, np.int32), np.asarray(item, np.int32)
  )


def _entries(directory: PathLike) -> Iterator[tuple[np.ndarray, ...]]:
  """Yields rows, columns and values of some pairs, both ways."""
  for path in sorted(pathlib.Path(directory).glob('*.parquet')):
    for batch in pq.ParquetFile(path).iter_batches(SLAB):
      item, other, count = (column.to_numpy() for column in batch.columns)
      yield (
        np.concatenate([item, other]),
        np.concatenate([other, item]),
        np.concatenate([count, count]),
      )


def _upper_pairs(graph: scipy.sparse.csr_array) -> Iterator[pa.RecordBatch]:
  for start in range(0, graph.nnz, SLAB):
    entries = np.arange(start, min(start + SLAB, graph.nnz))
    item = np.searchsorted(graph.indptr, entries, side='right') - 1
    upper = item < graph.indices[entries]
    item, entries = item[upper], entries[upper]
    yield pa.record_batch(
      [
        pa.array(item, pa.int32()),
        pa.array(graph.indices[entries], pa.int32()),
        pa.array(graph.data[entries], pa.float32()),
      ],
      schema=SCHEMA,
    )


def _sha256(graph: scipy.sparse.csr_array) -> str:
  """Returns the sha256 of the entries, whoever counted them."""
  return artifacts.arrays_sha256(
    graph.indptr.astype(np.int64), graph.indices, graph.data
  )
