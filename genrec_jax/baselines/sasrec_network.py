"""The network of SASRec, how sequences are packed for it, and its losses."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, Int32

from genrec_jax import artifacts
from genrec_jax.data.token_cache import Ragged

Params = Any


class Batch(NamedTuple):
  """Sequences in rows, several a row.

  Attributes:
    items: what is read.
    segments: which sequence of its row a place belongs to, from 1; 0 for none.
    positions: the place in its sequence, from 0.
    targets: the item that comes next; -1 for none.
  """

  items: Int32[np.ndarray, 'B T']
  segments: Int32[np.ndarray, 'B T']
  positions: Int32[np.ndarray, 'B T']
  targets: Int32[np.ndarray, 'B T']


@dataclasses.dataclass(frozen=True, eq=False)
class ItemCodes:
  """The codes that make up the items' vectors; equal ones compile once.

  Attributes:
    codes: int [N, L], numbered over all levels; -1 for none.
  """

  codes: Int[np.ndarray, 'N L']

  @functools.cached_property
  def _digest(self) -> str:
    return artifacts.arrays_sha256(self.codes)

  def __eq__(self, other: object) -> bool:
    return isinstance(other, ItemCodes) and self._digest == other._digest

  def __hash__(self) -> int:
    return hash(self._digest)


class Network(nn.Module):
  """Causal self-attention over items (Kang and McAuley 2018).

  Layers normalise what they read, and a last norm follows them.

  Attributes:
    num_items: N.
    max_length: items of a sequence at most.
    width: of an item's vector, D.
    num_layers: blocks of attention and perceptron.
    num_heads: of attention.
    mlp_width: of the perceptron's hidden layer.
    dropout: of inputs, attention, hidden layers and what a layer adds.
    codes: an item's vector is the sum of those of its codes; None for one of
      its own.
  """

  num_items: int
  max_length: int
  width: int
  num_layers: int
  num_heads: int
  mlp_width: int
  dropout: float
  codes: ItemCodes | None = None

  @nn.compact
  def __call__(
    self,
    items: Int[Array, 'B T'],
    segments: Int[Array, 'B T'],
    positions: Int[Array, 'B T'],
    deterministic: bool = True,
  ) -> Float[Array, 'B T D']:
    """Returns the state at each place, of its item and those before it."""
    drop = nn.Dropout(self.dropout, deterministic=deterministic)
    embed = functools.partial(
      nn.Embed,
      features=self.width,
      embedding_init=nn.initializers.normal(0.02),
    )
    mask = nn.combine_masks(
      nn.make_causal_mask(items, dtype=bool),
      nn.make_attention_mask(segments, segments, jnp.equal, dtype=bool),
      dtype=bool,
    )
    if self.codes is None:
      x = embed(self.num_items, name='items')(items)
    else:
      table = embed(int(self.codes.codes.max()) + 1, name='items')
      x = _sum_of_codes(table.embedding, self.codes)[items]
    x = drop(x + embed(self.max_length, name='positions')(positions))
    for _ in range(self.num_layers):
      attention = nn.MultiHeadDotProductAttention(
        self.num_heads,
        dropout_rate=self.dropout,
        deterministic=deterministic,
      )
      x += drop(attention(nn.LayerNorm()(x), mask=mask))
      hidden = nn.gelu(nn.Dense(self.mlp_width)(nn.LayerNorm()(x)))
      x += drop(nn.Dense(self.width)(drop(hidden)))
    return nn.LayerNorm()(x)


def item_vectors(network: Network, params: Params) -> Float[Array, 'N D']:
  """Returns the vectors by which items are both read and scored."""
  table = params['params']['items']['embedding']
  if network.codes is None:
    return table
  return _sum_of_codes(table, network.codes)


def _sum_of_codes(
  table: Float[Array, 'C D'], codes: ItemCodes
) -> Float[Array, 'N D']:
  numbers = codes.codes
  return jnp.where(numbers[..., None] >= 0, table[numbers], 0).sum(axis=1)


def pack(
  sequences: Ragged,
  *,
  num_rows: int,
  width: int,
  generator: np.random.Generator,
) -> Iterator[Batch]:
  """Yields every sequence once, in random order, in batches of one shape.

  A sequence of n items gives n - 1 examples: to predict an item from those
  before it. Of a longer one the last `width` examples are taken. What finds no
  room in a batch comes first in the next.
  """
  lengths = np.minimum(sequences.lengths - 1, width)
  waiting = generator.permutation(np.flatnonzero(lengths > 0))
  room = num_rows * width
  start, left = 0, []
  while start < len(waiting) or left:
    chosen = np.array([*left, *waiting[start : start + room]])
    count = np.searchsorted(np.cumsum(lengths[chosen]), room, side='right')
    chosen = chosen[:count]
    start += count - len(left)
    batch = Batch(*np.zeros((4, num_rows, width), np.int32))
    batch.targets[:] = -1
    used, segments = np.zeros((2, num_rows), np.int64)
    left = []
    for sequence in chosen[np.argsort(-lengths[chosen], kind='stable')]:
      length = lengths[sequence]
      fits = used + length <= width
      if not fits.any():
        left.append(sequence)
        continue
      row = np.where(fits, used, -1).argmax()
      place = slice(used[row], used[row] + length)
      items = sequences[sequence][-length - 1 :]
      used[row] += length
      segments[row] += 1
      batch.items[row, place] = items[:-1]
      batch.segments[row, place] = segments[row]
      batch.positions[row, place] = np.arange(length)
      batch.targets[row, place] = items[1:]
    yield batch


def cross_entropy(
  states: Float[Array, 'P D'],
  vectors: Float[Array, 'N D'],
  targets: Int[Array, 'P'],
) -> Float[Array, 'P']:
  """Returns -log p(target) under the softmax over all items."""
  return optax.softmax_cross_entropy_with_integer_labels(
    states @ vectors.T, targets
  )


def sampled_cross_entropy(
  states: Float[Array, 'P D'],
  vectors: Float[Array, 'N D'],
  targets: Int[Array, 'P'],
  negatives: Int[Array, 'K'],
  *,
  log_q: bool = True,
) -> Float[Array, 'P']:
  """Returns -log p(target) under the softmax over the target and a sample.

  Args:
    states: of P places.
    vectors: of the items.
    targets: the item that comes next at each place.
    negatives: different items, drawn uniformly, the same for all places; where
      one of them is the target it is left out.
    log_q: subtract from a negative's logit the logarithm of its chance to be
      drawn, K / N, which makes the sum of the exponentials an unbiased estimate
      of that over all items (Bengio and Senécal 2008). Without it the target
      competes with fewer items than there are (Klenitskiy and Vasilev 2023;
      Petrov and Macdonald 2023, on the overconfidence that this brings).
  """
  target_logits = jnp.einsum('pd,pd->p', states, vectors[targets])
  logits = states @ vectors[negatives].T
  if log_q:
    logits -= np.log(len(negatives) / len(vectors))
  same = targets[:, None] == negatives[None]
  logits = jnp.where(same, jnp.finfo(logits.dtype).min, logits)
  others = jax.nn.logsumexp(logits, axis=1)
  return jnp.logaddexp(target_logits, others) - target_logits


def batch_loss(
  network: Network,
  params: Params,
  batch: Batch,
  negatives: Int[Array, 'K'] | None = None,
  *,
  log_q: bool = True,
  dropout_key: Array | None = None,
) -> Float[Array, '']:
  """Returns the mean loss over the examples of a batch.

  Args:
    network: whose loss it is.
    params: of the network.
    batch: packed sequences. They fill it but for a few places (1 % of Beauty),
      so logits are computed at all of them and weighed.
    negatives: items to compare with; None for all.
    log_q: see `sampled_cross_entropy`.
    dropout_key: without one nothing is dropped.
  """
  states = network.apply(
    params,
    batch.items,
    batch.segments,
    batch.positions,
    deterministic=dropout_key is None,
    rngs=None if dropout_key is None else {'dropout': dropout_key},
  ).reshape(-1, network.width)
  real = batch.targets.reshape(-1) >= 0
  targets = jnp.maximum(batch.targets.reshape(-1), 0)
  vectors = item_vectors(network, params)
  if negatives is None:
    losses = cross_entropy(states, vectors, targets)
  else:
    losses = sampled_cross_entropy(
      states, vectors, targets, negatives, log_q=log_q
    )
  return jnp.sum(losses, where=real) / jnp.sum(real)


def train(
  network: Network,
  sequences: Ragged,
  *,
  num_rows: int,
  num_negatives: int | None,
  log_q: bool,
  learning_rate: float,
  weight_decay: float,
  seed: int,
) -> Iterator[tuple[Params, float]]:
  """Yields parameters and mean loss after each epoch, without an end.

  By AdamW (Loshchilov and Hutter 2019), on one device. See `sasrec.SASRec` for
  the arguments.
  """
  generator = np.random.default_rng(seed)
  init_key, key = jax.random.split(jax.random.key(seed))
  nothing = np.zeros((1, 1), np.int32)
  params = jax.jit(network.init)(init_key, nothing, nothing, nothing)
  optimizer, step = _make_step(network, log_q, learning_rate, weight_decay)
  state = optimizer.init(params)
  number = 0
  while True:
    losses = []
    for batch in pack(
      sequences,
      num_rows=num_rows,
      width=network.max_length,
      generator=generator,
    ):
      negatives = None
      if num_negatives is not None and num_negatives < network.num_items:
        negatives = generator.choice(
          network.num_items, num_negatives, replace=False, shuffle=False
        )
      params, state, loss = step(params, state, batch, negatives, key, number)
      losses.append(loss)
      number += 1
    yield params, float(np.mean(jax.device_get(losses)))


@functools.lru_cache(maxsize=16)  # the same settings are compiled once
def _make_step(network, log_q, learning_rate, weight_decay):
  optimizer = optax.adamw(learning_rate, weight_decay=weight_decay)

  @jax.jit
  def step(params, state, batch, negatives, key, number):
    loss, gradient = jax.value_and_grad(
      lambda params: batch_loss(
        network,
        params,
        batch,
        negatives,
        log_q=log_q,
        dropout_key=jax.random.fold_in(key, number),
      )
    )(params)
    updates, state = optimizer.update(gradient, state, params)
    return optax.apply_updates(params, updates), state, loss

  return optimizer, step
