"""The tables of a model that have a row a token: embedding and untied head."""

from __future__ import annotations

from typing import Any

import flax.traverse_util
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

PyTree = Any

# Their names, with / between the levels of the tree of parameters.
EMBEDDING = 'token_embedder/embedding'
HEAD = 'decoder/logits_dense/kernel'


def table_width(params: PyTree) -> int:
  """Returns how many features an embedding has; shapes are enough."""
  return flax.traverse_util.flatten_dict(params, sep='/')[EMBEDDING].shape[1]


def set_rows(
  params: PyTree, tokens: Int[Array, 'M'], rows: Float[Array, 'M D']
) -> PyTree:
  """Returns parameters in which some tokens have other embeddings.

  An untied head gives these tokens the logits that a tied one would give, whose
  inner products are scaled by D ** -0.5.

  Args:
    params: of a model of ours, or T5X's; traced ones too.
    tokens: which.
    rows: theirs.
  """
  flat = flax.traverse_util.flatten_dict(params, sep='/')
  flat[EMBEDDING] = flat[EMBEDDING].at[tokens].set(rows)
  if HEAD in flat:
    columns = jnp.transpose(rows) * rows.shape[1] ** -0.5
    flat[HEAD] = flat[HEAD].at[:, tokens].set(columns)
  return flax.traverse_util.unflatten_dict(flat, sep='/')
