"""Layers of one kind on top of each other, one by one or by a scan."""

from __future__ import annotations

from collections.abc import Callable

from flax import linen as nn
from flax.linen import partitioning
from jaxtyping import Array, Float

from genrec_jax.models.config import REMAT_POLICIES, T5Config


def apply_stack(
  layer: Callable[..., nn.Module],
  num_layers: int,
  x: Float[Array, 'B T D'],
  *shared: Array | None,
  config: T5Config,
  name: str,
  first: int = 0,
  **flags: bool,
) -> Float[Array, 'B T D']:
  """Applies `num_layers` of a kind, one by one or by a scan.

  Args:
    layer: class of a layer.
    num_layers: how many there are.
    x: what goes through the layers.
    *shared: further arrays, the same for each layer.
    config: attribute of the layers.
    name: of the scanned layer.
    first: the number of the first that is applied, 0 where they are scanned.
    **flags: further attributes of the layers.
  """
  if config.remat_policy != 'none':
    layer = partitioning.remat(
      layer,
      policy=REMAT_POLICIES[config.remat_policy],
      prevent_cse=not config.scan_layers,
    )
  if not config.scan_layers:
    for n in range(first, num_layers):
      x, _ = layer(config, **flags, name=f'layers_{n}')(x, *shared)
    return x
  scanned = partitioning.scan_with_axes(
    layer,
    # Rows stay the first axis of what decoding keeps.
    variable_axes={'params': 0, 'cache': 1, 'cross_attention': 1},
    split_rngs={'params': True, 'dropout': True},
    in_axes=nn.broadcast,
    length=num_layers,
    axis_name='layers',
  )
  x, _ = scanned(config, **flags, name=name)(x, *shared)
  return x
