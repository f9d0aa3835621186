"""Measures item factors and quantization against their peers, side by side.

  python tools/benchmarks/item_factors.py [--users=100000] [--items=100000]
    [--interactions=5000000] [--rank=64] [--contender=NAME ...]

Truncated SVD of a made-up matrix (popularity by Zipf, users of planted taste):
the randomized solver here, scikit-learn's TruncatedSVD and ARPACK (`svds`).
Quality is the share of the matrix's squared norm that the singular vectors
explain. Then quantization of the factors into 8 codes of 256: product
quantization here and in faiss, plain and optimised, and residual k-means here
and in faiss. Quality is the share of the variance that is left.

Each contender has a process of its own, so that peak memory is its own, and
time includes compilation. Peers that are not installed are left out and
named. Prints a table, and the same as one line of JSON.
"""

import argparse
import concurrent.futures
import importlib.util
import json
import multiprocessing
import os
import pathlib
import platform
import resource
import tempfile
import time

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

NUM_TASTES = 200
LEVELS, CODES = 8, 256


def made_up_matrix(users, items, interactions, seed=0):
  """Returns log-weighted counts; most of a user's items are of two tastes."""
  generator = np.random.default_rng(seed)
  user = generator.integers(users, size=interactions)
  tastes = generator.integers(NUM_TASTES, size=(users, 2))
  taste = tastes[user, generator.integers(2, size=interactions)]
  popularity = 1 / np.arange(1, items + 1) ** 0.8
  drawn = np.searchsorted(
    np.cumsum(popularity) / popularity.sum(), generator.random(interactions)
  )
  # Item n is of taste n % NUM_TASTES; a fifth of what is taken is of any.
  own = drawn - drawn % NUM_TASTES + taste
  free = generator.random(interactions) < 0.2
  item = np.where(free, drawn, np.minimum(own, items - 1))
  ones = np.ones(interactions, np.float32)
  matrix = scipy.sparse.csr_array((ones, (user, item)), (users, items))
  matrix.data = np.log1p(matrix.data)
  return matrix


def svd_here(matrix, rank):
  """Returns right singular vectors by the randomized solver here."""
  from genrec_jax.ids.truncated_svd import truncated_svd

  return truncated_svd(matrix, rank, solver='randomized')[1]


def svd_sklearn(matrix, rank):
  """Returns those of scikit-learn."""
  from sklearn.decomposition import TruncatedSVD

  matrix = scipy.sparse.csr_matrix(matrix)
  return TruncatedSVD(rank, random_state=0).fit(matrix).components_.T


def svd_arpack(matrix, rank):
  """Returns those of ARPACK, in single precision."""
  start = np.random.default_rng(0).standard_normal(min(matrix.shape))
  return scipy.sparse.linalg.svds(matrix, rank, v0=start.astype('f'))[2].T


def product_here(vectors, rotation='none'):
  """Returns what product quantization here leaves over."""
  from genrec_jax.ids.product_quantization import product_codes

  return product_codes(
    vectors,
    num_levels=LEVELS,
    codebook_size=CODES,
    rotation=rotation,
    num_iterations=25,
  ).unexplained[-1]


def optimised_here(vectors):
  """Returns the same with a learnt rotation."""
  return product_here(vectors, rotation='learnt')


def residual_here(vectors):
  """Returns what residual k-means here leaves over."""
  from genrec_jax.ids.residual_quantization import residual_codes

  return residual_codes(
    vectors, num_levels=LEVELS, codebook_size=CODES, num_iterations=25
  )[2][-1]


def left_over(vectors, rebuilt):
  """Returns the share of the variance that is left."""
  variance = ((vectors - vectors.mean(axis=0)) ** 2).sum()
  return float(((vectors - rebuilt) ** 2).sum() / variance)


def product_faiss(vectors):
  """Returns what product quantization in faiss leaves over."""
  import faiss

  quantizer = faiss.ProductQuantizer(vectors.shape[1], LEVELS, 8)
  quantizer.train(vectors)
  return left_over(vectors, quantizer.decode(quantizer.compute_codes(vectors)))


def optimised_faiss(vectors):
  """Returns the same with a learnt rotation."""
  import faiss

  rotation = faiss.OPQMatrix(vectors.shape[1], LEVELS)
  rotation.train(vectors)
  return product_faiss(rotation.apply(vectors))


