"""A T5 in the files of Hugging Face's library, written and read.

  config.json              sizes and choices
  generation_config.json   where a generation starts and ends
  model.safetensors        the weights, float32

Read are also weights that are cut into several files (an index names them),
and pytorch_model.bin where PyTorch is installed.
"""

from __future__ import annotations

import importlib.util
import json
import pathlib
from typing import Any

import numpy as np

from genrec_jax import artifacts
from genrec_jax.exchange.t5_names import (
  EMBEDDING,
  HEAD,
  Weights,
  from_hugging_face,
  to_hugging_face,
)
from genrec_jax.models.config import T5Config
from genrec_jax.types import EOS_ID, PAD_ID, GenrecError

# As `feed_forward_proj`; Hugging Face takes 'gated-gelu' for the tanh
# approximation and needs 'gelu_new' said where nothing is gated.
_ACTIVATIONS = {
  ('relu',): 'relu',
  ('gelu',): 'gelu_new',
  ('silu',): 'silu',
  ('relu', 'linear'): 'gated-relu',
  ('gelu', 'linear'): 'gated-gelu',
  ('silu', 'linear'): 'gated-silu',
}
_COPIES = ('encoder.embed_tokens.weight', 'decoder.embed_tokens.weight')


def hugging_face_config(config: T5Config) -> dict[str, Any]:
  """Returns the arguments of `transformers.T5Config` for a model of ours.

  Raises:
    GenrecError: if Hugging Face's T5 has no such activations, or no layers
      that see blocks alone.
  """
  if config.num_block_local_layers:
    raise GenrecError(
      f'Got num_block_local_layers={config.num_block_local_layers}, which no T5'
      " of Hugging Face has: its encoder's layers see the whole input. Export"
      ' the recommend function instead (--format=program), or train a model'
      ' without.'
    )
  if config.mlp_activations not in _ACTIVATIONS:
    raise GenrecError(
      f'Got mlp_activations={config.mlp_activations}, which Hugging Face has'
      f' no T5 of; it has {", ".join(map(str, _ACTIVATIONS))}.'
    )
  return {
    'vocab_size': config.vocab_size,
    'd_model': config.emb_dim,
    'd_kv': config.head_dim,
    'num_heads': config.num_heads,
    'd_ff': config.mlp_dim,
    'num_layers': config.num_encoder_layers,
    'num_decoder_layers': config.num_decoder_layers,
    'feed_forward_proj': _ACTIVATIONS[config.mlp_activations],
    # Also says whether logits are scaled by d_model ** -0.5.
    'tie_word_embeddings': config.logits_via_embedding,
    'relative_attention_num_buckets': config.relative_attention_num_buckets,
    'relative_attention_max_distance': config.relative_attention_max_distance,
    'dropout_rate': config.dropout_rate,
    'layer_norm_epsilon': 1e-6,
    'decoder_start_token_id': PAD_ID,
    'pad_token_id': PAD_ID,
    'eos_token_id': EOS_ID,
  }


def write_model(
  directory: pathlib.Path,
  config: T5Config,
  weights: Weights,
  *,
  max_new_tokens: int,
  **facts: Any,
) -> None:
  """Writes a model into a directory.

  Args:
    directory: where to; it exists.
    config: of the model.
    weights: layer by layer, under our names.
    max_new_tokens: how long a generation is unless one says otherwise.
    **facts: what else config.json says; JSON values.

  Raises:
    GenrecError: if Hugging Face's T5 cannot be such a model.
  """
  from safetensors.numpy import save_file  # late: it is of an extra

  described = {
    'architectures': ['T5ForConditionalGeneration'],
    'model_type': 't5',
    'is_encoder_decoder': True,
    'dtype': 'float32',
    **hugging_face_config(config),
    **facts,
  }
  artifacts.write_json(directory / 'config.json', described)
  artifacts.write_json(
    directory / 'generation_config.json',
    {
      name: described[name]
      for name in ('decoder_start_token_id', 'pad_token_id', 'eos_token_id')
    }
    | {'max_new_tokens': max_new_tokens},
  )
  named = dict(to_hugging_face(*entry) for entry in weights.items())
  with artifacts.disk_errors(directory):
    save_file(
      # The format knows contiguous arrays alone, and would write others wrong.
      {
        name: np.ascontiguousarray(weight, np.float32)
        for name, weight in named.items()
      },
      directory / 'model.safetensors',
      metadata={'format': 'pt'},
    )


