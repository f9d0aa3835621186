"""Measures what recommendations cost: time, memory, operations."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

from genrec_jax import artifacts
from genrec_jax.answering.facts import sample_examples
from genrec_jax.answering.run import load_run, load_tokens
from genrec_jax.answering.serving import choose_widths, make_block_states
from genrec_jax.baselines.methods import DEFAULT_STAGES, check_settings
from genrec_jax.evaluation import results
from genrec_jax.measuring import baselines as measuring
from genrec_jax.measuring import cost
from genrec_jax.measuring.timing import time_calls
from genrec_jax.types import GenrecError, PathLike, unknown_name

MODEL, KEPT = 'model', 'model, blocks kept'
COLUMNS = (
  'requests/s',
  'p50 ms',
  'p95 ms',
  'CPU ms/request',
  'MFLOP/request',
  'held MiB',
  'peak MiB',
)


def measure_cost(
  *,
  run_dir: PathLike,
  model,
  split: str = 'validation',
  task: str | None = None,
  checkpoint: str | int = 'best',
  num_beams: int = 20,
  normalization: str = 'vocabulary',
  exclude_seen: bool = True,
  batch_sizes: Sequence[int] = (1, 32),
  num_requests: int = 128,
  num_widths: int = 4,
  methods: Sequence[str] | str = (),
  stages: Sequence[str] = DEFAULT_STAGES,
  rounds: int = 5,
  seed: int = 0,
) -> dict[str, Any]:
  """Measures the run's model, and baselines beside it on the same requests.

  A request counts from tokens (a baseline's from the items of the history) in
  NumPy to a list in NumPy. The sides take turns, batch by batch of like length.
  Time is told as requests a second and as the median and 95th percentile of a
  batch; CPU time does not count waiting and is the measure to compare where
  other work disturbs, on one core. Operations are the compiler's count for the
  programs that ran, padding included; those of baselines are not known. Memory
  is what has to be held for any request, and the most at a time. Where the
  model's first layers see blocks alone, it is measured once more with their
  states kept. Writes `cost/<task>.json` and prints a table. No target is looked
  at, so nothing of this is a look at the test part.

  Args:
    run_dir: the run directory.
    model: the model class that the checkpoint is of.
    split: whose histories to ask with, 'validation' or 'test'.
    task: whose prompts to read; by default the first whose answer is an item.
    checkpoint: 'best' (on validation), 'last' or a step.
    num_beams: the length of lists, and the width of the search.
    normalization: what a score is: 'vocabulary', 'level' or 'children'.
    exclude_seen: leave out the items of each history.
    batch_sizes: how many requests are answered at once, a table each.
    num_requests: a seeded sample of the split's.
    num_widths: input lengths that are compiled.
    methods: baselines (--methods=ease,multi_stage), which are fitted first,
      with what `genrec baselines --tune` chose, if it did.
    stages: of multi_stage, the method that retrieves and the one that ranks.
    rounds: how often all batches are answered.
    seed: of the sample and of the methods.

  Returns:
    What was written: by batch size and method what `measuring.cost.measure`
    gives, and the seconds of fitting.

  Raises:
    GenrecError: if an artefact is missing or does not belong to the others, a
      name is unknown, or there are fewer requests than fill a batch.
  """
  if split not in results.SPLITS:
    raise unknown_name('split', split, results.SPLITS)
  for name, value in (('rounds', rounds), ('num_widths', num_widths)):
    if value < 1:
      raise GenrecError(f'Got {name}={value}; expected at least 1.')
  if isinstance(methods, str):
    methods = [name.strip() for name in methods.split(',')]
  for name in (*methods, *stages):
    check_settings(name, {})
  cache = load_tokens(run_dir)
  task = cache.item_task(task)
  examples, subset = sample_examples(
    cache.examples(task, split), num_requests, seed
  )
  run = load_run(run_dir, model, checkpoint=checkpoint, cache=cache)
  fitted = fit_methods(
    run_dir, methods, stages, exclude_seen=exclude_seen, seed=seed
  )
  widths = choose_widths(cache, task, num_widths)
  asked = {
    'num_beams': num_beams,
    'normalization': normalization,
    'exclude_seen': exclude_seen,
  }
  sizes = {}
  for batch_size in batch_sizes:
    plan = cost.full_batches(examples, run.rows(batch_size, batch_size), widths)
    of_model = functools.partial(
      cost.model_contender, run, examples, plan, **asked
    )
    contenders = {MODEL: of_model()}
    if run.model.module.config.num_block_local_layers:
      contenders[KEPT] = of_model(blocks=make_block_states(run))
    for name, (baseline, _) in fitted.items():
      contenders[name] = cost.baseline_contender(
        baseline, examples, plan, top_k=num_beams, exclude_seen=exclude_seen
      )
    measured = cost.measure(contenders, plan, rounds=rounds)
    print(f'\n{len(plan)} batches of {batch_size}, {rounds} rounds:')
    print(format_costs(measured), flush=True)
    sizes[str(batch_size)] = measured
  result = {
    'split': split,
    'task': task,
    'requests': subset or {'examples': len(examples)},
    'items': len(cache.item_tokens),
    'widths': list(widths),
    'rounds': rounds,
    'search': asked,
    'costs': sizes,
    'fit_seconds': {name: seconds for name, (_, seconds) in fitted.items()},
    'checkpoint': {'chosen': checkpoint, 'step': run.step},
    'fingerprints': {
      'tokens': cache.fingerprint,
      'vocabulary': cache.vocabulary_fingerprint,
      **cache.manifest['inputs'],
    },
    'code': results.describe_code(),
    'hardware': results.describe_hardware(),
    'time': results.now(),
  }
  path = pathlib.Path(run_dir) / 'cost' / f'{task}.json'
  artifacts.write_json(path, result)
  print(f'\nWritten to {path}.')
  return result


def fit_methods(
  run_dir: PathLike,
  methods: Sequence[str],
  stages: Sequence[str],
  *,
  exclude_seen: bool,
  seed: int,
) -> dict[str, tuple[Any, float]]:
  """Returns baselines that have learnt the train part, and the seconds it took.

  Raises:
    GenrecError: if there is no dataset, or what was chosen for a method was on
      other data.
  """
  if not methods:
    return {}
  data = measuring.load_data(run_dir)
  fitted = {}
  for name in methods:
    method = measuring.with_chosen(run_dir, name, data, stages=stages)
    baseline = method.in_run(run_dir).make(seed=seed, exclude_seen=exclude_seen)
    ((seconds, _),) = time_calls(
      [
        functools.partial(
          baseline.fit, *data.interactions(), data.dataset.num_items
        )
      ]
    )
    fitted[name] = baseline, seconds
  return fitted


def format_costs(costs: dict[str, dict[str, float | None]]) -> str:
  """Returns what methods cost as a table, a method a line."""
  width = max(map(len, costs))
  lines = [' ' * width + ''.join(f'{name:>15}' for name in COLUMNS)]
  for name, found in costs.items():
    flops = found['flops_per_request']
    cells = (
      f'{found["requests_per_second"]:,.1f}',
      f'{found["p50_ms"]:,.2f}',
      f'{found["p95_ms"]:,.2f}',
      f'{found["cpu_ms_per_request"]:,.2f}',
      'unknown' if flops is None else f'{flops / 1e6:,.1f}',
      f'{found["bytes_held"] / 2**20:,.1f}',
      f'{found["bytes_peak"] / 2**20:,.1f}',
    )
    lines.append(f'{name:<{width}}' + ''.join(f'{cell:>15}' for cell in cells))
  return '\n'.join(lines)
