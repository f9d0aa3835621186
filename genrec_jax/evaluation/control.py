"""Do answers obey: the share of items, and of texts, that are as was wished.

A share says little alone: half of the catalogue may be of the category that is
wished for. So beside each stands what the same answers obey by chance, with
the wishes dealt out anew among the examples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Integer

from genrec_jax.evaluation.explanation import named_features
from genrec_jax.ids.textual import words
from genrec_jax.types import GenrecError

CUTOFFS = (1, 5, 10)


def measure_lists(
  items: Integer[np.ndarray, 'E K'],
  has: Bool[np.ndarray, 'A N'],
  wish: Integer[np.ndarray, 'E'],
  *,
  cutoffs: Sequence[int] = CUTOFFS,
  seed: int = 0,
) -> dict[str, float]:
  """Returns the share of listed items that have the wished attribute.

  Args:
    items: the lists, best first; -1 where there is no item.
    has: which items have each of A attributes.
    wish: of each example, an attribute; -1 where it wishes for nothing, and is
      left out.
    cutoffs: k: the mean over the lists of the share among their first k items,
      counted over those that are there. A list without any item counts 0.
    seed: of dealing the wishes out anew.

  Returns:
    `obey@k`, and `obey_by_chance@k` with the wishes of other examples;
    `obey_n` examples with a wish.

  Raises:
    GenrecError: if a list is shorter than a cutoff, no example has a wish, or
      there are not as many as lists.
  """
  if len(wish) != len(items):
    raise GenrecError(
      f'Got {len(wish)} wishes for {len(items)} lists; expected one each, -1'
      ' where nothing is wished for.'
    )
  if max(cutoffs) > items.shape[1]:
    raise GenrecError(
      f'Got lists of {items.shape[1]} items, expected {max(cutoffs)} at least;'
      ' raise num_beams.'
    )
  asked = np.flatnonzero(wish >= 0)
  if not len(asked):
    raise GenrecError(
      'No example has a wish: no target has an attribute; choose another column'
      ' (--wanted of genrec tokenize).'
    )
  items, wish = items[asked], wish[asked]
  dealt = np.random.default_rng(seed).permutation(wish)
  listed = items >= 0
  result: dict[str, float] = {'obey_n': len(asked)}
  for name, wishes in (('obey', wish), ('obey_by_chance', dealt)):
    obeys = has[wishes[:, None], np.maximum(items, 0)] & listed
    for k in cutoffs:
      there = np.maximum(listed[:, :k].sum(axis=1), 1)
      result[f'{name}@{k}'] = float((obeys[:, :k].sum(axis=1) / there).mean())
  return result


def measure_texts(
  texts: Sequence[str], wishes: Sequence[str | None], *, seed: int = 0
) -> dict[str, float]:
  """Returns the share of texts that name the feature that was wished for.

  A text names it if it holds its words, next to each other and in order,
  whatever the case (as FMR does, see explanation.py).

  Args:
    texts: E of them.
    wishes: of each a feature; None or '' where it wishes for none, and is left
      out.
    seed: of dealing the wishes out anew.

  Returns:
    `obey`, `obey_by_chance` with the wishes of other texts, and
    `obey_n`.

  Raises:
    GenrecError: if no text has a wish, or there are not as many as texts.
  """
  if len(texts) != len(wishes):
    raise GenrecError(
      f'Got {len(wishes)} wishes for {len(texts)} texts; expected one each,'
      ' None where nothing is wished for.'
    )
  pairs = [
    (text, tuple(words(wish)))
    for text, wish in zip(texts, wishes)
    if wish and words(wish)
  ]
  if not pairs:
    raise GenrecError('No text has a wish; choose examples with features.')
  wished = [wish for _, wish in pairs]
  named = named_features([text for text, _ in pairs], set(wished))
  order = np.random.default_rng(seed).permutation(len(pairs))
  return {
    'obey_n': len(pairs),
    'obey': float(np.mean([w in n for w, n in zip(wished, named)])),
    'obey_by_chance': float(
      np.mean([wished[place] in n for place, n in zip(order, named)])
    ),
  }
