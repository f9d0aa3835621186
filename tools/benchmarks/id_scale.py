"""Measures each way of making item ids at the size of a large catalogue.

  python tools/benchmarks/id_scale.py [--scale=1] [--methods NAME ...]
    [--timeout=900] [--directory=DIR] [--record=FILE]

Scale 1 is 1,000,000 items, 1,000,000 users and 100,000,000 interactions;
--scale=0.01 is a smoke test of some 200 CPU-seconds. The data are made up and
streamed to the disk in chunks of users: items are of clusters of 500, their
popularity is Zipf's, and a user goes about three favourite clusters (one step
in ten goes anywhere). Item numbers say nothing of clusters or popularity.

Each method has a process of its own, which compiles what it needs, and a limit
of time. Trees and PPMI factors read the counts that 'cooccurrences' wrote, and
what quantizes reads the factors that 'svd_ppmi' wrote; run those first. Prints
seconds, CPU-seconds and peak memory (the high-water mark of the resident set,
arrays mapped from the disk included), and appends a line of JSON a method to
--record. Data that are in --directory already are not made again.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
import time

import numpy as np

CLUSTER = 500  # items
CHUNK = 50_000  # users
MIN_COUNT = 1.0  # a pair seen once, side by side, or twice two apart
LEVELS, CODES = 3, 1024


def generate(directory, scale, seed=0):
  """Writes user.npy, item.npy (int32) and cluster.npy, chunk by chunk."""
  users = items = max(2 * CLUSTER, round(1_000_000 * scale))
  rows = 100 * users
  generator = np.random.default_rng([seed, 0])
  activity = generator.lognormal(0, 0.8, users)
  lengths = np.maximum(3, activity * rows / activity.sum()).astype(np.int64)
  starts = np.concatenate([[0], np.cumsum(lengths)])
  num_clusters = items // CLUSTER
  within = np.cumsum(1 / np.arange(1, CLUSTER + 1) ** 0.9)
  weight = np.cumsum(1 / np.arange(1, num_clusters + 1) ** 0.5)
  number = generator.permutation(items).astype(np.int32)
  cluster = np.empty(items, np.int32)
  cluster[number] = np.arange(items) % num_clusters
  np.save(directory / 'cluster.npy', cluster)
  files = {
    name: np.lib.format.open_memmap(
      directory / f'{name}.npy', 'w+', np.int32, (int(starts[-1]),)
    )
    for name in ('user', 'item')
  }

  def draw(table, size):
    return np.searchsorted(table, generator.random(size) * table[-1])

  for first in range(0, users, CHUNK):
    generator = np.random.default_rng([seed, 1, first])
    last = min(first + CHUNK, users)
    size = int(starts[last] - starts[first])
    user = np.repeat(np.arange(last - first), lengths[first:last])
    favourite = draw(weight, (last - first, 3))
    # A session goes on with four in five; the next may be of another cluster.
    fresh = generator.random(size) < 0.2
    fresh[starts[first:last] - starts[first]] = True
    session = np.maximum.accumulate(np.where(fresh, np.arange(size), 0))
    group = favourite[user, generator.integers(3, size=size)[session]]
    anywhere = generator.random(size) < 0.1
    group[anywhere] = draw(weight, int(anywhere.sum()))
    rank = draw(within, size) * num_clusters + group
    part = slice(int(starts[first]), int(starts[last]))
    files['user'][part] = user + first
    files['item'][part] = number[rank]
  for file in files.values():
    file.flush()
  return {'users': users, 'items': items, 'interactions': int(starts[-1])}


class Inputs:
  """What methods take, from the directory."""

  def __init__(self, directory):
    self.directory = directory
    self.cluster = np.load(directory / 'cluster.npy')
    self.num_items = len(self.cluster)

  @property
  def interactions(self):
    """User, item, num_users and num_items; the arrays are on the disk."""
    user, item = (
      np.load(self.directory / f'{name}.npy', mmap_mode='r')
      for name in ('user', 'item')
    )
    return user, item, int(user[-1]) + 1, self.num_items

  @property
  def vectors(self):
    """The factors that 'svd_ppmi' wrote."""
    return np.load(self.directory / 'svd_ppmi.npy')

  def source(self, *args, seed):
    """Gives them to a method that asks for vectors."""
    del args, seed
    return self.vectors


def counts_of_pairs(inputs):
  """Counts pairs at most five apart, and keeps the graph."""
  from genrec_jax.ids import cooccurrence_files
  from genrec_jax.ids.cooccurrence import count_cooccurrences

  user, item, _, num_items = inputs.interactions
  graph = count_cooccurrences(
    user, item, num_items, window=5, min_count=MIN_COUNT
  )
  cooccurrence_files.save_counts(
    graph,
    inputs.directory / 'cooccurrences',
    train=cooccurrence_files.train_sha256(user, item),
    window=5,
    min_count=MIN_COUNT,
  )
  return {'pairs': graph.nnz // 2}


def factors(inputs, name, **settings):
  """Makes factors, and says how well they part the planted clusters."""
  from genrec_jax.ids.svd import item_factors

  vectors = item_factors(*inputs.interactions, rank=64, **settings)
  np.save(inputs.directory / f'{name}.npy', vectors)
  return {'same_cluster': same_cluster(vectors, inputs.cluster)}


def svd_ppmi(inputs):
  """Factors of the counted graph, by PPMI."""
  return factors(
    inputs,
    'svd_ppmi',
    matrix='cooccurrence',
    weighting='ppmi',
    counts=inputs.directory / 'cooccurrences',
  )


def svd_interactions(inputs):
  """Factors of the users-by-items matrix."""
  return factors(inputs, 'svd_interactions')


def same_cluster(vectors, cluster, queries=1000):
  """Returns how many of the 10 nearest of some items are of their cluster."""
  rows = np.random.default_rng(0).choice(len(vectors), queries, replace=False)
  best = np.full((queries, 10), -np.inf, np.float32)
  found = np.zeros((queries, 10), np.int64)
  for start in range(0, len(vectors), 2**16):
    part = vectors[rows] @ vectors[start : start + 2**16].T
    inside = np.flatnonzero((rows >= start) & (rows < start + 2**16))
    part[inside, rows[inside] - start] = -np.inf
    near = np.argpartition(-part, 10, axis=1)[:, :10]
    best = np.hstack([best, np.take_along_axis(part, near, axis=1)])
    found = np.hstack([found, near + start])
    kept = np.argpartition(-best, 10, axis=1)[:, :10]
    best, found = (np.take_along_axis(x, kept, axis=1) for x in (best, found))
  same = cluster[found] == cluster[rows][:, None]
  return round(float(same.mean()), 4)


def ids_of(ids):
  """Returns what is to be told of ids, after a check that they are unique."""
  unique = len(np.unique(ids.codes, axis=0))
  assert unique == ids.num_items, f'{unique} of {ids.num_items} ids differ'
  told = ('collision_rate', 'moved', 'extra_error', 'leaves', 'codes_reset')
  facts = {name: ids.facts[name] for name in told if name in ids.facts}
  if 'unexplained_variance' in ids.facts:
    facts['left'] = ids.facts['unexplained_variance'][-1]
  return {'sizes': list(ids.codebook_sizes), **facts}


def residual(inputs, collisions):
  """Residual k-means of three levels of 1024."""
  from genrec_jax.ids.residual_quantization import residual_kmeans

  return ids_of(
    residual_kmeans(
      *inputs.interactions,
      item_vectors=inputs.source,
      num_levels=LEVELS,
      codebook_size=min(CODES, inputs.num_items // 8),
      collisions=collisions,
    )
  )


def product(inputs, rotation):
  """Product quantization, plain or rotated."""
  from genrec_jax.ids.product_quantization import product_quantization

  return ids_of(
    product_quantization(
      *inputs.interactions, item_vectors=inputs.source, rotation=rotation
    )
  )


def quantiles(inputs):
  """Quantiles of the leading factors."""
  from genrec_jax.ids.svd import quantile_svd

  return ids_of(quantile_svd(*inputs.interactions, item_vectors=inputs.source))


def tree(inputs, kind):
  """Paths in a tree of clusters of the counted graph."""
  from genrec_jax.ids.collaborative import collaborative_indexing

  ids = collaborative_indexing(
    *inputs.interactions,
    window=5,
    counts=inputs.directory / 'cooccurrences',
    tree=kind,
  )
  return ids_of(ids)


def autoencoder(inputs):
  """An RQ-VAE, two passes over the items."""
  from genrec_jax.ids.rq_vae import rq_vae

  return ids_of(
    rq_vae(
      *inputs.interactions,
      item_vectors=inputs.source,
      num_levels=LEVELS,
      codebook_size=min(CODES, inputs.num_items // 8),
      num_steps=max(200, 2 * inputs.num_items // 1024),
      on_collapse='warn',
    )
  )


def at_random(inputs):
  """Random codes."""
  from genrec_jax.ids.simple import random_ids

  return ids_of(random_ids(*inputs.interactions))


def hashed(inputs):
  """Users hashed into 2000 buckets."""
  from genrec_jax.ids.users import hashed_users

  codes, sizes = hashed_users(*inputs.interactions)
  return {'users': len(codes), 'sizes': list(sizes)}


# In the order in which they need each other.
METHODS = {
  'cooccurrences': counts_of_pairs,
  'svd_ppmi': svd_ppmi,
  'svd_interactions': svd_interactions,
  'residual_extra_digit': lambda inputs: residual(inputs, 'extra_digit'),
  'residual_nearest_free': lambda inputs: residual(inputs, 'nearest_free'),
  'residual_sinkhorn': lambda inputs: residual(inputs, 'sinkhorn'),
  'product': lambda inputs: product(inputs, 'none'),
  'optimised_product': lambda inputs: product(inputs, 'learnt'),
  'quantile_svd': quantiles,
  'rq_vae': autoencoder,
  'tree_spectral': lambda inputs: tree(inputs, 'spectral'),
  'tree_balanced': lambda inputs: tree(inputs, 'balanced'),
  'random_ids': at_random,
  'hashed_users': hashed,
}


def work(name, directory):
  """Runs one method in this process and prints its figures as JSON."""
  started, cpu = time.perf_counter(), time.process_time()
  facts = METHODS[name](Inputs(directory))
  status = pathlib.Path('/proc/self/status').read_text()
  peak = int(re.search(r'VmHWM:\s+(\d+) kB', status)[1])
  figures = {
    'seconds': round(time.perf_counter() - started, 1),
    'cpu_seconds': round(time.process_time() - cpu, 1),
    'peak_GB': round(peak * 1024 / 1e9, 2),
  }
  print(json.dumps({**figures, **facts}))


def measure(name, directory, timeout):
  """Runs one method in a process of its own."""
  command = [sys.executable, __file__, f'--work={name}']
  try:
    done = subprocess.run(
      [*command, f'--directory={directory}'],
      capture_output=True,
      text=True,
      timeout=timeout,
    )
  except subprocess.TimeoutExpired:
    return {'failed': f'not done after {timeout:.0f} s'}
  if done.returncode:
    reason = done.stderr.strip().splitlines() or [f'status {done.returncode}']
    return {'failed': reason[-1]}
  return json.loads(done.stdout.strip().splitlines()[-1])


def main():
  """Measures all methods, one after the other."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--scale', type=float, default=1.0)
  parser.add_argument('--methods', nargs='*', default=METHODS, choices=METHODS)
  parser.add_argument('--timeout', type=float, default=900, help='seconds')
  parser.add_argument('--directory', type=pathlib.Path)
  parser.add_argument('--record', type=pathlib.Path)
  parser.add_argument('--work', choices=METHODS, help=argparse.SUPPRESS)
  flags = parser.parse_args()
  if flags.work:
    return work(flags.work, flags.directory)
  with tempfile.TemporaryDirectory() as temporary:
    directory = flags.directory or pathlib.Path(temporary)
    directory.mkdir(parents=True, exist_ok=True)
    size = directory / 'size.json'
    if not size.exists():
      started = time.perf_counter()
      counts = generate(directory, flags.scale)
      print(f'generated in {time.perf_counter() - started:.0f} s', flush=True)
      size.write_text(json.dumps(counts))
    size = json.loads(size.read_text())
    print(', '.join(f'{count:,} {name}' for name, count in size.items()))
    print(f'{"method":<22} {"seconds":>8} {"CPU":>8} {"peak GB":>8}')
    for name in flags.methods:
      found = measure(name, directory, flags.timeout)
      row = {'method': name, **size, **found, 'cpus': os.cpu_count()}
      if flags.record:
        with open(flags.record, 'a') as file:
          file.write(json.dumps(row) + '\n')
      if 'failed' in found:
        print(f'{name:<22} {found["failed"]}', flush=True)
        continue
      seconds, cpu, peak = (
        found.pop(key) for key in ('seconds', 'cpu_seconds', 'peak_GB')
      )
      print(
        f'{name:<22} {seconds:8.1f} {cpu:8.1f} {peak:8.2f} {json.dumps(found)}',
        flush=True,
      )
  print(f'{os.cpu_count()} CPUs, {platform.machine()}')


if __name__ == '__main__':
  main()
