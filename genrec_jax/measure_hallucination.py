"""Measures how many items a model would invent, decoded in many ways."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

from genrec_jax import artifacts
from genrec_jax.answering.facts import sample_examples
from genrec_jax.answering.item_paths import ItemDecoding
from genrec_jax.answering.run import load_run
from genrec_jax.evaluation import results
from genrec_jax.measuring.invented_items import (
  TOP_K,
  compare_decodings,
  measure_mass,
)
from genrec_jax.reporting.hallucination_tables import tell_hallucination
from genrec_jax.types import PathLike, unknown_name


def measure_hallucination(
  *,
  run_dir: PathLike,
  model,
  split: str = 'validation',
  task: str | None = None,
  checkpoint: str | int = 'best',
  beams: Sequence[int] = (1, 5, 10, 20, 50),
  temperatures: Sequence[float] = (0.5, 1.0, 1.5),
  num_drawn: int = 10,
  max_examples: int | None = 1000,
  exclude_seen: bool = True,
  batch_size: int = 128,
  seed: int = 0,
) -> dict[str, Any]:
  """Decodes items with and without the trie, by beams and by temperatures.

  `genrec evaluate --hallucination_examples=…` does the same for the usual ways
  of decoding; this is for how it depends on them. Writes
  `hallucination/<split>/<task>.json` and prints a table.

  Args:
    run_dir: the run directory.
    model: the model class that the checkpoint is of.
    split: 'validation' or 'test'.
    task: whose answer is an item; by default the first of the run.
    checkpoint: 'best' (on validation), 'last' or a step.
    beams: widths of searches, each under the trie and without it.
    temperatures: at each, `num_drawn` sequences are drawn without the trie.
    num_drawn: for each example.
    max_examples: a seeded sample of so many; None for all.
    exclude_seen: leave out the items of each history.
    batch_size: examples decoded at once.
    seed: of the sample and of what is drawn.

  Returns:
    What was written: `rows` of `measuring.invented_items.compare_decodings`
    by name, and the `mass` that the model puts outside of the catalogue.

  Raises:
    GenrecError: if an artefact is missing or does not belong to the others, a
      name is unknown, or a number cannot be.
  """
  if split not in results.SPLITS:
    raise unknown_name('split', split, results.SPLITS)
  decodings = [
    ItemDecoding(trie=trie, num_beams=number)
    for trie, number in itertools.product((True, False), beams)
  ]
  decodings += [
    ItemDecoding(trie=False, num_beams=num_drawn, temperature=temperature)
    for temperature in temperatures
  ]
  run = load_run(run_dir, model, checkpoint=checkpoint)
  task = run.cache.item_task(task)
  examples, sample = sample_examples(
    run.cache.examples(task, split),
    max_examples,
    seed,
    whole_turns=run.facts(task).of_dialogues,
  )
  rows = compare_decodings(
    run,
    examples,
    decodings,
    exclude_seen=exclude_seen and not run.facts(task).of_dialogues,
    batch_size=batch_size,
    seed=seed,
  )
  result = {
    'split': split,
    'task': task,
    'sample': sample,
    'top_k': TOP_K,
    'rows': {row.pop('name'): row for row in rows},
    'mass': measure_mass(run, examples, seed=seed),
    'items': len(run.cache.item_tokens),
    'codebook_sizes': list(run.cache.layout['codebook_sizes']),
    'checkpoint': {'chosen': checkpoint, 'step': run.step},
    'fingerprints': {
      'tokens': run.cache.fingerprint,
      **run.cache.manifest['inputs'],
    },
    'code': results.describe_code(),
    'hardware': results.describe_hardware(),
    'time': results.now(),
  }
  if split == 'test':
    looked = ('task', 'sample', 'checkpoint', 'fingerprints')
    results.log_test(
      pathlib.Path(run_dir) / 'evaluation' / 'test_log.jsonl',
      {name: result[name] for name in looked},
    )
  path = pathlib.Path(run_dir) / 'hallucination' / split / f'{task}.json'
  artifacts.write_json(path, result)
  print(tell_hallucination({'hallucination': {'items': result}}))
  print(f'Written to {path}.')
  return result
