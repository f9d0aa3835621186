"""Texts as counts of words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import scipy.sparse

from genrec_jax.ids.textual import words


def count_words(
  texts: Iterable[str], numbers: dict[str, int], *, grows: bool = True
) -> scipy.sparse.csr_array:
  """Returns how often texts (rows) have words (columns), float32.

  Args:
    texts: any.
    numbers: the column of each word.
    grows: whether `numbers` gets the words that it lacks; else these are left
      out.
  """
  indices, indptr = [], [0]
  for text in texts:
    for word in words(text):
      if grows:
        indices.append(numbers.setdefault(word, len(numbers)))
      elif word in numbers:
        indices.append(numbers[word])
    indptr.append(len(indices))
  counts = scipy.sparse.csr_array(
    (
      np.ones(len(indices), np.float32),
      np.asarray(indices, np.int64),
      np.asarray(indptr, np.int64),
    ),
    (len(indptr) - 1, max(len(numbers), 1)),
  )
  counts.sum_duplicates()
  return counts


def join_texts(columns: Sequence[Sequence[str | Sequence[str] | None]]):
  """Returns the texts of rows, all columns after each other.

  A column has texts or lists of texts; None is nothing.
  """
  return [
    ' '.join(
      ' '.join(filter(None, value or ()))
      if not isinstance(value, str)
      else value
      for value in row
    )
    for row in zip(*columns)
  ]
