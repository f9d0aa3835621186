"""Codes for items that come later, among those that no item has.

Codes that are given stay as they are: a new item takes one that is free. It
goes down level by level, and never below a prefix that has no room, so that
whoever finds the best prefix taken gets the next best.
"""

from __future__ import annotations

import collections
import math

import numpy as np
from jaxtyping import Float, Int

from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.types import GenrecError

Code = tuple[int, ...]


class FreeCodes:
  """Gives out free codes one by one, always in the same order.

  Args:
    ids: the ids that are given.
    taken: further codes that are, of items that were added to them.
  """

  def __init__(self, ids: ItemIds, taken: Int[np.ndarray, 'm L'] | None = None):
    codes = ids.codes
    if taken is not None:
      codes = np.concatenate([codes, taken])
    self._given = codes[np.lexsort(codes.T[::-1])]
    self._sizes = ids.codebook_sizes
    self._may_end = bool((ids.codes < 0).any())
    # New ones: of each prefix, how many have which code after it.
    self._added = collections.defaultdict(collections.Counter)
    self._taken: set[Code] = set()
    # How many ids there may be below a code of each level: of one length all
    # end at the last level; of several lengths they end at any.
    below = [1] if not self._may_end else [0]
    for size in self._sizes[:0:-1]:
      below.append(size * (below[-1] + self._may_end))
    self._below = below[::-1]

  def counts(
    self, prefix: Code
  ) -> tuple[Int[np.ndarray, 'K'], Int[np.ndarray, 'K']]:
    """Returns how many ids begin with the prefix and each code after it.

    And how many of these end with that code: 0 or 1.
    """
    low, high = 0, len(self._given)
    level = len(prefix)
    for place, code in enumerate(prefix):
      column = self._given[low:high, place]
      high = low + int(np.searchsorted(column, code, side='right'))
      low += int(np.searchsorted(column, code))
    size = self._sizes[level]
    column = self._given[low:high, level]
    begin = np.diff(np.searchsorted(column, np.arange(size + 1)))
    ended = (self._given[low:high, level + 1 :] < 0).all(axis=1) & (column >= 0)
    end = np.bincount(column[ended], minlength=size)
    for code, count in self._added.get(prefix, {}).items():
      begin[code] += count
      end[code] += (*prefix, code) in self._taken
    return begin, end

  def take_nearest(
    self,
    vector: Float[np.ndarray, 'Z'],
    codebooks: Float[np.ndarray, 'L K Z'],
  ) -> Code:
    """Takes the code that greedy quantization gives, or the nearest free.

    At each level the nearest centroid to what is left of the vector, of those
    whose prefix has room. Levels without a codebook, which only part items,
    take the first code that is free.

    Raises:
      GenrecError: if all codes are taken.
    """
    code: Code = ()
    left = np.array(vector, np.float32)
    for level in range(len(self._sizes)):
      room = self.counts(code)[0] < self._below[level]
      if not room.any():
        raise self._all_taken()
      if level < len(codebooks):
        distances = np.square(left - codebooks[level]).sum(axis=1)
        chosen = int(np.where(room, distances, np.inf).argmin())
        left = left - codebooks[level, chosen]
      else:
        chosen = int(room.argmax())
      code += (chosen,)
    return self._take(code)

  def take_voted(
    self, codes: Int[np.ndarray, 'n L'], weights: Float[np.ndarray, 'n']
  ) -> Code:
    """Takes a free code beside those of the neighbours, who vote on it.

    At each level the code for which most weight of the neighbours is that go
    on with it, of those whose prefix has room; where none of them has room, the
    first that has. Where at least as much weight is of neighbours who end here,
    it ends here, too: with the first code that nobody has at this place, or
    else the first that no id ends with.

    Args:
      codes: of the neighbours, -1 at the end of shorter ones.
      weights: of the neighbours, not negative.

    Raises:
      GenrecError: if all codes are taken.
    """
    prefix: Code = ()
    here = np.ones(len(codes), bool)  # the neighbours with this prefix
    for level, size in enumerate(self._sizes):
      begin, end = self.counts(prefix)
      ends = here & (codes[:, level + 1 :] < 0).all(axis=1)
      goes_on = here & ~ends
      votes = np.bincount(
        codes[goes_on, level], weights[goes_on], minlength=size
      )
      is_last = level + 1 == len(self._sizes)
      room = begin - (0 if is_last else end) < self._below[level]
      votes[~room] = 0
      if (is_last or self._may_end) and not end.all():
        if is_last or weights[ends].sum() >= votes.max():
          unused = begin == 0 if (begin == 0).any() else end == 0
          return self._take((*prefix, int(unused.argmax())))
      if is_last or not room.any():
        break
      chosen = int(votes.argmax() if votes.any() else room.argmax())
      prefix += (chosen,)
      here = goes_on & (codes[:, level] == chosen)
    raise self._all_taken()

  def _take(self, code: Code) -> Code:
    for level in range(len(code)):
      self._added[code[:level]][code[level]] += 1
    self._taken.add(code)
    return code + (-1,) * (len(self._sizes) - len(code))

  def _all_taken(self) -> GenrecError:
    return GenrecError(
      f'No code is free for a new item: {len(self._given)} items and those'
      f' added before it fill the codebooks {list(self._sizes)}'
      f' ({math.prod(self._sizes)} codes). Ids that are to grow need more codes'
      ' than items: build them anew with a larger codebook_size or num_levels'
      ' (atomic_ids cannot grow).'
    )
