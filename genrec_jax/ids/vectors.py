"""Item vectors from several sources: checked, concatenated, aligned.

Every source is a function as `svd.item_factors` is one: of user, item,
num_users and num_items of the train interactions, and `seed`; it returns one
vector an item. What makes ids takes any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from genrec_jax.types import GenrecError

VectorSource = Callable[..., Float[np.ndarray, 'N D']]

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # shares of the mean variance


def check_levels(
  num_levels: int, codebook_size: int, num_items: int | None = None
) -> None:
  """Refuses levels of no codes, and of more codes than there are items."""
  if num_levels < 1 or codebook_size < 1:
    raise GenrecError(
      f'Got num_levels={num_levels} and codebook_size={codebook_size};'
      ' expected at least 1 of each.'
    )
  if num_items is not None and codebook_size > num_items:
    raise GenrecError(
      f'codebook_size={codebook_size} is more than the {num_items} items: some'
      ' codes could never be used; set codebook_size to at most'
      f' {num_items}, better to a fourth of it.'
    )


def vectors_for_codes(
  item_vectors: VectorSource,
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_users: int,
  num_items: int,
  *,
  num_levels: int,
  codebook_size: int,
  seed: int,
) -> Float[np.ndarray, 'N D']:
  """Returns the vectors that a method quantizes, checked.

  Raises:
    GenrecError: if they cannot be used, or a level has more codes than there
      are items; the latter before they are made.
  """
  check_levels(num_levels, codebook_size, num_items)
  vectors = item_vectors(user, item, num_users, num_items, seed=seed)
  check_vectors(vectors, num_items)
  return vectors


def check_vectors(
  vectors: Float[np.ndarray, 'N D'],
  num_items: int,
  *,
  source: str = 'the item vectors',
) -> None:
  """Refuses vectors that no ids can be made of.

  Raises:
    GenrecError: if they are no array of numbers, not one row an item, some
      number is not finite, or all rows are equal.
  """
  kind = getattr(vectors, 'dtype', type(vectors).__name__)
  if not isinstance(vectors, np.ndarray) or vectors.dtype.kind not in 'fiu':
    raise GenrecError(
      f'{_capital(source)} are of the type {kind}; expected a NumPy array of'
      ' real numbers, one row for each item of the dataset.'
    )
  if vectors.ndim != 2 or len(vectors) != num_items or not vectors.shape[1]:
    raise GenrecError(
      f'{_capital(source)} have the shape {list(vectors.shape)}; expected'
      f' [{num_items}, D], one row for each item of the dataset.'
    )
  bad = np.concatenate(
    [
      start + np.flatnonzero(~np.isfinite(part).all(axis=1))
      for start, part in _slabs(vectors)
    ]
  )
  if len(bad):
    raise GenrecError(
      f'{_capital(source)} hold NaN or infinity in {len(bad)} of {num_items}'
      f' rows, the first in row {bad[0]}; mend them, or give items without a'
      ' vector a row of zeros.'
    )
  if num_items > 1 and all(
    (part == vectors[:1]).all() for _, part in _slabs(vectors)
  ):
    raise GenrecError(
      f'{_capital(source)} are all equal (zero variance): they tell no item'
      ' from another. Give other vectors, or use random_ids.'
    )


def vector_facts(vectors: Float[np.ndarray, 'N D']) -> dict[str, Any]:
  """Returns what should be known of vectors: width, and rows of zeros.

  Items without a train interaction have a row of zeros in collaborative
  vectors, so all of them want the same code; see `aligned_vectors`.
  """
  zeros = sum(int((~part.any(axis=1)).sum()) for _, part in _slabs(vectors))
  return {
    'vector_dimensions': vectors.shape[1],
    'items_without_vector': zeros,
  }


def concatenated_vectors(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_users: int,
  num_items: int,
  *,
  sources: Sequence[VectorSource],
  weights: Sequence[float] | None = None,
  seed: int = 0,
) -> Float[np.ndarray, 'N D']:
  """Sets vectors of several sources side by side.

  Each source is centred over the items that it knows (rows other than zeros)
  and scaled so that its mean squared distance from the centre is its weight:
  a source counts by its weight, however many dimensions and whatever unit it
  has. Items that a source does not know stand in its centre.

  Args:
    user: the user of each train interaction.
    item: its item.
    num_users: U.
    num_items: N.
    sources: what makes the vectors of each.
    weights: one a source; all 1 when None.
    seed: given to every source.

  Raises:
    GenrecError: if there are no sources, the weights do not match them or are
      not positive, or a source's vectors cannot be used.
  """
  weights = [1.0] * len(sources) if weights is None else list(weights)
  if not sources or len(weights) != len(sources) or min(weights) <= 0:
    raise GenrecError(
      f'Got {len(sources)} sources of vectors and the weights {weights};'
      ' expected at least one source, and a positive weight for each.'
    )
  blocks = []
  for number, (source, weight) in enumerate(zip(sources, weights)):
    block = source(user, item, num_users, num_items, seed=seed)
    check_vectors(block, num_items, source=f'the vectors of source {number}')
    block = np.array(block, np.float32)
    known = block.any(axis=1)
    block[known] -= block[known].mean(axis=0)
    spread = np.square(block[known]).sum(axis=1).mean()
    if not spread > 0:
      raise GenrecError(
        f'The vectors of source {number} are equal for all {known.sum()} items'
        ' that it knows (zero variance); leave that source out.'
      )
    block *= np.sqrt(weight / spread)
    blocks.append(block)
  return np.concatenate(blocks, axis=1)


def aligned_vectors(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_users: int,
  num_items: int,
  *,
  content: VectorSource,
  collaborative: VectorSource,
  share: float = 0.0,
  seed: int = 0,
) -> Float[np.ndarray, 'N D']:
  """Puts items without interactions among the others, by their content.

  Collaborative vectors are predicted from content vectors by ridge regression
  over the items that have both (the map of Gantner et al., "Learning
  attribute-to-feature mappings for cold-start recommendations", 2010); items
  without a collaborative vector get the predicted one, of the length that the
  others have on average. The ridge is the best of a few on held-out items; what
  it explains there is printed.

  Args:
    user: the user of each train interaction.
    item: its item.
    num_users: U.
    num_items: N.
    content: what makes the content vectors.
    collaborative: what makes the collaborative vectors, zeros for items
      without interactions.
    share: how much of the predicted vector is mixed into those of the items
      that have one, from 0 to 1.
    seed: of both sources and of the held-out items.

  Raises:
    GenrecError: if vectors cannot be used, fewer than 10 items have both, or
      the share is not between 0 and 1.
  """
  if not 0 <= share <= 1:
    raise GenrecError(f'share={share} is not between 0 and 1.')
  arguments = user, item, num_users, num_items
  known = collaborative(*arguments, seed=seed)
  check_vectors(known, num_items, source='the collaborative vectors')
  described = content(*arguments, seed=seed)
  check_vectors(described, num_items, source='the content vectors')
  seen = known.any(axis=1)
  both = np.flatnonzero(seen & described.any(axis=1))
  predicted, explained = project(described, known, both, seed=seed)
  print(
    f'Content explains {explained:.1%} of the collaborative vectors of held-out'
    ' items.',
    flush=True,
  )
  lengths = np.linalg.norm(predicted, axis=1, keepdims=True)
  usual = np.linalg.norm(known[both], axis=1).mean()
  np.divide(predicted, lengths, out=predicted, where=lengths > 0)
  predicted *= usual
  predicted[~described.any(axis=1)] = 0
  mixed = np.where(
    described.any(axis=1, keepdims=True),
    (1 - share) * known + share * predicted,
    known,
  )
  return np.where(seen[:, None], mixed, predicted).astype(np.float32)


def project(
  content: Float[np.ndarray, 'N C'],
  target: Float[np.ndarray, 'N D'],
  rows: Int[np.ndarray, 'n'],
  *,
  seed: int = 0,
) -> tuple[Float[np.ndarray, 'N D'], float]:
  """Predicts target vectors of all items from content, fitted on some rows.

  Returns:
    predicted: float32 [N, D].
    explained: the share of the variance of a fifth of the rows, held out from
      the fit, that is predicted; below 0 where the mean is better.

  Raises:
    GenrecError: if there are fewer than 10 rows.
  """
  if len(rows) < 10:
    raise GenrecError(
      f'Only {len(rows)} items have both a content and a collaborative vector;'
      ' expected at least 10 to fit one to the other.'
    )
  rows = np.random.default_rng(seed).permutation(rows)
  held, kept = np.split(rows, [len(rows) // 5])
  scores = []
  for ridge in RIDGES:
    predict = _ridge_regression(content[kept], target[kept], ridge)
    error = np.square(predict(content[held]) - target[held]).sum()
    spread = np.square(target[held] - target[kept].mean(axis=0)).sum()
    scores.append(1 - error / spread if spread > 0 else 0.0)
  best = int(np.argmax(scores))
  predict = _ridge_regression(content[rows], target[rows], RIDGES[best])
  predicted = [predict(part) for _, part in _slabs(content)]
  return np.concatenate(predicted).astype(np.float32), float(scores[best])


def _ridge_regression(inputs, outputs, ridge):
  centre, mean = inputs.mean(axis=0), outputs.mean(axis=0)
  inputs = (inputs - centre).astype(np.float64)
  gram = inputs.T @ inputs
  gram += ridge * max(np.trace(gram), 1e-30) / len(gram) * np.eye(len(gram))
  weights = np.linalg.solve(gram, inputs.T @ (outputs - mean))
  return lambda rows: (rows - centre) @ weights + mean


def _slabs(vectors):
  """Yields the number of the first row of each slab, and the slab."""
  for start in range(0, max(len(vectors), 1), 2**16):
    yield start, vectors[start : start + 2**16]


def _capital(text):
  return text[:1].upper() + text[1:]
