"""Gives every item its id, looking at the train interactions alone."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from genrec_jax import artifacts
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.splits import Split, load_split, train_interactions
from genrec_jax.ids.cold_start import add_cold_items
from genrec_jax.ids.collaborative import collaborative_indexing
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.ids.product_quantization import product_quantization
from genrec_jax.ids.residual_quantization import residual_kmeans
from genrec_jax.ids.rq_vae import rq_vae
from genrec_jax.ids.simple import (
  atomic_ids,
  hybrid_ids,
  random_ids,
  sequential_ids,
  shuffle_ids,
)
from genrec_jax.ids.svd import quantile_svd
from genrec_jax.ids.textual import textual_ids
from genrec_jax.ids.users import hashed_users, svd_users, users_as_items
from genrec_jax.types import GenrecError, PathLike, unknown_name

METHODS = {
  method.__name__: method
  for method in (
    residual_kmeans,
    product_quantization,
    rq_vae,
    quantile_svd,
    collaborative_indexing,
    textual_ids,
    hybrid_ids,
    random_ids,
    atomic_ids,
    sequential_ids,
  )
} | {
  'optimised_product_quantization': functools.partial(
    product_quantization, rotation='learnt'
  )
}
USER_METHODS = {
  method.__name__: method
  for method in (hashed_users, svd_users, users_as_items)
}
# How facts of the ids are told to people, in this order.
TOLD = {
  'method': 'method: {}',
  'leaky': 'LEAKY: numbered along the histories; for audits alone, not results',
  'rotation': 'rotation: {}',
  'balanced': 'codebooks balanced: every code of a level used about as often',
  'tree': 'tree: {}',
  'edges': 'edges of the co-occurrence graph: {:,}',
  'isolated': 'items taken together with no other (own branches): {:,}',
  'items_per_leaf': 'items a leaf: {}',
  'items_without_vector': 'items without a vector (all zeros): {:,}',
  'items_without_text': 'items without text: {:,}',
  'mean_length': 'mean length of an id: {}',
  'cold_items': 'ids given after the others: {}',
  'codes_reset': 'dead codes started again in training: {:,}',
  'collisions': 'collisions: {}',
  'collision_rate': 'collision rate before: {:.1%} of items',
  'moved': 'moved to a free code: {:.1%} of items',
  'extra_error': 'error that moving added: {:.1%} of the variance',
}


def build_ids(
  *,
  run_dir: PathLike,
  method: str | Callable[..., ItemIds] = 'residual_kmeans',
  user_method: str | Callable[..., Any] | None = None,
  shuffle: bool = False,
  shuffle_cold: bool = False,
  seed: int = 0,
) -> None:
  """Builds the ids of a run's items from its train interactions.

  Reads RUN_DIR/dataset and writes RUN_DIR/ids: manifest.json, items.npy,
  users.npy, vectors.npy, and items.tsv for people.

  Args:
    run_dir: the run's directory.
    method: residual_kmeans, product_quantization,
      optimised_product_quantization, rq_vae, quantile_svd,
      collaborative_indexing, textual_ids, hybrid_ids, random_ids, atomic_ids
      or sequential_ids; by this name with its defaults, whatever is bound to
      it in gin. To set its arguments add its gin file
      (`--gin_file=ids/rq_vae.gin`) after that of the experiment, and one of
      vectors/ for other item vectors. Bound in gin, it may be a function of
      your own: it gets user, item, num_users, num_items and seed (and the
      items' titles if it takes `titles`), and returns ItemIds.
    user_method: None (users have no tokens), hashed_users, svd_users or
      users_as_items, or a function as above that returns codes and codebook
      sizes; gin files are in users/.
    shuffle: deal the ids out at random: the control that shows what the ids
      contribute.
    shuffle_cold: deal the ids of items that are held out of training out among
      these at random: the control for them (docs/cold_start.md).
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
    shuffle_cold=shuffle_cold,
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
  shuffle_cold: bool = False,
  seed: int = 0,
) -> ItemIds:
  """Returns the ids that `build_ids` writes; see there."""
  user, item = train_interactions(dataset, split)
  train = artifacts.arrays_sha256(user, item)
  items = dataset.items
  if len(split.cold_items):
    # As if there were none of them yet, not even their text.
    warm = np.setdiff1d(np.arange(dataset.num_items), split.cold_items)
    items, item = items.take(warm), np.searchsorted(warm, item).astype(np.int32)
  user.setflags(write=False)
  item.setflags(write=False)
  arguments = user, item, dataset.num_users, items.num_rows
  make = _named(method, 'id method', METHODS)
  given = {'seed': seed}
  if 'titles' in inspect.signature(make).parameters:
    given['titles'] = items['title'].to_pylist()
  ids = make(*arguments, **given)
  if ids.num_items != items.num_rows:
    raise GenrecError(
      f'The id method {method} gave ids to {ids.num_items} items; expected all'
      f' {items.num_rows} of the dataset.'
    )
  if user_method is not None:
    chosen = _named(user_method, 'user id method', USER_METHODS)
    codes, sizes = chosen(*arguments, seed=seed)
    ids = dataclasses.replace(
      ids,
      user_codes=codes,
      user_codebook_sizes=sizes,
      facts={**ids.facts, 'user_method': getattr(chosen, '__name__', 'own')},
    )
  if len(ids.user_codes) not in (0, dataset.num_users):
    raise GenrecError(
      f'The user id method {user_method} gave codes to {len(ids.user_codes)}'
      f' users; expected all {dataset.num_users} of the dataset.'
    )
  if shuffle:
    ids = shuffle_ids(ids, seed=seed)
  if len(split.cold_items):
    ids = add_cold_items(
      ids, dataset.items, split.cold_items, shuffle=shuffle_cold, seed=seed
    )
  return dataclasses.replace(
    ids,
    facts={**ids.facts, 'seed': seed, 'levels': level_use(ids)},
    inputs={
      'dataset': dataset.fingerprint,
      'split': split.fingerprint,
      'train': train,
    },
  )


