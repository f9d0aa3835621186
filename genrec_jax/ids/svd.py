"""Item vectors from a truncated SVD, and quantile codes made from them.

The matrix is either users by items (what was bought) or items by items (what
was bought close to what); it is weighted, and its leading right singular
vectors are the items' factors.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse
from jax.sharding import Mesh
from jaxtyping import Float, Int

from genrec_jax.ids.collisions import collision_rate, extra_digit
from genrec_jax.ids.cooccurrence import count_cooccurrences
from genrec_jax.ids.cooccurrence_files import load_counts
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.ids.truncated_svd import truncated_svd
from genrec_jax.ids.vectors import vector_facts, vectors_for_codes
from genrec_jax.ids.weighting import WEIGHTINGS, ppmi
from genrec_jax.types import GenrecError, PathLike, unknown_name

NORMALIZATIONS = ('none', 'unit', 'standard')
DEFAULT_RANK = 64


def item_factors(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_users: int,
  num_items: int,
  *,
  rank: int | None = None,
  matrix: str = 'interactions',
  weighting: str = 'log',
  window: int = 5,
  counts: PathLike | None = None,
  context_smoothing: float = 1.0,
  singular_power: float = 1.0,
  normalize: str = 'unit',
  solver: str = 'auto',
  seed: int = 0,
  mesh: Mesh | None = None,
) -> Float[np.ndarray, 'N rank']:
  """Returns item factors from a truncated SVD, float32 [N, rank].

  Args:
    user: the user of each train interaction.
    item: its item; the rows of one user are in chronological order.
    num_users: U.
    num_items: N. Items without a train interaction get the zero vector.
    rank: how many singular vectors; None for 64, or as many as there are where
      that is fewer (the facts of the ids say how many: 'vector_dimensions').
    matrix: 'interactions' (users by items) or 'cooccurrence' (items by items,
      pairs at most `window` steps apart in one history).
    weighting: a name in `WEIGHTINGS`.
    window: for 'cooccurrence' alone; a pair at distance d counts 1/d.
    counts: for 'cooccurrence' alone: a directory of counts that
      `cooccurrence_files.save_counts` wrote with this window; None counts here.
    context_smoothing: for 'ppmi' alone; contexts count to this power, and .75
      makes rare ones less surprising (Levy, Goldberg & Dagan, "Improving
      distributional similarity with lessons learned from word embeddings",
      2015).
    singular_power: factors are V S^power: 1 weighs dimensions by the variance
      they explain, 0 weighs them all the same.
    normalize: 'unit' (every item has length 1), 'standard' (every dimension
      has mean 0 and deviation 1 over the items seen), or 'none'.
    solver: see `truncated_svd`; by default exact where that is quick, else
      randomized.
    seed: of the start vector; the same seed gives the same factors.
    mesh: the devices for the randomized solver; factors do not depend on them.

  Dimensions beyond the rank of the matrix itself, which hold nothing but
  rounding errors, are zeros where the rank was asked for and left out where
  it was not.

  Raises:
    GenrecError: if the rank is more than the matrix can have, or there are no
      interactions.
  """
  if matrix not in MATRICES:
    raise unknown_name('matrix', matrix, MATRICES)
  if weighting not in WEIGHTINGS:
    raise unknown_name('weighting', weighting, WEIGHTINGS)
  if normalize not in NORMALIZATIONS:
    raise unknown_name('normalization', normalize, NORMALIZATIONS)
  if counts is None:
    table = MATRICES[matrix](user, item, num_users, num_items, window)
  elif matrix == 'cooccurrence':
    table = load_counts(counts, user, item, num_items, window=window)
  else:
    raise GenrecError(
      f'Got counts={str(counts)!r} of pairs for matrix={matrix!r}; they are'
      " for matrix='cooccurrence' alone."
    )
  if not table.nnz:
    raise GenrecError(
      f'The matrix {matrix!r} of {len(user)} train interactions is empty: no'
      ' item factors can be made. Use another method, or more data.'
    )
  most = min(table.shape)
  asked = min(DEFAULT_RANK, most) if rank is None else rank
  if not 0 < asked <= most:
    raise GenrecError(
      f'rank={rank} singular vectors were asked of a matrix of'
      f' {table.shape[0]} x {table.shape[1]}; set rank between 1 and {most}.'
    )
  if weighting == 'ppmi':
    weighted = ppmi(table, context_smoothing)
  else:
    weighted = WEIGHTINGS[weighting](table)
  del table  # it may be of gigabytes
  singular, vectors = truncated_svd(
    weighted, asked, solver=solver, seed=seed, mesh=mesh
  )
  real = singular > singular[0] * np.finfo(np.float32).eps * 10
  if rank is None:
    singular, vectors = singular[real], vectors[:, real]
  factors = vectors * singular**singular_power
  if rank is not None:
    factors[:, ~real] = 0
  seen = np.bincount(item, minlength=num_items) > 0
  factors[~seen] = 0
  if normalize == 'unit':
    lengths = np.linalg.norm(factors, axis=1, keepdims=True)
    factors = np.divide(factors, lengths, where=lengths > 0, out=factors)
  elif normalize == 'standard':
    deviation = factors[seen].std(axis=0)
    centred = factors[seen] - factors[seen].mean(axis=0)
    factors[seen] = centred / np.where(deviation > 0, deviation, 1)
  return factors.astype(np.float32)


def quantile_codes(
  vectors: Float[np.ndarray, 'N D'],
  *,
  num_levels: int,
  codebook_size: int,
  noise: float = 1e-5,
  seed: int = 0,
) -> Int[np.ndarray, 'N num_levels']:
  """Cuts each of the leading dimensions into quantiles (GPTRec).

  Each dimension is scaled to [0, 1], a little Gaussian noise parts equal
  items, and the code of an item is the quantile it falls in, so that all codes
  of a level are used equally often. See section 4.2 of Petrov & Macdonald,
  "Generative Sequential Recommendation with GPTRec", 2023.

  Raises:
    GenrecError: if there are fewer dimensions than levels, or one of the
      leading dimensions is the same for all items.
  """
  if vectors.shape[1] < num_levels:
    raise GenrecError(
      f'Quantile codes of {num_levels} levels need as many dimensions, but the'
      f' item vectors have {vectors.shape[1]}; raise the rank of the item'
      ' vectors, or lower num_levels.'
    )
  vectors = vectors[:, :num_levels].astype(np.float64)
  low, high = vectors.min(axis=0), vectors.max(axis=0)
  if (high == low).any():
    raise GenrecError(
      f'Dimension {np.flatnonzero(high == low)[0]} of the item vectors is the'
      f' same for all items, but quantile codes of {num_levels} levels need as'
      ' many dimensions in which items differ: the rank of the matrix is below'
      ' the number of levels. Lower num_levels.'
    )
  scaled = (vectors - low) / (high - low)
  generator = np.random.default_rng(seed)
  scaled += noise * generator.standard_normal(scaled.shape)
  ranks = scaled.argsort(axis=0, kind='stable').argsort(axis=0)
  return (ranks * codebook_size // len(vectors)).astype(np.int32)


def quantile_svd(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_users: int,
  num_items: int,
  *,
  item_vectors: Callable[..., Float[np.ndarray, 'N D']] = item_factors,
  num_levels: int = 4,
  codebook_size: int = 256,
  noise: float = 1e-5,
  seed: int = 0,
) -> ItemIds:
  """Makes ids of quantile codes of the leading factors, as GPTRec does.

  Args:
    user: the user of each train interaction.
    item: its item.
    num_users: U.
    num_items: N.
    item_vectors: what makes the vectors; called with the four arguments before
      it and `seed`.
    num_levels: codes an item, before a digit that parts colliding items.
    codebook_size: quantiles a dimension.
    noise: its standard deviation, relative to a dimension's range.
    seed: of the vectors, of the noise and of the order of colliding items.
  """
  vectors = vectors_for_codes(
    item_vectors,
    user,
    item,
    num_users,
    num_items,
    num_levels=num_levels,
    codebook_size=codebook_size,
    seed=seed,
  )
  codes = quantile_codes(
    vectors,
    num_levels=num_levels,
    codebook_size=codebook_size,
    noise=noise,
    seed=seed,
  )
  unique, sizes = extra_digit(codes, [codebook_size] * num_levels, seed=seed)
  facts = {
    'method': 'quantile_svd',
    'collision_rate': collision_rate(codes),
    **vector_facts(vectors),
  }
  return ItemIds(
    codes=unique, codebook_sizes=sizes, facts=facts, vectors=vectors
  )


def _interactions(user, item, num_users, num_items, window):
  del window
  ones = np.ones(len(user), np.float32)
  return scipy.sparse.csr_array((ones, (user, item)), (num_users, num_items))


def _cooccurrence(user, item, num_users, num_items, window):
  del num_users
  return count_cooccurrences(user, item, num_items, window=window)


MATRICES = {'interactions': _interactions, 'cooccurrence': _cooccurrence}
