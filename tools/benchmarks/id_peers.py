"""Measures the parts of item ids against their peers, side by side in one run.

  python tools/benchmarks/id_peers.py [--dataset=NAME --data_dir=DIR]
    [--repeats=3] [--families NAME ...]

On the train interactions of a data set, the simulator where none is named:

svd        truncated SVD of the matrix that item factors are made of (PPMI of
           what was taken close together), rank 64: scikit-learn's
           TruncatedSVD, SciPy's svds. Quality: how much of the best squared
           norm is captured, and the largest angle to the exact subspace.
clusters   spectral clustering of the co-occurrence graph into 20 clusters, the
           root of collaborative indexing: scikit-learn's SpectralClustering.
           Quality: normalised cut; evenness of the sizes (e to the entropy, of
           20 at most) and the share of the largest.
kmeans     k-means of the factors into 256 clusters: scikit-learn's KMeans and
           that of faiss, one start each, 50 iterations. Quality: the share of
           the variance that is left.
quantizers product, optimised product and residual quantization of the factors
           at the same bits: faiss. Quality: the share that is left; and for
           codes, how evenly those of the last level are used (of 256).

Every contender has a process of its own. Its first call, which compiles, has a
column of its own; the other times are medians of `--repeats` calls after it,
and the ratio is of CPU seconds, for what else a machine does makes those of the
wall say little. Peers come with `pip install -e '.[bench]'`. Prints tables in
Markdown, and the same as one line of JSON.
"""

import argparse
import concurrent.futures
import importlib.metadata
import json
import multiprocessing
import os
import pathlib
import platform
import tempfile
import time
from functools import partial

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg

RANK, CLUSTERS, CODES = 64, 20, 256


def svd_here(matrix, solver):
  """Returns right singular vectors by a solver here."""
  from genrec_jax.ids.truncated_svd import truncated_svd

  return truncated_svd(matrix, RANK, solver=solver)[1]


def svd_sklearn(matrix, algorithm):
  """Returns those of scikit-learn."""
  from sklearn.decomposition import TruncatedSVD

  matrix = scipy.sparse.csr_matrix(matrix)
  peer = TruncatedSVD(RANK, algorithm=algorithm, random_state=0)
  return peer.fit(matrix).components_.T


def svd_scipy(matrix):
  """Returns those of SciPy's ARPACK."""
  start = np.random.default_rng(0).standard_normal(min(matrix.shape))
  return scipy.sparse.linalg.svds(matrix, RANK, v0=start)[2].T


def clusters_here(graph, regularization=0.1):
  """Returns the clusters of the root of a spectral tree."""
  from genrec_jax.ids.collaborative import spectral_embedding
  from genrec_jax.ids.kmeans import kmeans, nearest

  points = spectral_embedding(
    graph, dimensions=CLUSTERS, regularization=regularization
  )
  return nearest(points, kmeans(points, CLUSTERS))[0]


def clusters_sklearn(graph, assign_labels):
  """Returns those of scikit-learn."""
  from sklearn.cluster import SpectralClustering

  peer = SpectralClustering(
    CLUSTERS,
    affinity='precomputed',
    assign_labels=assign_labels,
    random_state=0,
  )
  return peer.fit_predict(scipy.sparse.csr_matrix(graph))


def kmeans_here(vectors):
  """Returns what k-means here leaves."""
  from genrec_jax.ids.kmeans import kmeans, nearest

  return left(vectors, nearest(vectors, kmeans(vectors, CODES))[1].sum()), None


def kmeans_sklearn(vectors):
  """Returns what that of scikit-learn leaves."""
  from sklearn.cluster import KMeans

  peer = KMeans(CODES, n_init=1, max_iter=50, tol=0, random_state=0)
  return left(vectors, peer.fit(vectors).inertia_), None


def kmeans_faiss(vectors):
  """Returns what that of faiss leaves."""
  import faiss

  peer = faiss.Kmeans(
    vectors.shape[1], CODES, niter=50, min_points_per_centroid=1
  )
  peer.train(vectors)
  return left(vectors, peer.assign(vectors)[0].sum()), None


def product_here(vectors, levels, rotation):
  """Returns what product quantization here leaves, and its last codes."""
  from genrec_jax.ids.product_quantization import product_codes

  found = product_codes(
    vectors, num_levels=levels, codebook_size=CODES, rotation=rotation
  )
  return found.unexplained[-1], evenness(found.codes[:, -1])


def residual_here(vectors, levels, balanced):
  """Returns what residual k-means here leaves, and its last codes."""
  from genrec_jax.ids.residual_quantization import residual_codes

  codes, _, unexplained = residual_codes(
    vectors, num_levels=levels, codebook_size=CODES, balanced=balanced
  )
  return unexplained[-1], evenness(codes[:, -1])


