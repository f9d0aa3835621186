"""Are lists new, various, surprising and one's own?

  novelty          mean self-information of what is listed, in bits (Zhou et
                   al., "Solving the apparent diversity-accuracy dilemma of
                   recommender systems", PNAS 2010)
  diversity        mean distance of two items of a list (Smyth, McClave,
                   "Similarity vs. diversity", ICCBR 2001; Ziegler et al.,
                   "Improving recommendation lists through topic
                   diversification", WWW 2005)
  serendipity      what is found and popularity would not have listed (Ge,
                   Delgado-Battenfeld, Jannach, RecSys 2010)
  personalisation  how little two users' lists have in common (Zhou et al. 2010)

Coverage is in bias.py.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse.linalg
from jaxtyping import Bool, Float, Int, Integer

from genrec_jax.evaluation.bias import list_matrix, mean_of_lists
from genrec_jax.types import GenrecError

_LISTS_AT_ONCE = 256


def self_information(
  counts: Int[np.ndarray, 'N'], num_users: int
) -> Float[np.ndarray, 'N']:
  """Returns -log2 of the chance that a user has each item, in bits.

  Items that nobody has count as if one user had: their surprise has no end.

  Args:
    counts: how many train interactions each item has.
    num_users: of the train interactions.

  Raises:
    GenrecError: if there are no users.
  """
  if num_users < 1:
    raise GenrecError('Got no users; there is nothing that could surprise.')
  return np.log2(num_users) - np.log2(np.maximum(counts, 1))


def novelty(
  items: Integer[np.ndarray, 'E K'], information: Float[np.ndarray, 'N']
) -> float | None:
  """Returns the mean over lists of their items' mean self-information.

  Empty lists are left out; None where there are no others.
  """
  return mean_if_any(mean_of_lists(information, items))


def intra_list_diversity(
  items: Integer[np.ndarray, 'E K'], vectors: scipy.sparse.csr_array
) -> float | None:
  """Returns the mean over lists of 1 - cosine of two of their items.

  Args:
    items: the first places of lists, -1 where there is none; an item is in a
      list once.
    vectors: [N, D], of the items: what they are compared by. With the users of
      train interactions as the columns, items are alike if the same users had
      them. Items of zeros are like no other.

  Returns:
    The mean; None where no list has two items.
  """
  lengths = scipy.sparse.linalg.norm(vectors, axis=1)
  scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
  unit = scipy.sparse.csr_array(
    scipy.sparse.diags_array(scale) @ vectors
  ).astype(np.float32)
  own = (scale > 0).astype(float)  # the cosine of an item and itself
  found = []
  for start in range(0, len(items), _LISTS_AT_ONCE):
    lists = list_matrix(items[start : start + _LISTS_AT_ONCE], unit.shape[0])
    size = np.diff(lists.indptr)
    # The square of a sum holds each pair twice, and each item once.
    sums = lists.astype(np.float32) @ unit
    pairs = np.asarray(sums.power(2).sum(axis=1)).ravel() - lists @ own
    several = size > 1
    number = size[several] * (size[several] - 1)
    found.append(1 - pairs[several] / number)
  return mean_if_any(np.concatenate(found)) if found else None


def personalisation(
  exposed: Int[np.ndarray, 'N'], num_lists: int, k: int
) -> float | None:
  """Returns 1 - the mean overlap of two lists, over all pairs of lists.

  An overlap is the number of items that both hold, by k. No pair has to be
  looked at: an item that is in e lists is common to e (e - 1) / 2 pairs.

  Args:
    exposed: how many lists hold each item, see `bias.exposure`.
    num_lists: E.
    k: places of a list.

  Returns:
    From 0 (all lists are the same) to 1; None of fewer than two lists.
  """
  if num_lists < 2:
    return None
  exposed = np.asarray(exposed, float)
  common = (exposed * (exposed - 1)).sum()
  return float(1 - common / (num_lists * (num_lists - 1) * k))


def serendipity(
  items: Integer[np.ndarray, 'E k'],
  expected: Integer[np.ndarray, 'E k'],
  targets: Int[np.ndarray, 'E'],
) -> Bool[np.ndarray, 'E']:
  """Returns whose target a list holds, while the expected list does not.

  Its mean is to be read beside Recall@k, of which it is a part; by k it is the
  serendipity of Ge et al., whose primitive model the expected lists are of.

  Args:
    items: first places of lists.
    expected: first places of what is no surprise, such as the most popular
      items that each user has not had.
    targets: the relevant item of each example.
  """
  target = np.asarray(targets)[:, None]
  return (items == target).any(axis=1) & ~(expected == target).any(axis=1)


def mean_if_any(values: Float[np.ndarray, 'E']) -> float | None:
  """Returns the mean of the numbers among values; None where there is none."""
  there = np.isfinite(values)
  return float(values[there].mean()) if there.any() else None
