"""Measures a checkpoint on every task that it was trained for."""

from __future__ import annotations

import inspect
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from genrec_jax import artifacts
from genrec_jax.answering.facts import choose_tasks, sample_examples, task_facts
from genrec_jax.answering.run import (
  Run,
  load_run,
  load_tokens,
)
from genrec_jax.answering.texts import TextDecoding
from genrec_jax.baselines import protocol
from genrec_jax.baselines.item_knn import ItemKNN
from genrec_jax.baselines.markov import Markov
from genrec_jax.baselines.popularity import Popularity
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.decoding.cold_share import check_share
from genrec_jax.decoding.popularity_penalty import check_penalties
from genrec_jax.evaluation import results
from genrec_jax.measuring import audit, watching
from genrec_jax.measuring.measured import Settings
from genrec_jax.measuring.task import WRITTEN, measure_task
from genrec_jax.measuring.train_data import TrainData, load_train_data
from genrec_jax.reporting.hallucination_tables import tell_hallucination
from genrec_jax.training import partitioning
from genrec_jax.types import PathLike, unknown_name

PyTree = Any


def evaluate(
  *,
  run_dir: PathLike,
  model,
  split: str = 'validation',
  tasks: Sequence[str] | str | None = None,
  checkpoint: str | int = 'best',
  num_beams: int = 20,
  normalization: str = 'vocabulary',
  exclude_seen: bool = True,
  cold_share: float = 0.0,
  popularity_penalties: Sequence[float] = (),
  penalty_beams: int = 100,
  hallucination_examples: int | None = 0,
  text_beams: int | None = None,
  temperature: float | None = None,
  top_k: int | None = None,
  top_p: float | None = None,
  max_length: int | None = None,
  batch_size: int = 128,
  max_examples: int | None = None,
  max_texts: int | None = 1000,
  seed: int = 0,
  baselines: Sequence[Callable[[], protocol.Baseline]] = (
    Popularity,
    Markov,
    ItemKNN,
  ),
  model_parallel: int = 1,
  axis_rules: partitioning.AxisRules = partitioning.AXIS_RULES,
) -> dict[str, dict[str, Any]]:
  """Measures every task of the run, each beside what it must beat.

  Reads `tokens/` and `checkpoints/` of the run, and `dataset/` for the floors.
  Writes `evaluation/<split>/<task>.json` with the metrics and everything that
  made them, and the answers beside it (see evaluation/results.py); results of
  other tasks stay. Prints a table a task. Each look at the test part is
  logged. What is measured, by the kind of a task's answer:

    an item    Recall, NDCG and MRR of the whole catalogue ranked, and what they
               hide: popularity bias, variety, groups of users; in dialogues
               Recall@1, @10 and @50, with and without items mentioned already
    a rating   RMSE and MAE, of the mean over the choices and of what is written
    yes or no  AUC and accuracy
    a text     BLEU, ROUGE, distinct n-grams; of explanations also USR, FMR,
               FCR and DIV
    a reply    the same; which items it names, and how many it would invent
               were it not for the trie

  Of texts also which claims no metadata bear out and how often they contradict
  the rating, of written ratings how many nobody can give, and of items, where
  `hallucination_examples` asks for it, how many the model would invent.

  Before and after, an audit (measuring/audit.py) looks for what would make the
  numbers worthless: ids or train examples that saw held-out interactions,
  inputs that hold their target, examples of another part, items listed twice,
  metrics that scikit-learn finds to be others. What it finds fails the task.

  Args:
    run_dir: the run directory.
    model: the model class that the checkpoint is of.
    split: 'validation' or 'test'.
    tasks: which (--tasks=rating,summary); by default all of the token cache.
    checkpoint: 'best' (on validation), 'last' or a step.
    num_beams: the length of lists of items, and the width of the search.
    normalization: what an item's score is: 'vocabulary', 'level' or 'children'.
    exclude_seen: leave out the items of each history, also for baselines.
    cold_share: measure lists of items once more, as `model, SHARE for cold`,
      with this share of the places kept for items that training never saw
      (prepare --cold_items, docs/cold_start.md); 0 does not.
    popularity_penalties: measure lists of items, but not of dialogues, once
      more for each of these numbers, as `model, penalty NUMBER`: chosen
      by the score less NUMBER times the log of an item's popularity
      (decoding/popularity_penalty.py). Choose one on validation.
    penalty_beams: the width of the search that they are chosen from.
    hallucination_examples: decode lists of items without the trie, too, on a
      seeded sample of so many examples: how many IDs the model would invent,
      and what that costs (docs/evaluation.md). It takes several searches more;
      0 leaves it out, None takes all examples. What texts and ratings say that
      is not so is always measured.
    text_beams: search for the likeliest texts with so many beams; by default
      the likeliest token is taken at each step.
    temperature: draw the tokens of texts, their logits divided by this.
    top_k: draw them from the k likeliest.
    top_p: draw them from the fewest that have this probability together.
    max_length: the most tokens of a text; by default as many as are learnt.
    batch_size: examples decoded at once.
    max_examples: measure each task on a seeded sample of so many, of dialogues
      so many turns; its result then goes to `evaluation/<split>_subset/` and
      says so.
    max_texts: the same for tasks whose answers are written token by token,
      which takes its time; None for all.
    seed: of those samples and of tokens that are drawn.
    baselines: of lists of items; `()` leaves all floors out, of the other
      tasks too, and needs no dataset.
    model_parallel: devices that share one copy of the model.
    axis_rules: logical axis to mesh axis (gin/meshes/).

  Returns:
    The results by task, as in the JSON.

  Raises:
    GenrecError: if an artefact is missing or does not belong to the others, a
      task is unknown, the model gives scores that are not numbers, or the audit
      fails.
  """
  if split not in results.SPLITS:
    raise unknown_name('split', split, results.SPLITS)
  check_share(cold_share)
  check_penalties(popularity_penalties)
  settings = Settings(
    num_beams=num_beams,
    normalization=normalization,
    exclude_seen=exclude_seen,
    cold_share=cold_share,
    popularity_penalties=tuple(popularity_penalties),
    penalty_beams=penalty_beams,
    hallucination_examples=hallucination_examples,
    text_decoding=TextDecoding(
      num_beams=text_beams,
      temperature=temperature,
      top_k=top_k,
      top_p=top_p,
      max_length=max_length,
      seed=seed,
    ),
    batch_size=batch_size,
    baselines=tuple(baselines),
  )
  cache = load_tokens(run_dir)
  chosen = {}
  for task in choose_tasks(cache, tasks, split):
    known = task_facts(cache, task)
    limits = [max_examples, max_texts if known.kind in WRITTEN else None]
    chosen[task] = sample_examples(
      cache.examples(task, split),
      min((n for n in limits if n is not None), default=None),
      seed,
      whole_turns=known.of_dialogues,
    )
  run = load_run(
    run_dir,
    model,
    checkpoint=checkpoint,
    model_parallel=model_parallel,
    axis_rules=axis_rules,
  )
  data = load_train_data(run) if settings.baselines else None
  facts = {
    'checkpoint': {
      'chosen': checkpoint,
      'step': run.step,
      'training_seed': training_seed(run_dir),
    },
    **describe_run(run),
  }
  print(
    f'Measuring {", ".join(chosen)} on {split}: checkpoint {run.step},'
    f' {run.cache.item_tokens.shape[0]:,} items, {num_beams} beams.',
    flush=True,
  )
  return {
    task: _measure(run, task, split, *sample, settings, data, facts)
    for task, sample in chosen.items()
  }


