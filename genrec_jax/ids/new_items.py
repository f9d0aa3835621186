"""Items that got their ids after a run was made: an artefact of their own.

The directory (artefact kind 'new_items'), beside the run's `ids`:

  codes.npy     int32 [n, L]: their codes, none of them an item's of the run
  items.jsonl   of each its id, its name, what its code was chosen by, and the
                items of the run that it is like

Their numbers follow those of the run's items, in the order they were added.
Tokens follow from codes by the run's layout, so the files hold none.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from genrec_jax import artifacts
from genrec_jax.data.token_cache import TokenCache
from genrec_jax.ids.item_ids import TokenLayout
from genrec_jax.types import GenrecError, PathLike

KIND = 'new_items'


@dataclasses.dataclass(frozen=True, eq=False)
class NewItems:
  """The items that were added to a run.

  Attributes:
    codes: int32 [n, L], as `ItemIds.codes`.
    records: of each item JSON values: `item_id`, `name`, `known_by` (what its
      code was chosen by, None if by nothing) and `like`, a list of `item_id`,
      `name` and `likeness`.
    inputs: the fingerprints of the 'dataset' and the 'ids' they were added to.
    additions: of each call that added some: how many, and the sha256 of what
      it read; JSON values.
  """

  codes: Int[np.ndarray, 'n L']
  records: tuple[Mapping[str, Any], ...]
  inputs: Mapping[str, str]
  additions: tuple[Mapping[str, Any], ...] = ()

  def __len__(self) -> int:
    return len(self.records)

  @property
  def item_ids(self) -> list[str]:
    """The source's id of each."""
    return [record['item_id'] for record in self.records]

  @functools.cached_property
  def fingerprint(self) -> str:
    """The sha256 of the codes and of all that is said of the items."""
    digest = hashlib.sha256(artifacts.arrays_sha256(self.codes).encode())
    for record in self.records:
      digest.update(json.dumps(record, sort_keys=True).encode())
    return digest.hexdigest()

  def append(
    self,
    codes: Int[np.ndarray, 'm L'],
    records: Sequence[Mapping[str, Any]],
    addition: Mapping[str, Any],
  ) -> NewItems:
    """Returns these items and more."""
    return dataclasses.replace(
      self,
      codes=np.concatenate([self.codes, codes]).astype(np.int32),
      records=(*self.records, *records),
      additions=(*self.additions, addition),
    )

  def extend(self, cache: TokenCache) -> TokenCache:
    """Returns a token cache with these items after its own.

    Its examples and what models are checked by stay as they were.

    Raises:
      GenrecError: if the cache was made from other ids.
    """
    _check_ids(self.inputs, cache.manifest['inputs']['ids'], 'the run')
    tokens = TokenLayout.from_dict(cache.layout).item_tokens(self.codes)
    return dataclasses.replace(
      cache,
      item_tokens=np.concatenate([cache.item_tokens, tokens]),
      item_names=[*cache.item_names, *(r['name'] for r in self.records)],
    )

  def save(self, directory: PathLike) -> None:
    """Writes the items, replacing what is there."""
    with artifacts.write_directory(directory) as path:
      np.save(path / 'codes.npy', np.asarray(self.codes, np.int32))
      artifacts.write_text(
        path / 'items.jsonl',
        ''.join(
          json.dumps(record, ensure_ascii=False) + '\n'
          for record in self.records
        ),
      )
      artifacts.write_manifest(
        path,
        kind=KIND,
        fingerprint=self.fingerprint,
        inputs=self.inputs,
        num_items=len(self),
        additions=list(self.additions),
      )

  @classmethod
  def load(cls, directory: PathLike, *, ids: str | None = None) -> NewItems:
    """Reads what `save` wrote.

    Args:
      directory: where it is.
      ids: the fingerprint of the ids that the items must have been added to;
        not checked when None.

    Raises:
      GenrecError: if there are none, they were added to other ids, or a file
        is not the one written.
    """
    path = pathlib.Path(directory)
    manifest = artifacts.read_manifest(path, KIND)
    if ids is not None:
      _check_ids(manifest['inputs'], ids, str(path))
    lines = (path / 'items.jsonl').read_text(encoding='utf-8').split('\n')
    items = cls(
      codes=np.load(path / 'codes.npy'),
      records=tuple(json.loads(line) for line in lines if line),
      inputs=manifest['inputs'],
      additions=tuple(manifest['additions']),
    )
    if items.fingerprint != manifest['fingerprint']:
      raise GenrecError(
        f'The new items at {path} have the fingerprint'
        f' {items.fingerprint[:12]}, but their manifest says'
        f' {manifest["fingerprint"][:12]}: a file was changed after it was'
        ' written. Remove that directory and run `genrec add_items` again.'
      )
    return items


def _check_ids(inputs: Mapping[str, str], ids: str, where: str) -> None:
  if inputs['ids'] != ids:
    raise GenrecError(
      f'The new items of {where} were added to the ids {inputs["ids"][:12]},'
      f' but the ids at hand are {ids[:12]}: their codes may be taken there.'
      ' Remove new_items/ of the run and run `genrec add_items` again.'
    )
