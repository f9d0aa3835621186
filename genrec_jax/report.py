"""Draws a run on one self-contained HTML page."""

from __future__ import annotations

import json
import pathlib
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genrec_jax import artifacts
from genrec_jax.data import catalogue
from genrec_jax.data.token_cache import TokenCache
from genrec_jax.evaluation import results
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.training import writers
from genrec_jax.types import GenrecError, PathLike

COLUMNS = ('recall@5', 'recall@10', 'ndcg@5', 'ndcg@10', 'mrr')
SLICES = {
  'all': 'all examples',
  'tied': 'target on the same day as the item before it',
  'untied': 'target later than the item before it',
}


def report(
  *,
  run_dir: PathLike,
  compare: Sequence[PathLike] = (),
  max_map_items: int = 2000,
  seed: int = 0,
) -> pathlib.Path:
  """Writes `report.html`: metrics, curves, the ID space, recommendations.

  Shows what the run directory holds; what is not there yet is said. The page
  needs no network.

  Args:
    run_dir: the run directory.
    compare: directories of other runs on the same data, whose model rows are
      shown in the same tables (a control with shuffled ids, say).
    max_map_items: items on the map of the ID space, the most a page shows
      well; a seeded sample beyond.
    seed: of that sample and the layout of the map.

  Returns:
    The page's path.

  Raises:
    GenrecError: if the run has no token cache, or a compared run is of other
      data.
  """
  # Late: the report's libraries are an extra.
  from genrec_jax.reporting import figures, page

  run_dir = pathlib.Path(run_dir)
  compare = [compare] if isinstance(compare, str) else compare
  cache = TokenCache.load(run_dir / 'tokens')
  log = writers.read_rows(run_dir / 'logs' / 'metrics.jsonl')
  evaluated = {
    split: results.read_result(run_dir, split)
    for split in reversed(results.SPLITS)
    if (run_dir / 'evaluation' / f'{split}.json').exists()
  }
  tables = []
  for split, (result, _) in evaluated.items():
    others = {
      name: _result_of(other, split, result)
      for name, other in _short_names(compare).items()
    }
    tables += metric_tables(result, others, _published(run_dir, split))
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
  html = page.render(
    {
      'title': f'Run {run_dir.resolve().name}',
      'subtitle': (
        f'{len(cache.item_names):,} items as sequences of'
        f' {cache.item_tokens.shape[1]} tokens; task'
        f' {", ".join(cache.tasks())}.'
      ),
      'tables': tables,
      'loss_curve': figures.curves(log, 'train', ['loss']),
      'metric_curve': figures.curves(
        log, 'validation', ['recall@10', 'ndcg@10', 'recall@5', 'mrr']
      ),
      'id_figure': id_figure,
      'id_note': id_note,
      'examples': _examples(run_dir, cache, evaluated),
      'facts': _facts(ids, evaluated),
      'config': _read_text(run_dir / 'config.gin'),
    }
  )
  path = run_dir / 'report.html'
  artifacts.write_text(path, html)
  for table in tables:
    print(format_table(table) + '\n')
  print(f'Report: {path.resolve()} (open it in a browser)')
  return path


