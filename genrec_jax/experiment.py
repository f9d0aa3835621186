"""Runs an experiment: arms that differ in one thing, beside each other."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from genrec_jax import artifacts
from genrec_jax.evaluation import results
from genrec_jax.experiments import runner, tables
from genrec_jax.experiments.arms import DATASET, Arm, alone
from genrec_jax.experiments.measures import Row
from genrec_jax.measuring import baselines as measuring
from genrec_jax.prepare import prepare
from genrec_jax.types import GenrecError, PathLike, unknown_name


def experiment(
  *,
  run_dir: PathLike,
  title: str,
  question: str,
  base: str,
  arms: Mapping[str, Sequence[str]],
  common: Mapping[str, Any],
  dataset: str | None = 'simulator',
  data_dir: PathLike | None = None,
  only: Sequence[str] | None = None,
  seeds: Sequence[int] = (0,),
  finalists: int | None = None,
  controls: Sequence[str] = (),
  task: str = 'sequential',
  metric: str = 'ndcg@10',
  commands: Sequence[str] = (),
  baselines: Sequence[str] = (),
  measure: Callable[[pathlib.Path], list[Row]] | None = None,
  plots: Sequence[Sequence[str]] = (),
) -> dict[str, Any]:
  """Runs arms that differ in one thing, and sets them beside each other.

  `genrec experiment NAME --run_dir=DIR` takes what gin/studies/NAME.gin binds,
  whose header says what it asks, costs and gave. The data set is prepared once,
  into DIR, or lies there already, by `genrec prepare`. Each arm is then built,
  tokenized, trained and measured on validation in a run directory of its own,
  DIR/ARM/seed_N, in which any other command can be used. What is done is not
  done again; an arm that fails is named, with its error, and the others go on.
  Prints tables, and writes them to `experiment.json`, `experiment.md` and, with
  pictures, `experiment.html`.

  With `finalists`, the first seed of each arm is measured on validation, and
  the best arms there, and the controls, alone are trained with every seed and
  measured on test.

  Args:
    run_dir: the experiment's directory.
    title: of its page.
    question: what it asks.
    base: the gin file that all arms start from.
    arms: by name, the gin files and bindings ('NAME = VALUE') that an arm has
      and the others do not.
    common: macros of all arms and their values.
    dataset: a name or .toml as `genrec prepare` takes it; None where arms bind
      and prepare data of their own, and are not compared with each other.
    data_dir: of its raw files.
    only: the names of the arms to run (--only='random,RQ-VAE'); None
      for all.
    seeds: of ids, training and everything else.
    finalists: how many arms go on to test; None for none.
    controls: arms that go on to test in any case.
    task: whose answer is an item.
    metric: by which arms are compared: recall@10, ndcg@10, ...
    commands: further commands of each arm, in order, with their flags; where
      these have '{split}', it is the part that is measured. What `baselines`
      measures of an arm stands beside it.
    baselines: methods of `genrec baselines` to measure beside the arms.
    measure: called with the directory of each run; returns rows of a table
      (experiments/measures.py).
    plots: of each picture, columns of these rows: across, up, and, if not the
      arm, the one that makes a line each.

  Returns:
    What is written to `experiment.json`.

  Raises:
    GenrecError: if a name is unknown, a directory was made with other settings
      or data, or every arm failed.
  """
  # Late: the pages' libraries are an extra.
  from genrec_jax.reporting import experiment_page

  directory = pathlib.Path(run_dir)
  if only is not None:
    # Names hold blanks, and a list with blanks comes as one text.
    texts = [only] if isinstance(only, str) else only
    only = [name.strip() for text in texts for name in text.split(',')]
  for name in only or ():
    if name not in arms:
      raise unknown_name('arm', name, arms)
  plan = runner.Plan(
    directory=directory,
    base=base,
    arms=tuple(Arm.parse(name, arms[name]) for name in only or arms),
    settings=tuple(f'{name} = {value!r}' for name, value in common.items()),
    own_data=dataset is None,
    seeds=tuple(seeds),
    finalists=finalists,
    controls=tuple(name for name in controls if not only or name in only),
    task=task,
    metric=metric,
    commands=tuple(tuple(command.split()) for command in commands),
    baselines=tuple(baselines),
    measure=measure,
  )
  with alone(directory):
    if dataset is not None:
      _prepare(directory, dataset, data_dir)
    outcome = runner.run(
      plan, lambda done: print(tables.tell_run(done), flush=True)
    )
  found = {
    'title': title,
    'question': question,
    'task': task,
    'metric': metric,
    'base': base,
    'settings': list(plan.settings),
    'arms': {name: list(arms[name]) for name in only or arms},
    'seeds': list(seeds),
    'runs': [
      {
        **dataclasses.asdict(done),
        'arm': done.arm.name,
        'directory': str(done.directory.relative_to(directory)),
      }
      for done in outcome.runs
    ],
    'scores': [dataclasses.asdict(scores) for scores in outcome.scores],
    'measured': outcome.measured,
    'fingerprints': (
      {}
      if dataset is None
      else measuring.fingerprints(measuring.load_data(directory))
    ),
    'code': results.describe_code(),
    'hardware': results.describe_hardware(),
    'time': results.now(),
  }
  shown = tables.outcome_tables(outcome, metric)
  artifacts.write_json(directory / 'experiment.json', found)
  artifacts.write_text(
    directory / 'experiment.md',
    '\n\n'.join([f'# {title}', question, *(t.markdown() for t in shown)])
    + '\n',
  )
  path = directory / 'experiment.html'
  artifacts.write_text(path, experiment_page.render(found, shown, plots))
  for table in shown:
    print(f'\n{table.text()}')
  print(f'\nWritten to {path.resolve()} (open it in a browser), .md and .json.')
  return found


def _prepare(
  directory: pathlib.Path, dataset: str, data_dir: PathLike | None
) -> None:
  """Prepares the data set, unless it is there.

  Raises:
    GenrecError: if another one is there.
  """
  manifest = directory / DATASET / artifacts.MANIFEST
  if not manifest.exists():
    prepare(run_dir=directory, dataset=dataset, data_dir=data_dir)
    return
  name = json.loads(manifest.read_text(encoding='utf-8')).get('name')
  if name != pathlib.Path(dataset).stem:
    raise GenrecError(
      f'{directory} holds the data set {name}, and {dataset} is asked for;'
      ' choose another --run_dir, or bind the data set that is there.'
    )
