"""The names of T5's weights here and in Hugging Face's library.

Here means the names of T5X's minimal T5 (models/transformer.py), layer by
layer: `unstack_layers` brings a scanned model to them, `stack_layers` back.
Hugging Face keeps a matrix as [outputs, inputs], T5X as [inputs, outputs].
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Float

from genrec_jax.models.token_tables import EMBEDDING, HEAD

Weights = dict[str, Float[np.ndarray, '...']]

_SUBLAYERS = {
  'encoder': {
    'attention': 'layer.0.SelfAttention',
    'pre_attention_layer_norm': 'layer.0.layer_norm',
    'mlp': 'layer.1.DenseReluDense',
    'pre_mlp_layer_norm': 'layer.1.layer_norm',
  },
  'decoder': {
    'self_attention': 'layer.0.SelfAttention',
    'pre_self_attention_layer_norm': 'layer.0.layer_norm',
    'encoder_decoder_attention': 'layer.1.EncDecAttention',
    'pre_cross_attention_layer_norm': 'layer.1.layer_norm',
    'mlp': 'layer.2.DenseReluDense',
    'pre_mlp_layer_norm': 'layer.2.layer_norm',
  },
}
_OURS = {
  stack: {theirs: ours for ours, theirs in names.items()}
  for stack, names in _SUBLAYERS.items()
}
_DENSE = {'query': 'q', 'key': 'k', 'value': 'v', 'out': 'o'}
_OUR_DENSE = {theirs: ours for ours, theirs in _DENSE.items()}
_BIAS = 'block.0.layer.0.SelfAttention.relative_attention_bias'


def to_hugging_face(name: str, weight: np.ndarray) -> tuple[str, np.ndarray]:
  """Returns Hugging Face's name and orientation of a weight of ours.

  >>> to_hugging_face('encoder/layers_1/mlp/wo/kernel', np.ones((3, 2)))[0]
  'encoder.block.1.layer.1.DenseReluDense.wo.weight'
  """
  if name == EMBEDDING:
    return 'shared.weight', weight
  if name == HEAD:
    return 'lm_head.weight', weight.T
  stack, place, *rest = name.split('/')
  if place == f'{stack}_norm':
    return f'{stack}.final_layer_norm.weight', weight
  if place == 'relpos_bias':
    return f'{stack}.{_BIAS}.weight', weight.T
  sublayer = _SUBLAYERS[stack][rest[0]]
  path = f'{stack}.block.{place.removeprefix("layers_")}.{sublayer}'
  if rest[-1] == 'scale':
    return f'{path}.weight', weight
  return f'{path}.{_DENSE.get(rest[1], rest[1])}.weight', weight.T


def from_hugging_face(name: str, weight: np.ndarray) -> tuple[str, np.ndarray]:
  """Returns our name and orientation of a weight of Hugging Face's T5.

  Raises:
    KeyError: if no T5 has a weight of that name.
  """
  if name == 'shared.weight':
    return EMBEDDING, weight
  if name == 'lm_head.weight':
    return HEAD, weight.T
  stack, _, rest = name.removesuffix('.weight').partition('.')
  if stack not in _OURS:
    raise KeyError(name)
  if rest == 'final_layer_norm':
    return f'{stack}/{stack}_norm/scale', weight
  if rest == _BIAS:
    return f'{stack}/relpos_bias/rel_embedding', weight.T
  match = re.fullmatch(r'block\.(\d+)\.(layer\.\d\.\w+)(?:\.(\w+))?', rest)
  if match is None:
    raise KeyError(name)
  layer, sublayer, part = match.groups()
  path = f'{stack}/layers_{layer}/{_OURS[stack][sublayer]}'
  if part is None:
    return f'{path}/scale', weight
  return f'{path}/{_OUR_DENSE.get(part, part)}/kernel', weight.T


def unstack_layers(weights: Mapping[str, np.ndarray]) -> Weights:
  """Returns weights layer by layer, where a scan has them in one array.

  >>> list(unstack_layers({'encoder/encoder/mlp/wo/kernel': np.ones((2, 8))}))
  ['encoder/layers_0/mlp/wo/kernel', 'encoder/layers_1/mlp/wo/kernel']
  """
  unstacked = {}
  for name, weight in weights.items():
    stack, _, rest = name.partition('/')
    inside = rest.removeprefix(f'{stack}/')
    if inside == rest:
      unstacked[name] = weight
      continue
    for layer, part in enumerate(weight):
      unstacked[f'{stack}/layers_{layer}/{inside}'] = part
  return unstacked


def stack_layers(
  weights: Mapping[str, np.ndarray], like: Iterable[str]
) -> Weights:
  """Returns weights, layer by layer, under the names of a model.

  Args:
    weights: as `unstack_layers` gives them.
    like: the names of the model; its scanned ones are stacked where there are
      layers for them.
  """
  stacked = dict(weights)
  for name in like:
    stack, _, rest = name.partition('/')
    inside = rest.removeprefix(f'{stack}/')
    if inside == rest:
      continue
    layers = []
    while (layer := f'{stack}/layers_{len(layers)}/{inside}') in stacked:
      layers.append(stacked.pop(layer))
    if layers:
      stacked[name] = np.stack(layers)
  return stacked
