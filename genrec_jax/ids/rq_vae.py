"""RQ-VAE ids: residual quantization of what a learnt encoder makes of vectors.

Lee et al., "Autoregressive image generation using residual quantization",
2022, as TIGER uses it to make item ids (Rajput et al., "Recommender systems
with generative retrieval", 2023, section 3.1). Against the collapse that it
is known for: inputs are standardised, codebooks start as k-means centroids of
the first latents, codes that no item uses start again, and ids of a collapsed
codebook are refused.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from genrec_jax.ids.collisions import POLICIES, resolve_collisions
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.ids.quantizer import Quantizer
from genrec_jax.ids.row_blocks import RowBlocks
from genrec_jax.ids.rq_vae_training import Autoencoder, quantize, train
from genrec_jax.ids.svd import item_factors
from genrec_jax.ids.vectors import vector_facts, vectors_for_codes
from genrec_jax.types import GenrecError, unknown_name

ON_COLLAPSE = ('error', 'warn')


def rq_vae(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_users: int,
  num_items: int,
  *,
  item_vectors: Callable[..., Float[np.ndarray, 'N D']] = item_factors,
  num_levels: int = 3,
  codebook_size: int = 256,
  hidden: Sequence[int] = (512, 256, 128),
  latent: int = 32,
  commitment: float = 0.25,
  num_steps: int = 2000,
  batch_size: int = 1024,
  learning_rate: float = 1e-3,
  weight_decay: float = 1e-4,
  reset_every: int = 100,
  min_perplexity: float = 0.1,
  on_collapse: str = 'error',
  collisions: str = 'extra_digit',
  seed: int = 0,
  mesh: Mesh | None = None,
) -> ItemIds:
  """Makes ids by an RQ-VAE over item vectors.

  Args:
    user: the user of each train interaction.
    item: its item.
    num_users: U.
    num_items: N.
    item_vectors: what makes the vectors; called with the four arguments before
      it and `seed`.
    num_levels: codes an item, before a digit that parts colliding items.
    codebook_size: codes a level.
    hidden: widths of the encoder's layers; TIGER's by default.
    latent: width of what is quantized.
    commitment: weight of the loss that draws latents to their codes.
    num_steps: of training, a batch each.
    batch_size: items a batch, a multiple of 8.
    learning_rate: of AdamW.
    weight_decay: of AdamW; codebooks have none.
    reset_every: steps after which codes that no item used since start again
      from latents of random items; not in the last fourth of the training.
    min_perplexity: a level has collapsed if its perplexity, as a share of
      `codebook_size`, is less.
    on_collapse: 'error' or 'warn'.
    collisions: see `collisions.resolve_collisions`.
    seed: of all that is random.
    mesh: whose 'data' axis the batches are cut over; one device when None.
      A data axis of 1, 2, 4 or 8 gives the same codes.

  Raises:
    GenrecError: if the vectors cannot be used, a level has more codes than
      there are items, or a codebook has collapsed.
  """
  if collisions not in POLICIES:
    raise unknown_name('way to resolve collisions', collisions, POLICIES)
  if on_collapse not in ON_COLLAPSE:
    raise unknown_name('value of on_collapse', on_collapse, ON_COLLAPSE)
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
  inputs = standardize(vectors)
  model = Autoencoder(inputs.shape[1], tuple(hidden), latent)
  params, resets = train(
    model,
    inputs,
    num_levels=num_levels,
    codebook_size=codebook_size,
    commitment=commitment,
    num_steps=num_steps,
    batch_size=batch_size,
    learning_rate=learning_rate,
    weight_decay=weight_decay,
    reset_every=reset_every,
    seed=seed,
    mesh=mesh,
  )
  codes, latents, errors = encode(model, params, inputs, mesh=mesh)
  perplexities = check_use(
    codes, codebook_size, min_perplexity=min_perplexity, on_collapse=on_collapse
  )
  # One item alone has no variance.
  variance = float((inputs**2).sum(axis=1).mean()) or 1.0
  codes, sizes, facts = resolve_collisions(
    codes, latents, list(params['codebooks']), policy=collisions, seed=seed
  )
  return ItemIds(
    codes=codes,
    codebook_sizes=sizes,
    facts={
      'method': 'rq_vae',
      'unexplained_variance': [round(x / variance, 4) for x in errors],
      'perplexity': [round(x, 1) for x in perplexities],
      'codes_reset': resets,
      **vector_facts(vectors),
      **facts,
    },
    vectors=vectors,
    quantizer=Quantizer(
      np.asarray(params['codebooks']), encoder_layers(params, vectors)
    ),
  )


def standardize(vectors: Float[np.ndarray, 'N D']) -> Float[np.ndarray, 'N D']:
  """Gives each dimension mean 0 and deviation 1; constant ones are 0.

  Items without a vector (a row of zeros) count for neither, and get zeros.
  """
  mean, deviation = _spread(vectors)
  scaled = vectors - mean
  scaled /= deviation
  scaled[~vectors.any(axis=1)] = 0
  return scaled.astype(np.float32)


def encoder_layers(
  params: dict[str, Any], vectors: Float[np.ndarray, 'N D']
) -> list[tuple[np.ndarray, np.ndarray]]:
  """Returns the encoder's weights and biases, standardisation included."""
  network = params['network']['params']
  names = [name for name in network if name.startswith('encoder_')]
  names.sort(key=lambda name: int(name.removeprefix('encoder_')))
  layers = [
    (np.asarray(network[name]['kernel']), np.asarray(network[name]['bias']))
    for name in names
  ]
  mean, deviation = _spread(vectors)
  weights, bias = layers[0]
  weights = weights / deviation[:, None]
  layers[0] = (weights, bias - mean @ weights)
  return layers


