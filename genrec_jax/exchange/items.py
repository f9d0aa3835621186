"""The catalogue as a file: what the numbers of items mean."""

from __future__ import annotations

import json
import pathlib

from genrec_jax import artifacts
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.token_cache import TokenCache
from genrec_jax.ids.new_items import NewItems
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
  added = []
  if new_items and (run_dir / 'new_items' / artifacts.MANIFEST).exists():
    new = NewItems.load(
      run_dir / 'new_items', ids=cache.manifest['inputs']['ids']
    )
    cache, added = new.extend(cache), new.item_ids
  if not (run_dir / 'dataset' / artifacts.MANIFEST).exists():
    return cache, None
  dataset = Dataset.load(run_dir / 'dataset')
  return cache, [*dataset.items['item_id'].to_pylist(), *added]


def read_query_ids(
  run_dir: pathlib.Path, *, of_dialogues: bool
) -> list[str] | None:
  """Returns the source's ids of users, or of dialogues.

  None where the run directory has no dataset.
  """
  if not (run_dir / 'dataset' / artifacts.MANIFEST).exists():
    return None
  dataset = Dataset.load(run_dir / 'dataset')
  if of_dialogues:
    starts = dataset.dialogue_offsets[:-1]
    return dataset.dialogues['dialogue_id'].take(starts).to_pylist()
  return dataset.users['user_id'].to_pylist()