def metric_tables(
  result: Mapping[str, Any],
  others: Mapping[str, Mapping[str, Any]],
  published: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
  """Returns the tables of one evaluated part: all examples, then slices."""
  tables = []
  counts = {
    name: int(values['n'])
    for name, values in result['metrics']['model'].items()
  }
  for name in SLICES:
    if name not in counts or (
      name != 'all' and not 0 < counts[name] < counts['all']
    ):
      continue
    rows = [
      {
        'name': row,
        'model': row == 'model',
        'values': [slices[name].get(column) for column in COLUMNS],
      }
      for row, slices in {
        **result['metrics'],
        **{
          f'model of {other}': value['metrics']['model']
          for other, value in others.items()
        },
      }.items()
    ]
    if name == 'all':
      rows += [
        {
          'name': f'{row["method"]}, published',
          'model': False,
          'values': [row['metrics'].get(column) for column in COLUMNS],
        }
        for row in published
      ]
    tables.append(
      {
        'title': (
          f'{result["split"].capitalize()}: {SLICES[name]} ({counts[name]:,})'
        ),
        'note': (
          'The whole catalogue is ranked'
          + (
            ', without the items of the history'
            if result['search']['exclude_seen']
            else ''
          )
          + f'; {result["search"]["num_beams"]} beams; invalid items'
          f' {result["invalid_share"]:.0%}.'
        ),
        'head': 'method',
        'columns': COLUMNS,
        'rows': rows,
      }
    )
  return tables


def format_table(table: Mapping[str, Any]) -> str:
  """Returns one of `metric_tables` as text."""
  width = max(len(row['name']) for row in table['rows'])
  lines = [
    f'{table["title"]}. {table["note"]}',
    ' ' * width + ''.join(f'{name:>11}' for name in table['columns']),
  ]
  for row in table['rows']:
    values = ('-' if v is None else f'{v:.4f}' for v in row['values'])
    lines.append(
      f'{row["name"]:<{width}}' + ''.join(f'{v:>11}' for v in values)
    )
  return '\n'.join(lines)


def _short_names(paths: Sequence[PathLike]) -> dict[str, pathlib.Path]:
  """Returns paths by the fewest last folders that tell them all apart."""
  whole = list(dict.fromkeys(pathlib.Path(path).resolve() for path in paths))
  for depth in range(1, max((len(p.parts) for p in whole), default=0) + 1):
    names = ['/'.join(path.parts[-depth:]) for path in whole]
    if len(set(names)) == len(whole):
      return dict(zip(names, whole))
  return {}


def _result_of(
  other: PathLike, split: str, result: Mapping[str, Any]
) -> dict[str, Any]:
  """Reads another run's result; refuses one on other data."""
  compared, _ = results.read_result(other, split)
  for kind in ('dataset', 'split'):
    if compared['fingerprints'][kind] != result['fingerprints'][kind]:
      raise GenrecError(
        f'{other} was measured on another {kind} than this run, so their'
        ' metrics do not compare; pass runs on the same data.'
      )
  return compared


def _published(run_dir: pathlib.Path, split: str) -> list[dict[str, Any]]:
  """Returns the published test rows on the run's data set, if there are."""
  manifest = run_dir / 'dataset' / artifacts.MANIFEST
  if split != 'test' or not manifest.exists():
    return []
  name = json.loads(manifest.read_text(encoding='utf-8')).get('name')
  path = catalogue.directory().parent / 'references' / f'{name}.toml'
  if not path.exists():
    return []
  return tomllib.loads(path.read_text(encoding='utf-8'))['rows']


def _examples(
  run_dir: pathlib.Path, cache: TokenCache, evaluated: Mapping[str, Any]
) -> list[dict[str, Any]]:
  """Returns the users of recommendations.jsonl, with their held-out item."""
  targets = {}
  if 'test' in evaluated:
    lists = evaluated['test'][1]
    targets = dict(zip(lists['user'].tolist(), lists['target'].tolist()))
  examples = []
  for record in writers.read_rows(run_dir / 'recommendations.jsonl'):
    target = targets.get(record['user'])
    examples.append(
      {
        'user': record['user_id'] or record['user'],
        'target': None if target is None else cache.item_names[target],
        'history': [item['name'] for item in record['history'][-20:]],
        'items': [
          {
            'name': entry['name'],
            'score': entry['score'],
            'path': [
              {'token': step['label'], 'num_items': f'{step["items"]:,}'}
              for step in entry['path']
            ],
          }
          for entry in record['recommendations']
        ],
      }
    )
  return examples


def _facts(ids: ItemIds, evaluated: Mapping[str, Any]) -> list[tuple[str, Any]]:
  """Returns what a reader needs to make the numbers again."""
  facts = [
    ('IDs', json.dumps(ids.facts, ensure_ascii=False, default=str)),
    ('codebooks', ' × '.join(map(str, ids.codebook_sizes))),
  ]
  for split, (result, _) in evaluated.items():
    facts += [
      (f'{split}: checkpoint', f'step {result["checkpoint"]["step"]}'),
      (f'{split}: code', json.dumps(result['code'])),
      (f'{split}: hardware', json.dumps(result['hardware'])),
      (f'{split}: examples/s', f'{result["examples_per_second"]:,.0f}'),
      *(
        (f'{split}: {name}', value[:16])
        for name, value in result['fingerprints'].items()
      ),
    ]
  return facts


def _read_text(path: pathlib.Path) -> str | None:
  return path.read_text(encoding='utf-8') if path.exists() else None
