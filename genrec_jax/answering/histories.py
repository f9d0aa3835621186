"""Histories of users who are not in the data, as examples of a task."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from genrec_jax import artifacts
from genrec_jax.data.token_cache import TokenCache, TokenExamples
from genrec_jax.decoding.new_users import new_user_examples, read_prompt
from genrec_jax.ids.item_ids import TokenLayout
from genrec_jax.ids.new_items import NewItems
from genrec_jax.types import GenrecError, PathLike


class HistoryReader:
  """Makes examples of histories, and calls items by their source ids.

  Where the run directory has no dataset, items of the run go by their rows.
  What is read of it is kept for the next history.

  Args:
    run_dir: the run directory.
    cache: its tokens, extended by the items that were added (`NewItems.extend`)
      where histories may hold some.
    task: whose prompt to fill in.
    added: those items.
  """

  def __init__(
    self,
    run_dir: PathLike,
    cache: TokenCache,
    task: str,
    added: NewItems | None = None,
  ):
    self._run_dir = pathlib.Path(run_dir)
    self._cache = cache
    self._task = task
    self._added = added
    self._layout = TokenLayout.from_dict(cache.layout)

  @functools.cached_property
  def item_ids(self) -> list[str]:
    """The source id of each item, by row."""
    new = [] if self._added is None else list(self._added.item_ids)
    if not self._has_dataset:
      known = range(len(self._cache.item_tokens) - len(new))
      return [*map(str, known), *new]
    from genrec_jax.data.dataset import Dataset  # late: it needs Arrow

    items = Dataset.load(self._run_dir / 'dataset').items
    return [*items['item_id'].to_pylist(), *new]

  def find_items(self, history: str | Sequence[str | int]) -> list[int]:
    """Returns the rows of the items of a history.

    Args:
      history: source ids, oldest first; a text has commas between them.

    Raises:
      GenrecError: if an item is unknown.
    """
    asked = history.split(',') if isinstance(history, str) else history
    asked = [str(item).strip() for item in asked]
    unknown = [item for item in asked if item not in self._row]
    if unknown:
      where = 'ids of the items table'
      if not self._has_dataset:
        where = 'rows of the items table'
      raise GenrecError(
        f'Got the item {unknown[0]!r} in the history, expected {where}, such as'
        f' {", ".join(self.item_ids[:5])}, or of items that were added to the'
        ' run; give it an id with `genrec add_items`, or leave it out.'
      )
    return [self._row[item] for item in asked]

  def examples(self, histories: Sequence[Sequence[int]]) -> TokenExamples:
    """Returns the examples of histories, rows of items, oldest first.

    Raises:
      GenrecError: if one is empty, or the prompt asks for more than is known
        of a new user.
    """
    tokens = None
    if self._layout.user_codebook_sizes and {'user', 'profile'} & {
      part
      for part in read_prompt(self._cache, self._task)
      if isinstance(part, str)
    }:
      tokens = self._layout.user_tokens(self._user_codes(histories))
    return new_user_examples(
      self._cache, self._task, histories, user_tokens=tokens
    )

  @property
  def _has_dataset(self) -> bool:
    return (self._run_dir / 'dataset' / artifacts.MANIFEST).exists()

  @functools.cached_property
  def _row(self) -> dict[str, int]:
    return {item: row for row, item in enumerate(self.item_ids)}

  def _user_codes(
    self, histories: Sequence[Sequence[int]]
  ) -> Int[np.ndarray, 'u Lu']:
    """Returns the codes of users, by those who took the same items."""
    import scipy.sparse

    from genrec_jax.ids import cold_start

    ids, taken = self._taken
    num_items = taken.shape[1]

    def codes_of(history):
      # One by one: a user's codes do not depend on who else asks.
      new = np.zeros((1, num_items))
      new[0, [row for row in history if row < num_items]] = 1
      return cold_start.new_user_codes(ids, taken, scipy.sparse.csr_array(new))

    return np.concatenate([codes_of(history) for history in histories])

  @functools.cached_property
  def _taken(self):
    """The ids of the run, and who took what in train, [U, N] of 0 and 1."""
    import scipy.sparse

    from genrec_jax.data import splits
    from genrec_jax.data.dataset import Dataset
    from genrec_jax.ids.item_ids import ItemIds

    dataset = Dataset.load(self._run_dir / 'dataset')
    split = splits.load_split(self._run_dir / 'dataset', dataset)
    user, item = splits.train_interactions(dataset, split)
    shape = dataset.num_users, dataset.num_items
    taken = scipy.sparse.csr_array((np.ones(len(user)), (user, item)), shape)
    taken.sum_duplicates()
    taken.data[:] = 1
    return ItemIds.load(self._run_dir / 'ids'), taken
