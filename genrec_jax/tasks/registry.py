"""Task definitions, and the SeqIO tasks that are made of them and data.

A definition is templates, and where it needs them slots and preprocessors of
its own; it knows no data set. With the artefacts of a run it becomes a
`seqio.Task`: `register_tasks('runs/first', name='first')` makes
`first_sequential`, `first_top_n` and the mixture `first_all`.
"""

from __future__ import annotations

import dataclasses
import pathlib
import runpy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import seqio

from genrec_jax.data import splits
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.splits import Split
from genrec_jax.data.token_cache import TokenCache
from genrec_jax.ids.item_ids import ItemIds, TokenLayout
from genrec_jax.tasks import metrics, prompts
from genrec_jax.tasks import preprocessors as preprocessors_module
from genrec_jax.tasks.prompts import Slot, Template
from genrec_jax.tasks.slots import CANDIDATES, SLOTS, SlotFunction, TokenTables
from genrec_jax.tasks.sources import examples_source
from genrec_jax.tasks.vocabulary import RecommendationVocabulary
from genrec_jax.types import GenrecError, PathLike, unknown_name

BUILTIN = ('sequential', 'top_n')


@dataclasses.dataclass(frozen=True)
class TaskDefinition:
  """What is asked, of any data set.

  Attributes:
    templates: the formulations.
    slots: what their slots stand for, by name.
    preprocessors: functions of one example (see sources.py), run in a
      TensorFlow graph after the history is truncated.
  """

  templates: tuple[Template, ...]
  slots: Mapping[str, SlotFunction]
  preprocessors: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class TaskData:
  """What a definition needs to become a task."""

  dataset: Dataset
  split: Split
  ids: ItemIds
  vocabulary: RecommendationVocabulary


TASKS: dict[str, TaskDefinition] = {
  name: TaskDefinition(prompts.builtin_templates(name), SLOTS)
  for name in BUILTIN
}


def define_task(
  name: str,
  templates: Iterable[Template] | PathLike,
  *,
  slots: Mapping[str, SlotFunction] | None = None,
  preprocessors: Sequence[Callable[[dict[str, Any]], dict[str, Any]]] = (),
) -> None:
  """Adds a task of your own; defining it again replaces it.

  Args:
    name: what `genrec tokenize --tasks=…` calls it.
    templates: the formulations, or a template file.
    slots: further slots, beside those of slots.py.
    preprocessors: functions of one example, run before it is written.

  Raises:
    GenrecError: if the name is taken, or a template is wrong.
  """
  if name in BUILTIN:
    raise GenrecError(
      f'The task {name!r} comes with genrec_jax; name yours otherwise.'
    )
  if isinstance(templates, str | pathlib.Path):
    templates = prompts.read_templates(templates)
  definition = TaskDefinition(
    prompts.check_templates(templates),
    {**SLOTS, **(slots or {})},
    tuple(preprocessors),
  )
  for template in definition.templates:
    preprocessors_module.parse_template(template, definition.slots)
  TASKS[name] = definition


def load_task_files(paths: Iterable[PathLike]) -> None:
  """Runs Python files that define tasks.

  Raises:
    GenrecError: if there is no such file.
  """
  for path in paths:
    if not pathlib.Path(path).is_file():
      raise GenrecError(
        f'No task file {path}; pass a Python file that calls'
        ' genrec_jax.tasks.registry.define_task.'
      )
    runpy.run_path(str(path))


def task_definition(name: str) -> TaskDefinition:
  """Returns the definition of a task.

  Raises:
    GenrecError: if there is none, listing the known.
  """
  if name not in TASKS:
    raise unknown_name('task (yours come with --task_files)', name, TASKS)
  return TASKS[name]


def make_task(
  name: str,
  definition: TaskDefinition,
  data: TaskData,
  *,
  templates: Sequence[Template] | None = None,
  max_history: int = 20,
  num_candidates: int = 20,
) -> seqio.Task:
  """Returns the SeqIO task of a definition and data.

  Args:
    name: what SeqIO calls it.
    definition: what is asked.
    data: of what.
    templates: those to use, of the definition's; None for all seen. The first
      is the one of validation and test examples.
    max_history: how many of the last items a prompt shows at most.
    num_candidates: how many items there are to choose from, the target
      included, where a template has {candidates}.
  """
  if templates is None:
    templates = prompts.choose_templates(definition.templates, None)
  vocabulary = data.vocabulary
  steps = [preprocessors_module.truncate_history(max_history)]
  steps += [seqio.map_over_dataset(step) for step in definition.preprocessors]
  shown = {
    part
    for template in templates
    for side in preprocessors_module.parse_template(template, definition.slots)
    for part in side
  }
  if Slot(CANDIDATES) in shown:
    steps.append(
      preprocessors_module.draw_candidates(
        num_candidates=num_candidates, num_items=data.ids.num_items
      )
    )
  steps.append(
    preprocessors_module.write_prompts(
      templates, definition.slots, TokenTables(data.ids, vocabulary)
    )
  )
  # Ids of one length need no eos: the trie knows where they end; and those
  # of different lengths bring their own.
  feature = seqio.Feature(vocabulary, add_eos=False)
  return seqio.Task(
    name,
    source=examples_source(data.dataset, data.split),
    preprocessors=steps,
    output_features={'inputs': feature, 'targets': feature},
    postprocess_fn=metrics.item_postprocessor(
      vocabulary, vocabulary.layout.item_tokens(data.ids.codes)
    ),
    metric_fns=[metrics.ranking_metric],
  )


def register_tasks(
  run_dir: PathLike, *, name: str, task_files: Sequence[PathLike] = ()
) -> list[str]:
  """Registers the tasks of a run with SeqIO, as its token cache was made.

  Args:
    run_dir: a run directory with `dataset`, `ids` and `tokens`.
    name: the first part of the names.
    task_files: Python files that define tasks of your own.

  Returns:
    The names: of each task that was tokenized `<name>_<task>`, and of the
    mixture of them all, in equal parts, `<name>_all`.

  Raises:
    GenrecError: if an artefact is missing, they do not belong together, or a
      name is registered already.
  """
  load_task_files(task_files)
  run_dir = pathlib.Path(run_dir)
  dataset = Dataset.load(run_dir / 'dataset')
  split = splits.load_split(run_dir / 'dataset', dataset)
  ids = ItemIds.load(run_dir / 'ids')
  cache = TokenCache.load(
    run_dir / 'tokens',
    inputs={
      'dataset': dataset.fingerprint,
      'split': split.fingerprint,
      'ids': ids.fingerprint,
    },
  )
  model = cache.text_model
  vocabulary = RecommendationVocabulary(
    TokenLayout.from_dict(cache.layout), model and model.read_bytes()
  )
  data = TaskData(dataset, split, ids, vocabulary)
  settings = cache.manifest['settings']
  names = []
  for task, chosen in settings['templates'].items():
    definition = task_definition(task)
    names.append(f'{name}_{task}')
    provider = make_task(
      names[-1],
      definition,
      data,
      templates=prompts.choose_templates(definition.templates, chosen),
      max_history=settings['max_history'],
      num_candidates=settings['num_candidates'],
    )
    _register(seqio.TaskRegistry, provider)
  mixture = seqio.Mixture(f'{name}_all', names, default_rate=1.0)
  _register(seqio.MixtureRegistry, mixture)
  return [*names, mixture.name]


def _register(registry, provider: seqio.Task | seqio.Mixture) -> None:
  if provider.name in registry.names():
    raise GenrecError(
      f'{provider.name!r} is registered already; choose another name.'
    )
  registry.add_provider(provider.name, provider)