def level_use(ids: ItemIds) -> list[dict[str, float]]:
  """Returns how evenly the items use the codes of each level.

  `perplexity` is e to the entropy of the code of an item: the number of codes
  that, used equally often, would tell items apart as well. `prefixes` is the
  number of different ids up to the level: the width of the trie there.
  """
  ordered = ids.codes[np.lexsort(ids.codes.T[::-1])]
  new = np.ones(ordered.shape, bool)
  new[1:] = np.logical_or.accumulate(ordered[1:] != ordered[:-1], axis=1)
  prefixes = (new & (ordered >= 0)).sum(axis=0).tolist()
  levels = []
  for codes, size, width in zip(
    ids.codes.T, ids.codebook_sizes, prefixes, strict=True
  ):
    counts = np.bincount(codes[codes >= 0], minlength=size)
    share = counts[counts > 0] / counts.sum()
    levels.append(
      {
        'codes': size,
        'used': len(share),
        'perplexity': round(float(np.exp(-share @ np.log(share))), 1),
        'prefixes': width,
      }
    )
  return levels


def describe(ids: ItemIds) -> str:
  """Says in a few lines what the ids are like."""
  lengths = (ids.codes >= 0).sum(axis=1)
  length = str(lengths.max())
  if lengths.min() < lengths.max():
    length = f'{lengths.min()} to {length}'
  word = 'code' if length == '1' else 'codes'
  lines = [f'{ids.num_items:,} items have unique ids of {length} {word}.']
  for number, level in enumerate(ids.facts['levels']):
    lines.append(
      f'  level {number}: {level["used"]:,} of {level["codes"]:,} codes used,'
      f' perplexity {level["perplexity"]:,}; {level["prefixes"]:,} prefixes'
    )
  lines += _told(ids.facts)
  for part in ('shared', 'last'):
    if part in ids.facts:
      lines.append(f'  {part} codes:')
      lines += [f'  {line}' for line in _told(ids.facts[part])]
  if ids.facts.get('shuffled'):
    lines.append('  shuffled: the ids were dealt out to items at random')
  if ids.user_codebook_sizes:
    sizes = ' x '.join(str(size) for size in ids.user_codebook_sizes)
    lines.append(f'  users have {sizes} codes')
  return '\n'.join(lines)


def _told(facts: Mapping[str, Any]) -> list[str]:
  told = [
    f'  {text.format(facts[name])}'
    for name, text in TOLD.items()
    if facts.get(name, False) is not False
  ]
  if 'unexplained_variance' in facts:
    shares = ', '.join(f'{x:.2f}' for x in facts['unexplained_variance'])
    told.append(f'  variance left unexplained after each level: {shares}')
  return told


def _named(
  method: str | Callable[..., Any], kind: str, table: dict[str, Callable]
) -> Callable[..., Any]:
  if callable(method):
    return method
  if method not in table:
    raise unknown_name(kind, method, table)
  return table[method]
