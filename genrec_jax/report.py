"""Draws a run on one self-contained HTML page."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from genrec_jax import artifacts
from genrec_jax.answering.items import name_user
from genrec_jax.data.token_cache import TokenCache
from genrec_jax.decoding.recommend import take_examples
from genrec_jax.evaluation import results
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.measuring import changes
from genrec_jax.measuring.items import group_turns
from genrec_jax.measuring.watching import LOG_LIKELIHOOD
from genrec_jax.training import writers
from genrec_jax.types import PathLike


def report(
  *,
  run_dir: PathLike,
  max_map_items: int = 2000,
  seed: int = 0,
) -> pathlib.Path:
  """Writes `report.html`: every task, curves, the ID space, recommendations.

  Shows what the run directory holds; what is not there yet is said. The page
  needs no network.

  Args:
    run_dir: the run directory.
    max_map_items: items on the map of the ID space, the most a page shows
      well; a seeded sample beyond.
    seed: of that sample and the layout of the map.

  Returns:
    The page's path.

  Raises:
    GenrecError: if the run has no token cache.
  """
  # Late: the report's libraries are an extra.
  from genrec_jax.reporting import (
    bias_section,
    calibration_section,
    cost_section,
    counterfactual_section,
    figures,
    hallucination_section,
    page,
    task_sections,
    training_curves,
  )

  run_dir = pathlib.Path(run_dir)
  cache = TokenCache.load(run_dir / 'tokens')
  log = writers.read_rows(run_dir / 'logs' / 'metrics.jsonl')
  evaluated = _read_results(run_dir, cache)
  examples, warnings = _examples(run_dir, cache)
  warnings = [*_outdated(cache, evaluated), *warnings]
  dataset, sections = _dataset(run_dir), []
  for found in evaluated.values():
    shown = [result for result, _ in found]
    sections.append(
      {
        **task_sections.task_section(shown, dataset),
        'hidden': bias_section.bias_section(shown[0]),
        'invented': hallucination_section.hallucination_section(shown[0]),
        'more': [
          part
          for part in (
            calibration_section.calibration_section(shown[0]),
            counterfactual_section.counterfactual_section(
              _changes(run_dir, cache, shown[0])
            ),
            cost_section.cost_section(_cost(run_dir, cache, shown[0]['task'])),
          )
          if part is not None
        ],
      }
    )
  ids = ItemIds.load(run_dir / 'ids')
  id_figure, id_note = (
    None,
    ('These IDs were made without vectors, so there is no map of them.'),
  )
  if ids.vectors is not None:
    shown = np.arange(len(ids.codes))
    if len(shown) > max_map_items:
      shown = np.sort(
        np.random.default_rng(seed).choice(shown, max_map_items, False)
      )
    id_figure = figures.id_space(
      figures.plane(ids.vectors[shown], seed=seed),
      ids.codes[shown],
      [cache.item_names[item] for item in shown],
    )
    id_note = (
      f'{len(shown):,} of {len(ids.codes):,} items, laid out by t-SNE of the'
      ' vectors that the IDs were made from, coloured by the first code: items'
      ' that share it should lie together. Point at one to read its name.'
    )
  watched = ['recall@10', 'ndcg@10', 'recall@5', 'mrr']
  if any(LOG_LIKELIHOOD in row for row in log):
    watched = [f'{task}/{LOG_LIKELIHOOD}' for task in cache.tasks()]
    watched = [LOG_LIKELIHOOD, *watched]
  html = page.render(
    {
      'title': f'Run {run_dir.resolve().name}',
      'subtitle': (
        f'{len(cache.item_names):,} items as sequences of'
        f' {cache.item_tokens.shape[1]} tokens;'
        f' task{"s" * (len(cache.tasks()) > 1)} {", ".join(cache.tasks())}.'
      ),
      'sections': sections,
      'loss_curve': training_curves.curve(
        {'loss': training_curves.logged(log, 'train', 'loss')},
        'Training',
        'loss',
      ),
      'metric_curve': training_curves.curve(
        {
          name: training_curves.logged(log, 'validation', name)
          for name in watched
        },
        'Validation',
        'metric',
      ),
      'metric_note': (
        'Validation metrics on the sample watched during training.'
        + ' Log-likelihoods are means over the tokens of the true answers.'
        * any(name.endswith(LOG_LIKELIHOOD) for name in watched)
      ),
      'id_figure': id_figure,
      'id_note': id_note,
      'examples': examples,
      'warnings': warnings,
      'facts': _facts(ids, evaluated),
      'config': _read_text(run_dir / 'config.gin'),
    }
  )
  path = run_dir / 'report.html'
  artifacts.write_text(path, html)
  for section in sections:
    beside = [section['hidden'], section['invented'], *section['more']]
    more = [table for found in beside if found for table in found['tables']]
    for table in [*section['tables'], *more]:
      print(f'{section["task"]}. {task_sections.format_table(table)}\n')
  for warning in warnings:
    print(f'Warning: {warning}')
  print(f'Report: {path.resolve()} (open it in a browser)')
  return path


def _read_results(
  run_dir: pathlib.Path, cache: TokenCache
) -> dict[str, list[tuple[dict[str, Any], dict[str, np.ndarray]]]]:
  """Returns the results of each task, test first, in the tasks' order."""
  found: dict[str, list] = {}
  for split in reversed(results.SPLITS):
    for task, subset in results.measured_tasks(run_dir, split).items():
      read = results.read_result(run_dir, split, task, subset=subset)
      found.setdefault(task, []).append(read)
  # Those of tasks that have not been tokenized again come last.
  order = [*cache.tasks(), *found]
  return {task: found[task] for task in sorted(found, key=order.index)}


