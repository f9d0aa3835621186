"""The sizes that weights have, that a model has, and that model files say."""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import flax.core
import jax

from genrec_jax.exchange.t5_names import EMBEDDING, HEAD, Weights
from genrec_jax.training.parameters import array_shapes


def abstract_parameters(model) -> dict[str, Any]:
  """Returns the tree of a model's parameters, shapes and types alone."""
  names = ('encoder_input_tokens', 'decoder_input_tokens')
  variables = jax.eval_shape(
    lambda key: model.get_initial_variables(key, dict.fromkeys(names, (1, 8))),
    jax.random.PRNGKey(0),
  )
  return flax.core.unfreeze(variables['params'])


def parameter_shapes(model) -> dict[str, tuple[int, ...]]:
  """Returns the shapes of a model's parameters, by name."""
  return array_shapes(abstract_parameters(model))


def describe_weights(weights: Weights) -> dict[str, Any]:
  """Returns the arguments of `T5Config` that the weights of a T5 tell.

  Whether a gated MLP takes gelu or another activation they do not.
  """
  first = 'encoder/layers_0'
  num_heads, num_buckets = weights['encoder/relpos_bias/rel_embedding'].shape
  width = weights[f'{first}/attention/query/kernel'].shape[1]
  is_gated = f'{first}/mlp/wi_0/kernel' in weights
  return {
    'emb_dim': weights[EMBEDDING].shape[1],
    'num_heads': num_heads,
    'head_dim': width // num_heads,
    'mlp_dim': weights[f'{first}/mlp/wo/kernel'].shape[0],
    'num_encoder_layers': _count_layers('encoder', weights),
    'num_decoder_layers': _count_layers('decoder', weights),
    'mlp_activations': ('gelu', 'linear') if is_gated else ('relu',),
    'logits_via_embedding': HEAD not in weights,
    'relative_attention_num_buckets': num_buckets,
  }


def find_model_file(
  sizes: Mapping[str, Any], directories: Iterable[pathlib.Path]
) -> str | None:
  """Returns the model file of these sizes, None where there is none.

  Args:
    sizes: from `describe_weights`.
    directories: where gin files lie, each with `models/`.
  """
  for directory in directories:
    for path in sorted(directory.glob('models/*.gin')):
      text = path.read_text(encoding='utf-8')
      bound = dict(re.findall(r'^  (\w+) = ([^%\n]+)$', text, re.MULTILINE))
      if all(
        ast.literal_eval(bound[name]) == value
        for name, value in sizes.items()
        if name in bound
      ):
        return f'models/{path.name}'
  return None


def _count_layers(stack: str, weights: Weights) -> int:
  return len(
    {n.split('/')[1] for n in weights if n.startswith(f'{stack}/layers_')}
  )
