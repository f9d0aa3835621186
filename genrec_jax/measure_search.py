"""Measures what beams lose of a run's model, beside exact scores."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from genrec_jax import artifacts
from genrec_jax.answering.facts import sample_examples
from genrec_jax.answering.run import load_run
from genrec_jax.evaluation import results
from genrec_jax.measuring.search import compare_widths
from genrec_jax.types import PathLike


def measure_search(
  *,
  run_dir: PathLike,
  model,
  task: str | None = None,
  checkpoint: str | int = 'best',
  beams: Sequence[int] = (10, 20, 50, 100),
  normalization: str = 'vocabulary',
  exclude_seen: bool = True,
  max_examples: int | None = 1000,
  batch_size: int = 128,
  seed: int = 0,
) -> dict[str, Any]:
  """Sets searches of several widths beside exact scores of all items.

  On validation, where one chooses the width. Writes `search/<task>.json` and
  prints a table.

  Args:
    run_dir: the run directory.
    model: the model class that the checkpoint is of.
    task: whose answer is an item; by default the first of the run.
    checkpoint: 'best' (on validation), 'last' or a step.
    beams: widths of searches.
    normalization: what a score is: 'vocabulary', 'level' or 'children'.
    exclude_seen: leave out the items of each history.
    max_examples: a seeded sample of so many; None for all. Exact scores take a
      row of the decoder for each inner node of the trie.
    batch_size: examples searched at once.
    seed: of the sample.

  Returns:
    What was written: `rows` of `measuring.search.compare_widths`.

  Raises:
    GenrecError: if an artefact is missing or does not belong to the others, or
      a name or a number cannot be.
  """
  run = load_run(run_dir, model, checkpoint=checkpoint)
  task = run.cache.item_task(task)
  facts = run.facts(task)
  examples, sample = sample_examples(
    run.cache.examples(task, 'validation'),
    max_examples,
    seed,
    whole_turns=facts.of_dialogues,
  )
  result = {
    'split': 'validation',
    'task': task,
    'sample': sample,
    'normalization': normalization,
    'rows': compare_widths(
      run,
      examples,
      beams,
      normalization=normalization,
      exclude_seen=exclude_seen and not facts.of_dialogues,
      batch_size=batch_size,
    ),
    'items': len(run.cache.item_tokens),
    'checkpoint': {'chosen': checkpoint, 'step': run.step},
    'fingerprints': {
      'tokens': run.cache.fingerprint,
      **run.cache.manifest['inputs'],
    },
    'code': results.describe_code(),
    'hardware': results.describe_hardware(),
    'time': results.now(),
  }
  path = pathlib.Path(run_dir) / 'search' / f'{task}.json'
  artifacts.write_json(path, result)
  print(format_widths(result['rows']))
  print(f'Written to {path}.')
  return result


def format_widths(rows: Mapping[str, Mapping[str, Any]]) -> str:
  """Returns the rows as a table."""
  heads = ('recall', '95 %', 'ndcg', 'found', 'same list', 'score lost')
  lines = [f'{"":<12}' + ''.join(f'{head:>18}' for head in heads)]
  for name, row in rows.items():
    k, recall = row['places'], row['recall']
    lost = row['score_lost']
    cells = (
      f'{recall["mean"]:.4f} @{k}',
      f'{recall["low"]:.4f} – {recall["high"]:.4f}',
      f'{row["ndcg"]["mean"]:.4f}',
      f'{row["found"]:.4f}',
      f'{row["same"]:.4f}',
      '–' if lost is None else f'{lost:.5f}',
    )
    lines.append(f'{name:<12}' + ''.join(f'{cell:>18}' for cell in cells))
  return '\n'.join(lines)
