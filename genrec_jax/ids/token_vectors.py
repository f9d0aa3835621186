"""Vectors of tokens: what the items that a token stands for have in common.

A model whose token tables start with them knows at its first step who is near
whom, where it else has to find that out from the examples.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from genrec_jax.types import UNK_ID, GenrecError


def token_vectors(
  item_tokens: Int[np.ndarray, 'N T'],
  vectors: Float[np.ndarray, 'N D'],
  width: int,
  *,
  seed: int = 0,
) -> tuple[Int[np.ndarray, 'M'], Float[np.ndarray, 'M width']]:
  """Returns the tokens of items, and for each the mean vector of its items.

  The vectors are turned to `width` dimensions: their leading directions where
  that is fewer than they have; else all of them, rotated at random, so that no
  dimension is empty. Inner products stay what they were, up to one scale: every
  row is given the length of a row of standard normal draws.

  Args:
    item_tokens: of each item; pad, eos and unk stand for nobody.
    vectors: of each item, such as those that ids were made from.
    width: of the table.
    seed: of the rotation.

  Returns:
    Tokens in ascending order, and their rows. Tokens whose items' vectors are
    zero, or cancel out, are left out.

  Raises:
    GenrecError: if there is not one vector an item.
  """
  num_items, tokens_per_item = item_tokens.shape
  if vectors.ndim != 2 or len(vectors) != num_items:
    raise GenrecError(
      f'Got vectors of shape {vectors.shape} for {num_items} items; expected'
      ' one row an item.'
    )
  _, directions = np.linalg.eigh(vectors.T.astype(np.float64) @ vectors)
  directions = directions[:, ::-1][:, :width]
  rotation, _ = np.linalg.qr(
    np.random.default_rng(seed).standard_normal((width, width))
  )
  turned = vectors @ directions @ rotation[: directions.shape[1]]
  has = scipy.sparse.csr_array(
    (
      np.ones(item_tokens.size),
      (item_tokens.ravel(), np.repeat(np.arange(num_items), tokens_per_item)),
    )
  )
  # The lengths of rows are made equal below, so that a sum does for a mean.
  rows = has @ turned
  norms = np.linalg.norm(rows, axis=1)
  tokens = np.flatnonzero(norms > 1e-6 * norms.max(initial=0.0))
  tokens = tokens[tokens > UNK_ID]
  rows = rows[tokens] / norms[tokens, None] * width**0.5
  return tokens.astype(np.int32), rows.astype(np.float32)
