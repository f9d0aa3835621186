"""Measures what a model makes of being told who a user is."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import jax

from genrec_jax import artifacts
from genrec_jax.answering.attributes import attribute_tokens, check_attributes
from genrec_jax.answering.facts import sample_examples
from genrec_jax.answering.run import load_run, load_tokens
from genrec_jax.data.user_attributes import read_user_attributes
from genrec_jax.evaluate import describe_run, training_seed
from genrec_jax.evaluation import results
from genrec_jax.measuring import changes, counterfactual
from genrec_jax.measuring.arms import make_arms, summarize, summarize_changes
from genrec_jax.measuring.measured import Settings
from genrec_jax.measuring.train_data import load_train_data
from genrec_jax.training import partitioning
from genrec_jax.types import GenrecError, PathLike, unknown_name


def measure_counterfactuals(
  *,
  run_dir: PathLike,
  model,
  split: str = 'validation',
  task: str | None = None,
  attributes: Sequence[str] | str | None = None,
  num_flips: int = 1,
  without: PathLike | None = None,
  checkpoint: str | int = 'best',
  num_beams: int = 20,
  normalization: str = 'vocabulary',
  exclude_seen: bool = True,
  batch_size: int = 128,
  max_examples: int | None = None,
  seed: int = 0,
  model_parallel: int = 1,
  axis_rules: partitioning.AxisRules = partitioning.AXIS_RULES,
) -> dict[str, Any]:
  """Measures how answers change where users are said to be others.

  Of a run whose prompts show attributes of users (genrec tokenize
  --templates=attributes --user_attributes=gender,age). The same examples are
  answered with another value of each attribute, with it hidden, and as
  controls with the same values and with these in another order. Writes
  `counterfactual/<split>/<task>.json` and `.npz`: how far the answers are from
  those to the true prompts, and how much accuracy is lost, by flip and group,
  with bootstrap intervals over users. Prints a table. Each look at the test
  part is logged in `counterfactual/test_log.jsonl`. TensorFlow is not needed.

  Args:
    run_dir: the run directory.
    model: the model class that the checkpoint is of.
    split: 'validation' or 'test'.
    task: whose answer is an item, a rating, or yes or no; by default the first
      whose answer is an item.
    attributes: which are changed (--attributes=gender,age); by default all
      that the prompts show.
    num_flips: how many other values of an attribute each user is given, drawn
      at random; more than there are takes all.
    without: a run of the same data whose prompts show no attributes, evaluated
      on the same part: what its lists lack or gain is measured, too.
    checkpoint: 'best' (on validation), 'last' or a step.
    num_beams: the length of lists of items, and the width of the search.
    normalization: what an item's score is: 'vocabulary', 'level' or 'children'.
    exclude_seen: leave out the items of each history.
    batch_size: examples decoded at once.
    max_examples: measure a seeded sample of so many; the result then goes to
      `counterfactual/<split>_subset/`.
    seed: of the flips and of the sample.
    model_parallel: devices that share one copy of the model.
    axis_rules: logical axis to mesh axis (gin/meshes/).

  Returns:
    The result, as in the JSON.

  Raises:
    GenrecError: if an artefact is missing or does not belong to the others, the
      prompts show no attributes, a name is unknown, or the other run was
      measured on other examples.
  """
  if split not in results.SPLITS:
    raise unknown_name('split', split, results.SPLITS)
  if isinstance(attributes, str):
    attributes = [name.strip() for name in attributes.split(',')]
  cache = load_tokens(run_dir)
  said = attribute_tokens(cache)
  dataset = pathlib.Path(run_dir) / 'dataset'
  if not (dataset / artifacts.MANIFEST).exists():
    raise GenrecError(
      f'What users are stands in {dataset}, which is not there; copy it here.'
    )
  task = cache.item_task() if task is None else task
  examples, subset = sample_examples(
    cache.examples(task, split), max_examples, seed
  )
  run = load_run(
    run_dir,
    model,
    checkpoint=checkpoint,
    model_parallel=model_parallel,
    axis_rules=axis_rules,
  )
  data = load_train_data(run)
  known = read_user_attributes(data.dataset.users, said.columns)
  check_attributes(said, known)
  values = known.of(examples.user)
  arms = list(
    make_arms(known, values, chosen=attributes, num_flips=num_flips, seed=seed)
  )
  print(
    f'Changing {", ".join(attributes or known.columns)} in the prompts of'
    f' {len(examples):,} examples of {task} ({split}): {len(arms)} arms,'
    f' checkpoint {run.step}.',
    flush=True,
  )
  measured = counterfactual.Counterfactuals(
    run,
    run.facts(task),
    examples,
    said,
    values,
    Settings(
      num_beams=num_beams,
      normalization=normalization,
      exclude_seen=exclude_seen,
      batch_size=batch_size,
    ),
  )
  found = [measured.measure(arm) for arm in arms]
  if without is not None:
    found.append(measured.against(without, split))
  result = {
    'split': split,
    'task': task,
    'answer': run.facts(task).kind,
    'n': len(examples),
    'subset': subset,
    'time': results.now(),
    'attributes': {
      name: list(values) for name, values in zip(known.columns, known.values)
    },
    'num_flips': num_flips,
    'without': None if without is None else str(without),
    'seed': seed,
    'truth': summarize(measured.accuracy(), known, values, examples.user),
    'arms': {
      one.arm.name: summarize_changes(one, known, values, examples.user)
      for one in found
    },
    'search': {
      'num_beams': num_beams,
      'normalization': normalization,
      'exclude_seen': exclude_seen,
      'batch_size': batch_size,
    },
    'checkpoint': {
      'chosen': checkpoint,
      'step': run.step,
      'training_seed': training_seed(run_dir),
    },
    **describe_run(run),
  }
  if jax.process_index() == 0:
    path = changes.write_result(run_dir, result, examples, values, found)
    print(f'\n{changes.format_result(result)}\nWritten to {path}.', flush=True)
  return result
