"""Item vectors from content: files that the user brings, and the items' text.

Each function is a source of vectors as `svd.item_factors` is one, so
`residual_kmeans` and the others take it as their `item_vectors`, alone or
through `vectors.concatenated_vectors` and `vectors.aligned_vectors`.
"""

from __future__ import annotations

import itertools
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scipy.sparse
from jaxtyping import Float, Int

from genrec_jax.data.splits import held_out_items
from genrec_jax.ids.svd import WEIGHTINGS
from genrec_jax.ids.truncated_svd import truncated_svd
from genrec_jax.ids.vectors import check_vectors
from genrec_jax.types import GenrecError, PathLike

_WORD = re.compile(r'\w+')


def read_items(run_dir: PathLike) -> pa.Table:
  """Returns the items table of a run's dataset: item_id, title, attributes.

  Without items that are held out of training, which ids are not made of.

  In gin: `content.text_vectors.items = @content.read_items` and
  `content.read_items.run_dir = %RUN_DIR`.
  """
  path = pathlib.Path(run_dir) / 'dataset' / 'items.parquet'
  try:
    table = pq.read_table(path)
    cold = held_out_items(path.parent)
    return table.filter(~np.isin(np.arange(table.num_rows), cold))
  except (pa.ArrowInvalid, OSError) as error:
    raise GenrecError(
      f'Cannot read the items of the run at {path}: {error}. Run `genrec'
      ' prepare` first.'
    ) from error


def file_vectors(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_users: int,
  num_items: int,
  *,
  path: PathLike,
  items: pa.Table | Callable[[], pa.Table] | None = None,
  id_column: str = 'item_id',
  vector_columns: Sequence[str] | None = None,
  missing: str = 'error',
  unknown: str = 'error',
  seed: int = 0,
) -> Float[np.ndarray, 'N D']:
  """Reads item vectors from a file: .npy, or Parquet with item ids.

  Args:
    user: not looked at, nor is `item`.
    item: see above.
    num_users: not looked at.
    num_items: N.
    path: X.npy holds [N, D], a row for each row of the dataset's items table;
      or [M, D], and X.ids.txt beside it names the item of each row, one a line.
      X.parquet has a column of ids and one of lists of numbers, or many of
      numbers.
    items: the items table, or what returns it; for files with ids.
    id_column: of Parquet.
    vector_columns: of Parquet; all but the ids when None.
    missing: what becomes of items that the file lacks: 'error', or 'zero'
      (they get a vector of zeros, as items without interactions have).
    unknown: what becomes of ids in the file that are no item: 'error' or
      'ignore'.
    seed: not looked at.

  Raises:
    GenrecError: if the file cannot be read, its rows do not match the items, an
      id is there twice, or the numbers cannot be used.
  """
  del user, item, num_users, seed
  for name, value, other in (
    ('missing', missing, 'zero'),
    ('unknown', unknown, 'ignore'),
  ):
    if value not in ('error', other):
      raise GenrecError(f"{name}={value!r}; expected 'error' or {other!r}.")
  path = pathlib.Path(path)
  ids, vectors = read_vectors(path, id_column, vector_columns)
  source = f'the item vectors of {path}'
  if ids is not None:
    if items is None:
      raise GenrecError(
        f'{path} has item ids, but file_vectors was not given the items; set'
        ' its argument `items` (in gin: @content.read_items).'
      )
    check_vectors(vectors, len(ids), source=source)
    names = (items() if callable(items) else items)['item_id']
    vectors = _aligned(path, ids, vectors, names, missing, unknown)
  check_vectors(vectors, num_items, source=source)
  return np.array(vectors, np.float32)


def read_vectors(
  path: PathLike,
  id_column: str = 'item_id',
  vector_columns: Sequence[str] | None = None,
) -> tuple[pa.Array | None, np.ndarray]:
  """Reads a file of vectors as it is; see `file_vectors`.

  Returns:
    The item id of each row, None where the file names none, and the rows.

  Raises:
    GenrecError: if the file cannot be read.
  """
  path = pathlib.Path(path)
  try:
    if path.suffix == '.npy':
      return _read_npy(path)
    if path.suffix == '.parquet':
      return _read_parquet(path, id_column, vector_columns)
  except (pa.ArrowInvalid, OSError, ValueError) as error:
    if isinstance(error, GenrecError):
      raise
    raise GenrecError(f'Cannot read item vectors from {path}: {error}') from (
      error
    )
  raise GenrecError(
    f'Item vectors at {path} have an unknown format; expected a file'
    ' NAME.npy or NAME.parquet.'
  )