def _spread(vectors):
  """Returns means, and deviations or 1 where they are 0."""
  seen = vectors[vectors.any(axis=1)]
  deviation = seen.std(axis=0)
  return seen.mean(axis=0), np.where(deviation > 0, deviation, 1)


def check_use(
  codes: Int[np.ndarray, 'N L'],
  codebook_size: int,
  *,
  min_perplexity: float,
  on_collapse: str,
) -> list[float]:
  """Returns the perplexity of each level, and refuses a collapsed one.

  Raises:
    GenrecError: if `on_collapse` is 'error' and the perplexity of a level is
      less than `min_perplexity` times `codebook_size`.
  """
  perplexities = []
  for level, column in enumerate(codes.T):
    share = np.bincount(column) / len(column)
    share = share[share > 0]
    perplexities.append(float(np.exp(-share @ np.log(share))))
    if perplexities[-1] < min_perplexity * codebook_size:
      message = (
        f'Level {level} of the RQ-VAE has collapsed: {len(share)} of'
        f' {codebook_size} codes are used, with a perplexity of'
        f' {perplexities[-1]:.1f}; expected at least'
        f' {min_perplexity * codebook_size:.1f}. Lower codebook_size, train'
        ' longer, reset dead codes more often (reset_every), or use'
        ' residual_kmeans; on_collapse="warn" takes the ids as they are.'
      )
      if on_collapse == 'error':
        raise GenrecError(message)
      warnings.warn(message, stacklevel=2)
  return perplexities


def encode(
  model: Autoencoder,
  params: dict[str, Any],
  inputs: Float[np.ndarray, 'N D'],
  *,
  mesh: Mesh | None = None,
) -> tuple[Int[np.ndarray, 'N L'], Float[np.ndarray, 'N Z'], list[float]]:
  """Returns codes, latents, and the squared error left after each level."""
  rows = RowBlocks(inputs, mesh=mesh)
  codes, latents, errors = rows.map_rows(_encoder_of_block(model), params)
  means = errors.astype(np.float64).mean(axis=0)
  return codes, latents, [float(error) for error in means]


@functools.lru_cache(maxsize=16)  # the same model is compiled once
def _encoder_of_block(model):
  def encode_block(rows, valid, params):
    del valid
    latents = model.apply(params['network'], rows, method='encode')
    codes, chosen = quantize(latents, params['codebooks'])
    errors = []
    for part in jnp.cumsum(chosen, axis=0):
      rebuilt = model.apply(params['network'], part, method='decode')
      errors.append(((rebuilt - rows) ** 2).sum(axis=1))
    return codes, latents, jnp.stack(errors, axis=1)

  return encode_block
