"""Training of the autoencoder and the codebooks of RQ-VAE ids."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float, Int

from genrec_jax import progress
from genrec_jax.ids.residual_quantization import residual_codes
from genrec_jax.ids.row_blocks import RowBlocks, squared_distances
from genrec_jax.types import GenrecError

# A batch goes through in so many blocks, over the devices or one by one, and
# their gradients are added in one order: the number of devices changes nothing.
NUM_BLOCKS = 8


class Autoencoder(nn.Module):
  """Two multi-layer perceptrons, one the mirror of the other.

  Attributes:
    width: of the vectors, D.
    hidden: widths of the encoder's layers; the decoder's are the reverse.
    latent: width of what is quantized.
  """

  width: int
  hidden: Sequence[int]
  latent: int

  def setup(self):
    """Makes the layers."""
    self.encoder = [nn.Dense(size) for size in (*self.hidden, self.latent)]
    back = (*reversed(self.hidden), self.width)
    self.decoder = [nn.Dense(size) for size in back]

  def encode(self, x: Float[jax.Array, 'B D']) -> Float[jax.Array, 'B Z']:
    """Returns the latents."""
    return _through(self.encoder, x)

  def decode(self, z: Float[jax.Array, 'B Z']) -> Float[jax.Array, 'B D']:
    """Returns the vectors that latents stand for."""
    return _through(self.decoder, z)

  def __call__(self, x: Float[jax.Array, 'B D']) -> Float[jax.Array, 'B D']:
    """Encodes and decodes, without a codebook between."""
    return self.decode(self.encode(x))


def train(
  model: Autoencoder,
  inputs: Float[np.ndarray, 'N D'],
  *,
  num_levels: int,
  codebook_size: int,
  commitment: float = 0.25,
  num_steps: int = 2000,
  batch_size: int = 1024,
  learning_rate: float = 1e-3,
  weight_decay: float = 1e-4,
  reset_every: int = 100,
  seed: int = 0,
  mesh: Mesh | None = None,
) -> tuple[dict[str, Any], int]:
  """Trains an RQ-VAE; see `rq_vae.rq_vae` for the arguments.

  Returns:
    params: 'network', and 'codebooks' float32 [L, K, latent].
    resets: how many dead codes started again.
  """
  devices = 1 if mesh is None else mesh.shape['data']
  if batch_size < 1 or batch_size % NUM_BLOCKS or NUM_BLOCKS % devices:
    raise GenrecError(
      f'Got batch_size={batch_size} and a data axis of {devices} devices;'
      f' expected a multiple of {NUM_BLOCKS}, over 1, 2, 4 or 8 devices.'
    )
  generator = np.random.default_rng(seed)
  network = _initializer(model)(jax.random.key(seed), inputs[:1])
  first = _sample(inputs, 64 * codebook_size, generator)
  latents = _latents(model, network, first, mesh)
  _, codebooks, _ = residual_codes(
    latents,
    num_levels=num_levels,
    codebook_size=codebook_size,
    num_iterations=20,
    seed=seed,
    mesh=mesh,
  )
  params = {'network': network, 'codebooks': jnp.stack(codebooks)}
  optimizer = _optimizer(learning_rate, weight_decay)
  state = optimizer.init(params)
  step = _make_step(model, learning_rate, weight_decay, commitment, mesh)
  used = np.zeros((num_levels, codebook_size), np.int64)
  resets = 0
  batches = _batches(len(inputs), batch_size, num_steps, generator)
  steps = progress.bar(batches, 'RQ-VAE', total=num_steps)
  for number, rows in enumerate(steps, start=1):
    params, state, loss, counts = step(
      params, state, inputs[rows].reshape(NUM_BLOCKS, -1, inputs.shape[1])
    )
    used += np.asarray(counts)
    if number % reset_every == 0:
      if number <= 0.75 * num_steps and (used == 0).any():
        resets += int((used == 0).sum())
        chosen = _sample(inputs, 8 * codebook_size, generator)
        latents = _latents(model, params['network'], chosen, mesh)
        params['codebooks'] = jnp.asarray(
          revive(np.asarray(params['codebooks']), used, latents, generator)
        )
        state = _forget(state, used == 0)
      used[:] = 0
      steps.set_postfix(loss=float(loss), resets=resets, refresh=False)
  return jax.device_get(params), resets


def quantize(
  latents: Float[jax.Array, 'B Z'], codebooks: Float[jax.Array, 'L K Z']
) -> tuple[Int[jax.Array, 'B L'], Float[jax.Array, 'L B Z']]:
  """Returns codes [B, L] and the centroids they stand for [L, B, Z].

  Gradients reach the centroids, not the latents: what a level leaves over is
  no reason to move the centroids of the levels before it.
  """
  residuals = jax.lax.stop_gradient(latents)
  codes, chosen = [], []
  for codebook in codebooks:
    table = squared_distances(residuals, jax.lax.stop_gradient(codebook))
    # XLA's own argmin is several times as slow on a CPU.
    number = jnp.arange(len(codebook), dtype=jnp.int32)[:, None]
    best = jnp.where(
      table == table.min(axis=0)[None], number, len(codebook) - 1
    )
    codes.append(best.min(axis=0))
    chosen.append(codebook[codes[-1]])
    residuals = residuals - jax.lax.stop_gradient(chosen[-1])
  return jnp.stack(codes, axis=1), jnp.stack(chosen)


def revive(
  codebooks: Float[np.ndarray, 'L K Z'],
  used: Int[np.ndarray, 'L K'],
  latents: Float[np.ndarray, 'B Z'],
  generator: np.random.Generator,
) -> Float[np.ndarray, 'L K Z']:
  """Puts codes that nothing used where residuals of random items are."""
  codebooks, residuals = codebooks.copy(), latents.copy()
  for codebook, counts in zip(codebooks, used, strict=True):
    dead = np.flatnonzero(counts == 0)
    several = len(dead) > len(residuals)
    rows = generator.choice(len(residuals), len(dead), replace=several)
    codebook[dead] = residuals[rows]
    table = -2 * residuals @ codebook.T + (codebook**2).sum(axis=1)
    residuals -= codebook[table.argmin(axis=1)]
  return codebooks


def _through(layers, x):
  for layer in layers[:-1]:
    x = nn.relu(layer(x))
  return layers[-1](x)


def _loss(params, rows, *, model, commitment):
  latents = model.apply(params['network'], rows, method='encode')
  codes, chosen = quantize(latents, params['codebooks'])
  fixed = jax.lax.stop_gradient
  # What each level is to quantize: the latents less the levels before it.
  wanted = latents[None] - fixed(jnp.cumsum(chosen, axis=0) - chosen)
  to_codes = ((fixed(wanted) - chosen) ** 2).sum(axis=(0, 2))
  to_latents = ((wanted - fixed(chosen)) ** 2).sum(axis=(0, 2))
  # Straight through: decoded as quantized, differentiated as if it were not.
  straight = latents + fixed(chosen.sum(axis=0) - latents)
  rebuilt = model.apply(params['network'], straight, method='decode')
  error = ((rebuilt - rows) ** 2).sum(axis=1)
  counts = jnp.stack(
    [
      jnp.zeros(params['codebooks'].shape[1], jnp.int32).at[column].add(1)
      for column in codes.T
    ]
  )
  return (error + to_codes + commitment * to_latents).mean(), counts


@functools.lru_cache(maxsize=16)  # the same model is compiled once
def _initializer(model):
  return jax.jit(model.init)


def _optimizer(learning_rate, weight_decay):
  return optax.adamw(
    learning_rate,
    weight_decay=weight_decay,
    mask={'network': True, 'codebooks': False},
  )


@functools.lru_cache(maxsize=16)  # the same settings are compiled once
def _make_step(model, learning_rate, weight_decay, commitment, mesh):
  """Returns the jitted step over a batch of [NUM_BLOCKS, B, D] rows."""
  optimizer = _optimizer(learning_rate, weight_decay)
  gradient = jax.value_and_grad(
    functools.partial(_loss, model=model, commitment=commitment), has_aux=True
  )

  def step(params, state, blocks):
    parts = jax.lax.map(lambda rows: gradient(params, rows), blocks)
    if mesh is not None:
      parts = jax.lax.all_gather(parts, 'data', tiled=True)
    (loss, counts), grads = jax.tree.map(lambda part: part.sum(axis=0), parts)
    grads = jax.tree.map(lambda x: x / NUM_BLOCKS, grads)
    updates, state = optimizer.update(grads, state, params)
    return (
      optax.apply_updates(params, updates),
      state,
      loss / NUM_BLOCKS,
      counts,
    )

  if mesh is not None:
    step = jax.shard_map(
      step,
      mesh=mesh,
      in_specs=(PartitionSpec(), PartitionSpec(), PartitionSpec('data')),
      out_specs=PartitionSpec(),
      check_vma=False,
    )
  return jax.jit(step)


@functools.lru_cache(maxsize=16)
def _latents_of_block(model):
  def latents(rows, valid, network):
    del valid
    return (model.apply(network, rows, method='encode'),)

  return latents


def _latents(model, network, rows, mesh):
  blocks = RowBlocks(rows, mesh=mesh)
  return blocks.map_rows(_latents_of_block(model), network)[0]


def _forget(state, dead):
  """Clears the moments that Adam keeps of codes that start again."""

  def clear(path, leaf):
    if any(getattr(key, 'key', None) == 'codebooks' for key in path):
      return jnp.where(dead[:, :, None], 0, leaf)
    return leaf

  return jax.tree_util.tree_map_with_path(clear, state)


def _sample(inputs, size, generator):
  if len(inputs) <= size:
    return inputs
  return inputs[np.sort(generator.choice(len(inputs), size, replace=False))]


def _batches(
  num_items: int,
  batch_size: int,
  num_batches: int,
  generator: np.random.Generator,
) -> Iterator[Int[np.ndarray, 'B']]:
  """Yields rows; all of them once before any comes again."""
  rows = np.zeros(0, np.int64)
  for _ in range(num_batches):
    while len(rows) < batch_size:
      rows = np.concatenate([rows, generator.permutation(num_items)])
    yield rows[:batch_size]
    rows = rows[batch_size:]
