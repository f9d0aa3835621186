"""The tree of T5X's checkpoints, from a train state and back."""

from __future__ import annotations

from typing import Any

import flax.serialization
import flax.traverse_util

from genrec_jax.training.steps import TrainState

PyTree = Any


def to_t5x_tree(state: TrainState) -> PyTree:
  """Returns the tree of T5X's checkpoints, without empty optimizer states."""
  optimizer = flax.serialization.to_state_dict(state.opt_state)
  flat = flax.traverse_util.flatten_dict(optimizer)
  return {
    'target': state.params,
    'state': {
      'step': state.step,
      'param_states': flax.traverse_util.unflatten_dict(flat),
    },
  }


def from_t5x_tree(tree: PyTree, like: TrainState) -> TrainState:
  """Returns the state whose `to_t5x_tree` is given; `like` is its structure."""
  optimizer = flax.traverse_util.flatten_dict(
    flax.serialization.to_state_dict(like.opt_state), keep_empty_nodes=True
  )
  saved = flax.traverse_util.flatten_dict(tree['state'].get('param_states', {}))
  return TrainState(
    step=tree['state']['step'],
    params=tree['target'],
    opt_state=flax.serialization.from_state_dict(
      like.opt_state, flax.traverse_util.unflatten_dict(optimizer | saved)
    ),
  )
