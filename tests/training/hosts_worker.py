"""One of several processes that train the tiny model and recommend with it.

python hosts_worker.py RUN_DIR CACHE_DIR SECONDS_PER_BATCH [ADDRESS NUM ID]
"""

import functools
import pathlib
import sys

import jax
import numpy as np

sys.path.append(str(pathlib.Path(__file__).parent))
import tiny

from genrec_jax.data.token_cache import Ragged, TokenExamples
from genrec_jax.decoding.recommend import make_recommend_fn, recommend_examples
from genrec_jax.decoding.trie_builder import build_trie
from genrec_jax.training import hosts, partitioning


def recommend():
  """Returns lists for a few histories, of parameters as they are drawn."""
  random = np.random.default_rng(0)
  items = np.unique(random.integers([3, 40], [40, 80], (60, 2)), axis=0)
  histories = [random.integers(0, len(items), n % 5 + 1) for n in range(20)]
  examples = TokenExamples(
    inputs=Ragged.from_rows([items[h].reshape(-1) for h in histories]),
    targets=Ragged.from_rows(items[:20]),
    user=np.arange(20, dtype=np.int32),
    target=np.arange(20, dtype=np.int32),
    tied=np.zeros(20, bool),
    history=Ragged.from_rows(histories),
  )
  mesh = partitioning.make_mesh()
  model = tiny.make_model()
  shapes = {f'{side}_input_tokens': (8, 4) for side in ('encoder', 'decoder')}
  with partitioning.partitioned(mesh):
    params = jax.jit(
      lambda key: model.get_initial_variables(key, shapes)['params'],
      out_shardings=partitioning.replicated(mesh),
    )(jax.random.PRNGKey(0))
    return recommend_examples(
      make_recommend_fn(model, build_trie(items), num_beams=5),
      params,
      examples,
      batch_size=16,
      place=functools.partial(
        partitioning.put_batch, sharding=partitioning.batch_sharding(mesh)
      ),
    )


def main(run_dir, cache_dir, seconds, *joining):
  names = ('coordinator_address', 'num_processes', 'process_id')
  with hosts.joined(dict(zip(names, joining)), hosts_error):
    partitioning.use_compilation_cache(cache_dir)
    lists = recommend()
    if hosts.is_first():
      np.savez(f'{run_dir}.npz', items=lists.items, scores=lists.scores)
    tiny.SlowBatches.seconds = float(seconds)
    tiny.train(
      run_dir,
      make_train_batches=functools.partial(
        tiny.make_batches,
        cls=tiny.SlowBatches,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
      ),
      keep=2,
      devices=None,
    )


def hosts_error(text):
  print(text, file=sys.stderr, flush=True)


if __name__ == '__main__':
  main(*sys.argv[1:])
