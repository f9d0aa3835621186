"""`user item item ...` lines, the items in chronological order.

The form of the S3-Rec, P5 and TIGER benchmark files. There is no clock: the
position in the line is the time.
"""

from __future__ import annotations

import pyarrow as pa

from genrec_jax.data.dataset import RawTables
from genrec_jax.data.readers.source import BadRows, read_source
from genrec_jax.types import PathLike


def read(
  path: PathLike, *, encoding: str = 'utf-8', on_bad_row: str = 'error'
) -> RawTables:
  """Reads sequences separated by white space, one user a line.

  Raises:
    GenrecError: for a line without items, or a user's second line (which
      would glue two sequences together).
  """
  bad = BadRows(path, on_bad_row)
  source = read_source(path, bad, encoding)
  users, items, lengths = [], [], []
  line_of = {}
  for number, line in zip(*source.lines()):
    user, *sequence = line.decode().split()
    if not sequence:
      bad.add(number, 'expected `user item item ...`, got 1 column')
    elif user in line_of:
      bad.add(number, f'user {user!r} has line {line_of[user]} already')
    else:
      line_of[user] = number
      users.append(user)
      items.extend(sequence)
      lengths.append(len(sequence))
  repeats = [user for user, n in zip(users, lengths) for _ in range(n)]
  table = pa.table(
    {
      'user': pa.array(repeats, pa.string()),
      'item': pa.array(items, pa.string()),
    }
  )
  return RawTables(interactions=table, facts=source.facts(bad))
