"""What is read from the runs of an arm, beside its metrics.

A measure takes a run directory and returns rows of a table: mappings from
column to number or text. It is bound as `experiment.experiment.measure`.
"""

from __future__ import annotations

import pathlib
from typing import Any

from genrec_jax.data import splits
from genrec_jax.data.dataset import Dataset
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
