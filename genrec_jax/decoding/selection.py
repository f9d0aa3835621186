"""The largest values of wide rows: exact, and quick where XLA alone is slow."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int32

# From this width on, chunk maxima beat one `top_k` on a CPU.
WIDE = 1 << 13
CHUNK = 32


def take(array: jax.Array, index: jax.Array) -> jax.Array:
  """Reads `array[index]` along the first axis.

  Indices are in bounds but for beams that hold nothing, whose numbers mean
  nothing: XLA clamps them, so they read something, and are masked later.
  """
  return array.at[index].get(mode='promise_in_bounds')


def take_along(array: jax.Array, index: jax.Array) -> jax.Array:
  """Reads along the last axis, of arrays with the same axes before it."""
  return jnp.take_along_axis(array, index, axis=-1, mode='promise_in_bounds')


def pad_last(array: jax.Array, size: int, value) -> jax.Array:
  """Fills the last axis up to `size`."""
  missing = size - array.shape[-1]
  if not missing:
    return array
  widths = [(0, 0)] * (array.ndim - 1) + [(0, missing)]
  return jnp.pad(array, widths, constant_values=value)


def top_k(
  values: Float32[Array, 'B C'], k: int
) -> tuple[Float32[Array, 'B k'], Int32[Array, 'B k']]:
  """Returns the k largest of each row and their places, first of equals first.

  Wide rows go through chunk maxima: each of the k largest lies in one of the
  k chunks with the largest maxima (of equals, the first), so only those are
  searched.
  """
  num_rows, width = values.shape
  if not is_wide(width, k):
    return jax.lax.top_k(values, k)
  num_chunks = -(-width // CHUNK)
  chunks = pad_last(values, num_chunks * CHUNK, -jnp.inf).reshape(
    num_rows, num_chunks, CHUNK
  )
  chosen_BK = top_chunks(chunks.max(axis=-1), k)
  searched = take_chunks(chunks, chosen_BK).reshape(num_rows, -1)
  best_BK, place_BK = jax.lax.top_k(searched, k)
  return best_BK, chunk_place(chosen_BK, place_BK)


def is_wide(width: int, k: int) -> bool:
  """Returns whether chunk maxima are the quicker way to the k largest."""
  return width >= WIDE and width > 2 * k * CHUNK


def top_chunks(
  maxima: Float32[Array, 'B C'], k: int
) -> Int32[Array, 'B k_or_C']:
  """Returns the chunks that hold the k largest values, in ascending order."""
  _, chosen = top_k(maxima, min(k, maxima.shape[-1]))
  return jnp.sort(chosen, axis=-1)


def take_chunks(
  chunks: Float[Array, 'B C c'], chosen: Int32[Array, 'B k']
) -> Float[Array, 'B k c']:
  """Reads the chosen chunks of each row."""
  return jnp.take_along_axis(
    chunks, chosen[..., None], axis=1, mode='promise_in_bounds'
  )


def chunk_place(
  chosen: Int32[Array, 'B k'], place: Int32[Array, 'B K']
) -> Int32[Array, 'B K']:
  """Returns where in a row lies what lies at `place` of its chosen chunks."""
  return take_along(chosen, place // CHUNK) * CHUNK + place % CHUNK
