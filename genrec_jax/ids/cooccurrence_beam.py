"""Counting pairs of items on Apache Beam, for what one machine cannot hold.

The rule and the weights are those of `cooccurrence.count_cooccurrences`, and so
are the counts, to the bit: sums of whole numbers of one unit do not depend on
their order. Workers need this package installed.
"""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Iterable, Iterator

import numpy as np

from genrec_jax.ids.cooccurrence import check_window, distance_weights
from genrec_jax.ids.cooccurrence_files import SCHEMA
from genrec_jax.types import GenrecError, PathLike


def count_with_beam(
  interactions: str,
  output: PathLike,
  *,
  window: int | None = None,
  min_count: float = 0.0,
  runner: str = 'DirectRunner',
  options: str = '',
) -> None:
  """Writes Parquet shards (item, other, count) of pairs with item < other.

  Args:
    interactions: a pattern of Parquet files with the columns user, item (row
      numbers, int32) and time; train interactions alone. Rows of one user and
      time are ordered by item.
    output: a directory, on a place that the workers can write to.
    window: see `cooccurrence.count_cooccurrences`.
    min_count: pairs that count less are left out.
    runner: DirectRunner, DataflowRunner, FlinkRunner, SparkRunner, ...
    options: Beam's flags, as on a command line ('--project=x --region=y').

  Raises:
    GenrecError: if apache-beam is not installed.
  """
  check_window(window)
  try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
  except ModuleNotFoundError as error:
    raise GenrecError(
      'Counting on Beam needs apache_beam, which is not installed; run'
      " pip install 'genrec_jax[beam]' (or '.[beam]' in a checkout)."
    ) from error
  one, weights = distance_weights(window)
  flags = PipelineOptions([f'--runner={runner}', *shlex.split(options)])
  with beam.Pipeline(options=flags) as pipeline:
    _ = (
      pipeline
      | beam.io.ReadFromParquetBatched(
        interactions, columns=['user', 'item', 'time']
      )
      | beam.FlatMap(rows_of_table)
      | beam.GroupByKey()
      | beam.FlatMap(pairs_of_user, window, weights.tolist())
      | beam.CombinePerKey(sum)
      | beam.Filter(at_least, min_count * one)
      | beam.Map(record, one)
      | beam.io.WriteToParquet(
        os.path.join(str(output), 'pairs'), SCHEMA, file_name_suffix='.parquet'
      )
    )


def rows_of_table(table) -> Iterator[tuple[int, tuple[int, int]]]:
  """Yields (user, (time, item)) of an Arrow table."""
  user, item, time = (
    table.column(name).to_pylist() for name in ('user', 'item', 'time')
  )
  return zip(user, zip(time, item))


def pairs_of_user(
  history: tuple[int, Iterable[tuple[int, int]]],
  window: int | None,
  weights: list[float],
) -> Iterator[tuple[tuple[int, int], float]]:
  """Yields each pair (smaller item, larger item) of a user, and its weight."""
  items = [item for _, item in sorted(history[1])]
  if window is None:
    for pair in itertools.combinations(sorted(set(items)), 2):
      yield pair, weights[0]
    return
  for distance, weight in enumerate(weights, start=1):
    for first, second in zip(items, items[distance:]):
      if first != second:
        yield (min(first, second), max(first, second)), weight


def at_least(counted, least: float) -> bool:
  """Says whether a pair is kept."""
  return counted[1] >= least


def record(counted, one: float) -> dict[str, int | np.float32]:
  """Returns a row of a shard."""
  (item, other), units = counted
  return {'item': item, 'other': other, 'count': np.float32(units / one)}
