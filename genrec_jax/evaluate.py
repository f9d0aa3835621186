"""Measures a checkpoint on full rankings of the catalogue."""

from __future__ import annotations

import inspect
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from genrec_jax import artifacts
from genrec_jax.answering.items import check_lists
from genrec_jax.answering.run import (
  choose_examples,
  load_params,
  load_tokens,
  place_on,
)
from genrec_jax.baselines import protocol
from genrec_jax.baselines.item_knn import ItemKNN
from genrec_jax.baselines.markov import Markov
from genrec_jax.baselines.popularity import Popularity
from genrec_jax.data.token_cache import TokenCache, TokenExamples
from genrec_jax.decoding.recommend import (
  make_recommend_fn,
  recommend_examples,
  trie_of_tokens,
)
from genrec_jax.evaluation import ranking, results
from genrec_jax.training import partitioning
from genrec_jax.types import GenrecError, PathLike

PyTree = Any


def evaluate(
  *,
  run_dir: PathLike,
  model,
  split: str = 'validation',
  task: str | None = None,
  checkpoint: str | int = 'best',
  num_beams: int = 20,
  normalization: str = 'vocabulary',
  exclude_seen: bool = True,
  batch_size: int = 128,
  max_examples: int | None = None,
  seed: int = 0,
  baselines: Sequence[Callable[[], protocol.Baseline]] = (
    Popularity,
    Markov,
    ItemKNN,
  ),
  model_parallel: int = 1,
) -> dict[str, Any]:
  """Ranks the whole catalogue for every example, beside the baselines.

  Reads `tokens/` and `checkpoints/` of the run, and `dataset/` for the
  baselines. Writes `evaluation/<split>.json` with the metrics and everything
  that made them, and the lists beside it (see evaluation/results.py). Prints
  the table. Each look at the test part is logged.

  Args:
    run_dir: the run directory.
    model: the model class that the checkpoint is of.
    split: 'validation' or 'test'.
    task: whose prompts to read; by default the first whose answer is an item.
    checkpoint: 'best' (on validation), 'last' or a step.
    num_beams: the length of the lists, and the width of the search.
    normalization: what a score is: 'vocabulary', 'level' or 'children'.
    exclude_seen: leave out the items of each history, also for baselines.
    batch_size: examples decoded at once.
    max_examples: measure on a seeded sample of so many; the result then goes
      to `evaluation/<split>_subset.json` and says so.
    seed: of that sample.
    baselines: what to measure beside the model; `()` needs no dataset.
    model_parallel: devices that share one copy of the model.

  Returns:
    The result, as in the JSON.

  Raises:
    GenrecError: if an artefact is missing or does not belong to the others, or
      the model gives scores that are not numbers.
  """
  partitioning.use_compilation_cache()
  run_dir = pathlib.Path(run_dir)
  cache = load_tokens(run_dir)
  task, examples, subset = choose_examples(
    cache, task, split, max_examples, seed
  )
  fitted = [
    _fit_baseline(make_baseline, run_dir, cache) for make_baseline in baselines
  ]
  mesh = partitioning.make_mesh(model_parallel)
  step, params = load_params(run_dir, model, cache, checkpoint, mesh)
  print(
    f'Ranking {cache.item_tokens.shape[0]:,} items for {len(examples):,}'
    f' {split} examples of task {task!r}, checkpoint {step}, {num_beams} beams.'
  )
  recommend = make_recommend_fn(
    model,
    trie_of_tokens(cache),
    num_beams=num_beams,
    normalization=normalization,
  )
  start = time.perf_counter()
  with partitioning.partitioned(mesh):
    lists = recommend_examples(
      recommend,
      params,
      examples,
      batch_size=batch_size,
      exclude_seen=exclude_seen,
      place=place_on(mesh),
    )
  seconds = time.perf_counter() - start
  invalid = check_lists(lists, cache, examples, exclude_seen, step)

  cold = _held_out_targets(run_dir, examples)
  rows = {'model': lists.items}
  for baseline in fitted:
    rows[baseline.name] = protocol.recommend(
      baseline, examples.history, top_k=num_beams, exclude_seen=exclude_seen
    )
  result = {
    'split': split,
    'task': task,
    'n': len(examples),
    'subset': subset,
    'metrics': {
      name: ranking.measure_lists(items, examples.target, examples.tied, cold)
      for name, items in rows.items()
    },
    'invalid_share': invalid,
    'empty_share': float((lists.items < 0).mean()),
    'checkpoint': {
      'chosen': checkpoint,
      'step': step,
      'training_seed': training_seed(run_dir),
    },
    'search': {
      'num_beams': num_beams,
      'normalization': normalization,
      'exclude_seen': exclude_seen,
      'batch_size': batch_size,
    },
    'fingerprints': {
      'tokens': cache.fingerprint,
      'vocabulary': cache.vocabulary_fingerprint,
      **cache.manifest['inputs'],
    },
    'config': _read_config(run_dir),
    'code': results.describe_code(),
    'hardware': results.describe_hardware(),
    'seconds': seconds,
    'examples_per_second': len(examples) / seconds,
  }
  if jax.process_index() == 0:
    path = results.write_result(
      run_dir,
      result,
      {
        'user': examples.user,
        'target': examples.target,
        'tied': examples.tied,
        'scores': lists.scores,
        **{f'items_{name}': items for name, items in rows.items()},
      },
    )
    print(f'{results.format_table(result)}\nWritten to {path}.')
  return result


