"""A progress bar for what may take longer than a moment."""

from __future__ import annotations

from collections.abc import Iterable

import tqdm

PATIENCE = 2  # seconds before a bar appears


def bar(
  steps: Iterable | None = None,
  name: str | None = None,
  *,
  total: int | None = None,
) -> tqdm.tqdm:
  """Returns an iterable over the same steps that shows how far it has come.

  It writes to stderr, and only where that is a terminal; it shows after
  `PATIENCE` and is wiped away at the end.

  Args:
    steps: what to iterate over; None where the caller says `update(n)`.
    name: what is being done.
    total: of the updates.
  """
  return tqdm.tqdm(
    steps, name, total=total, disable=None, delay=PATIENCE, leave=False
  )
