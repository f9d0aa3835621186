"""Item ids and the tokens that stand for them.

`ItemIds` says which codes an item has, and is an artefact on disk.
`TokenLayout` says which token stands for which code: 0 pad, 1 eos, 2 unk, the
rest of the text vocabulary, one block of codes a level, one block a level of
user codes, and unused tokens up to a multiple of 128.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from genrec_jax import artifacts
from genrec_jax.ids.quantizer import Quantizer
from genrec_jax.types import EOS_ID, PAD_ID, UNK_ID, GenrecError, PathLike

KIND = 'ids'
VOCABULARY_MULTIPLE = 128  # so that the embedding table shards evenly


@dataclasses.dataclass(frozen=True, eq=False)
class ItemIds:
  """The codes of every item, unique, and of every user, if users have any.

  Attributes:
    codes: int32 [N, L]; -1 only at the end of ids shorter than L.
    codebook_sizes: how many codes each of the L levels has.
    user_codes: int32 [U, Lu]; Lu = 0 where users have no tokens. Users may
      share their codes.
    user_codebook_sizes: how many codes each of the Lu user levels has.
    facts: how the ids were made (method, seed, collision rate, use of levels);
      JSON values.
    inputs: fingerprints of what they were made from: 'dataset', 'split', and
      'train', which is that of the very arrays the method was given.
    vectors: float32 [N, D], the vectors the codes were made from, if any.
    quantizer: what makes codes of further vectors, if anything does.

  Raises:
    GenrecError: if two items share their codes, or a code is out of range.
  """

  codes: Int[np.ndarray, 'N L']
  codebook_sizes: tuple[int, ...]
  user_codes: Int[np.ndarray, 'U Lu'] = dataclasses.field(
    default_factory=lambda: np.zeros((0, 0), np.int32)
  )
  user_codebook_sizes: tuple[int, ...] = ()
  facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  inputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
  vectors: Float[np.ndarray, 'N D'] | None = None
  quantizer: Quantizer | None = None

  def __post_init__(self):
    for name, kind in (('codes', 'item'), ('user_codes', 'user')):
      codes = np.ascontiguousarray(getattr(self, name), np.int32)
      codes.setflags(write=False)
      object.__setattr__(self, name, codes)
      sizes_name = name.replace('codes', 'codebook_sizes')
      sizes = tuple(int(size) for size in getattr(self, sizes_name))
      object.__setattr__(self, sizes_name, sizes)
      _check_codes(codes, sizes, kind)
    if self.codes.shape[1] == 0:
      raise GenrecError('Items got ids of 0 levels; expected at least 1.')
    if (self.user_codes < 0).any():
      raise GenrecError('User codes must not be negative.')
    _check_unique(self.codes)
    if self.vectors is not None:
      vectors = np.ascontiguousarray(self.vectors, np.float32)
      if len(vectors) != self.num_items:
        raise GenrecError(
          f'Got {len(vectors)} vectors for {self.num_items} items; expected'
          ' one vector an item.'
        )
      object.__setattr__(self, 'vectors', vectors)

  @property
  def num_items(self) -> int:
    """How many items have ids."""
    return self.codes.shape[0]

  @property
  def num_levels(self) -> int:
    """The length of the longest id."""
    return self.codes.shape[1]

  @functools.cached_property
  def fingerprint(self) -> str:
    """The sha256 of all codes and codebook sizes."""
    return artifacts.arrays_sha256(
      self.codes,
      np.asarray(self.codebook_sizes, np.int64),
      self.user_codes,
      np.asarray(self.user_codebook_sizes, np.int64),
    )

  def layout(self, num_text_tokens: int = UNK_ID + 1) -> TokenLayout:
    """Returns the token layout of these ids after a text vocabulary."""
    return TokenLayout(
      num_text_tokens=num_text_tokens,
      codebook_sizes=self.codebook_sizes,
      user_codebook_sizes=self.user_codebook_sizes,
      variable_length=bool((self.codes < 0).any()),
    )

  def save(
    self,
    directory: PathLike,
    *,
    item_ids: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
  ) -> None:
    """Writes the ids, and `items.tsv` for people: item id, name, codes.

    Args:
      directory: where to; replaced if it exists.
      item_ids: the source's id of each item; row numbers when not given.
      names: the name of each item; its id when not given.
    """
    if item_ids is None:
      item_ids = [str(item) for item in range(self.num_items)]
    names = item_ids if names is None else names
    with artifacts.write_directory(directory) as path:
      np.save(path / 'items.npy', self.codes)
      np.save(path / 'users.npy', self.user_codes)
      if self.vectors is not None:
        np.save(path / 'vectors.npy', self.vectors)
      if self.quantizer is not None:
        self.quantizer.save(path / 'quantizer.npz')
      lines = ['item_id\tname\tcodes']
      for item_id, name, codes in zip(
        item_ids, names, self.codes.tolist(), strict=True
      ):
        digits = ' '.join(str(code) for code in codes if code >= 0)
        lines.append(f'{_one_cell(item_id)}\t{_one_cell(name)}\t{digits}')
      artifacts.write_text(path / 'items.tsv', '\n'.join(lines) + '\n')
      artifacts.write_manifest(
        path,
        kind=KIND,
        fingerprint=self.fingerprint,
        inputs=self.inputs,
        num_items=self.num_items,
        codebook_sizes=list(self.codebook_sizes),
        user_codebook_sizes=list(self.user_codebook_sizes),
        facts=dict(self.facts),
      )

  @classmethod
  def load(cls, directory: PathLike) -> ItemIds:
    """Reads ids and checks that they are what their manifest says.

    Raises:
      GenrecError: if there are none, or a file is not the one written.
    """
    manifest = artifacts.read_manifest(directory, KIND)
    path = pathlib.Path(directory)
    vectors, quantizer = path / 'vectors.npy', path / 'quantizer.npz'
    ids = cls(
      codes=np.load(path / 'items.npy'),
      codebook_sizes=manifest['codebook_sizes'],
      user_codes=np.load(path / 'users.npy'),
      user_codebook_sizes=manifest['user_codebook_sizes'],
      facts=manifest['facts'],
      inputs=manifest['inputs'],
      vectors=np.load(vectors) if vectors.exists() else None,
      quantizer=Quantizer.load(quantizer) if quantizer.exists() else None,
    )
    if ids.fingerprint != manifest['fingerprint']:
      raise GenrecError(
        f'The ids at {path} have the fingerprint {ids.fingerprint[:12]}, but'
        f' their manifest says {manifest["fingerprint"][:12]}: a file was'
        ' changed after it was written. Build the ids again.'
      )
    return ids


@dataclasses.dataclass(frozen=True)
class TokenLayout:
  """Which token stands for which code.

  Attributes:
    num_text_tokens: the size of the text vocabulary, pad, eos and unk
      included; 3 where there is no text.
    codebook_sizes: how many codes each item level has.
    user_codebook_sizes: how many codes each user level has.
    variable_length: whether ids differ in length; then each ends with eos.

  >>> layout = TokenLayout(codebook_sizes=(4, 4))
  >>> layout.item_tokens(np.array([[0, 3], [2, 1]]))
  array([[ 3, 10],
         [ 5,  8]], dtype=int32)
  >>> layout.describe(10), layout.vocab_size
  ('level 1 code 3', 128)
  """

  num_text_tokens: int = UNK_ID + 1
  codebook_sizes: tuple[int, ...] = ()
  user_codebook_sizes: tuple[int, ...] = ()
  variable_length: bool = False

  def __post_init__(self):
    if self.num_text_tokens <= UNK_ID:
      raise GenrecError(
        f'num_text_tokens={self.num_text_tokens} leaves no room for pad, eos'
        f' and unk; expected at least {UNK_ID + 1}.'
      )
    for name in ('codebook_sizes', 'user_codebook_sizes'):
      object.__setattr__(self, name, tuple(int(n) for n in getattr(self, name)))

  @property
  def num_levels(self) -> int:
    """How many levels of codes an item has."""
    return len(self.codebook_sizes)

  @property
  def tokens_per_item(self) -> int:
    """The width of `item_tokens`: the levels, and eos where it is needed."""
    return self.num_levels + self.variable_length

  @property
  def level_offsets(self) -> tuple[int, ...]:
    """The token of code 0 of each item level."""
    return _offsets(self.num_text_tokens, self.codebook_sizes)

  @property
  def user_offsets(self) -> tuple[int, ...]:
    """The token of code 0 of each user level."""
    start = self.num_text_tokens + sum(self.codebook_sizes)
    return _offsets(start, self.user_codebook_sizes)

  @property
  def num_tokens(self) -> int:
    """How many tokens have a meaning."""
    return (
      self.num_text_tokens
      + sum(self.codebook_sizes)
      + sum(self.user_codebook_sizes)
    )

  @property
  def vocab_size(self) -> int:
    """How many rows the embedding table has: `num_tokens`, rounded up."""
    return -(-self.num_tokens // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE

  @property
  def item_blocks(self) -> tuple[range, ...]:
    """The tokens of each of `tokens_per_item` places, eos and pad apart."""
    blocks = tuple(
      range(offset, offset + size)
      for offset, size in zip(self.level_offsets, self.codebook_sizes)
    )
    # The place after the last level holds eos or padding alone.
    return blocks + (range(EOS_ID + 1, EOS_ID + 2),) * self.variable_length

  def item_tokens(
    self, codes: Int[np.ndarray, 'N L']
  ) -> Int[np.ndarray, 'N ?']:
    """Returns the tokens of items, int32 [N, tokens_per_item].

    Ids of one length carry no eos: the trie knows where they end. Where
    lengths differ, each id is followed by eos, then by padding.
    """
    codes = np.asarray(codes)
    _check_codes(codes, self.codebook_sizes, 'item')
    tokens = codes + np.asarray(self.level_offsets, np.int64)
    tokens = np.where(codes < 0, PAD_ID, tokens).astype(np.int32)
    if self.variable_length:
      tokens = np.pad(tokens, ((0, 0), (0, 1)), constant_values=PAD_ID)
      tokens[np.arange(len(codes)), (codes >= 0).sum(axis=1)] = EOS_ID
    elif (codes < 0).any():
      raise GenrecError(
        'Got an id that is shorter than the others, but the layout is for ids'
        ' of one length; make it with `ItemIds.layout`.'
      )
    return tokens

  def item_codes(
    self, tokens: Int[np.ndarray, 'N ?']
  ) -> Int[np.ndarray, 'N L']:
    """Returns the codes of item tokens: the inverse of `item_tokens`.

    A token that is no code of its level becomes -1.
    """
    tokens = np.asarray(tokens)[:, : self.num_levels]
    codes = tokens - np.asarray(self.level_offsets, np.int64)
    legal = (codes >= 0) & (codes < np.asarray(self.codebook_sizes))
    return np.where(legal, codes, -1).astype(np.int32)

  def user_tokens(
    self, user_codes: Int[np.ndarray, 'U Lu']
  ) -> Int[np.ndarray, 'U Lu']:
    """Returns the tokens of users, int32 [U, Lu]."""
    user_codes = np.asarray(user_codes)
    _check_codes(user_codes, self.user_codebook_sizes, 'user')
    offsets = np.asarray(self.user_offsets, np.int64)
    return (user_codes + offsets).astype(np.int32)

  def describe(self, token: int) -> str:
    """Says in words what a token stands for."""
    if not 0 <= token < self.vocab_size:
      raise GenrecError(
        f'Token {token} is outside the vocabulary of {self.vocab_size}.'
      )
    if token <= UNK_ID:
      return {PAD_ID: 'pad', EOS_ID: 'eos', UNK_ID: 'unk'}[token]
    if token < self.num_text_tokens:
      return f'text piece {token}'
    for kind, offsets, sizes in (
      ('level', self.level_offsets, self.codebook_sizes),
      ('user level', self.user_offsets, self.user_codebook_sizes),
    ):
      for level, (offset, size) in enumerate(zip(offsets, sizes, strict=True)):
        if offset <= token < offset + size:
          return f'{kind} {level} code {token - offset}'
    return f'unused token {token}'

  def as_dict(self) -> dict[str, Any]:
    """Returns the layout as JSON values, with the `vocab_size` it implies."""
    return {
      'vocab_size': self.vocab_size,
      'num_text_tokens': self.num_text_tokens,
      'codebook_sizes': list(self.codebook_sizes),
      'user_codebook_sizes': list(self.user_codebook_sizes),
      'variable_length': self.variable_length,
    }

  @classmethod
  def from_dict(cls, values: Mapping[str, Any]) -> TokenLayout:
    """Returns the layout of which `values` is the `as_dict`."""
    names = [field.name for field in dataclasses.fields(cls)]
    return cls(**{name: values[name] for name in names})


def _offsets(start: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
  return tuple(start + sum(sizes[:level]) for level in range(len(sizes)))


def _one_cell(text: str) -> str:
  return ' '.join(text.split())


def _check_codes(codes: np.ndarray, sizes: tuple[int, ...], kind: str) -> None:
  if codes.ndim != 2 or codes.shape[1] != len(sizes):
    raise GenrecError(
      f'Got {kind} codes of shape {codes.shape}; expected a row each and'
      f' {len(sizes)} columns, for codebooks of {list(sizes)} codes.'
    )
  bad = (codes < -1) | (codes >= np.asarray(sizes, np.int64))
  bad[:, 1:] |= (codes[:, 1:] >= 0) & (codes[:, :-1] < 0)
  bad[:, :1] |= codes[:, :1] < 0
  if bad.any():
    row = int(bad.any(axis=1).argmax())
    raise GenrecError(
      f'The codes of {kind} {row} are {codes[row].tolist()}; expected at least'
      f' one, each below its codebook size in {list(sizes)}, and -1 only after'
      ' the last.'
    )


def _check_unique(codes: np.ndarray) -> None:
  order = np.lexsort(codes.T[::-1])
  equal = (codes[order[1:]] == codes[order[:-1]]).all(axis=1)
  if equal.any():
    first = int(equal.argmax())
    raise GenrecError(
      f'{int(equal.sum())} items share their codes with another: items'
      f' {order[first]} and {order[first + 1]} both have'
      f' {codes[order[first]].tolist()}. Resolve collisions first; see'
      ' genrec_jax/ids/collisions.py.'
    )
