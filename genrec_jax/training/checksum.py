"""One number of all bits of a tree of arrays, wherever they lie."""

from __future__ import annotations

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, UInt32

from genrec_jax.models.layers import number_elements

PyTree = Any


def checksum(tree: PyTree) -> int:
  """Returns a 32-bit checksum of names, places and bits of arrays.

  The sum of their words, each times an odd number of its own: a sum of whole
  numbers has the same bits however the arrays are cut over devices, and any
  single word that changes, changes it.
  """
  return int(_checksum(tree))


@jax.jit
def _checksum(tree: PyTree) -> UInt32[Array, '']:
  leaves, _ = jax.tree.flatten_with_path(tree)
  total = jnp.uint32(0)
  for path, leaf in leaves:
    salt = zlib.crc32(jax.tree_util.keystr(path).encode())
    words = _words(leaf)
    odd = 2 * number_elements(words.shape) + np.uint32(salt | 1)
    total += jnp.sum(words * odd, dtype=jnp.uint32)
  return total


def _words(array: Array) -> UInt32[Array, '...']:
  """Returns the bits of an array as whole numbers of up to 32 bits."""
  size = min(array.dtype.itemsize, 4)
  unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[size]
  if array.dtype == bool:
    return array.astype(jnp.uint32)
  return lax.bitcast_convert_type(array, unsigned).astype(jnp.uint32)
