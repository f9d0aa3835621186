"""From SeqIO tasks to the arrays of a token cache."""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np
import seqio
import tensorflow as tf

from genrec_jax import artifacts
from genrec_jax.data import audit, splits
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.splits import Examples
from genrec_jax.data.token_cache import (
  PARTS,
  Ragged,
  TokenExamples,
  write_token_cache,
)
from genrec_jax.data.user_attributes import UserAttributes, read_user_attributes
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.tasks import audits, prompts, registry
from genrec_jax.tasks.definitions import task_definition
from genrec_jax.tasks.descriptions import describe_attributes, describe_task
from genrec_jax.tasks.prompts import Template
from genrec_jax.tasks.retrieved import NONE, RetrievalSettings, count_blank
from genrec_jax.tasks.slots import CANDIDATES, RETRIEVED_ITEMS
from genrec_jax.tasks.sources import DialogueTargets
from genrec_jax.tasks.text_pieces import learn_text_model
from genrec_jax.tasks.vocabulary import (
  RecommendationVocabulary,
  count_pieces,
  read_text_model,
)
from genrec_jax.types import GenrecError, PathLike, unknown_name

CHUNK = 2048  # examples taken out of TensorFlow at once
SHOWN = (CANDIDATES, RETRIEVED_ITEMS)  # features of items


def tokenize_run(
  run_dir: PathLike,
  *,
  tasks: Sequence[str],
  templates: Sequence[str] | None,
  max_history: int,
  num_candidates: int,
  copies: int,
  text_pieces: int | None,
  text_model: PathLike | None,
  max_text: int,
  max_answer: int,
  retrieval: str,
  num_retrieved: int,
  max_retrieved: int,
  wanted: str,
  user_attributes: Sequence[str],
  attribute_dropout: float,
  seed: int,
) -> dict[str, dict[str, TokenExamples]]:
  """Writes `<run_dir>/tokens`; see `genrec_jax.tokenize.tokenize`."""
  run_dir = pathlib.Path(run_dir)
  dataset = Dataset.load(run_dir / 'dataset')
  split = splits.load_split(run_dir / 'dataset', dataset)
  ids = ItemIds.load(run_dir / 'ids')
  audit.audit_split(dataset, split)
  audit.audit_ids(
    artifacts.read_manifest(run_dir / 'ids', 'ids'), dataset, split
  )
  how = RetrievalSettings(retrieval, num_retrieved, max_retrieved)
  chosen = choose_templates(tasks, templates, retrieval=retrieval != NONE)
  check_columns(chosen, dataset)
  attributes = shown_attributes(chosen, dataset, user_attributes)
  if text_model is None:
    text_model = learn_text_model(
      chosen,
      dataset,
      split,
      text_pieces,
      wanted=wanted,
      user_attributes=user_attributes,
    )
  else:
    text_model = read_text_model(text_model)
  layout = (
    ids.layout() if text_model is None else ids.layout(count_pieces(text_model))
  )
  data = registry.TaskData(
    dataset, split, ids, RecommendationVocabulary(layout, text_model)
  )
  item_tokens = layout.item_tokens(ids.codes)
  settings = {
    'max_history': max_history,
    'num_candidates': num_candidates,
    'max_text': max_text,
    'max_answer': max_answer,
  }
  examples, facts = {}, {}
  for name, task_templates in chosen.items():
    definition = task_definition(name)
    found = data.retrieve(
      definition, task_templates, settings | dataclasses.asdict(how)
    )
    task = registry.make_task(
      name,
      definition,
      data,
      templates=task_templates,
      found=found,
      wanted=wanted,
      user_attributes=user_attributes,
      attribute_dropout=attribute_dropout,
      **settings,
    )
    examples[name] = {}
    for part in PARTS:
      if not task.num_input_examples(part):
        continue
      known = data.examples(definition, task_templates, part)
      part_copies = copies if part == 'train' else 1
      audits.audit_retrieved(
        found[part],
        known,
        data,
        definition,
        task_templates,
        how,
        max_history=max_history,
        name=f'{name}/{part}',
      )
      examples[name][part], shown = read_examples(
        task, part, known, copies=part_copies, seed=seed
      )
      audits.audit_examples(
        examples[name][part],
        shown,
        found[part].text,
        known,
        data,
        definition,
        task_templates,
        max_history=max_history,
        name=f'{name}/{part}',
      )
    facts[name] = describe_task(definition, task_templates, data, settings)
    facts[name]['blank'] = count_blank(
      data, definition, task_templates, found, wanted
    )
  with tempfile.NamedTemporaryFile(suffix='.model') as model_file:
    model_file.write(text_model or b'')
    model_file.flush()
    write_token_cache(
      run_dir / 'tokens',
      layout=layout.as_dict(),
      item_tokens=item_tokens,
      item_names=dataset.item_names(),
      examples=examples,
      inputs={
        'dataset': dataset.fingerprint,
        'split': split.fingerprint,
        'ids': ids.fingerprint,
      },
      text_model=model_file.name if text_model else None,
      settings={
        'templates': {
          name: [template.name for template in task_templates]
          for name, task_templates in chosen.items()
        },
        'evaluation_template': {
          name: task_templates[0].name
          for name, task_templates in chosen.items()
        },
        'tasks': facts,
        **settings,
        **dataclasses.asdict(how),
        'wanted': wanted,
        'user_attributes': list(user_attributes),
        'attribute_dropout': attribute_dropout,
        'attribute_tokens': attributes
        and describe_attributes(attributes, data.vocabulary),
        'copies': copies,
        'text_pieces': layout.num_text_tokens if text_model else 0,
        'seed': seed,
      },
    )
  return examples


