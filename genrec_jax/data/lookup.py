"""What items are called, and which item or user is meant by a name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from genrec_jax.types import GenrecError

NAME_LENGTH = 200


def item_names(items: pa.Table) -> list[str]:
  """Returns what people are shown of each item.

  Its title, on one line and cut at NAME_LENGTH characters, or its source id
  where it has none. Prompts show titles as they are.
  """
  name = pc.replace_substring_regex(items['title'], r'\s+', ' ')
  name = pc.utf8_trim_whitespace(name)
  begin = pc.utf8_slice_codeunits(name, 0, NAME_LENGTH - 1)
  cut = pc.binary_join_element_wise(begin, '…', '')
  name = pc.if_else(pc.greater(pc.utf8_length(name), NAME_LENGTH), cut, name)
  name = pc.if_else(pc.equal(name, ''), None, name)
  return pc.coalesce(name, items['item_id']).to_pylist()


class Lookup:
  """Finds rows of a table by what people call them.

  Args:
    kind: what a row is, for errors: 'item', 'user'.
    ids: the source id of each row.
    titles: of each row, '' or None where it has none; nothing for none at all.
  """

  def __init__(
    self, kind: str, ids: Sequence[str], titles: Sequence[str | None] = ()
  ):
    self.kind = kind
    self.ids = ids
    self._titles = titles
    self._row_of_id = {one: row for row, one in enumerate(ids)}
    self._rows_of_title: dict[str, list[int]] = {}
    for row, title in enumerate(titles):
      if title and title.strip():
        self._rows_of_title.setdefault(title.strip(), []).append(row)

  def get(self, name: str) -> int | None:
    """Returns the row of an id or an exact title; None if there is none.

    Raises:
      GenrecError: if several rows have the title.
    """
    name = name.strip()
    if name in self._row_of_id:
      return self._row_of_id[name]
    rows = self._rows_of_title.get(name, [])
    if len(rows) > 1:
      some = ', '.join(self.ids[row] for row in rows[:5])
      raise GenrecError(
        f'{len(rows)} {self.kind}s are called {name!r}; say which by its id:'
        f' {some}{", ..." if len(rows) > 5 else ""}.'
      )
    return rows[0] if rows else None

  def find(self, name: str) -> int:
    """Returns the row of an id or an exact title.

    Raises:
      GenrecError: if there is none, with those that are near, or several.
    """
    row = self.get(name)
    if row is not None:
      return row
    called = 'id or title' if self._rows_of_title else 'id'
    near = self.near(name)
    some = ', '.join(map(repr, near or list(self.ids[:5])))
    raise GenrecError(
      f'No {self.kind} has the {called} {name!r};'
      f' {"near it are" if near else "there are, for example,"} {some}.'
      f' The table of {self.kind}s of the data set lists all.'
    )

  def near(self, name: str, count: int = 3) -> list[str]:
    """Returns ids and titles that are spelt like a name."""
    near = []
    for known in (self._row_of_id, self._rows_of_title):
      lowered = {one.lower(): one for one in known}
      near += [
        lowered[one]
        for one in difflib.get_close_matches(name.lower(), lowered, n=count)
      ]
    return list(dict.fromkeys(near))[:count]
