"""Says what the codes of a run's items mean, beside shuffled ids."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats

from genrec_jax import artifacts, build_ids
from genrec_jax.evaluation import results
from genrec_jax.ids import inspection, svd
from genrec_jax.reporting import lookup
from genrec_jax.reporting.task_sections import format_table
from genrec_jax.types import PathLike

MAP_RANK = 32  # factors for the map of ids that were made without vectors
COLUMNS = ('ids', 'shuffled', 'adjusted')


def inspect_ids(
  *,
  run_dir: PathLike,
  prefix: Sequence[int] | None = None,
  item: str | None = None,
  num_examples: int = 3,
  max_map_items: int = 2000,
  num_shuffles: int = 5,
  seed: int = 0,
) -> None:
  """Writes what the codes mean: `ids_report.html` and `ids_report.json`.

  Do items that are taken together share their first codes? What do codes tell
  of the items' attributes? Which items share a prefix, and where do they lie on
  a map of all items? Each number has the same number under ids that were dealt
  out at random beside it. Reads RUN_DIR/dataset and RUN_DIR/ids.

  With `prefix` or `item` it prints what was asked for, and writes nothing.

  Args:
    run_dir: the run's directory.
    prefix: the first codes of the items to show: --prefix=3,17.
    item: the source's id of an item to show, with the items whose ids are
      like its own and those it is taken together with.
    num_examples: prefixes of one and of two codes that the report shows: so
      many of the largest, and so many of items drawn at random.
    max_map_items: items on the map, the most a page shows well; a sample
      beyond.
    num_shuffles: how often the ids are dealt out at random.
    seed: of the shuffles, the samples and the layout of the map.

  Raises:
    GenrecError: if the run has no ids, they are of other data, or there is no
      such prefix or item.
  """
  directory = pathlib.Path(run_dir)
  catalogue = lookup.Catalogue.load(directory, seed=seed)
  asked = []
  if prefix is not None:
    rows = catalogue.rows_of(prefix)
    described = lookup.describe_prefix(catalogue, rows, len(prefix))
    asked.append(lookup.tell_prefix(described))
  if item is not None:
    asked.append(lookup.tell_item(catalogue, catalogue.row_of(item)))
  if asked:
    print('\n\n'.join(asked))
    return
  result = measure(
    catalogue, num_examples=num_examples, num_shuffles=num_shuffles, seed=seed
  )
  tables = result_tables(result)
  html = _page(directory, catalogue, result, tables, max_map_items, seed)
  artifacts.write_json(directory / 'ids_report.json', result)
  path = directory / 'ids_report.html'
  artifacts.write_text(path, html)
  print(build_ids.describe(catalogue.ids))
  for text in (
    *map(format_table, tables),
    *map(lookup.tell_prefix, result['prefixes']),
    *result['notes'],
    f'Report: {path.resolve()} (open it in a browser)',
  ):
    print(f'\n{text}')


def measure(
  catalogue: lookup.Catalogue,
  *,
  num_examples: int,
  num_shuffles: int,
  seed: int,
) -> dict[str, Any]:
  """Returns the numbers of the report, as JSON values."""
  ids, notes = catalogue.ids, []
  overlap = None
  if (catalogue.neighbors >= 0).any():
    overlap = inspection.overlap(
      ids.codes, catalogue.neighbors, num_shuffles=num_shuffles, seed=seed
    )
  else:
    notes.append('No two items were taken by one user: none are neighbours.')
  if not catalogue.fields:
    notes.append('The items have no attributes to compare the codes with.')
  if catalogue.names == catalogue.item_ids:
    notes.append('The items have no titles; they go by their ids.')
  examples = lookup.example_prefixes(catalogue, num_examples, seed=seed)
  if not examples:
    notes.append('No two items share their first code.')
  return {
    'fingerprints': {'ids': ids.fingerprint, **ids.inputs},
    'code': results.describe_code(),
    'settings': {'num_shuffles': num_shuffles, 'seed': seed},
    'facts': dict(ids.facts),
    'levels': [
      {**level, 'entropy': _entropy(codes)}
      for level, codes in zip(build_ids.level_use(ids), ids.codes.T)
    ],
    'largest_prefixes': [
      int(np.bincount(group).max())
      for group in inspection.prefix_groups(ids.codes)
    ],
    'overlap': overlap,
    'attributes': {
      name: inspection.attribute_information(
        ids.codes, attributes, num_shuffles=num_shuffles, seed=seed
      )
      for name, attributes in catalogue.fields.items()
    },
    'prefixes': examples,
    'notes': notes,
  }


def result_tables(result: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Returns the tables of a result, without prefixes that no items share."""
  shared = [size > 1 for size in result['largest_prefixes']]
  tables = []
  overlap = result['overlap']
  if overlap:
    control = overlap['shuffled']
    rows = {
      f'same first {f"{length} codes" if length > 1 else "code"}': pair
      for length, *pair in zip(
        range(1, len(shared) + 1), overlap['prefixes'], control['prefixes']
      )
      if shared[length - 1]
    }
    rows['nearest by code'] = overlap['nearest'], control['nearest']
    tables.append(
      _table(
        'Items taken together',
        f'Of the {overlap["num_neighbors"]} items whose users are most like an'
        f" item's own (cosine; {overlap['items']:,} items have any) the share"
        ' with the same first codes; and of as many items of the longest shared'
        ' prefixes the share that are among them.',
        COLUMNS[:2],
        rows,
      )
    )
  views = [(f'level {n}', 'levels', n) for n in range(len(shared))] + [
    (f'levels 0 to {n}', 'prefixes', n)
    for n in range(1, len(shared))
    if shared[n]
  ]
  for name, told in result['attributes'].items():
    tables.append(
      _table(
        f'Attributes: {name}',
        f'What codes tell of the {told["values"]:,} values that'
        f' {told["items"]:,} items have, as a share of what the item itself'
        f' tells ({told["bits"]:.2f} bits).',
        COLUMNS,
        {
          label: [
            part[kind][place]
            for part in (told, told['shuffled'], told['adjusted'])
          ]
          for label, kind, place in views
        },
      )
    )
  return tables


