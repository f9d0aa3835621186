"""What a method that quantizes vectors has learnt, kept for items to come."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Self

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True, eq=False)
class Quantizer:
  """Codebooks, and the way from an item's vector to what they quantize.

  Attributes:
    codebooks: float32 [L, K, Z]; the entries of an id add up to what is
      quantized, as in residual quantization. An id may have one level more,
      a digit that parts items of the same codes.
    layers: weights [in, out] and biases [out] from vectors to what is
      quantized, with a ReLU between layers: none for residual k-means, a
      rotation for product quantization, the encoder of an RQ-VAE.
  """

  codebooks: Float[np.ndarray, 'L K Z']
  layers: Sequence[tuple[Float[np.ndarray, 'a b'], Float[np.ndarray, 'b']]] = ()

  def encode(self, vectors: Float[np.ndarray, 'n D']) -> np.ndarray:
    """Returns what is quantized of vectors, float32 [n, Z]."""
    encoded = np.asarray(vectors, np.float32)
    for number, (weights, bias) in enumerate(self.layers):
      if number:
        encoded = np.maximum(encoded, 0)
      encoded = encoded @ weights
      encoded += bias
    return encoded

  def save(self, path: pathlib.Path) -> None:
    """Writes a .npz file."""
    arrays = {'codebooks': self.codebooks}
    for number, (weights, bias) in enumerate(self.layers):
      arrays |= {f'weights_{number}': weights, f'bias_{number}': bias}
    np.savez(path, **arrays)

  @classmethod
  def load(cls, path: pathlib.Path) -> Self:
    """Reads what `save` wrote."""
    with np.load(path) as file:
      layers = [
        (file[f'weights_{number}'], file[f'bias_{number}'])
        for number in range(len(file.files) // 2)
      ]
      return cls(file['codebooks'], layers)
