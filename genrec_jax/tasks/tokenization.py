"""From SeqIO tasks to the arrays of a token cache."""

from __future__ import annotations

import itertools
import pathlib
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow.compute as pc
import seqio
import tensorflow as tf

from genrec_jax import artifacts
from genrec_jax.data import audit, splits
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.splits import Split
from genrec_jax.data.token_cache import (
  PARTS,
  Ragged,
  TokenExamples,
  write_token_cache,
)
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.tasks import prompts, registry
from genrec_jax.tasks.prompts import Template
from genrec_jax.tasks.slots import CANDIDATES
from genrec_jax.tasks.vocabulary import (
  RecommendationVocabulary,
  count_pieces,
  train_text_model,
)
from genrec_jax.types import GenrecError, PathLike, unknown_name

DEFAULT_TEXT_PIECES = 1000
CHUNK = 2048  # examples taken out of TensorFlow at once


def tokenize_run(
  run_dir: PathLike,
  *,
  tasks: Sequence[str],
  templates: Sequence[str] | None,
  max_history: int,
  num_candidates: int,
  copies: int,
  text_pieces: int | None,
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
  chosen = choose_templates(tasks, templates)
  text_model = learn_text_model(chosen, dataset, split, text_pieces)
  layout = (
    ids.layout() if text_model is None else ids.layout(count_pieces(text_model))
  )
  data = registry.TaskData(
    dataset, split, ids, RecommendationVocabulary(layout, text_model)
  )
  item_tokens = layout.item_tokens(ids.codes)
  examples = {}
  for name, task_templates in chosen.items():
    task = registry.make_task(
      name,
      registry.task_definition(name),
      data,
      templates=task_templates,
      max_history=max_history,
      num_candidates=num_candidates,
    )
    examples[name] = {}
    for part in PARTS:
      if not task.num_input_examples(part):
        continue
      part_copies = copies if part == 'train' else 1
      examples[name][part] = read_examples(
        task,
        part,
        data,
        copies=part_copies,
        seed=seed,
        max_history=max_history,
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
        'max_history': max_history,
        'num_candidates': num_candidates,
        'copies': copies,
        'text_pieces': layout.num_text_tokens if text_model else 0,
        'seed': seed,
      },
    )
  return examples


def choose_templates(
  tasks: Sequence[str], names: Sequence[str] | None
) -> dict[str, tuple[Template, ...]]:
  """Returns the templates of each task, those named or else all seen.

  Raises:
    GenrecError: if a task or a template is unknown, or a task has none left.
  """
  definitions = {task: registry.task_definition(task) for task in tasks}
  known = [t.name for d in definitions.values() for t in d.templates]
  for name in names or ():
    if name not in known:
      raise unknown_name('template', name, known)
  chosen = {
    task: prompts.choose_templates(definition.templates, names)
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
  return chosen


def learn_text_model(
  chosen: Mapping[str, Sequence[Template]],
  dataset: Dataset,
  split: Split,
  text_pieces: int | None,
) -> bytes | None:
  """Trains the text pieces on what templates say and items are called.

  Only the titles of items with train interactions are read. The templates'
  words are repeated until they weigh as much as all titles.

  Args:
    chosen: the templates of each task.
    dataset: the data set.
    split: says which items train knows.
    text_pieces: how many pieces; 0 for none; None for as many as needed:
      `DEFAULT_TEXT_PIECES`, or 0 where templates are slots alone.
  """
  literals = list(
    itertools.chain.from_iterable(
      prompts.literal_texts(templates, registry.TASKS[task].slots)
      for task, templates in chosen.items()
    )
  )
  if text_pieces is None:
    text_pieces = DEFAULT_TEXT_PIECES if literals else 0
  if text_pieces == 0:
    return None
  _, items = splits.train_interactions(dataset, split)
  titles = dataset.items['title'].take(np.unique(items))
  titles = pc.drop_null(titles).to_pylist()
  repeats = 1 + len(titles) // max(len(literals), 1)
  return train_text_model([*titles, *literals * repeats], text_pieces)


def read_examples(
  task: seqio.Task,
  part: str,
  data: registry.TaskData,
  *,
  copies: int,
  seed: int,
  max_history: int,
) -> TokenExamples:
  """Runs a task over a part and audits what comes out.

  Returns:
    The examples, in the order of the data set, `copies` times over. Those of
    the train part have no history: nothing reads it.

  Raises:
    LeakError: if an input holds its target.
  """
  known = splits.examples(
    data.dataset, data.split, splits.PART_NAMES.index(part)
  )
  features = read_features(task, part, copies=copies, seed=seed)
  rows = np.tile(np.arange(len(known)), copies)
  empty = Ragged(np.zeros(0, np.int32), np.zeros(len(rows) + 1, np.int64))
  shown = known.ragged_histories(max_history)
  audit.audit_inputs(
    inputs=features['inputs'],
    target=known.target[rows],
    item_tokens=data.vocabulary.layout.item_tokens(data.ids.codes),
    history=_repeat(shown, copies),
    candidates=features.get(CANDIDATES),
    name=f'{task.name}/{part}',
  )
  return TokenExamples(
    inputs=features['inputs'],
    targets=features['targets'],
    user=known.user[rows],
    target=known.target[rows],
    tied=known.tied[rows],
    history=empty if part == 'train' else known.ragged_histories(),
  )


def read_features(
  task: seqio.Task, part: str, *, copies: int = 1, seed: int = 0
) -> dict[str, Ragged]:
  """Runs a task over a part; returns inputs, targets and any candidates."""
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
    for name in ('inputs', 'targets', CANDIDATES)
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


def _repeat(ragged: Ragged, copies: int) -> Ragged:
  lengths = np.tile(ragged.lengths, copies)
  return Ragged(
    np.tile(ragged.values, copies), np.concatenate([[0], np.cumsum(lengths)])
  )
