"""Runs the arms of an experiment and measures them, baselines too."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

from genrec_jax.baselines.methods import METHODS
from genrec_jax.experiments import scores
from genrec_jax.experiments.arms import DATASET, Arm, ArmRun, run_arm
from genrec_jax.experiments.measures import Row
from genrec_jax.experiments.scores import Scores
from genrec_jax.measuring import baselines as measuring
from genrec_jax.types import GenrecError, unknown_name

PART = '{split}'  # in commands, the part that is measured


@dataclasses.dataclass(frozen=True)
class Plan:
  """What an experiment does; see `genrec_jax.experiment` for the fields.

  Attributes:
    directory: of the experiment.
    base: the gin file of all arms.
    arms: in the order of the tables.
    settings: gin bindings of all arms.
    own_data: whether each arm prepares data of its own.
    seeds: of the arms.
    finalists: how many arms go on to test; None for none.
    controls: names of arms that go on in any case.
    task: whose answer is an item.
    metric: by which arms are compared.
    commands: further ones of each arm, as words; those with '{split}' are run
      on every part that is measured, the others once.
    baselines: names of methods.
    measure: of the directory of each run.
  """

  directory: pathlib.Path
  base: str
  arms: tuple[Arm, ...]
  settings: tuple[str, ...] = ()
  own_data: bool = False
  seeds: tuple[int, ...] = (0,)
  finalists: int | None = None
  controls: tuple[str, ...] = ()
  task: str = 'sequential'
  metric: str = 'ndcg@10'
  commands: tuple[tuple[str, ...], ...] = ()
  baselines: tuple[str, ...] = ()
  measure: Callable[[pathlib.Path], list[Row]] | None = None

  def __post_init__(self):
    known = [arm.name for arm in self.arms]
    slugs = [arm.slug for arm in self.arms]
    for name, slug in zip(known, slugs):
      if slugs.count(slug) > 1 or slug == DATASET or slug in METHODS:
        raise GenrecError(
          f'The arm {name!r} would lie in {slug}/, which is taken; expected'
          ' names that differ in letters or digits, and none of a method.'
        )
    for name in self.controls:
      if name not in known:
        raise unknown_name('arm', name, known)
    for name in self.baselines:
      if name not in METHODS:
        raise unknown_name('method', name, METHODS)
    if not self.seeds or not self.arms:
      raise GenrecError(
        f'Got {len(self.arms)} arms and {len(self.seeds)} seeds; expected one'
        ' of each at least.'
      )
    if self.own_data and (self.finalists is not None or self.baselines):
      raise GenrecError(
        'Arms that have data of their own are not compared with each other;'
        ' set finalists to None and baselines to ().'
      )


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What came of it.

  Attributes:
    runs: every run, with its costs or its error.
    scores: of each part that was measured, validation first.
    measured: rows of what `measure` says of each run, with 'arm' and 'seed'.
  """

  runs: list[ArmRun]
  scores: list[Scores]
  measured: list[Row]


def run(plan: Plan, tell: Callable[[ArmRun], None]) -> Outcome:
  """Runs what has not been run yet; see `genrec_jax.experiment`.

  Args:
    plan: what to do.
    tell: called with each run that is done, or has failed.

  Raises:
    GenrecError: if every arm failed, or a directory was made with other
      settings or data.
  """
  steps = [('prepare',)] * plan.own_data
  steps += [('build_ids',), ('tokenize',), ('train',)]
  on_validation = [*steps, *_looks(plan, 'validation')]
  first = plan.seeds if plan.finalists is None else plan.seeds[:1]
  runs = [
    _run(plan, arm, seed, on_validation, tell)
    for arm in plan.arms
    for seed in first
  ]
  complete = [done for done in runs if done.error is None]
  if not complete:
    raise GenrecError(
      f'Every arm failed, the first with: {runs[0].error} What the commands'
      f' printed is in {runs[0].directory}.'
    )
  found = [_score(plan, complete, 'validation')]
  if plan.finalists is not None:
    best = scores.best_arms(
      found[0], plan.metric, [done.arm.name for done in complete]
    )[: plan.finalists]
    best += [name for name in plan.controls if name not in best]
    by_name = {arm.name: arm for arm in plan.arms}
    last = [
      _run(plan, by_name[name], seed, [*steps, *_looks(plan, 'test')], tell)
      for name in best
      for seed in plan.seeds
    ]
    runs += [
      done for done in last if done.error is not None or done.seed not in first
    ]
    last = [done for done in last if done.error is None]
    if last:
      found.append(_score(plan, last, 'test'))
  measured = [
    {'arm': done.arm.name, 'seed': done.seed, **row}
    for done in complete
    for row in (plan.measure(done.directory) if plan.measure else ())
  ]
  return Outcome(runs, found, measured)


def _run(
  plan: Plan,
  arm: Arm,
  seed: int,
  commands: Sequence[Sequence[str]],
  tell: Callable[[ArmRun], None],
) -> ArmRun:
  done = run_arm(
    arm,
    seed,
    plan.directory,
    base=plan.base,
    settings=plan.settings,
    commands=commands,
    dataset=None if plan.own_data else plan.directory / DATASET,
  )
  tell(done)
  return done


def _looks(plan: Plan, split: str) -> list[tuple[str, ...]]:
  """Returns what is measured of a part: of test, what says that it is."""
  look = f'evaluate --tasks={plan.task} --split={PART} --baselines=()'.split()
  return [
    tuple(word.replace(PART, split) for word in command)
    for command in (look, *plan.commands)
    if split == 'validation' or any(PART in word for word in command)
  ]


def _score(plan: Plan, runs: Sequence[ArmRun], split: str) -> Scores:
  """Measures the baselines and compares all with the first of the arms."""
  paths = {}
  if plan.baselines:
    data = measuring.load_data(plan.directory)
    for name in plan.baselines:
      measuring.measure(
        plan.directory,
        measuring.with_chosen(plan.directory, name, data),
        data,
        split,
        top_k=20,
        exclude_seen=True,  # as the arms
        seed=plan.seeds[0],
        again=False,
      )
      path = measuring.result_path(plan.directory, split, name)
      paths[name] = path.with_suffix('.npz')
  return scores.score_arms(
    runs,
    split=split,
    task=plan.task,
    metric=plan.metric,
    reference=None if plan.own_data else runs[0].arm.name,
    baselines=paths,
  )
