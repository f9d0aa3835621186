"""The table of methods, and how one is made from its hyper-parameters.

A method is a class with the protocol `Baseline`. Its constructor takes its
hyper-parameters and `seed` by keyword, and keeps each as an attribute of its
name. It may have the class attributes

  grid     values worth trying of some of its hyper-parameters, by name
  scoring  names of those that `scores` alone reads: trying other values of
           these needs no other `fit`
  modules  further modules that it is made of
  artefact the name of its argument that is a directory of the run, and of that
           directory: what it needs beside the data
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import itertools
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from genrec_jax import artifacts
from genrec_jax.baselines import protocol
from genrec_jax.baselines.ease import EASE
from genrec_jax.baselines.item_graph import ItemGraph
from genrec_jax.baselines.item_knn import ItemKNN
from genrec_jax.baselines.markov import Markov
from genrec_jax.baselines.matrix_factorization import ALS, BPR
from genrec_jax.baselines.multi_stage import MultiStage
from genrec_jax.baselines.popularity import Popularity
from genrec_jax.baselines.sasrec import SASRec, SASRecIds
from genrec_jax.evaluation import ranking
from genrec_jax.types import GenrecError, PathLike, unknown_name

METHODS: dict[str, type] = {
  'popularity': Popularity,
  'markov': Markov,
  'item_knn': ItemKNN,
  'item_graph': ItemGraph,
  'ease': EASE,
  'als': ALS,
  'bpr': BPR,
  'sasrec': SASRec,
  'sasrec_ids': SASRecIds,
  'multi_stage': MultiStage,
}
# Those that need nothing but the data.
OF_DATA = tuple(
  name for name in METHODS if not hasattr(METHODS[name], 'artefact')
)
STAGES = ('retrieval', 'ranking')
DEFAULT_STAGES = ('item_knn', 'item_graph')  # what does them


@dataclasses.dataclass(frozen=True)
class Method:
  """A method with values of its hyper-parameters.

  Attributes:
    name: a key of `METHODS`.
    settings: its hyper-parameters, JSON values; those left out have their
      defaults.
    stages: of 'multi_stage', the methods that retrieve and rank.
    artefact: where what it needs beside the data lies, see `in_run`.
  """

  name: str
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  stages: tuple[Method, ...] = ()
  artefact: pathlib.Path | None = None

  def __post_init__(self):
    check_settings(self.name, self.settings)
    if (self.name == 'multi_stage') != (len(self.stages) == len(STAGES)):
      raise GenrecError(
        f'{self.name} has {len(self.stages)} stages; multi_stage has two, one'
        ' that retrieves and one that ranks, and other methods none.'
      )

  def in_run(self, run_dir: PathLike) -> Method:
    """Returns the method with the artefact of this run, if it needs one."""
    name = getattr(METHODS[self.name], 'artefact', None)
    if name is None:
      return self
    return dataclasses.replace(self, artefact=pathlib.Path(run_dir) / name)

  def make(self, *, seed: int, exclude_seen: bool) -> protocol.Baseline:
    """Returns the baseline, not fitted.

    Args:
      seed: of the baseline and its stages.
      exclude_seen: leave seen items out of the candidates, if it has any.
    """
    arguments = dict(self.settings)
    if self.artefact is not None:
      arguments[self.artefact.name] = self.artefact
    if self.stages:
      made = [s.make(seed=seed, exclude_seen=exclude_seen) for s in self.stages]
      arguments |= dict(zip(STAGES, made)) | {'exclude_seen': exclude_seen}
    return METHODS[self.name](**arguments, seed=seed)

  def replace(self, **settings: Any) -> Method:
    """Returns the method with other values of some hyper-parameters."""
    return dataclasses.replace(self, settings={**self.settings, **settings})

  def grid(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Yields settings to fit, each with those to score that fit with.

    Hyper-parameters that have a value already keep it.
    """
    grid = getattr(METHODS[self.name], 'grid', {})
    grid = {k: v for k, v in grid.items() if k not in self.settings}
    late = set(getattr(METHODS[self.name], 'scoring', ()))
    of_scoring = _combine({k: v for k, v in grid.items() if k in late})
    for of_fit in _combine({k: v for k, v in grid.items() if k not in late}):
      yield of_fit, of_scoring

  def describe(self) -> dict[str, Any]:
    """Returns all that makes the method, defaults too, as JSON values."""
    settings = {**_hyper_parameters(self.name), **self.settings}
    facts = {'method': self.name, 'settings': settings}
    if self.artefact is not None:
      name = self.artefact.name
      manifest = artifacts.read_manifest(self.artefact, name)
      facts[name] = manifest['fingerprint']
    for stage, method in zip(STAGES, self.stages):
      facts[stage] = method.describe()
    return facts

  def code_sha256(self) -> str:
    """Returns the sha256 of the source of method, stages and metrics."""
    digest = hashlib.sha256()
    method = METHODS[self.name]
    parts = getattr(method, 'modules', ())
    for module in (inspect.getmodule(method), *parts, protocol, ranking):
      digest.update(inspect.getsource(module).encode())
    for stage in self.stages:
      digest.update(stage.code_sha256().encode())
    return digest.hexdigest()


def check_settings(name: str, settings: Mapping[str, Any]) -> None:
  """Raises an error that lists what there is if a name is unknown."""
  if name not in METHODS:
    raise unknown_name('method', name, METHODS)
  known = _hyper_parameters(name)
  for setting in settings:
    if setting not in known:
      raise unknown_name(f'hyper-parameter of {name}', setting, known)


def _hyper_parameters(name: str) -> dict[str, Any]:
  """Returns the hyper-parameters of a method with their defaults."""
  return {
    name: parameter.default
    for name, parameter in inspect.signature(METHODS[name]).parameters.items()
    if name not in ('seed', 'exclude_seen', 'ids', *STAGES)
  }


def _combine(grid: Mapping[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
  return [
    dict(zip(grid, values)) for values in itertools.product(*grid.values())
  ]
