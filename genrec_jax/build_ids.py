"""Gives every item its id, looking at the train interactions alone."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from genrec_jax import artifacts
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.splits import Split, load_split, train_interactions
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.ids.residual_quantization import residual_kmeans
from genrec_jax.ids.simple import atomic_ids, random_ids, shuffle_ids
from genrec_jax.ids.svd import quantile_svd
from genrec_jax.ids.users import hashed_users, svd_users
from genrec_jax.types import GenrecError, PathLike, unknown_name

METHODS = {
  method.__name__: method
  for method in (residual_kmeans, quantile_svd, random_ids, atomic_ids)
}
USER_METHODS = {method.__name__: method for method in (hashed_users, svd_users)}


def build_ids(
  *,
  run_dir: PathLike,
  method: str | Callable[..., ItemIds] = 'residual_kmeans',
  user_method: str | Callable[..., Any] | None = None,
  shuffle: bool = False,
  seed: int = 0,
) -> None:
  """Builds the ids of a run's items from its train interactions.

  Reads RUN_DIR/dataset and writes RUN_DIR/ids: manifest.json, items.npy,
  users.npy, vectors.npy, and items.tsv for people.

  Args:
    run_dir: the run's directory.
    method: residual_kmeans, quantile_svd, random_ids, atomic_ids; by this name
      with its defaults. Bind a function in gin to set its arguments
      (`build_ids.method = @residual_kmeans`), or to use your own: it gets
      user, item, num_users, num_items and seed, and returns ItemIds.
    user_method: None (users have no tokens), hashed_users or svd_users, or a
      function as above that returns codes and codebook sizes.
    shuffle: deal the ids out at random: the control that shows what the ids
      contribute.
    seed: of all that is random.
  """
  directory = pathlib.Path(run_dir)
  dataset = Dataset.load(directory / 'dataset')
  split = load_split(directory / 'dataset', dataset)
  started = time.monotonic()
  ids = make_ids(
    dataset,
    split,
    method=method,
    user_method=user_method,
    shuffle=shuffle,
    seed=seed,
  )
  seconds = time.monotonic() - started
  ids.save(
    directory / 'ids',
    item_ids=dataset.items['item_id'].to_pylist(),
    names=dataset.item_names(),
  )
  print(describe(ids))
  print(f'{seconds:.1f} s; ids are in {directory / "ids"}', flush=True)


def make_ids(
  dataset: Dataset,
  split: Split,
  *,
  method: str | Callable[..., ItemIds] = 'residual_kmeans',
  user_method: str | Callable[..., Any] | None = None,
  shuffle: bool = False,
  seed: int = 0,
) -> ItemIds:
  """Returns the ids that `build_ids` writes; see there."""
  user, item = train_interactions(dataset, split)
  user.setflags(write=False)
  item.setflags(write=False)
  arguments = user, item, dataset.num_users, dataset.num_items
  ids = _named(method, 'id method', METHODS)(*arguments, seed=seed)
  if ids.num_items != dataset.num_items:
    raise GenrecError(
      f'The id method {method} gave ids to {ids.num_items} items; expected all'
      f' {dataset.num_items} of the dataset.'
    )
  if user_method is not None:
    chosen = _named(user_method, 'user id method', USER_METHODS)
    codes, sizes = chosen(*arguments, seed=seed)
    ids = dataclasses.replace(ids, user_codes=codes, user_codebook_sizes=sizes)
  if len(ids.user_codes) not in (0, dataset.num_users):
    raise GenrecError(
      f'The user id method {user_method} gave codes to {len(ids.user_codes)}'
      f' users; expected all {dataset.num_users} of the dataset.'
    )
  if shuffle:
    ids = shuffle_ids(ids, seed=seed)
  return dataclasses.replace(
    ids,
    facts={**ids.facts, 'seed': seed, 'levels': level_use(ids)},
    inputs={
      'dataset': dataset.fingerprint,
      'split': split.fingerprint,
      'train': artifacts.arrays_sha256(user, item),
    },
  )


def level_use(ids: ItemIds) -> list[dict[str, float]]:
  """Returns how evenly the items use the codes of each level.

  `perplexity` is e to the entropy of the code of an item: the number of codes
  that, used equally often, would tell items apart as well.
  """
  levels = []
  for codes, size in zip(ids.codes.T, ids.codebook_sizes, strict=True):
    counts = np.bincount(codes[codes >= 0], minlength=size)
    share = counts[counts > 0] / counts.sum()
    levels.append(
      {
        'codes': size,
        'used': len(share),
        'perplexity': round(float(np.exp(-share @ np.log(share))), 1),
      }
    )
  return levels


def describe(ids: ItemIds) -> str:
  """Says in a few lines what the ids are like."""
  lines = [f'{ids.num_items} items have unique ids of {ids.num_levels} codes.']
  for number, level in enumerate(ids.facts['levels']):
    lines.append(
      f'  level {number}: {level["used"]} of {level["codes"]} codes used,'
      f' perplexity {level["perplexity"]}'
    )
  for name in ('method', 'collisions', 'collision_rate', 'moved'):
    if name in ids.facts:
      value = ids.facts[name]
      shown = f'{value:.1%}' if isinstance(value, float) else value
      lines.append(f'  {name.replace("_", " ")}: {shown}')
  if 'unexplained_variance' in ids.facts:
    shares = ', '.join(f'{x:.2f}' for x in ids.facts['unexplained_variance'])
    lines.append(f'  variance left unexplained after each level: {shares}')
  if ids.facts.get('shuffled'):
    lines.append('  shuffled: the ids were dealt out to items at random')
  if ids.user_codebook_sizes:
    sizes = ' x '.join(str(size) for size in ids.user_codebook_sizes)
    lines.append(f'  users have {sizes} codes')
  return '\n'.join(lines)


def _named(
  method: str | Callable[..., Any], kind: str, table: dict[str, Callable]
) -> Callable[..., Any]:
  if callable(method):
    return method
  if method not in table:
    raise unknown_name(kind, method, table)
  return table[method]
