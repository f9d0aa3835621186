"""Our weights in Hugging Face's T5, in an interpreter of its own.

The mapping of names is the inverse of the one in tests/models/parity_test.py.
"""

import json
import pathlib
import subprocess

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from genrec_jax.types import GenrecError

ENCODER = {
  'attention': 'layer.0.SelfAttention',
  'pre_attention_layer_norm': 'layer.0.layer_norm',
  'mlp': 'layer.1.DenseReluDense',
  'pre_mlp_layer_norm': 'layer.1.layer_norm',
}
DECODER = {
  'self_attention': 'layer.0.SelfAttention',
  'pre_self_attention_layer_norm': 'layer.0.layer_norm',
  'encoder_decoder_attention': 'layer.1.EncDecAttention',
  'pre_cross_attention_layer_norm': 'layer.1.layer_norm',
  'mlp': 'layer.2.DenseReluDense',
  'pre_mlp_layer_norm': 'layer.2.layer_norm',
}
DENSE = {'query': 'q', 'key': 'k', 'value': 'v', 'out': 'o'}


def to_hugging_face(name: str, weight: np.ndarray) -> tuple[str, np.ndarray]:
  """Returns Hugging Face's name and orientation of a weight of ours."""
  if name == 'token_embedder/embedding':
    return 'shared.weight', weight
  if name == 'decoder/logits_dense/kernel':
    return 'lm_head.weight', weight.T
  stack, place, *rest = name.split('/')
  if place == f'{stack}_norm':
    return f'{stack}.final_layer_norm.weight', weight
  if place == 'relpos_bias':
    return (
      f'{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight',
      weight.T,
    )
  sublayers = ENCODER if stack == 'encoder' else DECODER
  path = f'{stack}.block.{place.removeprefix("layers_")}.{sublayers[rest[0]]}'
  if rest[-1] == 'scale':
    return f'{path}.weight', weight
  return f'{path}.{DENSE.get(rest[1], rest[1])}.weight', weight.T


def hugging_face_config(config) -> dict:
  """Returns the arguments of `transformers.T5Config` for a model of ours."""
  gated = {('relu',): 'relu', ('gelu', 'linear'): 'gated-gelu'}
  if config.scan_layers or config.mlp_activations not in gated:
    raise GenrecError(
      f'Got scan_layers={config.scan_layers} and mlp_activations='
      f'{config.mlp_activations}, expected no scan and one of {list(gated)};'
      ' choose another model, or leave --hf_python out.'
    )
  return {
    'vocab_size': config.vocab_size,
    'd_model': config.emb_dim,
    'd_kv': config.head_dim,
    'num_heads': config.num_heads,
    'd_ff': config.mlp_dim,
    'num_layers': config.num_encoder_layers,
    'num_decoder_layers': config.num_decoder_layers,
    'feed_forward_proj': gated[config.mlp_activations],
    'tie_word_embeddings': config.logits_via_embedding,
    'relative_attention_num_buckets': config.relative_attention_num_buckets,
    'relative_attention_max_distance': config.relative_attention_max_distance,
    'decoder_start_token_id': 0,
    'pad_token_id': 0,
    'eos_token_id': 1,
  }


class HuggingFace:
  """hugging_face_worker.py in an interpreter of its own; waits for jobs."""

  def __init__(
    self,
    python: str,
    directory: pathlib.Path,
    *,
    model,
    params,
    item_tokens,
    num_threads: int,
  ):
    """Hands the weights over and starts it.

    Args:
      python: an interpreter that has `torch` and `transformers`.
      directory: an empty one, for what is handed over.
      model: ours.
      params: its parameters.
      item_tokens: int [N, L], of one length.
      num_threads: that it may use.
    """
    weights = flatten_dict(jax.device_get(params), sep='/')
    np.savez(
      directory / 'weights.npz',
      **dict(to_hugging_face(*entry) for entry in weights.items()),
    )
    np.save(directory / 'items.npy', item_tokens)
    settings = {
      't5_config': hugging_face_config(model.module.config),
      'num_threads': num_threads,
    }
    (directory / 'config.json').write_text(json.dumps(settings))
    worker = pathlib.Path(__file__).with_name('hugging_face_worker.py')
    self._directory = directory
    self._process = subprocess.Popen(
      [python, str(worker), str(directory)],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    self.facts = self._read()

  def _read(self):
    line = self._process.stdout.readline()
    if not line:
      raise GenrecError(
        'Hugging Face ended early, see its error above; --hf_python must have'
        ' torch and transformers.'
      )
    return json.loads(line)

  def put(self, batches: list[np.ndarray]) -> list[pathlib.Path]:
    """Hands batches of tokens over, for `run`; replaces those before."""
    paths = [self._directory / f'{n}.npy' for n in range(len(batches))]
    for path, batch in zip(paths, batches):
      np.save(path, batch)
    return paths

  def run(
    self, paths: list[pathlib.Path], num_beams: int, constrained: bool = True
  ) -> list[tuple[float, float]]:
    """Returns the seconds of each batch, on the clock and of CPU time."""
    return self._ask(paths, num_beams, constrained, None)

  def generate(
    self, paths: list[pathlib.Path], num_beams: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns the tokens [B, K, L] and scores [B, K] of all batches."""
    results = self._directory / 'results.npz'
    self._ask(paths, num_beams, True, str(results))
    with np.load(results) as arrays:
      return arrays['tokens'], arrays['scores']

  def _ask(self, paths, num_beams, constrained, results):
    job = {
      'inputs': [str(path) for path in paths],
      'num_beams': num_beams,
      'constrained': constrained,
      'results': results,
    }
    print(json.dumps(job), file=self._process.stdin, flush=True)
    return self._read()

  def close(self):
    """Ends it."""
    self._process.stdin.close()
    self._process.wait()