def read_config(directory: pathlib.Path) -> dict[str, Any]:
  """Returns config.json of a T5.

  Raises:
    GenrecError: if there is none, or it is of another kind of model.
  """
  path = directory / 'config.json'
  try:
    config = json.loads(path.read_text(encoding='utf-8'))
  except (OSError, ValueError) as error:
    raise GenrecError(
      f'Cannot read {path}: {error}; pass the directory of a T5 with'
      ' config.json, its weights and its tokenizer.'
    ) from error
  if config.get('model_type') != 't5':
    raise GenrecError(
      f'{path} is of a {config.get("model_type")!r} model, expected "t5" (T5,'
      ' T5 1.1 or Flan-T5).'
    )
  return config


def read_weights(directory: pathlib.Path) -> Weights:
  """Returns the weights of a T5, float32, layer by layer, under our names.

  A head is among them unless it is the embedding, scaled as T5 1.0 does; it
  then stands for the same logits as there.

  Raises:
    GenrecError: if there are none, or they are of another model.
  """
  config = read_config(directory)
  weights, foreign = {}, []
  for name, weight in _read_files(directory).items():
    if name in _COPIES:
      weights.setdefault(EMBEDDING, weight)
      continue
    try:
      ours, weight = from_hugging_face(name, weight)
    except KeyError:
      foreign.append(name)
      continue
    weights[ours] = weight
  if foreign or EMBEDDING not in weights:
    told = f'has {sorted(foreign)[0]!r}' if foreign else 'lacks shared.weight'
    raise GenrecError(
      f'The model in {directory} {told}, so it is no T5 encoder-decoder;'
      ' expected the weights of T5ForConditionalGeneration.'
    )
  # What newer versions of the library write instead of the tie.
  scaled = config.get(
    'scale_decoder_outputs', config.get('tie_word_embeddings', True)
  )
  embedding = weights[EMBEDDING]
  head = weights.pop(HEAD, embedding.T)
  is_tied = np.array_equal(head, embedding.T)
  if not (scaled and is_tied):
    scale = config['d_model'] ** -0.5 if scaled else 1.0
    weights[HEAD] = np.asarray(head * scale, np.float32)
  return weights


def _read_files(directory: pathlib.Path) -> Weights:
  """Reads the weights of one file, or of those that an index names."""
  for name, read in (
    ('model.safetensors', _read_safetensors),
    ('pytorch_model.bin', _read_pickle),
  ):
    path = directory / name
    index = directory / f'{name}.index.json'
    if path.exists():
      return read(path)
    if index.exists():
      files = json.loads(index.read_text(encoding='utf-8'))['weight_map']
      weights = {}
      for file in sorted(set(files.values())):
        weights |= read(directory / file)
      return weights
  raise GenrecError(
    f'No weights in {directory}; expected model.safetensors or'
    ' pytorch_model.bin, or an index of several such files.'
  )


def _read_safetensors(path: pathlib.Path) -> Weights:
  from safetensors import SafetensorError
  from safetensors.numpy import load_file

  try:
    arrays = load_file(path)
  except (OSError, SafetensorError) as error:
    raise GenrecError(
      f'Cannot read {path}: {error}; fetch it again.'
    ) from error
  return {name: np.asarray(a, np.float32) for name, a in arrays.items()}


def _read_pickle(path: pathlib.Path) -> Weights:
  if importlib.util.find_spec('torch') is None:
    raise GenrecError(
      f'Reading {path} needs PyTorch, which is not installed; take the'
      ' model.safetensors of the same model, or run pip install'
      " 'genrec_jax[hf]'."
    )
  import torch

  try:
    tensors = torch.load(path, map_location='cpu', weights_only=True)
  except Exception as error:  # pickle's errors are of many kinds
    raise GenrecError(
      f'Cannot read {path}: {error}; fetch it again.'
    ) from error
  return {name: t.float().numpy() for name, t in tensors.items()}