def new_item_vectors(
  path: PathLike, names: pa.ChunkedArray, width: int | None
) -> Float[np.ndarray, 'n D']:
  """Reads the vectors of new items: zeros for those that the file lacks.

  Args:
    path: as for `file_vectors`; a .npy file without ids has a row for each.
    names: the ids of the new items; others in the file are left out.
    width: how many numbers a vector must have; None for any.

  Raises:
    GenrecError: if the file cannot be read or names none of the items, or
      vectors are of another width, or hold what is no finite number.
  """
  ids, vectors = read_vectors(path)
  num_rows = len(names if ids is None else ids)
  shape = [num_rows, 'D' if width is None else width]
  if (
    vectors.ndim != 2
    or len(vectors) != num_rows
    or (width is not None and vectors.shape[1] != width)
  ):
    raise GenrecError(
      f'The vectors of {path} have the shape {list(vectors.shape)}; expected'
      f' {shape}: a row for each {"new item" if ids is None else "id"}, as wide'
      ' as those that the ids were made from.'
    )
  finite = np.isfinite(np.asarray(vectors, np.float32)).all(axis=1)
  if not finite.all():
    row = int(np.flatnonzero(~finite)[0])
    raise GenrecError(
      f'The vectors of {path} hold NaN or infinity in {(~finite).sum()} rows,'
      f' the first in row {row}; mend them, or leave these items out of the'
      ' file.'
    )
  if ids is None:
    return np.array(vectors, np.float32)
  return _aligned(path, ids, vectors, names, 'zero', 'ignore')


def text_vectors(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_users: int,
  num_items: int,
  *,
  items: pa.Table | Callable[[], pa.Table],
  columns: Sequence[str] = ('title', 'attributes'),
  rank: int = 64,
  min_count: int = 2,
  max_share: float = 0.5,
  solver: str = 'auto',
  seed: int = 0,
) -> Float[np.ndarray, 'N D']:
  """Makes item vectors of length 1 from text: TF-IDF, then truncated SVD.

  That is latent semantic analysis (Deerwester et al., "Indexing by latent
  semantic analysis", 1990). Terms are the words of a text, in lower case, and
  each entry of a list as a whole too (a brand, a category).

  Args:
    user: not looked at, nor is `item`.
    item: see above.
    num_users: not looked at.
    num_items: N.
    items: the items table of the dataset, or what returns it.
    columns: the columns of text, or of lists of texts.
    rank: D, or as many as there are where that is fewer.
    min_count: terms of fewer items are left out.
    max_share: terms of a larger share of the items are left out.
    solver: of the SVD; see `truncated_svd`.
    seed: of the SVD.

  Items in whose text no term is left get the zero vector.

  Raises:
    GenrecError: if a column is missing, the items are not the dataset's, or no
      term is left at all.
  """
  del user, item, num_users
  table = items() if callable(items) else items
  for column in columns:
    if column not in table.column_names:
      raise GenrecError(
        f'The items table has no column {column!r}; expected some of:'
        f' {", ".join(table.column_names)}.'
      )
  if table.num_rows != num_items:
    raise GenrecError(
      f'The items table has {table.num_rows} rows; expected the {num_items}'
      ' items of the dataset. Give the items table of the same run.'
    )
  counts = _count_terms(table.select(list(columns)), {})
  use = np.bincount(counts.indices, minlength=counts.shape[1])
  kept = (use >= min_count) & (use <= max_share * num_items)
  if not kept.any():
    raise GenrecError(
      f'No term is left of {counts.shape[1]} in the columns {list(columns)}'
      f' with min_count={min_count} and max_share={max_share}; choose columns'
      ' with text, or lower min_count.'
    )
  weighted = WEIGHTINGS['tfidf'](counts[:, np.flatnonzero(kept)].tocsr())
  # Items are rows here, and their vectors the left singular ones: those of the
  # transpose on the right.
  singular, vectors = truncated_svd(
    weighted.T.tocsr(), min(rank, *weighted.shape), solver=solver, seed=seed
  )
  real = singular > singular[0] * np.finfo(np.float32).eps * 10
  vectors = vectors[:, real] * singular[real]
  vectors[np.diff(weighted.indptr) == 0] = 0
  lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
  np.divide(vectors, lengths, out=vectors, where=lengths > 0)
  return vectors.astype(np.float32)


def tfidf_of_others(
  table: pa.Table, others: pa.Table
) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]:
  """Returns TF-IDF rows of length 1 of items, and of others by their terms.

  Args:
    table: columns of text; N items, whose terms and counts these are.
    others: the same columns; terms that the N items do not have are left out.
  """
  numbers: dict[str, int] = {}
  counts = _count_terms(table, numbers)
  use = np.maximum(np.bincount(counts.indices, minlength=counts.shape[1]), 1)
  idf = np.log(table.num_rows / use)
  rows = []
  for found in (counts, _count_terms(others, numbers, grows=False)):
    found.data = np.log1p(found.data) * idf[found.indices]
    lengths = np.sqrt((found**2).sum(axis=1))
    found.data /= np.repeat(
      np.where(lengths > 0, lengths, 1), np.diff(found.indptr)
    )
    rows.append(found)
  return rows[0], rows[1]


