"""The SeqIO tasks of a run, for programs that find tasks by a module's name.

`t5x.train` imports MIXTURE_OR_TASK_MODULE and `seqio_cache_tasks` imports
--module_import, each to have tasks registered. This module is what they
import: gin/t5x/run.gin calls `register`, and where nothing can be called, the
environment names the runs,

  GENREC_RUN_DIRS=runs/first:runs/second

In either case a run gives the tasks `<name>_<task>` and the mixture
`<name>_all`, where the name is that of its directory.
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Sequence

import seqio

from genrec_jax.answering.run import load_tokens
from genrec_jax.ids.item_ids import TokenLayout
from genrec_jax.tasks import registry
from genrec_jax.tasks.vocabulary import RecommendationVocabulary
from genrec_jax.types import GenrecError, PathLike

RUN_DIRS = 'GENREC_RUN_DIRS'

_registered: dict[str, pathlib.Path] = {}


def register(
  run_dir: PathLike,
  *,
  name: str | None = None,
  task_files: Sequence[PathLike] = (),
  rate_cap: int | None = None,
  rate_temperature: float = 1.0,
) -> str:
  """Registers the tasks of a run with SeqIO, once however often it is called.

  Args:
    run_dir: a run directory with `dataset`, `ids` and `tokens`.
    name: the first part of the names; by default the directory's name, with _
      for what SeqIO takes in no name.
    task_files: as for `registry.register_tasks`, like the two after it.
    rate_cap: see there.
    rate_temperature: see there.

  Returns:
    The name of this module, to be imported by who wants to import one.

  Raises:
    GenrecError: as `registry.register_tasks`, or if another run has the name.
  """
  run_dir = pathlib.Path(run_dir).absolute()
  name = name or re.sub(r'\W', '_', run_dir.name)
  known = f'{name}_all' in seqio.MixtureRegistry.names()
  if known and _registered.get(name) == run_dir:
    return __name__
  if known and name in _registered:
    raise GenrecError(
      f'The tasks of {run_dir} and of {_registered[name]} would both be called'
      f' {name}_…; pass a name for one of them.'
    )
  registry.register_tasks(
    run_dir,
    name=name,
    task_files=task_files,
    rate_cap=rate_cap,
    rate_temperature=rate_temperature,
  )
  _registered[name] = run_dir
  return __name__


def vocabulary(run_dir: PathLike) -> RecommendationVocabulary:
  """Returns the vocabulary of a run's tasks."""
  cache = load_tokens(run_dir)
  model = cache.text_model
  return RecommendationVocabulary(
    TokenLayout.from_dict(cache.layout), model and model.read_bytes()
  )


for directory in filter(None, os.environ.get(RUN_DIRS, '').split(os.pathsep)):
  register(directory)