def choose_templates(
  tasks: Sequence[str],
  names: Sequence[str] | None,
  *,
  retrieval: bool = False,
) -> dict[str, tuple[Template, ...]]:
  """Returns the templates of each task, as `prompts.choose_templates` does.

  Raises:
    GenrecError: if a task or a template is unknown, a task has none left, or
      none shows what is to be retrieved.
  """
  definitions = {task: task_definition(task) for task in tasks}
  known = [t.name for d in definitions.values() for t in d.templates]
  for name in names or ():
    if name not in known:
      raise unknown_name('template', name, known)
  chosen = {
    task: prompts.choose_templates(
      definition.templates, names, retrieval=retrieval
    )
    for task, definition in definitions.items()
  }
  for task, task_templates in chosen.items():
    if not task_templates:
      raise GenrecError(
        f'None of the templates {list(names or ())} is one of task {task!r},'
        f' which has {[t.name for t in definitions[task].templates]}; name one'
        ' of these, too.'
      )
  if not chosen:
    raise GenrecError("Got no tasks; pass for example tasks=('sequential',).")
  every = [template for ones in chosen.values() for template in ones]
  if retrieval and not any(prompts.uses(t, prompts.RETRIEVED) for t in every):
    raise GenrecError(
      f'None of the templates {", ".join(t.name for t in every)} of'
      f' {", ".join(chosen)} shows what is retrieved; pass --templates=None to'
      ' take those that do, name such a one, or leave out --retrieval.'
    )
  return chosen


def shown_attributes(
  chosen: Mapping[str, Sequence[Template]],
  dataset: Dataset,
  columns: Sequence[str],
) -> UserAttributes | None:
  """Returns what templates show of users; None where they show nothing.

  Raises:
    GenrecError: if they show it and no columns are given, or the reverse.
  """
  showing = [
    template.name
    for templates in chosen.values()
    for template in templates
    if prompts.uses(template, [prompts.USER_ATTRIBUTES])
  ]
  if not showing and not columns:
    return None
  if not showing:
    raise GenrecError(
      f'Got user_attributes={",".join(columns)}, but none of the templates'
      ' shows {user_attributes}; name one that does, such as'
      ' --templates=attributes, or leave them out.'
    )
  return read_user_attributes(dataset.users, columns)


def check_columns(
  chosen: Mapping[str, Sequence[Template]], dataset: Dataset
) -> None:
  """Checks that the data hold what tasks read.

  Raises:
    GenrecError: if a column is missing, or there are no dialogues.
  """
  known = dataset.interactions.column_names
  for task, templates in chosen.items():
    definition = task_definition(task)
    for column in definition.needed_columns(templates):
      if column not in known:
        raise GenrecError(
          f'Task {task!r} reads the column {column!r} of the interactions, but'
          f' {dataset.name!r} has {", ".join(known)}; leave the task out, or'
          ' choose other templates or data.'
        )
    if definition.of_dialogues and not dataset.dialogues.num_rows:
      raise GenrecError(
        f'Task {task!r} is about dialogues, but {dataset.name!r} has none;'
        ' leave the task out.'
      )


def read_examples(
  task: seqio.Task,
  part: str,
  known: Examples | DialogueTargets,
  *,
  copies: int,
  seed: int,
) -> tuple[TokenExamples, list[Ragged]]:
  """Runs a task over a part.

  Returns:
    The examples, in the order of the data set, `copies` times over, and the
    items that they show beside their history: candidates, what was retrieved.
    Those of the train part have no history: nothing reads it.
  """
  features = read_features(task, part, copies=copies, seed=seed)
  rows = np.tile(np.arange(len(known)), copies)
  empty = Ragged(np.zeros(0, np.int32), np.zeros(len(rows) + 1, np.int64))
  return TokenExamples(
    inputs=features['inputs'],
    targets=features['targets'],
    user=known.user[rows],
    target=known.target[rows],
    tied=known.tied[rows],
    history=empty if part == 'train' else known.ragged_histories(),
  ), [features[name] for name in SHOWN if name in features]


def read_features(
  task: seqio.Task, part: str, *, copies: int = 1, seed: int = 0
) -> dict[str, Ragged]:
  """Runs a task over a part; returns inputs, targets and items shown."""
  dataset = task.get_dataset(
    sequence_length=None,
    split=part,
    shuffle=False,
    seed=seed,
    num_epochs=copies,
    try_in_mem_cache=False,
  )
  names = [
    name
    for name in ('inputs', 'targets', *SHOWN)
    if name in dataset.element_spec
  ]
  dataset = dataset.map(
    lambda example: {name: example[name] for name in names},
    num_parallel_calls=tf.data.AUTOTUNE,
  ).ragged_batch(CHUNK)
  values: dict[str, list] = {name: [] for name in names}
  lengths: dict[str, list] = {name: [] for name in names}
  for chunk in dataset:
    for name in names:
      rows = chunk[name]
      if not isinstance(rows, tf.RaggedTensor):  # All of one known length.
        rows = tf.RaggedTensor.from_tensor(rows)
      values[name].append(rows.values.numpy())
      lengths[name].append(rows.row_lengths().numpy())
  return {
    name: Ragged(
      np.concatenate(values[name]),
      np.concatenate([[0], np.cumsum(np.concatenate(lengths[name]))]),
    )
    for name in names
  }
