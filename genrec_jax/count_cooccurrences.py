"""Counts which items are taken together, on Apache Beam."""

from __future__ import annotations

import pathlib
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from genrec_jax import artifacts
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.splits import load_split, train_interactions
from genrec_jax.ids.cooccurrence_beam import count_with_beam
from genrec_jax.ids.cooccurrence_files import (
  read_shards,
  train_sha256,
  write_counts_manifest,
)
from genrec_jax.types import PathLike

ROWS_PER_FILE = 2**22  # of train interactions: a worker reads a file


def count_cooccurrences(
  *,
  run_dir: PathLike,
  counts_dir: PathLike | None = None,
  window: int | None = None,
  min_count: float = 0.0,
  runner: str = 'DirectRunner',
  beam_options: str = '',
) -> None:
  """Counts the pairs of a run's train interactions, for methods of ids.

  Where the counts of one machine take too long: the methods that need them
  count for themselves otherwise, and to the same bits. Give them what this
  wrote with `--gin.svd.item_factors.counts="'DIR'"` or
  `--gin.collaborative.collaborative_indexing.counts="'DIR'"`. Reads
  RUN_DIR/dataset.

  Args:
    run_dir: the run's directory.
    counts_dir: where the shards and their manifest go; by default
      RUN_DIR/cooccurrences. All workers must be able to write there.
    window: pairs at most so many steps apart count 1/distance; None: all
      pairs of a history count 1.
    min_count: pairs that count less are left out.
    runner: DirectRunner, DataflowRunner, FlinkRunner, SparkRunner, ...
    beam_options: Beam's flags, as on a command line ('--project=x').

  Raises:
    GenrecError: if apache-beam is not installed, or there is no dataset.
  """
  started = time.monotonic()
  run_dir = pathlib.Path(run_dir)
  dataset = Dataset.load(run_dir / 'dataset')
  split = load_split(run_dir / 'dataset', dataset)
  user, item = train_interactions(dataset, split)
  directory = pathlib.Path(counts_dir or run_dir / 'cooccurrences')
  with artifacts.write_directory(directory) as temporary:
    rows = temporary / 'train'
    rows.mkdir()
    for number, start in enumerate(range(0, len(user), ROWS_PER_FILE)):
      place = slice(start, start + ROWS_PER_FILE)
      # The order of the rows is the chronology, so that it stands for time.
      order = np.arange(start, start + len(user[place]))
      table = pa.table(
        {'user': user[place], 'item': item[place], 'time': order}
      )
      pq.write_table(table, rows / f'{number:05d}.parquet')
    count_with_beam(
      str(rows / '*.parquet'),
      temporary,
      window=window,
      min_count=min_count,
      runner=runner,
      options=beam_options,
    )
    for path in sorted(rows.iterdir()):
      path.unlink()
    rows.rmdir()
    graph = read_shards(temporary, dataset.num_items)
    write_counts_manifest(
      temporary,
      graph,
      train=train_sha256(user, item),
      window=window,
      min_count=min_count,
      runner=runner,
    )
  print(
    f'{graph.nnz // 2:,} pairs of {len(user):,} train interactions, in'
    f' {time.monotonic() - started:.1f} s; the counts are in {directory}'
  )
