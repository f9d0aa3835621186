"""Our weights in Hugging Face's T5, in an interpreter of its own."""

import json
import pathlib
import subprocess

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from genrec_jax.exchange.hugging_face import hugging_face_config
from genrec_jax.exchange.t5_names import to_hugging_face, unstack_layers
from genrec_jax.types import GenrecError


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
    weights = unstack_layers(flatten_dict(jax.device_get(params), sep='/'))
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