def make_evaluate_fn(
  *,
  run_dir: PathLike,
  model,
  task: str | None = None,
  max_examples: int | None = 2000,
  num_beams: int = 20,
  normalization: str = 'vocabulary',
  exclude_seen: bool = True,
  batch_size: int = 128,
  seed: int = 0,
) -> Callable[[PyTree, int], dict[str, float]]:
  """Returns the measurement on validation examples during a training run.

  Reads the token cache now and compiles at the first call. The sample is the
  same at each call.

  Returns:
    fn(params, step) -> {'recall@10': ..., 'ndcg@10': ..., ...}; the parameters
    stay where they are and the examples go to their mesh.
  """
  cache = load_tokens(run_dir)
  _, examples, _ = choose_examples(
    cache, task, 'validation', max_examples, seed
  )
  recommend = make_recommend_fn(
    model,
    trie_of_tokens(cache),
    num_beams=num_beams,
    normalization=normalization,
  )

  def evaluate_params(params: PyTree, step: int = 0) -> dict[str, float]:
    sharding = jax.tree.leaves(params)[0].sharding
    on_mesh = isinstance(sharding, jax.sharding.NamedSharding)
    lists = recommend_examples(
      recommend,
      params,
      examples,
      batch_size=batch_size,
      exclude_seen=exclude_seen,
      place=place_on(sharding.mesh) if on_mesh else dict,
    )
    check_lists(lists, cache, examples, exclude_seen, step)
    return ranking.measure_lists(lists.items, examples.target, examples.tied)[
      'all'
    ]

  return evaluate_params


def training_seed(run_dir: PathLike) -> int | None:
  """Returns the seed that a run's checkpoints were trained with.

  None where they do not say, as those of the first version or of code of one's
  own. Settings at their default are not written down.
  """
  # Late, because training measures itself with this module.
  from genrec_jax.train import train

  manifest = artifacts.read_manifest(
    pathlib.Path(run_dir) / 'checkpoints', 'checkpoints'
  )
  default = inspect.signature(train).parameters['seed'].default
  settings = manifest.get('settings')
  return None if settings is None else settings.get('train.train.seed', default)


def _fit_baseline(
  make_baseline: Callable[[], protocol.Baseline],
  run_dir: pathlib.Path,
  cache: TokenCache,
) -> protocol.Baseline:
  if not (run_dir / 'dataset' / artifacts.MANIFEST).exists():
    raise GenrecError(
      f'The baselines learn from {run_dir / "dataset"}, which is not there;'
      ' copy it here, or pass --baselines="()" for the model alone.'
    )
  # Late, because a machine that only decodes needs no Arrow.
  from genrec_jax.data import splits
  from genrec_jax.data.dataset import Dataset

  dataset = Dataset.load(run_dir / 'dataset')
  split = splits.load_split(run_dir / 'dataset', dataset)
  artifacts.check_input(
    cache.manifest, 'split', split.fingerprint, 'run `genrec tokenize` again'
  )
  user, item = splits.train_interactions(dataset, split)
  return make_baseline().fit(user, item, dataset.num_items)


def _held_out_targets(
  run_dir: pathlib.Path, examples: TokenExamples
) -> np.ndarray | None:
  """Returns which targets were held out of training; None where none was."""
  from genrec_jax.data import splits  # late, as above

  cold = splits.held_out_items(run_dir / 'dataset')
  return np.isin(examples.target, cold) if len(cold) else None


def _read_config(run_dir: pathlib.Path) -> str | None:
  path = run_dir / 'config.gin'
  return path.read_text(encoding='utf-8') if path.exists() else None
