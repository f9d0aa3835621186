"""What came of changed prompts, on disk and in print.

counterfactual/PART/TASK.json        means of every arm, by group and flip
counterfactual/PART/TASK.npz         the measures of each example
counterfactual/PART_subset/TASK.*    the same of a sample of the examples
counterfactual/test_log.jsonl        a line for each look at the test part
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int32

from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.evaluation import results
from genrec_jax.measuring.arms import Changes
from genrec_jax.measuring.counterfactual import COLUMNS, LOSS
from genrec_jax.types import GenrecError, PathLike

FOLDER = 'counterfactual'
_FLIPS_SHOWN = 2  # flips of an attribute that are printed; all are written


def write_result(
  run_dir: PathLike,
  result: Mapping[str, Any],
  examples: TokenExamples,
  values: Int32[np.ndarray, 'E C'],
  found: Sequence[Changes],
) -> pathlib.Path:
  """Writes a result, and logs it if it is of the test part.

  Args:
    run_dir: the run.
    result: JSON values.
    examples: that were measured.
    values: of each, the attributes that it truly says.
    found: what came of each arm.

  Returns:
    The JSON's path.
  """
  path = result_path(
    run_dir, result['split'], result['task'], subset=bool(result['subset'])
  )
  if result['split'] == 'test':
    looked = ('task', 'n', 'subset', 'checkpoint', 'search', 'fingerprints')
    results.log_test(
      path.parent.parent / 'test_log.jsonl', {k: result[k] for k in looked}
    )
  arrays = {'user': examples.user, 'target': examples.target, 'values': values}
  for one in found:
    arrays[f'row of {one.arm.name}'] = one.arm.rows
    arrays[f'values of {one.arm.name}'] = one.arm.values
    for name, measure in one.measures.items():
      arrays[f'{name} of {one.arm.name}'] = measure
  results.write_files(path, result, arrays, ('split', 'task'))
  return path


def result_path(
  run_dir: PathLike, split: str, task: str, *, subset: bool = False
) -> pathlib.Path:
  """Returns where the JSON of a result is."""
  folder = f'{split}_subset' if subset else split
  return pathlib.Path(run_dir) / FOLDER / folder / f'{task}.json'


def read_result(
  run_dir: PathLike, split: str, task: str
) -> dict[str, Any] | None:
  """Reads a result; that of all examples before that of a sample.

  Returns:
    The JSON values; None where there is no result.

  Raises:
    GenrecError: if a file is of another part or task.
  """
  for subset in (False, True):
    path = result_path(run_dir, split, task, subset=subset)
    if not path.exists():
      continue
    result = json.loads(path.read_text(encoding='utf-8'))
    if (result['split'], result['task']) != (split, task):
      raise GenrecError(
        f'{path} holds the result of {result["task"]} ({result["split"]}),'
        f' expected {task} ({split}); run `genrec counterfactual` again.'
      )
    return result
  return None


def format_result(result: Mapping[str, Any]) -> str:
  """Returns the arms as text, and the flips of attributes of two values."""
  subset = result['subset']
  sample = f' (a sample of {subset["of"]:,})' if subset else ''
  columns = COLUMNS[result['answer']]
  loss = LOSS[result['answer']]
  truth = ', '.join(
    f'{name} {value["mean"]:.4f}'
    for name, value in result['truth']['all'].items()
    if name != 'n'
  )
  rows = {}
  for name, arm in result['arms'].items():
    rows[name] = arm['all']
    flips = arm.get('flips', {})
    if len(flips) <= _FLIPS_SHOWN:
      rows |= {f'  {flip}': found for flip, found in flips.items()}
  width = max(map(len, rows))
  heads = ['n', *columns, loss]
  lines = [
    f'{result["task"]}: {result["split"]}, {result["n"]:,} examples{sample},'
    f' step {result["checkpoint"]["step"]}; with the true prompts {truth}',
    ' ' * width + ''.join(f'{head:>14}' for head in heads) + '  95 %',
  ]
  for name, found in rows.items():
    values = (
      f'{found[column]["mean"]:>14.4f}' if column in found else f'{"-":>14}'
      for column in (*columns, loss)
    )
    interval = f'  {found[loss]["low"]:+.4f} {found[loss]["high"]:+.4f}'
    lines.append(
      f'{name:<{width}}{found["n"]:>14,}' + ''.join(values) + interval
    )
  return '\n'.join(lines)