def product_faiss(vectors, levels, rotation):
  """Returns what product quantization in faiss leaves, and its last codes."""
  import faiss

  points = vectors
  if rotation == 'learnt':
    opq = faiss.OPQMatrix(vectors.shape[1], levels)
    opq.train(vectors)
    points = opq.apply(vectors)
  quantizer = faiss.ProductQuantizer(vectors.shape[1], levels, 8)
  quantizer.cp.min_points_per_centroid = 1
  quantizer.train(points)
  codes = quantizer.compute_codes(points)
  error = np.square(points - quantizer.decode(codes)).sum()
  return left(vectors, error), evenness(codes[:, -1])


def residual_faiss(vectors, levels, beam):
  """Returns what residual quantization in faiss leaves, and its last codes."""
  import faiss

  quantizer = faiss.ResidualQuantizer(vectors.shape[1], levels, 8)
  quantizer.cp.min_points_per_centroid = 1
  quantizer.max_beam_size = beam
  quantizer.train(vectors)
  codes = quantizer.compute_codes(vectors)
  error = np.square(vectors - quantizer.decode(codes)).sum()
  return left(vectors, error), evenness(codes[:, -1])


def left(vectors, error):
  """Returns a summed squared error as a share of the variance."""
  return float(error / np.square(vectors - vectors.mean(axis=0)).sum())


def evenness(labels):
  """Returns e to the entropy of labels."""
  _, counts = np.unique(labels, return_counts=True)
  share = counts / counts.sum()
  return float(np.exp(-share @ np.log(share)))


def contenders():
  """Returns family -> name -> function; ours is the first of a family."""
  families = {
    'svd': {
      'here, randomized': partial(svd_here, solver='randomized'),
      'here, lanczos': partial(svd_here, solver='lanczos'),
      'sklearn, randomized': partial(svd_sklearn, algorithm='randomized'),
      'sklearn, arpack': partial(svd_sklearn, algorithm='arpack'),
      'scipy svds': svd_scipy,
    },
    'clusters': {
      'here': clusters_here,
      'here, hardly regularised': partial(clusters_here, regularization=1e-6),
      'sklearn, kmeans': partial(clusters_sklearn, assign_labels='kmeans'),
      'sklearn, cluster_qr': partial(
        clusters_sklearn, assign_labels='cluster_qr'
      ),
    },
    'kmeans': {
      'here': kmeans_here,
      'sklearn': kmeans_sklearn,
      'faiss': kmeans_faiss,
    },
  }
  for levels in (4, 8):
    families[f'product {levels} x {CODES}'] = {
      'here': partial(product_here, levels=levels, rotation='none'),
      'faiss': partial(product_faiss, levels=levels, rotation='none'),
    }
    families[f'optimised product {levels} x {CODES}'] = {
      'here': partial(product_here, levels=levels, rotation='learnt'),
      'faiss': partial(product_faiss, levels=levels, rotation='learnt'),
    }
    families[f'residual {levels} x {CODES}'] = {
      'here': partial(residual_here, levels=levels, balanced=False),
      'here, balanced': partial(residual_here, levels=levels, balanced=True),
      'faiss, greedy': partial(residual_faiss, levels=levels, beam=1),
      'faiss, beam 5': partial(residual_faiss, levels=levels, beam=5),
    }
  return families


def alone(function, path, repeats):
  """Runs in a process of its own; returns the last result and the times."""
  data = scipy.sparse.load_npz(path) if path.suffix == '.npz' else np.load(path)
  times = []
  for _ in range(1 + repeats):
    wall, cpu = time.perf_counter(), time.process_time()
    result = function(data)
    times.append((time.perf_counter() - wall, time.process_time() - cpu))
  wall, cpu = np.median(times[1:], axis=0).tolist()
  return result, {
    'cpu_seconds': cpu,
    'seconds': wall,
    'first_seconds': times[0][0],
  }


def in_child(*arguments):
  """Calls `alone` in a new process."""
  with concurrent.futures.ProcessPoolExecutor(
    1, multiprocessing.get_context('spawn')
  ) as pool:
    return pool.submit(alone, *arguments).result()