def make_evaluate_fn(
  *,
  run_dir: PathLike,
  model,
  tasks: Sequence[str] | str | None = None,
  trained: Sequence[str] | None = None,
  max_examples: int | None = 2000,
  max_texts: int | None = 200,
  num_beams: int = 20,
  normalization: str = 'vocabulary',
  exclude_seen: bool = True,
  batch_size: int = 128,
  seed: int = 0,
) -> Callable[[PyTree, int], dict[str, float]]:
  """Returns the measurement on validation examples during a training run.

  Reads the token cache now and compiles at the first call. The samples are
  the same at each call. See measuring/watching.py for what is measured.

  Args:
    run_dir: the run directory.
    model: the model class.
    tasks: which; by default those that are trained and have validation
      examples.
    trained: which these are, as `train` knows; None for all of the tokens.
    max_examples: of each task.
    max_texts: of each task, for log-likelihoods, where there are several tasks.
    num_beams: the length of lists of items, and the width of the search.
    normalization: what an item's score is.
    exclude_seen: leave out the items of each history; but those that a
      dialogue mentioned may come again.
    batch_size: examples at once.
    seed: of the samples.

  Returns:
    fn(params, step) -> metrics by name: of a run with a single task, whose
    answer is an item, 'recall@10', 'ndcg@10', ..., else 'TASK/METRIC', and
    'log_likelihood', the mean over tasks of the mean log-probability of a
    target's token. The parameters stay where they are and the examples go to
    their mesh.
  """
  return watching.make_watch_fn(
    run_dir,
    model,
    load_tokens(run_dir),
    tasks=tasks,
    trained=trained,
    max_examples=max_examples,
    max_texts=max_texts,
    settings=Settings(
      num_beams=num_beams,
      normalization=normalization,
      exclude_seen=exclude_seen,
      batch_size=batch_size,
    ),
    seed=seed,
  )


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


def _measure(
  run: Run,
  task: str,
  split: str,
  examples: TokenExamples,
  subset: dict[str, int] | None,
  settings: Settings,
  data: TrainData | None,
  facts: dict[str, Any],
) -> dict[str, Any]:
  """Measures one task, writes the result and prints its table."""
  known = run.facts(task)
  checks = audit.audit_examples(run, known, split, examples, data)
  start = time.perf_counter()
  measured = measure_task(run, task, examples, settings, data)
  seconds = time.perf_counter() - start
  checks |= audit.audit_lists(measured, len(run.cache.item_tokens))
  result = {
    'split': split,
    'task': task,
    'answer': known.kind,
    'n': len(examples),
    'subset': subset,
    'time': results.now(),
    'metrics': measured.metrics,
    'columns': list(measured.columns),
    'lacking': dict(known.lacking),
    'cut': dict(known.cut),
    'audit': checks,
    **measured.facts,
    **facts,
    'read_out': measured.read_out,
    'seconds': seconds,
    'examples_per_second': len(examples) / seconds,
  }
  if jax.process_index() == 0:
    path = results.write_result(run.directory, result, measured.arrays)
    tables = [
      results.format_table(result),
      results.format_bias(result),
      results.format_calibration(result),
      tell_hallucination(result),
    ]
    told = '\n'.join(table for table in tables if table)
    print(f'\n{told}\nWritten to {path}.', flush=True)
  return result


def describe_run(run: Run) -> dict[str, Any]:
  """Returns what made the numbers, beside the checkpoint."""
  config = run.directory / 'config.gin'
  return {
    'fingerprints': {
      'tokens': run.cache.fingerprint,
      'vocabulary': run.cache.vocabulary_fingerprint,
      **run.cache.manifest['inputs'],
    },
    'config': config.read_text(encoding='utf-8') if config.exists() else None,
    'num_parameters': sum(leaf.size for leaf in jax.tree.leaves(run.params)),
    'code': results.describe_code(),
    'hardware': results.describe_hardware(),
  }
