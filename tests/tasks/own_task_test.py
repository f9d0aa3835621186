"""The file that the README shows runs as it stands."""

import pathlib

import numpy as np
import seqio

from genrec_jax.data.token_cache import TokenCache
from genrec_jax.tasks import registry
from genrec_jax.tokenize import tokenize

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILE = ROOT / 'examples' / 'own_task.py'


def test_a_file_of_ones_own_adds_a_task(run_dir):
  tokenize(run_dir=run_dir, tasks='backwards', task_files=FILE, text_pieces=400)
  cache = TokenCache.load(run_dir / 'tokens')
  found = cache.examples('backwards', 'test')
  [name, _] = registry.register_tasks(run_dir, name='own', task_files=[FILE])
  vocabulary = seqio.TaskRegistry.get(name).output_features['inputs'].vocabulary
  for i in range(len(found)):
    ids = vocabulary.decode(
      np.concatenate(cache.item_tokens[found.history[i][::-1]])
    )
    prompt = f'Newest first:{ids}And next?'
    assert vocabulary.decode(found.inputs[i]) == prompt
  code = FILE.read_text().split('"""', 2)[2]
  assert len([line for line in code.splitlines() if line.strip()]) <= 10
