"""Where in the data a request stands, and what the data know of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int32

from genrec_jax.data import splits, texts
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.lookup import Lookup
from genrec_jax.tasks.registry import TaskData
from genrec_jax.tasks.request_fields import Request
from genrec_jax.tasks.slots import HISTORIES
from genrec_jax.types import GenrecError, unknown_name


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
  """Where in the data a request stands.

  Attributes:
    user: row of the user, None for none.
    item: row of the item that is spoken of or offered, None for none.
    target: row of the item that the example is of, None where it is unknown.
    row: the interaction that is asked about, None where there is none.
    history: items before it, oldest first.
    ratings: of these, None where there is none.
    notes: what was chosen.
  """

  user: int | None
  item: int | None
  target: int | None
  row: int | None
  history: Int32[np.ndarray, 'T']
  ratings: Sequence[float | None]
  notes: tuple[str, ...] = ()


class Knowledge:
  """What the data know of users and items.

  Args:
    data: of the run.
    split: the part whose last interaction of a user is asked about.

  Raises:
    GenrecError: if the split has no such part.
  """

  def __init__(self, data: TaskData, split: str):
    if split not in splits.PART_NAMES:
      raise unknown_name('split', split, splits.PART_NAMES)
    self._data = data
    self._part = splits.PART_NAMES.index(split)
    dataset = data.dataset
    item_ids = dataset.items['item_id'].to_pylist()
    self.items = Lookup('item', item_ids, data.titles)
    self._names = dataset.item_names()
    self.users = Lookup('user', dataset.users['user_id'].to_pylist())

  def name(self, item: int) -> str:
    """Returns the name and the id of an item."""
    name, source_id = self._names[item], self.items.ids[item]
    return source_id if name == source_id else f'{name} ({source_id})'

  def value(self, row: int | None, column: str) -> Any:
    """Returns what an interaction has in a column; None for nothing."""
    table = self._data.dataset.interactions
    if row is None or column not in table.column_names:
      return None
    return table[column][row].as_py()

  def check_value(self, column: str, said: Any) -> tuple[Any, list[str]]:
    """Returns a rating, or a text cleaned as that of a data set, and notes.

    Raises:
      GenrecError: for a rating off the scale, or a text of blanks.
    """
    if column == 'rating':
      known = self._data.train_ratings
      if len(known) and not known.min() <= said <= known.max():
        raise GenrecError(
          f'Got the rating {said:g}, expected one from {known.min():g} to'
          f' {known.max():g}, as the train ratings are.'
        )
      return float(said), []
    cleaned, mended = texts.clean(pa.chunked_array([[said]], pa.string()))
    if mended['blank']:
      raise GenrecError(
        f'Got a {column} of blanks alone ({said!r}); there is nothing to read.'
        ' Say something, or leave the flag out.'
      )
    notes = [f'{column}: control characters became spaces']
    return cleaned[0].as_py(), notes if mended['replaced'] else []

  def place(self, request: Request, *, about_target: bool) -> Place:
    """Finds out where a request stands.

    Of a user it is before the interaction with the item that is spoken of, if
    they had it; else before their last interaction of the part, or after all
    of them where they have none there.

    Args:
      request: what was said.
      about_target: whether the item that is given is the one that the example
        is of; else it is offered, and the example is of the next one.

    Raises:
      GenrecError: if a user or an item is unknown.
    """
    dataset = self._data.dataset
    item = None if request.item is None else self.items.find(request.item)
    user = None if request.user is None else self.users.find(request.user)
    row, history, ratings, notes = None, np.zeros(0, np.int32), [], []
    if user is not None:
      start, stop = (int(one) for one in dataset.user_offsets[user : user + 2])
      held_out = self._data.split.part[start:stop] == self._part
      row = start + int(np.flatnonzero(held_out)[-1]) if any(held_out) else None
      before = stop if row is None else row
      if about_target and item is None and stop > start:
        row = before = stop - 1 if row is None else row
        part = splits.PART_NAMES[self._data.split.part[row]]
        notes.append(f'no item given: the last of the user in the {part} part')
      elif about_target and item is not None:
        had = np.flatnonzero(dataset.item[start:stop] == item)
        row = start + int(had[-1]) if len(had) else None
        before = before if row is None else row
      if row is None and request.history is None and not about_target:
        part = splits.PART_NAMES[self._part]
        notes.append(
          f'the user has nothing in the {part} part: all that they had is read'
        )
      history = dataset.item[start:before]
      ratings = self._ratings(start, before)
    if request.history is not None:
      history, ratings = self._read_history(request)
      # What followed the user's own history is not what is asked for now.
      row = row if about_target else None
    target = None if row is None else int(dataset.item[row])
    if about_target:
      item = target = item if target is None else target
    return Place(user, item, target, row, history, ratings, tuple(notes))

  def _ratings(self, start: int, stop: int) -> list[float | None]:
    table = self._data.dataset.interactions
    if 'rating' not in table.column_names:
      return [None] * (stop - start)
    return table['rating'].slice(start, stop - start).to_pylist()

  def _read_history(
    self, request: Request
  ) -> tuple[Int32[np.ndarray, 'T'], list[float | None]]:
    """Returns the items of a history that was passed, and their ratings."""
    assert request.history is not None
    rows = [self.items.find(name) for name in request.history]
    ratings = request.history_ratings
    if ratings is None:
      return np.array(rows, np.int32), [None] * len(rows)
    if len(ratings) != len(rows):
      raise GenrecError(
        f'Got {len(ratings)} history_ratings for the {len(rows)} items of the'
        ' history; pass one each, or none.'
      )
    ratings = [self.check_value('rating', one)[0] for one in ratings]
    return np.array(rows, np.int32), ratings

  def cut(
    self,
    shown: frozenset[str],
    place: Place,
    values: Mapping[str, Any],
    settings: Mapping[str, Any],
  ) -> list[str]:
    """Says what is longer than a prompt shows, and what is not there."""
    notes = []
    most, count = settings['max_history'], len(place.history)
    if shown & {*HISTORIES} and count > most:
      notes.append(f'the history has {count} items; the last {most} are read')
    texts = {name: values.get(name) for name in values if name in shown}
    if 'title' in shown and place.item is not None:
      texts['title'] = self._data.titles[place.item]
      if not texts['title'].strip():
        notes.append(f'{self.name(place.item)} has no title')
    most = settings['max_text']
    for name, text in texts.items():
      if isinstance(text, str):
        length = len(self._data.vocabulary.encode_text(text))
        if length > most:
          notes.append(
            f'the {name} has {length:,} tokens; the first {most} are read'
          )
    return notes


def one_user(
  dataset: Dataset, place: Place, values: Mapping[str, Any]
) -> Dataset:
  """Returns a data set of the history of a request, and what is asked about.

  Args:
    dataset: whose users and items these are.
    place: where the request stands.
    values: of the columns that the example has. A history has ratings alone.

  Returns:
    The data set; its last interaction is the one asked about. Where there is
    no target its item is the first of all: no input shows it.
  """
  count = len(place.history)
  target = 0 if place.target is None else place.target
  columns = {
    'user': np.full(count + 1, place.user or 0, np.int32),
    'item': np.append(place.history, target).astype(np.int32),
    'time': np.arange(count + 1),
  }
  table = pa.table(columns)
  for name, value in values.items():
    before = place.ratings if name == 'rating' else [None] * count
    if name in dataset.interactions.column_names:
      kind = dataset.interactions[name].type
    else:
      kind = pa.string()
    table = table.append_column(name, pa.array([*before, value], kind))
  return dataclasses.replace(dataset, interactions=table)