def _entropy(codes):
  return float(scipy.stats.entropy(np.bincount(codes[codes >= 0]), base=2))


def _table(title, note, columns, rows):
  return {
    'title': title,
    'note': note,
    'head': '',
    'columns': columns,
    'rows': [
      {'name': name, 'model': False, 'values': list(values)}
      for name, values in rows.items()
    ],
  }


def _page(directory, catalogue, result, tables, max_map_items, seed):
  """Returns the report as HTML."""
  # Late: the report's libraries are an extra.
  from genrec_jax.reporting import figures, page

  ids = catalogue.ids
  vectors, source = ids.vectors, 'the vectors that the ids were made from'
  if vectors is None:
    source = 'factors of the train interactions, for these ids have no vectors'
    vectors = svd.item_factors(
      catalogue.user,
      catalogue.item,
      int(catalogue.user.max()) + 1,
      ids.num_items,
      rank=min(MAP_RANK, ids.num_items, int(catalogue.user.max()) + 1),
      solver='randomized',
      seed=seed,
    )
  generator = np.random.default_rng(seed)
  shown = np.sort(generator.permutation(ids.num_items)[:max_map_items])
  control = ids.codes[generator.permutation(ids.num_items)]
  places = figures.plane(vectors[shown], seed=seed)
  names = [catalogue.names[row] for row in shown]
  return page.render(
    {
      'title': f'The ids of {directory.resolve().name}',
      'subtitle': build_ids.describe(ids).split('\n')[0],
      'tables': tables,
      'control_figures': figures.beside_control(tables),
      'map_figures': [
        figures.id_space(places, codes[shown], names, title)
        for title, codes in (('ids', ids.codes), ('shuffled ids', control))
      ],
      'map_note': (
        f'{len(shown):,} of {ids.num_items:,} items, laid out by t-SNE of'
        f' {source}.'
      ),
      'levels': result['levels'],
      'use_figure': figures.level_use(ids.codes),
      'prefixes': result['prefixes'],
      'notes': result['notes'],
      'facts': [
        ('method', json.dumps(result['facts'], ensure_ascii=False)),
        ('code', json.dumps(result['code'])),
        ('settings', json.dumps(result['settings'])),
        *((name, value[:16]) for name, value in result['fingerprints'].items()),
      ],
    },
    template='ids_page.html',
  )
