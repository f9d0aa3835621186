"""The SeqIO tasks that are made of definitions and data.

A definition (definitions.py) knows no data set. With the artefacts of a run it
becomes a `seqio.Task`: `register_tasks('runs/first', name='first')` makes
`first_sequential`, `first_rating` and the mixture `first_all`.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import seqio

from genrec_jax.data import attributes, splits
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.item_ratings import ratings_of_others
from genrec_jax.data.mixtures import mixing_rates
from genrec_jax.data.splits import Split
from genrec_jax.data.token_cache import PARTS, Ragged, TokenCache
from genrec_jax.data.user_attributes import read_user_attributes
from genrec_jax.ids.item_ids import ItemIds, TokenLayout
from genrec_jax.tasks import dialogues, metrics, prompts, retrieved, sources
from genrec_jax.tasks import preprocessors as preprocessors_module
from genrec_jax.tasks.definitions import (
  TaskDefinition,
  define_task,
  load_task_files,
  task_definition,
)
from genrec_jax.tasks.prompts import Slot, Template
from genrec_jax.tasks.slots import (
  CANDIDATES,
  ITEM_RATINGS,
  OFFERED,
  RETRIEVED_ITEMS,
  RETRIEVED_TEXT,
  USER_ATTRIBUTES,
  WANTED,
  TokenTables,
)
from genrec_jax.tasks.vocabulary import RecommendationVocabulary
from genrec_jax.types import GenrecError, PathLike

__all__ = [
  'TaskData',
  'TaskDefinition',
  'define_task',
  'load_task_data',
  'load_task_files',
  'make_task',
  'register_tasks',
  'task_definition',
]

# Of a token cache, as `make_task` takes them.
SETTINGS = ('max_history', 'num_candidates', 'max_text', 'max_answer')


@dataclasses.dataclass(frozen=True, eq=False)
class TaskData:
  """What a definition needs to become a task."""

  dataset: Dataset
  split: Split
  ids: ItemIds
  vocabulary: RecommendationVocabulary

  def examples(
    self,
    definition: TaskDefinition,
    templates: Sequence[Template],
    part: str,
  ) -> sources.Examples | sources.DialogueTargets:
    """Returns the examples of a part that a task has, in their order."""
    if definition.of_dialogues:
      every_target = definition.answer == 'item'
      return sources.dialogue_examples(
        self.dataset, self.split, part, every_target=every_target
      )
    columns = definition.needed_columns(templates)
    return sources.interaction_examples(self.dataset, self.split, part, columns)

  def source(
    self,
    definition: TaskDefinition,
    templates: Sequence[Template],
    *,
    max_text: int,
    found: Mapping[str, retrieved.Retrieved] | None = None,
    wanted: str = 'attributes',
    user_attributes: Sequence[str] = (),
  ) -> seqio.FunctionDataSource:
    """Returns the source of those examples, of all parts.

    Args:
      definition: what is asked.
      templates: those chosen.
      max_text: how many tokens of a dialogue are shown.
      found: what was retrieved for each part.
      wanted: the column of the items that wishes are drawn from.
      user_attributes: the columns of the users that are shown.
    """
    parts = {part: self.examples(definition, templates, part) for part in PARTS}
    more = {
      part: dict(found[part].features()) if found else {} for part in parts
    }
    if any(prompts.uses(template, [WANTED]) for template in templates):
      for part, examples in parts.items():
        more[part][WANTED] = self.wishes(examples, wanted)
    if any(prompts.uses(template, [ITEM_RATINGS]) for template in templates):
      for part, examples in parts.items():
        more[part][ITEM_RATINGS] = self.item_ratings(examples)
    if any(prompts.uses(template, [USER_ATTRIBUTES]) for template in templates):
      known = read_user_attributes(self.dataset.users, user_attributes)
      for part, examples in parts.items():
        more[part][USER_ATTRIBUTES] = known.ragged(examples.user)
    if definition.of_dialogues:
      return sources.dialogues_source(
        parts,
        dialogues.tokenize_examples(
          self.dataset, self.ids, self.vocabulary, parts, max_text=max_text
        ),
        more,
      )
    columns = definition.needed_columns(templates)
    return sources.interactions_source(self.dataset, parts, columns, more)

  def item_ratings(self, examples: sources.Examples) -> Ragged:
    """Returns the last train ratings of each target by other users."""
    return ratings_of_others(self.dataset, self.split, examples)

  def wishes(
    self, examples: sources.Examples | sources.DialogueTargets, column: str
  ) -> list[str]:
    """Returns an attribute of each target, '' where it has none."""
    known = attributes.read_attributes(self.dataset.items, column)
    values = [*known.values, '']
    drawn = attributes.draw_wishes(known, examples.user, examples.target)
    return [values[number] for number in drawn]

  def retrieve(
    self,
    definition: TaskDefinition,
    templates: Sequence[Template],
    settings: Mapping[str, Any],
  ) -> dict[str, retrieved.Retrieved]:
    """Returns what is retrieved for all parts, by the settings of a cache."""
    names = [f.name for f in dataclasses.fields(retrieved.RetrievalSettings)]
    return retrieved.retrieve(
      self,
      definition,
      templates,
      {part: self.examples(definition, templates, part) for part in PARTS},
      retrieved.RetrievalSettings(
        **{name: settings[name] for name in names if name in settings}
      ),
      max_history=settings['max_history'],
    )

  @functools.cached_property
  def titles(self) -> list[str]:
    """The titles of the items, '' where they have none."""
    return pc.fill_null(self.dataset.items['title'], '').to_pylist()

  @functools.cached_property
  def train_ratings(self) -> np.ndarray:
    """The ratings of the train part."""
    rated = self.dataset.interactions['rating']
    values = rated.filter(pa.array(self.split.part == splits.TRAIN))
    return values.drop_null().to_numpy()


def make_task(
  name: str,
  definition: TaskDefinition,
  data: TaskData,
  *,
  templates: Sequence[Template] | None = None,
  source: seqio.DataSource | None = None,
  max_history: int = 20,
  num_candidates: int = 20,
  max_text: int = 128,
  max_answer: int = 64,
  found: Mapping[str, retrieved.Retrieved] | None = None,
  wanted: str = 'attributes',
  user_attributes: Sequence[str] = (),
  attribute_dropout: float = 0.0,
) -> seqio.Task:
  """Returns the SeqIO task of a definition and data.

  Args:
    name: what SeqIO calls it.
    definition: what is asked.
    data: of what.
    templates: those to use, of the definition's; None for all seen. The first
      is the one of validation and test examples.
    source: of examples as sources.py describes them; None for those of the
      data.
    max_history: how many of the last items a prompt shows at most.
    num_candidates: how many items there are to choose from, the target
      included, where a template has {candidates}.
    max_text: how many tokens of a text an input shows at most: the first of
      a text, the last of a dialogue.
    max_answer: how many tokens of an answer that is no item are learnt, eos
      included; in validation and test it is whole.
    found: what `retrieved.retrieve` returned for these templates; needed by
      those that show what is retrieved.
    wanted: the column of the items that {wanted} is drawn from.
    user_attributes: the columns of the users that {user_attributes} shows.
    attribute_dropout: the share of train examples that hide them, all or one.

  Raises:
    GenrecError: if templates show what was not retrieved, or a setting is out
      of its range.
  """
  if templates is None:
    templates = prompts.choose_templates(definition.templates, None)
  vocabulary = data.vocabulary
  # `seqio_cache_tasks` writes what comes before: the examples, with what was
  # retrieved for them. What is drawn is drawn after it, anew in each epoch.
  steps = [seqio.CacheDatasetPlaceholder()]
  steps += [preprocessors_module.truncate_history(max_history)]
  steps += [seqio.map_over_dataset(step) for step in definition.preprocessors]
  shown = {
    part
    for sides in definition.parse(templates)
    for side in sides
    for part in side
  }
  for slot in (RETRIEVED_ITEMS, RETRIEVED_TEXT):
    if Slot(slot) in shown and source is None and found is None:
      raise GenrecError(
        f'The templates of {name!r} show {{{slot}}}, but nothing was retrieved;'
        ' pass found=retrieved.retrieve(…).'
      )
  if Slot(CANDIDATES) in shown:
    steps.append(
      preprocessors_module.draw_candidates(
        num_candidates=num_candidates, num_items=data.ids.num_items
      )
    )
  if Slot(OFFERED) in shown:
    steps.append(preprocessors_module.offer_item(num_items=data.ids.num_items))
  of_users = None
  if Slot(USER_ATTRIBUTES) in shown:
    of_users = read_user_attributes(data.dataset.users, user_attributes)
  tables = TokenTables(
    data.ids,
    vocabulary,
    titles=data.titles,
    attributes=of_users,
    attribute_dropout=attribute_dropout,
    max_text=max_text,
  )
  steps.append(
    preprocessors_module.write_prompts(
      templates, definition, tables, max_answer=max_answer
    )
  )
  # Ids of one length need no eos: the trie knows where they end; those of
  # different lengths, and texts, have been given theirs.
  feature = seqio.Feature(vocabulary, add_eos=False)
  postprocess, metric_fns = _measures(definition.answer, data)
  source = source or data.source(
    definition,
    templates,
    max_text=max_text,
    found=found,
    wanted=wanted,
    user_attributes=user_attributes,
  )
  return seqio.Task(
    name,
    source=source,
    preprocessors=steps,
    output_features={'inputs': feature, 'targets': feature},
    postprocess_fn=postprocess,
    metric_fns=metric_fns,
  )


def _measures(answer: str, data: TaskData):
  """Returns the postprocessor and the metric functions of a kind of answer."""
  if answer == 'item':
    item_tokens = data.vocabulary.layout.item_tokens(data.ids.codes)
    return (
      metrics.item_postprocessor(data.vocabulary, item_tokens),
      [metrics.ranking_metric],
    )
  if answer == 'rating':
    ratings = data.train_ratings
    scale = float(ratings.min()), float(ratings.max())
    return (
      metrics.rating_postprocessor(scale),
      [metrics.rating_metric(float(ratings.mean()))],
    )
  if answer == 'yes_no':
    return metrics.strip_text, [metrics.accuracy_metric]
  return metrics.strip_text, [metrics.text_metric]


def load_task_data(run_dir: PathLike) -> tuple[TaskData, TokenCache]:
  """Reads the artefacts of a run that its tasks are made of.

  Raises:
    GenrecError: if one is missing, or they do not belong together.
  """
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
  return TaskData(dataset, split, ids, vocabulary), cache


def register_tasks(
  run_dir: PathLike,
  *,
  name: str,
  task_files: Sequence[PathLike] = (),
  rate_cap: int | None = None,
  rate_temperature: float = 1.0,
) -> list[str]:
  """Registers the tasks of a run with SeqIO, as its token cache was made.

  Args:
    run_dir: a run directory with `dataset`, `ids` and `tokens`.
    name: the first part of the names.
    task_files: Python files that define tasks of your own.
    rate_cap: how many examples a task counts at most in the mixture.
    rate_temperature: a higher one makes the rates more alike; see
      data/mixtures.py for both.

  Returns:
    The names: of each task that was tokenized `<name>_<task>`, and of the
    mixture of all that have train examples, by the number of these,
    `<name>_all`.

  Raises:
    GenrecError: if an artefact is missing, they do not belong together, no
      task has train examples, or a name is registered already.
  """
  load_task_files(task_files)
  data, cache = load_task_data(run_dir)
  settings = cache.manifest['settings']
  rates = mixing_rates(
    {
      f'{name}_{task}': counts['train']
      for task, counts in cache.manifest['tasks'].items()
      if 'train' in counts
    },
    cap=rate_cap,
    temperature=rate_temperature,
  )
  names = []
  for task, chosen in settings['templates'].items():
    definition = task_definition(task)
    names.append(f'{name}_{task}')
    templates = prompts.choose_templates(definition.templates, chosen)
    provider = make_task(
      names[-1],
      definition,
      data,
      templates=templates,
      **{name: settings[name] for name in SETTINGS},
      found=data.retrieve(definition, templates, settings),
      wanted=settings.get('wanted', 'attributes'),
      user_attributes=settings.get('user_attributes', ()),
      attribute_dropout=settings.get('attribute_dropout', 0.0),
    )
    _register(seqio.TaskRegistry, provider)
  mixture = seqio.Mixture(f'{name}_all', [*rates.items()])
  _register(seqio.MixtureRegistry, mixture)
  return [*names, mixture.name]


def _register(registry, provider: seqio.Task | seqio.Mixture) -> None:
  if provider.name in registry.names():
    raise GenrecError(
      f'{provider.name!r} is registered already; choose another name.'
    )
  registry.add_provider(provider.name, provider)
