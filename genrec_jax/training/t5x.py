"""What T5X's trainer is given of ours: the optimizer, and the record of a run.

T5X is imported late, by who is called by it.
"""

from __future__ import annotations

from typing import Any

import optax

from genrec_jax.data.token_cache import TokenCache
from genrec_jax.training.checkpoints import open_manifest
from genrec_jax.types import PathLike

PyTree = Any


def wrap_optimizer(optimizer: optax.GradientTransformation):
  """Returns an optimizer in T5X's wrapper, as an `optimizer_def` of T5X.

  T5X's own wrapper knows the states of some optimizers by name, and neither
  Adafactor's nor a moving average of the parameters is among them. Here each
  array of the shape of its parameter has the axes of that one, and all others
  are replicated, as in `partitioning.optimizer_shardings`.
  """
  from t5x import optimizers

  class Wrapped(optimizers.OptaxWrapper):
    def derive_logical_axes(self, optimizer, param_logical_axes):
      like = optax.tree_utils.tree_map_params(
        self.optax_optimizer,
        lambda leaf, param, axes: axes if leaf.shape == param.shape else None,
        optimizer.state.param_states,
        optimizer.target,
        param_logical_axes,
        transform_non_params=lambda _: None,
      )
      return optimizer.replace(
        state=optimizer.state.replace(step=None, param_states=like),
        target=param_logical_axes,
      )

  return Wrapped(optimizer)


def keep_config(
  model_dir: PathLike, summary_writer, step: int, *, cache: TokenCache
) -> None:
  """Keeps what T5X runs with: its config.gin, and on what data, by sha256.

  Args:
    model_dir: where T5X keeps its checkpoints.
    summary_writer: gets the configuration as a text, None for none.
    step: of the checkpoint that it goes on from.
    cache: the tokens of the run whose tasks are trained.

  Raises:
    GenrecError: if the checkpoints there were trained on other tokens.
  """
  from t5x import gin_utils

  open_manifest(
    model_dir,
    {'tokens': cache.fingerprint, 'vocabulary': cache.vocabulary_fingerprint},
  )
  gin_utils.summarize_gin_config(model_dir, summary_writer, step)
