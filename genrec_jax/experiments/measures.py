"""What is read from the runs of an arm, beside its metrics.

A measure takes a run directory and returns rows of a table: mappings from
column to number or text. It is bound as `experiment.experiment.measure`.
"""

from __future__ import annotations

import json
import math
import pathlib
from typing import Any

from genrec_jax.data import splits
from genrec_jax.data.dataset import Dataset
from genrec_jax.evaluation import results
from genrec_jax.ids.inspection import neighbourhood_overlap
from genrec_jax.ids.item_ids import ItemIds

Row = dict[str, Any]


def id_facts(run_dir: pathlib.Path) -> list[Row]:
  """Returns what the ids of a run are like.

  Collisions before they were told apart, prefixes and perplexity by level, and
  the share of an item's ten nearest neighbours, by who had them, under its
  first code, beside that of ids dealt out at random.
  """
  ids = ItemIds.load(run_dir / 'ids')
  directory = run_dir / 'dataset'
  dataset = Dataset.load(directory)
  split = splits.load_split(directory, dataset)
  overlap = neighbourhood_overlap(
    ids.codes, *splits.train_interactions(dataset, split)
  )
  levels = ids.facts['levels']
  return [
    {
      'collisions before': ids.facts.get('collision_rate'),
      'prefixes by level': ' / '.join(f'{v["prefixes"]:,}' for v in levels),
      'perplexity by level': ' / '.join(
        f'{v["perplexity"]:,.0f}' for v in levels
      ),
      'neighbours under one first code': overlap['prefixes'][0],
      'by chance': overlap['shuffled']['prefixes'][0],
    }
  ]


def invented_items(run_dir: pathlib.Path) -> list[Row]:
  """Returns how much is invented, as `measure_hallucination` wrote it."""
  path = run_dir / 'hallucination' / 'validation' / 'sequential.json'
  found = json.loads(path.read_text(encoding='utf-8'))
  sizes = found['codebook_sizes']
  rows = []
  for name, row in found['rows'].items():
    decoding = row['decoding']
    free = not decoding['trie'] and decoding['temperature'] is None
    rows.append(
      {
        'codes': ' × '.join(map(str, sizes)),
        'combinations an item': math.prod(sizes) / found['items'],
        'decoding': name,
        'beams': decoding['num_beams'] if free else None,
        'no item': row['no_item']['mean'],
        '95 %': '{low:.4f} – {high:.4f}'.format(**row['no_item']),
        'users with one in 10': row['any_no_item']['mean'],
        'recall@10': row['recall@10']['mean'],
        'mass outside': found['mass']['outside']['mean'],
      }
    )
  return rows


def beside_pipeline(run_dir: pathlib.Path) -> list[Row]:
  """Returns accuracy and cost of the model and the baselines of a run.

  Of next items on validation, and of one request at a time and a batch of
  several, as `genrec evaluate`, `baselines` and `measure_cost` wrote them.
  """
  task, split = 'sequential', 'validation'
  result, _ = results.read_result(run_dir, split, task)
  metrics = {'model': result['metrics']['model']['all']}
  folder = run_dir / 'baselines' / split
  for path in sorted(folder.glob('*.json')):
    found = json.loads(path.read_text(encoding='utf-8'))
    metrics[path.stem] = found['metrics']['all']
  cost = json.loads((run_dir / 'cost' / f'{task}.json').read_text('utf-8'))
  rows = []
  for method, found in metrics.items():
    row = {
      'items': cost['items'],
      'method': method,
      'recall@10': found['recall@10'],
      'ndcg@10': found['ndcg@10'],
    }
    for size, of_size in cost['costs'].items():
      measured = of_size[method]
      row[f'p50 ms, {size} at once'] = measured['p50_ms']
      row[f'p95 ms, {size} at once'] = measured['p95_ms']
      row[f'CPU ms each, {size} at once'] = measured['cpu_ms_per_request']
    flops = measured['flops_per_request']
    row['MFLOP'] = None if flops is None else flops / 1e6
    row['MiB held'] = measured['bytes_held'] / 2**20
    rows.append(row)
  return rows