def residual_faiss(vectors):
  """Returns what residual quantization in faiss leaves over, greedily."""
  import faiss

  quantizer = faiss.ResidualQuantizer(vectors.shape[1], LEVELS, 8)
  quantizer.max_beam_size = 1
  quantizer.train(vectors)
  return left_over(vectors, quantizer.decode(quantizer.compute_codes(vectors)))


SVDS = {'here': svd_here, 'sklearn': svd_sklearn, 'arpack': svd_arpack}
QUANTIZERS = {
  'product here': product_here,
  'product faiss': product_faiss,
  'optimised product here': optimised_here,
  'optimised product faiss': optimised_faiss,
  'residual here': residual_here,
  'residual faiss': residual_faiss,
}


def peer_is_missing(name):
  """Says whether a contender needs what is not installed."""
  return any(
    peer in name and importlib.util.find_spec(peer) is None
    for peer in ('sklearn', 'faiss')
  )


def alone(function, path, *arguments):
  """Runs in a process of its own; returns result, seconds and peak bytes."""
  if path.endswith('.npz'):
    data = scipy.sparse.load_npz(path)
  else:
    data = np.load(path)
  base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  wall, cpu = time.perf_counter(), time.process_time()
  result = function(data, *arguments)
  wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base
  return result, {
    'seconds': round(wall, 2),
    'cpu_seconds': round(cpu, 2),
    'added_peak_MiB': round(peak / 1024),
  }


def in_child(function, *arguments):
  """Calls `alone` in a new process."""
  with concurrent.futures.ProcessPoolExecutor(
    1, multiprocessing.get_context('spawn')
  ) as pool:
    return pool.submit(alone, function, *arguments).result()


def main():
  """Measures all contenders."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--users', type=int, default=100_000)
  parser.add_argument('--items', type=int, default=100_000)
  parser.add_argument('--interactions', type=int, default=5_000_000)
  parser.add_argument('--rank', type=int, default=64)
  names = [f'svd {name}' for name in SVDS] + list(QUANTIZERS)
  parser.add_argument('--contender', nargs='*', default=names, choices=names)
  parser.add_argument('--vectors', help='.npy to quantize, not the factors')
  flags = parser.parse_args()
  for name in [name for name in flags.contender if peer_is_missing(name)]:
    print(f'{name}: not installed, left out')
    flags.contender.remove(name)
  rows = []
  with tempfile.TemporaryDirectory() as directory:
    path = pathlib.Path(directory)
    matrix_path, vectors_path = str(path / 'a.npz'), str(path / 'v.npy')
    svds = [name for name in flags.contender if name.startswith('svd ')]
    if flags.vectors:
      np.save(vectors_path, np.load(flags.vectors).astype(np.float32))
    if svds or not flags.vectors:
      matrix = made_up_matrix(flags.users, flags.items, flags.interactions)
      scipy.sparse.save_npz(matrix_path, matrix, compressed=False)
      total = float((matrix.data.astype(np.float64) ** 2).sum())
    for name in svds or ([] if flags.vectors else ['svd here']):
      function = SVDS[name.removeprefix('svd ')]
      vectors, facts = in_child(function, matrix_path, flags.rank)
      image = np.asarray(matrix @ vectors)
      explained = float((image.astype(np.float64) ** 2).sum()) / total
      rows.append({'name': name, 'explained': round(explained, 6), **facts})
      print(rows[-1], flush=True)
      if name == 'svd here' and not flags.vectors:
        lengths = np.sqrt((image**2).sum(axis=0)) / np.sqrt(total)
        np.save(vectors_path, (vectors * lengths).astype(np.float32))
    for name in [name for name in flags.contender if name in QUANTIZERS]:
      left, facts = in_child(QUANTIZERS[name], vectors_path)
      rows.append({'name': name, 'left': round(left, 6), **facts})
      print(rows[-1], flush=True)
  print(
    json.dumps(
      {
        'users': flags.users,
        'items': flags.items,
        'interactions': flags.interactions,
        'rank': flags.rank,
        'rows': rows,
        'cpus': os.cpu_count(),
        'machine': platform.machine(),
      }
    )
  )


if __name__ == '__main__':
  main()