def judge(family, data, results):
  """Returns the quality of each contender's result, name -> column -> value."""
  if family == 'svd':
    exact = np.linalg.qr(results['here, lanczos'])[0]
    best = np.square(data @ exact).sum()
    return {
      name: {
        'captured of the best': np.square(data @ basis).sum() / best,
        'largest angle, degrees': np.degrees(
          scipy.linalg.subspace_angles(exact, basis.astype(np.float64)).max()
        ),
      }
      for name, basis in results.items()
    }
  if family == 'clusters':
    from genrec_jax.ids.cooccurrence import normalized_cut

    return {
      name: {
        'normalised cut': normalized_cut(data, labels),
        'evenness': evenness(labels),
        'largest': np.bincount(labels).max() / len(labels),
      }
      for name, labels in results.items()
    }
  return {
    name: {'left': share} | ({'evenness': even} if even else {})
    for name, (share, even) in results.items()
  }


def measure(family, functions, path, repeats):
  """Returns one row a contender of a family."""
  results, times = {}, {}
  for name, function in functions.items():
    results[name], times[name] = in_child(function, path, repeats)
  data = scipy.sparse.load_npz(path) if path.suffix == '.npz' else None
  ours = next(iter(times.values()))['cpu_seconds']
  return [
    {
      'name': name,
      **{key: float(value) for key, value in quality.items()},
      'times_ours': times[name]['cpu_seconds'] / ours,
      **times[name],
    }
    for name, quality in judge(family, data, results).items()
  ]


def table(family, rows):
  """Returns rows as Markdown."""
  times = {
    'times_ours': 'ratio',
    'cpu_seconds': 'CPU s',
    'seconds': 'wall s',
    'first_seconds': 'first call, wall s',
  }
  columns = [key for key in rows[0] if key != 'name']
  lines = [
    f'| {family} | '
    + ' | '.join(times.get(key, key) for key in columns)
    + ' |',
    '|---' * (len(columns) + 1) + '|',
  ]
  for row in rows:
    cells = [
      f'{row[key]:.2f}' if key in times else f'{row[key]:.4f}'
      for key in columns
    ]
    lines.append(f'| {row["name"]} | ' + ' | '.join(cells) + ' |')
  return '\n'.join(lines)


def load(flags, directory):
  """Returns the train interactions: user, item, num_users, num_items."""
  from genrec_jax.data.dataset import Dataset
  from genrec_jax.data.splits import load_split, train_interactions
  from genrec_jax.prepare import prepare

  prepare(run_dir=directory, dataset=flags.dataset, data_dir=flags.data_dir)
  dataset = Dataset.load(directory / 'dataset')
  split = load_split(directory / 'dataset', dataset)
  return (
    *train_interactions(dataset, split),
    dataset.num_users,
    dataset.num_items,
  )


def write_inputs(interactions, directory):
  """Writes what each family works on; returns name -> path."""
  from genrec_jax.ids.cooccurrence import count_cooccurrences
  from genrec_jax.ids.svd import item_factors
  from genrec_jax.ids.weighting import ppmi

  user, item, _, num_items = interactions
  paths = {
    'svd': directory / 'matrix.npz',
    'clusters': directory / 'graph.npz',
    'vectors': directory / 'vectors.npy',
  }
  near = count_cooccurrences(user, item, num_items, window=5)
  scipy.sparse.save_npz(paths['svd'], ppmi(near).astype(np.float64))
  graph = count_cooccurrences(user, item, num_items)
  linked = np.flatnonzero(np.diff(graph.indptr))
  scipy.sparse.save_npz(paths['clusters'], graph[linked][:, linked])
  vectors = item_factors(
    *interactions, rank=RANK, matrix='cooccurrence', weighting='ppmi'
  )
  np.save(paths['vectors'], vectors)
  return paths


def main():
  """Measures all contenders."""
  families = contenders()
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--dataset', default='simulator')
  parser.add_argument('--data_dir', help='of the raw files of the data set')
  parser.add_argument('--repeats', type=int, default=3)
  parser.add_argument(
    '--families', nargs='*', default=list(families), choices=list(families)
  )
  flags = parser.parse_args()
  peers = ('scikit-learn', 'scipy', 'faiss-cpu', 'numpy', 'jax')
  facts = {
    'dataset': flags.dataset,
    'repeats': flags.repeats,
    'machine': f'{platform.machine()}, {os.cpu_count()} CPUs',
    'versions': {name: importlib.metadata.version(name) for name in peers},
  }
  print(facts, flush=True)
  found = {}
  with tempfile.TemporaryDirectory() as directory:
    directory = pathlib.Path(directory)
    paths = write_inputs(load(flags, directory), directory)
    for family in flags.families:
      path = paths.get(family, paths['vectors'])
      found[family] = measure(family, families[family], path, flags.repeats)
      print('\n' + table(family, found[family]), flush=True)
  print(json.dumps(facts | {'families': found, 'load': os.getloadavg()}))


if __name__ == '__main__':
  main()
