"""The train state, and the jitted step that takes it to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import clu.metrics
import flax.core
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Int32

from genrec_jax.models import losses
from genrec_jax.models.token_tables import set_rows
from genrec_jax.training import partitioning
from genrec_jax.types import GenrecError

PyTree = Any
Batch = dict[str, jax.Array]
Metrics = dict[str, clu.metrics.Metric]


@flax.struct.dataclass
class TrainState:
  """All that a step changes; `step` counts the updates made."""

  step: Int32[Array, '']
  params: PyTree
  opt_state: PyTree


def abstract_state(
  model, mesh: Mesh, rules: partitioning.AxisRules = partitioning.AXIS_RULES
) -> TrainState:
  """Returns the shapes, types and shardings of a train state, no arrays."""
  optimizer = _optimizer(model)
  variables = jax.eval_shape(
    lambda: _initial_variables(model, mesh, jax.random.PRNGKey(0))
  )
  params = flax.core.unfreeze(variables['params'])
  param_shardings = partitioning.parameter_shardings(variables, mesh, rules)
  whole = partitioning.replicated(mesh)
  shapes = TrainState(
    jax.ShapeDtypeStruct((), jnp.int32),
    params,
    jax.eval_shape(optimizer.init, params),
  )
  shardings = TrainState(
    whole,
    param_shardings,
    partitioning.optimizer_shardings(optimizer, params, param_shardings, mesh),
  )
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    shapes,
    shardings,
  )


def initial_state(
  model,
  mesh: Mesh,
  abstract: TrainState,
  *,
  seed: int,
  params: PyTree | None = None,
  token_rows: tuple[Int[np.ndarray, 'M'], Float[np.ndarray, 'M D']]
  | None = None,
) -> TrainState:
  """Returns the state before the first step, each shard made in its place.

  Args:
    model: has `get_initial_variables`, `optimizer_def`.
    mesh: the devices.
    abstract: the state's shapes and shardings.
    seed: of the parameters that are drawn.
    params: those to start from instead, sharded as `abstract` has them.
    token_rows: tokens, and the rows of the token tables that they start with.
  """
  optimizer = _optimizer(model)

  def start(params, token_rows):
    if token_rows is not None:
      params = set_rows(params, *token_rows)
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))

  def draw(key, token_rows):
    variables = _initial_variables(model, mesh, key)
    return start(flax.core.unfreeze(variables['params']), token_rows)

  shardings = _shardings(abstract)
  if params is not None:
    begin = jax.jit(start, out_shardings=shardings, donate_argnums=0)
    return begin(params, token_rows)
  return jax.jit(draw, out_shardings=shardings)(_keys(seed)[0], token_rows)


def make_train_step(
  model,
  mesh: Mesh,
  abstract: TrainState,
  *,
  seed: int,
  accumulation_steps: int = 1,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics, jax.Array]]:
  """Returns the jitted step (state, batch) -> (state, metrics, finite).

  The state is donated. `finite` is whether loss, gradients and new parameters
  are: the new state is only worth keeping if so. The metrics are the model's
  and the global norm of the gradients. Dropout draws on the seed and the
  number of the step.

  Args:
    model: has `loss_fn`, `optimizer_def`.
    mesh: the devices.
    abstract: the state's shapes and shardings.
    seed: of the run.
    accumulation_steps: cut the batch into so many parts, one after the other,
      and update once; loss and update are those of the whole batch (but for
      the order of summation, and other dropout masks).
  """
  optimizer, key = _optimizer(model), _keys(seed)[1]
  gradients = jax.value_and_grad(model.loss_fn, has_aux=True)

  def whole_batch(params, batch, rng):
    (loss, metrics), grads = gradients(params, batch, rng)
    return loss, metrics, grads

  def normalizer(batch):
    factor = model.loss_normalizing_factor
    return losses.weights_and_normalizer(batch, factor)[1]

  def in_parts(params, batch, rng):
    def add(sums, numbered):
      number, part = numbered
      part_rng = jax.random.fold_in(rng, number)
      loss, metrics, grads = whole_batch(params, part, part_rng)
      # What each part was divided by, over what the whole would have been.
      share = normalizer(part) / normalizer(batch)
      sums = jax.tree.map(
        lambda total, value: total + share * value, sums, (loss, grads)
      )
      return sums, metrics

    # Row r goes to part r mod n, so that no row changes its device.
    parts = {
      name: array.reshape(-1, accumulation_steps, *array.shape[1:]).swapaxes(
        0, 1
      )
      for name, array in batch.items()
    }
    (loss, grads), metrics = jax.lax.scan(
      add,
      (jnp.float32(0), jax.tree.map(jnp.zeros_like, params)),
      (jnp.arange(accumulation_steps), parts),
    )
    return loss, {k: m.reduce() for k, m in metrics.items()}, grads

  compute = whole_batch if accumulation_steps == 1 else in_parts

  def train_step(state, batch):
    rng = jax.random.fold_in(key, state.step)
    loss, metrics, grads = compute(state.params, batch, rng)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    norm = optax.global_norm(grads)
    metrics = {
      **metrics,
      'gradient_norm': clu.metrics.Average(norm, jnp.float32(1)),
    }
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    for leaf in jax.tree.leaves(params):
      finite &= jnp.isfinite(leaf).all()
    return TrainState(state.step + 1, params, opt_state), metrics, finite

  whole = partitioning.replicated(mesh)
  return jax.jit(
    train_step,
    donate_argnums=0,
    out_shardings=(_shardings(abstract), whole, whole),
  )


def _initial_variables(model, mesh: Mesh, key: jax.Array) -> PyTree:
  # Parameters do not depend on the batch; the activations must be divisible.
  shape = (mesh.shape['data'], 8)
  names = ('encoder_input_tokens', 'decoder_input_tokens')
  return model.get_initial_variables(
    key, {name: shape for name in (*names, 'decoder_target_tokens')}
  )


def _optimizer(model) -> optax.GradientTransformation:
  if model.optimizer_def is None:
    raise GenrecError(
      'The model has no optimizer; bind EncoderDecoder.optimizer_def, for'
      ' example to @optimizers.adamw().'
    )
  return model.optimizer_def


def _keys(seed: int) -> tuple[jax.Array, jax.Array]:
  """Returns the keys of initialization and of dropout, as T5X splits them."""
  init, dropout = jax.random.split(jax.random.PRNGKey(seed))
  return init, dropout


def _shardings(abstract: PyTree) -> PyTree:
  return jax.tree.map(lambda leaf: leaf.sharding, abstract)
