"""Optimizers: plain functions that return optax transformations.

Each one is a chain: clip the gradients, scale them, decay the weights, and, on
request, keep a moving average of the parameters. Schedules are functions from
the step (from 0) to the learning rate.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genrec_jax.types import GenrecError

PyTree = Any
Schedule = optax.Schedule


class Scheduled(optax.GradientTransformation):
  """An optimizer that tells its learning rate, so that it can be logged."""

  learning_rate: Schedule

  def __new__(
    cls,
    optimizer: optax.GradientTransformation,
    learning_rate: float | Schedule,
  ) -> Scheduled:
    """Returns the optimizer with its learning rate: a number or a schedule."""
    scheduled = super().__new__(cls, optimizer.init, optimizer.update)
    scheduled.learning_rate = (
      learning_rate
      if callable(learning_rate)
      else optax.constant_schedule(learning_rate)
    )
    return scheduled


def constant(*, learning_rate: float, warmup_steps: int = 0) -> Schedule:
  """Returns a linear warm-up to a constant learning rate."""
  return lambda step: learning_rate * _warmup(step, warmup_steps)


def inverse_square_root(*, learning_rate: float, warmup_steps: int) -> Schedule:
  """Returns a linear warm-up, then decay by the square root of the step.

  `learning_rate` is the peak, reached after the warm-up: T5's schedule
  1/sqrt(max(step, 10000)) is learning_rate=0.01, warmup_steps=10000 but for
  the linear part (Raffel et al. 2020, section 3.1.2).
  """
  _check_positive('warmup_steps', warmup_steps)

  def schedule(step):
    after = jnp.maximum(step + 1, warmup_steps)
    decay = jnp.sqrt(warmup_steps / after)
    return learning_rate * _warmup(step, warmup_steps) * decay

  return schedule


def cosine(
  *,
  learning_rate: float,
  warmup_steps: int,
  num_steps: int,
  final_fraction: float = 0.0,
) -> Schedule:
  """Returns a linear warm-up, then half a cosine down to a fraction.

  Args:
    learning_rate: the peak.
    warmup_steps: steps of the warm-up, part of `num_steps`.
    num_steps: when the last value is reached; it holds from there on.
    final_fraction: last learning rate over the peak (Loshchilov and Hutter
      2017, with one cycle).
  """
  if not 0 <= warmup_steps < num_steps:
    raise GenrecError(
      f'Got warmup_steps={warmup_steps} and num_steps={num_steps}, expected'
      ' fewer steps of warm-up than in all; lower the warm-up'
      f' (--gin.WARMUP_STEPS={max(num_steps // 10, 0)}) or train for longer'
      ' (TRAIN_STEPS).'
    )

  def schedule(step):
    progress = (step - warmup_steps) / (num_steps - warmup_steps)
    progress = jnp.clip(progress, 0.0, 1.0)
    cosine = 0.5 * (1 + jnp.cos(jnp.pi * progress))
    fraction = final_fraction + (1 - final_fraction) * cosine
    return learning_rate * _warmup(step, warmup_steps) * fraction

  return schedule


def adamw(
  *,
  learning_rate: float | Schedule,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
  weight_decay: float = 0.0,
  decay_embeddings: bool = False,
  clip_norm: float | None = 1.0,
  average_decay: float | None = None,
) -> optax.GradientTransformation:
  """Returns AdamW (Loshchilov and Hutter 2019).

  Args:
    learning_rate: a number or a schedule.
    b1: decay of the first moment.
    b2: decay of the second moment.
    eps: added to the root of the second moment.
    weight_decay: times the learning rate; never on norms, biases and
      relative position tables.
    decay_embeddings: whether to decay token tables too.
    clip_norm: largest global norm of the gradients; None for no clipping.
    average_decay: decay of a moving average of the parameters, used for
      evaluation; None for none.
  """
  optimizer = optax.adamw(
    learning_rate,
    b1=b1,
    b2=b2,
    eps=eps,
    weight_decay=weight_decay,
    mask=functools.partial(decay_mask, decay_embeddings=decay_embeddings),
  )
  optimizer = chain(optimizer, clip_norm=clip_norm, average_decay=average_decay)
  return Scheduled(optimizer, learning_rate)


def adafactor(
  *,
  learning_rate: float | Schedule,
  decay_rate: float = 0.8,
  multiply_by_parameter_scale: bool = True,
  weight_decay: float = 0.0,
  decay_embeddings: bool = False,
  clip_norm: float | None = None,
  average_decay: float | None = None,
) -> optax.GradientTransformation:
  """Returns Adafactor (Shazeer and Stern 2018), T5's optimizer.

  Args:
    learning_rate: a number or a schedule; relative to each parameter's root
      mean square if `multiply_by_parameter_scale`.
    decay_rate: exponent of the second moment's decay, 1 - step^-decay_rate.
    multiply_by_parameter_scale: see above.
    weight_decay: a step, not times the learning rate, on what `decay_mask`
      names.
    decay_embeddings: whether to decay token tables too.
    clip_norm: as in `adamw`; Adafactor clips each update by itself already.
    average_decay: as in `adamw`.
  """
  optimizer = optax.adafactor(
    learning_rate,
    decay_rate=decay_rate,
    multiply_by_parameter_scale=multiply_by_parameter_scale,
    weight_decay_rate=weight_decay or None,
    weight_decay_mask=functools.partial(
      decay_mask, decay_embeddings=decay_embeddings
    ),
  )
  optimizer = chain(optimizer, clip_norm=clip_norm, average_decay=average_decay)
  return Scheduled(optimizer, learning_rate)


def chain(
  optimizer: optax.GradientTransformation,
  *,
  clip_norm: float | None,
  average_decay: float | None,
) -> optax.GradientTransformation:
  """Returns an optimizer after clipping and before averaging; see `adamw`."""
  links = [optimizer]
  if clip_norm is not None:
    _check_positive('clip_norm', clip_norm)
    links.insert(0, optax.clip_by_global_norm(clip_norm))
  if average_decay is not None:
    links.append(average_params(average_decay))
  return optax.chain(*links)


def decay_mask(params: PyTree, *, decay_embeddings: bool = False) -> PyTree:
  """Returns which parameters weight decay applies to, as a tree of bools.

  It applies to matrices, not to norm scales, biases and relative position
  tables, and to token tables on request.
  """
  spared = ('scale', 'bias', 'rel_embedding')
  if not decay_embeddings:
    spared += ('embedding',)
  return jax.tree_util.tree_map_with_path(
    lambda path, _: path[-1].key not in spared, params
  )


class AverageState(NamedTuple):
  """State of `average_params`: the updates so far, and the average."""

  count: jax.Array
  average_of_params: PyTree


def average_params(decay: float) -> optax.GradientTransformation:
  """Keeps an exponential moving average of the parameters after each update.

  The updates pass unchanged, so it belongs at the end of a chain. It starts
  from the initial parameters; lest they weigh on it for long, the decay warms
  up as min(decay, (1 + count) / (10 + count)). As a part of the optimizer
  state the average is sharded, saved and restored with it.
  """
  if not 0 <= decay < 1:
    raise GenrecError(
      f'Got average_decay={decay}, expected a number from 0 to below 1, or'
      ' None for no average.'
    )

  def init(params):
    copy = jax.tree.map(jnp.array, params)
    return AverageState(jnp.zeros((), jnp.int32), copy)

  def update(updates, state, params):
    new = optax.apply_updates(params, updates)
    kept = jnp.minimum(decay, (1 + state.count) / (10 + state.count))
    average = jax.tree.map(
      lambda old, param: (kept * old + (1 - kept) * param).astype(old.dtype),
      state.average_of_params,
      new,
    )
    return updates, AverageState(state.count + 1, average)

  return optax.GradientTransformation(init, update)


def evaluation_params(params: PyTree, opt_state: PyTree) -> PyTree:
  """Returns the average of the parameters where one is kept, else `params`."""
  leaves = jax.tree.leaves(
    opt_state, is_leaf=lambda node: isinstance(node, AverageState)
  )
  averages = [leaf for leaf in leaves if isinstance(leaf, AverageState)]
  return averages[0].average_of_params if averages else params


def _warmup(step, warmup_steps: int):
  # Step 0 already moves: the first of `warmup_steps` equal parts.
  return jnp.minimum(1.0, (step + 1) / max(warmup_steps, 1))


def _check_positive(name: str, value: float) -> None:
  if value <= 0:
    raise GenrecError(f'Got {name}={value}, expected more than 0.')
