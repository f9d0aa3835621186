"""What the source calls users and dialogues, and items that came later."""

from __future__ import annotations

import pathlib

from genrec_jax import artifacts
from genrec_jax.data.token_cache import TokenCache
from genrec_jax.ids.new_items import NewItems


def read_new_items(run_dir: pathlib.Path, cache: TokenCache) -> NewItems | None:
  """Returns the items that were added to a run; None where none were."""
  directory = run_dir / 'new_items'
  if not (directory / artifacts.MANIFEST).exists():
    return None
  return NewItems.load(directory, ids=cache.manifest['inputs']['ids'])


def read_query_ids(
  run_dir: pathlib.Path, *, of_dialogues: bool
) -> list[str] | None:
  """Returns the source's ids of users, or of dialogues.

  None where the run directory has no dataset.
  """
  if not (run_dir / 'dataset' / artifacts.MANIFEST).exists():
    return None
  # Late, because a machine that only decodes needs no Arrow.
  from genrec_jax.data.dataset import Dataset

  dataset = Dataset.load(run_dir / 'dataset')
  if of_dialogues:
    starts = dataset.dialogue_offsets[:-1]
    return dataset.dialogues['dialogue_id'].take(starts).to_pylist()
  return dataset.users['user_id'].to_pylist()
