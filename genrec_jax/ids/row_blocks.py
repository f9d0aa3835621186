"""A function of rows, applied in blocks of one shape over a mesh.

Catalogues have more rows than fit beside a table of their distances, so rows
go through the devices in blocks. How they are cut does not depend on the
devices: every block is the same program on the same numbers wherever it
runs, so one device and eight give the same bits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float

SLAB = 2**18  # rows on the devices at once


class RowBlocks:
  """Rows cut into blocks, to be mapped over as often as one likes.

  Attributes:
    num_rows: N.
    block_size: rows a block; the last blocks are filled up with zeros.
  """

  def __init__(
    self,
    rows: Float[np.ndarray, 'N D'],
    *,
    block_size: int = 2048,
    mesh: Mesh | None = None,
    keep: bool = False,
  ):
    """Cuts rows; nothing is copied before it is mapped over.

    Args:
      rows: [N, D]; may be a memory map.
      block_size: rows a block; fewer where there are fewer rows.
      mesh: whose 'data' axis the blocks are cut over; one device when None.
      keep: hold all rows on the devices, for those who map over them often.
    """
    self.num_rows = len(rows)
    self.block_size = min(block_size, max(64, _power_of_two(self.num_rows)))
    self._rows, self._mesh = rows, mesh
    self._slabs = list(self._put()) if keep else None

  def map(self, function: Callable[..., Any], *constants) -> Iterator[Any]:
    """Yields what a function makes of the blocks, a slab of them at a time.

    Args:
      function: of (rows [B, D], valid bool [B], *constants); a function of a
        module, for it is compiled once. `valid` is false for the filling.
      *constants: arrays that every block needs.

    Yields:
      Its results in NumPy, with one leading axis more: that of the blocks.
    """
    mapped = _compiled(function, self._mesh, len(constants))
    for slab in self._put() if self._slabs is None else self._slabs:
      yield jax.device_get(mapped(*slab, *constants))

  def map_rows(self, function: Callable[..., Any], *constants) -> tuple:
    """Returns what a function makes of each row: a tuple of [N, ...]."""
    slabs = list(self.map(function, *constants))
    return tuple(
      np.concatenate([part.reshape(-1, *part.shape[2:]) for part in parts])[
        : self.num_rows
      ]
      for parts in zip(*slabs, strict=True)
    )

  def _put(self):
    devices = 1 if self._mesh is None else self._mesh.shape['data']
    multiple = self.block_size * devices
    step = -(-SLAB // multiple) * multiple
    sharding = None
    if self._mesh is not None:
      sharding = NamedSharding(self._mesh, PartitionSpec('data'))
    for start in range(0, max(self.num_rows, 1), step):
      rows = np.asarray(self._rows[start : start + step], np.float32)
      filling = -len(rows) % multiple
      if not len(rows):
        filling = multiple
      valid = np.arange(len(rows) + filling) < len(rows)
      rows = np.pad(rows, ((0, filling), (0, 0)))
      yield tuple(
        jax.device_put(array, sharding)
        for array in (
          rows.reshape(-1, self.block_size, rows.shape[1]),
          valid.reshape(-1, self.block_size),
        )
      )


@functools.lru_cache(maxsize=64)
def _compiled(function, mesh, num_constants):
  def over_blocks(rows, valid, *constants):
    return jax.lax.map(
      lambda block: function(*block, *constants), (rows, valid)
    )

  if mesh is not None:
    over_blocks = jax.shard_map(
      over_blocks,
      mesh=mesh,
      in_specs=(PartitionSpec('data'),) * 2
      + (PartitionSpec(),) * num_constants,
      out_specs=PartitionSpec('data'),
      check_vma=False,
    )
  return jax.jit(over_blocks)


def _power_of_two(number: int) -> int:
  return 1 << max(0, number - 1).bit_length()


def squared_distances(
  rows: Float[jax.Array, 'B D'], centroids: Float[jax.Array, 'K D']
) -> Float[jax.Array, 'K B']:
  """Returns squared distances, less the rows' own squared lengths.

  Centroids come first: XLA on a CPU reduces over the leading axis fast.
  """
  products = jnp.matmul(-2 * centroids, rows.T, precision='highest')
  return products + (centroids**2).sum(axis=1)[:, None]
