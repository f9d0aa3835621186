"""Lays runs side by side on one self-contained HTML page."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from genrec_jax import artifacts
from genrec_jax.evaluation.ranking import CUTOFFS
from genrec_jax.reporting import run_records
from genrec_jax.types import PathLike, unknown_name

PAGE = 'ledger.html'
METRICS = (
  *(f'{kind}@{k}' for kind in ('recall', 'ndcg', 'precision') for k in CUTOFFS),
  'mrr',
)


def ledger(
  *,
  run_dir: PathLike,
  runs: Sequence[PathLike] = (),
  metric: str = 'ndcg@10',
  num_examples: int = 2,
  num_resamples: int = 2000,
  seed: int = 0,
) -> pathlib.Path:
  """Writes `ledger.html`: every result of runs, with intervals and hashes.

  A table of all that was measured, to filter and to sort; what may be compared
  (the same data, split, task, part and examples) side by side; slices, groups
  of users, curves, what `genrec compare` found, published rows with a mark
  where the protocol differs, and worked examples. Nothing is measured anew.
  What a run lacks is said there. The page needs no network, and no script but
  to filter and sort.

  Args:
    run_dir: a run, or a directory of runs at any depth; the page goes there.
    runs: more of either.
    metric: of lists of items, that stands first with its interval.
    num_examples: worked examples of each task and run.
    num_resamples: of the bootstrap over users.
    seed: of the bootstrap.

  Returns:
    The page's path.

  Raises:
    GenrecError: if there is no run, or the metric is unknown.
  """
  # Late: the report's libraries are an extra.
  from genrec_jax.reporting import ledger_page, ledger_tables

  if metric not in METRICS:
    raise unknown_name('metric', metric, METRICS)
  run_dir = pathlib.Path(run_dir)
  runs = [runs] if isinstance(runs, str) else runs
  found = ledger_tables.Ledger(
    run_records.read_runs([run_dir, *runs]),
    metric=metric,
    num_resamples=num_resamples,
    seed=seed,
  )
  html = ledger_page.render(
    found,
    title=f'Ledger of {run_dir.resolve().name}',
    num_examples=num_examples,
  )
  path = run_dir / PAGE
  artifacts.write_text(path, html)
  for run in found.runs:
    print(f'{run.name}: {len(run.measurements)} results')
    for note in run.notes:
      print(f'  {note}')
  for warning in found.warnings:
    print(f'Warning: {warning}')
  print(f'Ledger: {path.resolve()} (open it in a browser)')
  return path
