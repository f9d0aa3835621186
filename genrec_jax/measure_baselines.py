"""Fits and measures the strongest simple recommenders on the run's data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genrec_jax.baselines.methods import (
  DEFAULT_STAGES,
  OF_DATA,
  Method,
  check_settings,
)
from genrec_jax.evaluation import results
from genrec_jax.measuring import baselines as measuring
from genrec_jax.types import GenrecError, PathLike, unknown_name


def measure_baselines(
  *,
  run_dir: PathLike,
  split: str = 'validation',
  methods: Sequence[str] | str = OF_DATA,
  stages: Sequence[str] = DEFAULT_STAGES,
  parameters: Mapping[str, Mapping[str, Any]] | None = None,
  tune: bool = False,
  tune_examples: int = 5000,
  top_k: int = 20,
  exclude_seen: bool = True,
  again: bool = False,
  seed: int = 0,
) -> dict[str, dict[str, Any]]:
  """Measures simple recommenders on the examples that `evaluate` measures.

  Reads `dataset/` of the run, and `ids/` for `sasrec_ids`. Every method learns
  from the train interactions alone and ranks the whole catalogue for each
  example of the part, with the same histories and metrics as the model. Writes
  `baselines/<split>/<method>.json` and `.npz`, and prints a table. What is
  known already is not computed again. Each look at the test part is logged in
  `baselines/test_log.jsonl`.

  With `tune` the grid of each method is tried on validation first. What gives
  the highest NDCG@10 goes to `baselines/chosen.json`, with all that was tried;
  from then on it is what the method is measured with, on test too.

  Args:
    run_dir: the run directory.
    split: 'validation' or 'test'.
    methods: which (--methods=ease,bpr); by default all that need nothing but
      the data. `sasrec_ids` takes the item ids of the run.
    stages: of multi_stage, the method that retrieves candidates and the one
      that ranks them; each with the hyper-parameters chosen for it.
    parameters: hyper-parameters by method, such as
      --parameters="{'ease': {'regularization': 500.0}}"; they go before what
      was chosen and what a grid has.
    tune: choose hyper-parameters, on validation.
    tune_examples: how many examples to choose by, a seeded sample.
    top_k: the length of lists.
    exclude_seen: leave out the items of each history.
    again: fit and measure, and tune, what is known already, too.
    seed: of the methods, and of the sample.

  Returns:
    The results by method, as in the JSON.

  Raises:
    GenrecError: if the dataset is missing, a name is unknown, `tune` is asked
      for on test, or a method does not fit on this machine.
  """
  if split not in results.SPLITS:
    raise unknown_name('split', split, results.SPLITS)
  if tune and split == 'test':
    raise GenrecError(
      'Got tune=True with split=test; hyper-parameters are chosen on validation'
      ' alone. Run with --split=validation --tune=True first, and then'
      ' --split=test.'
    )
  if tune_examples < 1:
    raise GenrecError(f'Got tune_examples={tune_examples}; expected 1 or more.')
  if isinstance(methods, str):
    methods = [name.strip() for name in methods.split(',')]
  if len(stages) != 2 or 'multi_stage' in stages:
    raise GenrecError(
      f'Got stages={tuple(stages)}; expected two methods, one that retrieves'
      ' and one that ranks, neither of them multi_stage.'
    )
  given = dict(parameters or {})
  for name in (*methods, *stages, *given):
    check_settings(name, given.get(name, {}))
  # Stages first: what is chosen for them is what multi_stage takes.
  ordered = sorted(methods, key=lambda name: name == 'multi_stage')
  data = measuring.load_data(run_dir)
  print(
    f'Measuring {", ".join(methods)} on {split} of {data.dataset.name}:'
    f' {data.dataset.num_items:,} items.',
    flush=True,
  )
  found = {}
  for name in ordered:
    if tune:
      parts = measuring.chosen_stages(
        run_dir, name, data, stages=stages, given=given
      )
      method = measuring.choose(
        run_dir,
        Method(name, given.get(name, {}), parts),
        data,
        exclude_seen=exclude_seen,
        max_examples=tune_examples,
        seed=seed,
        again=again,
      )
    else:
      method = measuring.with_chosen(
        run_dir, name, data, stages=stages, given=given
      )
    found[name], known = measuring.measure(
      run_dir,
      method,
      data,
      split,
      top_k=top_k,
      exclude_seen=exclude_seen,
      seed=seed,
      again=again,
    )
    print(f'  {name}: {"known already" if known else "measured"}', flush=True)
  found = {name: found[name] for name in methods}
  for table in (measuring.format_table(found), measuring.format_bias(found)):
    print(table)
  return found
