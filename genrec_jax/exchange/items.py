"""The catalogue as a file: what the numbers of items mean."""

from __future__ import annotations

import json
import pathlib

from genrec_jax import artifacts
from genrec_jax.answering.source_ids import read_new_items
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.token_cache import TokenCache
from genrec_jax.types import EOS_ID

FILE = 'items.jsonl'


def write_items(
  directory: pathlib.Path, cache: TokenCache, item_ids: list[str] | None
) -> None:
  """Writes `items.jsonl`: a line for each item, in the order of their numbers.

  Args:
    directory: where to; it exists.
    cache: the tokens of the run, with new items where there are some.
    item_ids: the source's; None where the run does not have them.
  """
  lines = []
  for item, (name, tokens) in enumerate(
    zip(cache.item_names, cache.item_tokens.tolist())
  ):
    record = {'item': item, 'name': name}
    if item_ids is not None:
      record['item_id'] = item_ids[item]
    # Padding says nothing; an end is part of ids that differ in length.
    record['tokens'] = [token for token in tokens if token >= EOS_ID]
    lines.append(json.dumps(record, ensure_ascii=False) + '\n')
  artifacts.write_text(directory / FILE, ''.join(lines))


def read_catalogue(
  run_dir: pathlib.Path, cache: TokenCache, *, new_items: bool
) -> tuple[TokenCache, list[str] | None]:
  """Returns a run's tokens, with its new items if wanted, and all item ids.

  The ids are None where the run directory has no dataset.
  """
  new = read_new_items(run_dir, cache) if new_items else None
  added = []
  if new is not None:
    cache, added = new.extend(cache), new.item_ids
  if not (run_dir / 'dataset' / artifacts.MANIFEST).exists():
    return cache, None
  dataset = Dataset.load(run_dir / 'dataset')
  return cache, [*dataset.items['item_id'].to_pylist(), *added]