def _outdated(cache: TokenCache, evaluated: Mapping[str, Any]) -> list[str]:
  """Returns a warning that names the results of other tokens, if any are."""
  named = [
    f'{task} ({result["split"]})'
    for task, found in evaluated.items()
    for result, _ in found
    if result['fingerprints']['tokens'] != cache.fingerprint
  ]
  if not named:
    return []
  return [
    f'Measured with other tokens than the run has now: {", ".join(named)}; run'
    ' `genrec evaluate` again.'
  ]


def _changes(
  run_dir: pathlib.Path, cache: TokenCache, result: Mapping[str, Any]
) -> dict[str, Any] | None:
  """Returns what changed prompts changed; None if these tokens have none."""
  found = changes.read_result(run_dir, result['split'], result['task'])
  if found is None or found['fingerprints']['tokens'] != cache.fingerprint:
    return None
  return found


def _cost(
  run_dir: pathlib.Path, cache: TokenCache, task: str
) -> dict[str, Any] | None:
  """Returns what `genrec measure_cost` measured of a task on these tokens."""
  text = _read_text(run_dir / 'cost' / f'{task}.json')
  found = None if text is None else json.loads(text)
  if found is None or found['fingerprints']['tokens'] != cache.fingerprint:
    return None
  return found


def _dataset(run_dir: pathlib.Path) -> dict[str, Any]:
  """Returns the manifest of the run's data set, with its split, if any."""
  texts = [
    _read_text(run_dir / 'dataset' / name)
    for name in (artifacts.MANIFEST, 'split.json')
  ]
  if None in texts:
    return {}
  manifest, split = map(json.loads, texts)
  return {**manifest, 'split': split}


def _examples(
  run_dir: pathlib.Path, cache: TokenCache
) -> tuple[list[dict[str, Any]], list[str]]:
  """Returns the users of recommendations.jsonl, with what came next.

  And warnings, of those that were made with other tokens and are left out.
  """
  records = writers.read_rows(run_dir / 'recommendations.jsonl')
  current = [r for r in records if r.get('tokens') == cache.fingerprint]
  warnings = []
  if len(current) < len(records):
    warnings.append(
      f'{len(records) - len(current)} of the {len(records)} lists of'
      ' recommendations.jsonl were made with other tokens than the run has'
      ' now, and are left out; run `genrec recommend` again.'
    )
  examples = []
  for record in current:
    came_next = _came_next(cache, record)
    examples.append(
      {
        'user': name_user(record),
        'came_next': [cache.item_names[item] for item in came_next],
        'history': [item['name'] for item in record['history'][-20:]],
        'items': [
          {
            'name': entry['name'],
            'hit': entry['item'] in came_next,
            'score': entry['score'],
            'path': entry['path'],
          }
          for entry in record['recommendations']
        ],
      }
    )
  return examples, warnings


def _came_next(cache: TokenCache, record: Mapping[str, Any]) -> list[int]:
  """Returns the items that followed; none where the user is not in the data.

  `genrec recommend` reads the last example of a user, and the last turn of a
  dialogue, which may name several items.
  """
  if record['split'] is None:
    return []
  examples = cache.examples(record['task'], record['split'])
  own = np.flatnonzero(examples.user == record['user'])
  _, targets = group_turns(take_examples(examples, own))
  return targets[-1].tolist()


def _facts(ids: ItemIds, evaluated: Mapping[str, Any]) -> list[tuple[str, Any]]:
  """Returns what a reader needs to make the numbers again."""
  facts = [
    ('IDs', json.dumps(ids.facts, ensure_ascii=False, default=str)),
    ('codebooks', ' × '.join(map(str, ids.codebook_sizes))),
  ]
  told: dict[str, dict[str, str]] = {}
  for found in evaluated.values():
    for result, _ in found:
      of = f'{result["task"]}, {result["split"]}'
      for name, value in {
        'checkpoint': f'step {result["checkpoint"]["step"]}',
        'code': json.dumps(result['code']),
        'hardware': json.dumps(result['hardware']),
        **{kind: value[:16] for kind, value in result['fingerprints'].items()},
        'examples/s': f'{result["examples_per_second"]:,.0f}',
      }.items():
        told.setdefault(name, {})[of] = value
  for name, values in told.items():
    if len(set(values.values())) == 1:
      facts.append((name, next(iter(values.values()))))
    else:  # Some tasks were measured at another time than others.
      facts += [(f'{name} ({of})', value) for of, value in values.items()]
  return facts


def _read_text(path: pathlib.Path) -> str | None:
  return path.read_text(encoding='utf-8') if path.exists() else None
