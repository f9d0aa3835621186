"""Texts without a model: the one most used, a copied one, the first sentence.

What generated explanations, reviews and summaries must beat. All but the first
sentence, which is the input's own, are train texts.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Sequence
from typing import Self

import numpy as np
from jaxtyping import Int

from genrec_jax.evaluation.text import import_library
from genrec_jax.ids.textual import words
from genrec_jax.types import GenrecError


class MostFrequentText:
  """Says what is said most often, to everyone; of equals the first by abc."""

  name = 'most_frequent_text'

  def fit(
    self,
    user: Int[np.ndarray, 'R'],
    item: Int[np.ndarray, 'R'],
    texts: Sequence[str],
  ) -> Self:
    """Counts the texts."""
    del user, item
    self.text = _most_frequent(texts)
    return self

  def predict(
    self, user: Int[np.ndarray, 'E'], item: Int[np.ndarray, 'E']
  ) -> list[str]:
    """Returns the same text for every example."""
    del item
    return [self.text] * len(user)


class RetrievalCopy:
  """Copies what was said of the item by who speaks most like the user.

  Of the train texts of the item it takes the one that is nearest to the
  user's own train texts together, by the cosine of TF-IDF (the logarithm of
  frequencies; Salton & Buckley 1988). Where the item has none it takes from
  the user's texts, and where these are none the most frequent of all. Of
  equally near texts the first by abc.
  """

  name = 'retrieval_copy'

  def fit(
    self,
    user: Int[np.ndarray, 'R'],
    item: Int[np.ndarray, 'R'],
    texts: Sequence[str],
  ) -> Self:
    """Weighs the words of all texts."""
    self._fallback = _most_frequent(texts)
    if not any(map(words, texts)):
      raise GenrecError(
        'The train texts have no words, so none is nearer to another; leave'
        f' out the baseline {self.name!r}.'
      )
    # In the order of the abc, so that the first of equals is known.
    order = sorted(range(len(texts)), key=lambda row: texts[row])
    self._texts = [texts[row] for row in order]
    self._rows_of_user = _group(np.asarray(user)[order])
    self._rows_of_item = _group(np.asarray(item)[order])
    library = import_library('sklearn.feature_extraction.text')
    self._weights = library.TfidfVectorizer(analyzer=words, sublinear_tf=True)
    self._vectors = self._weights.fit_transform(self._texts)
    return self

  def predict(
    self,
    user: Int[np.ndarray, 'E'],
    item: Int[np.ndarray, 'E'],
    queries: Sequence[str] | None = None,
  ) -> list[str]:
    """Returns a train text for every example.

    Args:
      user: of each example.
      item: of each example.
      queries: what the text is to be near to, as the review that is to be
        summarized; by default the user's train texts.
    """
    if queries is None:
      queries = [
        '\n'.join(self._texts[row] for row in self._rows_of_user.get(one, ()))
        for one in np.asarray(user).tolist()
      ]
    vectors = self._weights.transform(queries)
    copied = []
    for example, (who, what) in enumerate(zip(user.tolist(), item.tolist())):
      rows = self._rows_of_item.get(what, self._rows_of_user.get(who))
      if rows is None:
        copied.append(self._fallback)
        continue
      nearness = (self._vectors[rows] @ vectors[example].T).toarray()[:, 0]
      copied.append(self._texts[rows[nearness.argmax()]])
    return copied


def first_sentence(text: str) -> str:
  """Returns a text's first sentence: LEAD, the usual floor of summarization.

  >>> first_sentence('Works well. Buy it!')
  'Works well.'
  """
  text = text.strip()
  return re.split(r'(?<=[.!?])\s|\n', text, maxsplit=1)[0].strip()


def _group(keys: Int[np.ndarray, 'R']) -> dict[int, np.ndarray]:
  """Returns the rows of each key, ascending."""
  rows = collections.defaultdict(list)
  for row, key in enumerate(keys.tolist()):
    rows[key].append(row)
  return {key: np.array(of_key) for key, of_key in rows.items()}


def _most_frequent(texts: Sequence[str]) -> str:
  if not texts:
    raise GenrecError('Got no train texts, expected at least one.')
  counts = collections.Counter(texts)
  return min(counts, key=lambda text: (-counts[text], text))
