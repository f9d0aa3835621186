"""Writes a model, or its rankings, for other libraries and evaluators."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import flax.traverse_util

from genrec_jax import artifacts
from genrec_jax.answering.run import Run, load_tokens
from genrec_jax.answering.source_ids import read_query_ids
from genrec_jax.data.token_cache import TokenCache
from genrec_jax.decoding.new_users import read_prompt
from genrec_jax.decoding.recommend import trie_of_tokens
from genrec_jax.evaluation import results
from genrec_jax.exchange import hugging_face, rankings
from genrec_jax.exchange.architecture import abstract_parameters
from genrec_jax.exchange.items import (
  read_catalogue,
  write_items,
)
from genrec_jax.exchange.program import PLATFORMS, write_program
from genrec_jax.exchange.t5_names import unstack_layers
from genrec_jax.exchange.tokenizer import write_tokenizer
from genrec_jax.training.checkpoints import find_checkpoint, restore_params
from genrec_jax.training.parameters import check_shapes, write_parameters
from genrec_jax.types import GenrecError, PathLike, unknown_name

FORMATS = ('hugging_face', 't5x', 'program', 'rankings')


def export(
  *,
  run_dir: PathLike,
  model,
  format: str,
  output: PathLike | None = None,
  checkpoint: str | int = 'best',
  new_items: bool = True,
  task: str | None = None,
  split: str = 'validation',
  num_beams: int = 20,
  normalization: str = 'vocabulary',
  allowed_items: bool = False,
  platforms: Sequence[str] = PLATFORMS,
) -> pathlib.Path:
  """Writes a checkpoint, or measured rankings, in a format of others.

  See docs/export.md for how each is loaded:

    hugging_face  a T5 of `transformers`: weights, config, tokenizer, and
                  items.jsonl
    t5x           a T5X checkpoint of the parameters alone
    program       one file for `jax.export`: encoder, search over the trie and
                  filters, with the parameters and the catalogue inside; and
                  items.jsonl
    rankings      the lists of `genrec evaluate` as JSON lines and TREC files

  Args:
    run_dir: the run directory.
    model: the model class that the checkpoint is of.
    format: one of these.
    output: the directory that is written, and replaced if it is there; by
      default RUN_DIR/exports/FORMAT, for rankings with the split and the task.
    checkpoint: 'best' (on validation), 'last' or a step.
    new_items: whether items that were added to the run are in the catalogue.
    task: whose rankings, and whose prompt a program's manifest tells; by
      default the first whose answer is an item.
    split: of rankings, 'validation' or 'test'.
    num_beams: the length of a program's lists, and the width of its search.
    normalization: what a program's scores are: 'vocabulary', 'level' or
      'children'.
    allowed_items: whether a program takes a mask of the items that it may list.
    platforms: what a program is lowered for; none of them need be here.

  Returns:
    The directory.

  Raises:
    GenrecError: if an artefact is missing or does not belong to the others, or
      the format cannot hold the model.
  """
  writers: dict[str, Callable[[pathlib.Path, Run], None]] = {
    'hugging_face': _write_hugging_face,
    't5x': _write_t5x,
    'program': lambda path, run: _write_program(
      path,
      run,
      task,
      num_beams=num_beams,
      normalization=normalization,
      allowed_items=allowed_items,
      platforms=tuple(platforms),
    ),
  }
  if format not in FORMATS:
    raise unknown_name('format', format, FORMATS)
  run_dir = pathlib.Path(run_dir)
  cache = load_tokens(run_dir)
  if format == 'rankings':
    task = cache.item_task(task)
    directory = pathlib.Path(
      output or run_dir / 'exports' / format / split / task
    )
    with artifacts.write_directory(directory) as path:
      rows = _write_rankings(path, run_dir, cache, split, task)
    print(f'The lists of {", ".join(rows)} are in {directory}.')
    return directory
  directory = pathlib.Path(output or run_dir / 'exports' / format)
  cache, item_ids = read_catalogue(run_dir, cache, new_items=new_items)
  run = _load(run_dir, model, checkpoint, cache)
  with artifacts.write_directory(directory) as path:
    if format != 't5x':
      write_items(path, cache, item_ids)
    writers[format](path, run)
  size = sum(file.stat().st_size for file in directory.rglob('*'))
  print(f'Checkpoint {run.step} is in {directory}, {size / 2**20:,.1f} MiB.')
  return directory


def _load(
  run_dir: pathlib.Path, model, checkpoint: str | int, cache: TokenCache
) -> Run:
  """Loads a checkpoint as NumPy arrays: it need not fit on any device.

  Raises:
    GenrecError: if there is none, or it is of other ids or another model.
  """
  directory = run_dir / 'checkpoints'
  step = find_checkpoint(directory, checkpoint)
  params = restore_params(
    directory, step=step, inputs={'vocabulary': cache.vocabulary_fingerprint}
  )
  check_shapes(
    params,
    abstract_parameters(model),
    what=f'Checkpoint {step} of {directory} is of another model',
    way_out='use the configuration that the run was trained with',
  )
  return Run(
    directory=run_dir,
    cache=cache,
    model=model,
    params=params,
    step=step,
    mesh=None,
    trie=trie_of_tokens(cache),
  )


def _write_hugging_face(path: pathlib.Path, run: Run) -> None:
  """Writes a T5 with its tokenizer."""
  text_model = run.cache.text_model
  write_tokenizer(
    path, run.layout, None if text_model is None else text_model.read_bytes()
  )
  longest = max(
    int(run.cache.examples(task, part).targets.lengths.max(initial=1))
    for task in run.cache.tasks()
    for part in run.cache.parts(task)
  )
  hugging_face.write_model(
    path,
    run.model.module.config,
    unstack_layers(flax.traverse_util.flatten_dict(run.params, sep='/')),
    max_new_tokens=longest,
  )
  artifacts.write_manifest(
    path,
    kind='hugging_face_model',
    fingerprint=artifacts.file_sha256(path / 'model.safetensors'),
    inputs=_fingerprints(run),
    checkpoint=run.step,
  )


def _write_t5x(path: pathlib.Path, run: Run) -> None:
  """Writes a directory of one checkpoint, which this library reads, too."""
  write_parameters(path / f'checkpoint_{run.step}', run.params, step=run.step)
  artifacts.write_manifest(
    path, kind='checkpoints', fingerprint='', inputs=_fingerprints(run)
  )


def _write_program(
  path: pathlib.Path, run: Run, task: str | None, **settings: Any
) -> None:
  """Writes the program, with what its prompts are made of."""
  task = run.cache.item_task(task)
  try:
    prompt = read_prompt(run.cache, task)
  except GenrecError:
    prompt = None  # It shows more than a history: the manifest says null.
  parts = run.cache.parts(task)
  write_program(
    path,
    run,
    examples=run.cache.examples(
      task, 'validation' if 'validation' in parts else parts[0]
    ),
    task=task,
    prompt=prompt,
    max_history=run.cache.manifest['settings'].get('max_history'),
    variable_length=run.layout.variable_length,
    **settings,
  )


def _write_rankings(
  path: pathlib.Path,
  run_dir: pathlib.Path,
  cache: TokenCache,
  split: str,
  task: str,
) -> list[str]:
  """Writes the lists of the last measurement."""
  is_subset = results.measured_tasks(run_dir, split).get(task, False)
  result, arrays = results.read_result(run_dir, split, task, subset=is_subset)
  _, item_ids = read_catalogue(run_dir, cache, new_items=False)
  rows = rankings.write_rankings(
    path,
    arrays,
    item_names=cache.item_names,
    item_ids=item_ids,
    query_ids=read_query_ids(run_dir, of_dialogues='dialogue' in arrays),
  )
  artifacts.write_manifest(
    path,
    kind='rankings',
    fingerprint=artifacts.file_sha256(path / 'predictions.jsonl'),
    inputs=result['fingerprints'],
    **{
      name: result[name]
      for name in ('task', 'split', 'n', 'subset', 'checkpoint', 'metrics')
    },
  )
  return rows


def _fingerprints(run: Run) -> dict[str, str]:
  return {
    'tokens': run.cache.fingerprint,
    'vocabulary': run.cache.vocabulary_fingerprint,
  }