def _read_npy(path):
  vectors = np.load(path, mmap_mode='r', allow_pickle=False)
  names = path.with_suffix('.ids.txt')
  if not names.exists():
    return None, vectors
  ids = pa.array(names.read_text(encoding='utf-8').splitlines(), pa.string())
  return ids, vectors


def _read_parquet(path, id_column, vector_columns):
  table = pq.read_table(path)
  if vector_columns is None:
    vector_columns = [c for c in table.column_names if c != id_column]
  absent = {id_column, *vector_columns} - set(table.column_names)
  if absent or not vector_columns:
    raise GenrecError(
      f'{path} has the columns {table.column_names}; expected {id_column!r} and'
      f' columns of vectors, but {sorted(absent) or "vectors"} is missing. Set'
      ' id_column and vector_columns.'
    )
  ids = table[id_column].cast(pa.string()).combine_chunks()
  parts = []
  for name in vector_columns:
    column = table[name].combine_chunks()
    kind = column.type
    if (
      pa.types.is_list(kind)
      or pa.types.is_large_list(kind)
      or (pa.types.is_fixed_size_list(kind))
    ):
      lengths = pc.unique(pc.list_value_length(column)).to_pylist()
      if len(lengths) != 1 or not lengths[0]:
        raise GenrecError(
          f'The vectors in column {name!r} of {path} have the lengths'
          f' {lengths[:5]}; expected one length for all, and none missing.'
        )
      flat = column.flatten().cast(pa.float32())
      parts.append(flat.to_numpy(zero_copy_only=False).reshape(-1, lengths[0]))
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
      flat = column.cast(pa.float32()).to_numpy(zero_copy_only=False)
      parts.append(flat[:, None])
    else:
      raise GenrecError(
        f'Column {name!r} of {path} has the type {kind}; expected numbers or'
        ' lists of numbers. Name the columns in vector_columns.'
      )
  return ids, np.concatenate(parts, axis=1)


def _aligned(path, ids, vectors, names, missing, unknown):
  """Returns the vectors in the order of the items table."""
  repeated = pc.value_counts(ids).filter(
    pc.greater(pc.value_counts(ids).field('counts'), 1)
  )
  if len(repeated):
    raise GenrecError(
      f'{path} has {len(repeated)} ids more than once, the first being'
      f' {repeated[0]["values"].as_py()!r}; expected one row an item.'
    )
  names = pa.chunked_array(names).combine_chunks()
  strangers = ids.filter(pc.invert(pc.is_in(ids, value_set=names)))
  if len(strangers) and (unknown == 'error' or len(strangers) == len(ids)):
    raise GenrecError(
      f'{len(strangers)} of the {len(ids)} ids of {path} are no item of the'
      f' dataset: {_some(strangers)}. Give the vectors of this dataset, or set'
      " unknown='ignore' where some are of others."
    )
  rows = pc.index_in(names, value_set=ids)
  absent = names.filter(pc.is_null(rows))
  if len(absent) and missing == 'error':
    raise GenrecError(
      f'{path} lacks {len(absent)} of the {len(names)} items: {_some(absent)}.'
      " Add them, or set missing='zero'."
    )
  rows = rows.fill_null(-1).to_numpy()
  result = np.zeros((len(rows), vectors.shape[1]), np.float32)
  result[rows >= 0] = vectors[rows[rows >= 0]]
  return result


def _some(ids):
  shown = ', '.join(ids[:5].to_pylist())
  return shown + (', …' if len(ids) > 5 else '')


def _count_terms(table, numbers: dict[str, int], *, grows: bool = True):
  """Returns how often items (rows) have terms (columns).

  `numbers` are the columns of terms, which grow with every new term; where
  they do not, new terms are left out.
  """
  indices, indptr = [], [0]
  columns = [column.to_pylist() for column in table.columns]
  for texts in zip(*columns):
    for term in itertools.chain.from_iterable(map(_terms, texts)):
      if grows:
        indices.append(numbers.setdefault(term, len(numbers)))
      elif term in numbers:
        indices.append(numbers[term])
    indptr.append(len(indices))
  ones = np.ones(len(indices))
  counts = scipy.sparse.csr_array(
    (ones, np.asarray(indices, np.int64), np.asarray(indptr, np.int64)),
    (len(indptr) - 1, max(len(numbers), 1)),
  )
  counts.sum_duplicates()
  return counts


def _terms(text: str | Sequence[str] | None) -> Iterator[str]:
  if text is None:
    return
  if not isinstance(text, str):
    for entry in text:
      yield f'= {entry.lower()}'  # no word has a blank in it
      yield from _terms(entry)
    return
  yield from _WORD.findall(text.lower())
