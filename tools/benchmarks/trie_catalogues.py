"""Catalogues of any size for the benchmark of the search: distinct codes."""

from __future__ import annotations

import numpy as np

SKEWS = ('uniform', 'zipf')

# Entries of the table that turns a uniform number into a Zipf rank: a rank's
# probability is right to one in a million.
_TABLE_SIZE = 1 << 20
_ROWS_AT_ONCE = 1 << 18
_MIXER = np.uint64(0xBF58476D1CE4E5B9)


def generate(
  num_items: int,
  num_levels: int,
  codebook_size: int,
  skew: str = 'uniform',
  seed: int = 0,
) -> np.ndarray:
  """Returns distinct codes in no order, uint16 [N, L].

  Args:
    num_items: N, at most half of the codes that there are.
    num_levels: L.
    codebook_size: V, at most 65536.
    skew: 'uniform', or 'zipf': after each prefix the codes follow Zipf's law
      (s = 1) in an order that the prefix decides, so there are heavy nodes on
      every level and each code is as frequent as another over all.
    seed: of the draw.
  """
  if 2 * num_items > codebook_size**num_levels:
    raise ValueError(
      f'{num_levels} codes of {codebook_size} hold too few items for'
      f' {num_items} distinct ones.'
    )
  rng = np.random.default_rng(seed)
  table = None
  if skew == 'zipf':
    cumulative = np.cumsum(1 / np.arange(1, codebook_size + 1))
    uniform = (np.arange(_TABLE_SIZE) + 0.5) / _TABLE_SIZE
    rank = np.searchsorted(cumulative / cumulative[-1], uniform)
    table = rng.permutation(codebook_size).astype(np.uint16)[rank]
  codes = np.empty((0, num_levels), np.uint16)
  keys = np.empty(0, np.uint64)
  missing, wanted = num_items, num_items + num_items // 8 + 64
  while missing:
    drawn, drawn_keys = _draw(rng, wanted, num_levels, codebook_size, table)
    codes = np.concatenate([codes, drawn])
    keys = np.concatenate([keys, drawn_keys])
    # Equal rows have equal keys. Of unequal rows that do (one pair in 2^64),
    # one is dropped too. `np.unique` would sort stably, three times slower.
    order = np.argsort(keys)
    ordered = keys[order]
    distinct = np.r_[True, ordered[1:] != ordered[:-1]]
    kept = np.sort(order[distinct])[:num_items]
    codes, keys = codes[kept], keys[kept]
    missing = num_items - len(codes)
    wanted = 2 * missing + 64
  return codes


def _draw(rng, num_rows, num_levels, codebook_size, table):
  """Draws rows, and a key of 64 bits of each; a block at a time, for caches."""
  codes = np.empty((num_rows, num_levels), np.uint16)
  keys = np.full(num_rows, 0x9E3779B97F4A7C15, np.uint64)
  for start in range(0, num_rows, _ROWS_AT_ONCE):
    block = slice(start, min(start + _ROWS_AT_ONCE, num_rows))
    key = keys[block]
    for level in range(num_levels):
      if table is None:
        code = rng.integers(0, codebook_size, len(key), dtype=np.uint16)
      else:
        code = table[rng.integers(0, len(table), len(key), dtype=np.uint32)]
        # A rotation of the ranks that the prefix decides.
        shift = (key >> np.uint64(40)).astype(np.uint32)
        code = ((code + shift) % np.uint32(codebook_size)).astype(np.uint16)
      codes[block, level] = code
      key += code
      key += np.uint64(1)
      key *= _MIXER
      key ^= key >> np.uint64(31)
  return codes, keys


def sort_rows(codes: np.ndarray) -> np.ndarray:
  """Returns the rows in lexicographic order."""
  return codes[np.lexsort(codes.T[::-1])]


def prefix_counts(sorted_codes: np.ndarray) -> list[int]:
  """Returns the number of distinct prefixes of 0, 1, ..., L codes."""
  counts = [1]
  opens = np.zeros(len(sorted_codes), bool)
  opens[0] = True
  for level in range(sorted_codes.shape[1]):
    opens[1:] |= sorted_codes[1:, level] != sorted_codes[:-1, level]
    counts.append(int(opens.sum()))
  return counts
