"""Collaborative indexing: items of one cluster of the graph share a prefix.

Hua, Xu, Ge & Zhang, "How to index item IDs for recommendation foundation
models", 2023: the graph of the items taken together is cut into N
clusters by spectral clustering, each cluster is cut again while it holds more
than k items, and an item's tokens are its path of clusters and a last token
that is its own within the leaf.

All ids have one length here: where a path is shorter than the longest, it goes
on with code 0, a cluster with one child. Ids that end early would each need
an eos, which is one token more for every item, and would spread the tokens of
leaves over the levels; this way the last level is that of the leaves.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import scipy.spatial.distance
from jax.sharding import Mesh
from jaxtyping import Float, Int

from genrec_jax import progress
from genrec_jax.ids.collisions import defer
from genrec_jax.ids.cooccurrence import count_cooccurrences
from genrec_jax.ids.cooccurrence_files import load_counts
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.ids.kmeans import balanced_kmeans, kmeans, nearest
from genrec_jax.types import GenrecError, PathLike, unknown_name

TREES = ('spectral', 'balanced')
LEAF_ORDERS = ('popularity', 'random')
PAPER_LEAF_SIZE = 500
SLACK = 1.1  # how much room a balanced tree has, where it can choose


def collaborative_indexing(
  user: Int[np.ndarray, 'R'],
  item: Int[np.ndarray, 'R'],
  num_users: int,
  num_items: int,
  *,
  num_clusters: int = 20,
  leaf_size: int | None = None,
  max_depth: int | None = None,
  tree: str = 'spectral',
  window: int | None = None,
  counts: PathLike | None = None,
  dimensions: int | None = None,
  leaf_order: str = 'popularity',
  seed: int = 0,
  mesh: Mesh | None = None,
) -> ItemIds:
  """Makes ids of paths in a tree of clusters of the co-occurrence graph.

  Items that were taken together with no other tell nothing of where they
  belong. They have branches of their own at the root, with codes from
  `num_clusters` on, so that no cluster is diluted by them.

  Args:
    user: the user of each train interaction.
    item: its item.
    num_users: U.
    num_items: N.
    num_clusters: children of a cluster; the paper's N, 20.
    leaf_size: most items of a leaf. The paper's k is 500; None takes the
      root of the number of items, at most 500.
    max_depth: most clusters of a path. None: as many as leave room for twice
      the items. Clusters that would not fit into what is left of it
      give their outermost items to the next nearest cluster with room.
    tree: 'spectral' embeds each cluster's own part of the graph before it is
      cut, as the paper does; 'balanced' embeds the graph once, in more
      dimensions, and cuts it by balanced k-means: fewer and fuller leaves of
      much the same size. It is the slower of the two, by its embedding: 2.0
      against .5 CPU-seconds for the 12,101 items of Beauty, 38 against 14 for
      100,000 simulated ones (15 with 20 dimensions).
    window: which pairs count; see `cooccurrence.count_cooccurrences`.
    counts: a directory of counts that `cooccurrence_files.save_counts` wrote
      with this window; None counts here.
    dimensions: of the spectral embedding; None: `num_clusters` where each
      cluster is embedded anew, 64 where all are embedded once.
    leaf_order: the order of the last tokens of a leaf: 'popularity' (the most
      frequent train item is 0) or 'random'.
    seed: of the embedding, the clusters and the order of equals.
    mesh: the devices for k-means; the ids do not depend on them.

  Raises:
    GenrecError: if no two items were taken by one user, or the tree has no
      room for all items.
  """
  del num_users
  if tree not in TREES:
    raise unknown_name('tree', tree, TREES)
  if leaf_order not in LEAF_ORDERS:
    raise unknown_name('order of leaves', leaf_order, LEAF_ORDERS)
  if leaf_size is None:
    leaf_size = min(PAPER_LEAF_SIZE, max(2, int(np.ceil(num_items**0.5))))
  if num_clusters < 2 or leaf_size < 1:
    raise GenrecError(
      f'Got num_clusters={num_clusters} and leaf_size={leaf_size}; expected at'
      ' least 2 clusters and 1 item a leaf.'
    )
  if max_depth is None:
    max_depth = _depth(2 * num_items, num_clusters, leaf_size)
  if _depth(num_items, num_clusters, leaf_size) > max_depth:
    raise GenrecError(
      f'A tree of {num_clusters} clusters a cluster, {max_depth} deep, with'
      f' {leaf_size} items a leaf has room for'
      f' {num_clusters**max_depth * leaf_size} items, but there are'
      f' {num_items}; raise max_depth, num_clusters or leaf_size.'
    )
  if counts is None:
    graph = count_cooccurrences(user, item, num_items, window=window)
  else:
    graph = load_counts(counts, user, item, num_items, window=window)
  linked = np.flatnonzero(np.diff(graph.indptr))
  if not len(linked):
    raise GenrecError(
      f'No two of the {num_items} items were taken by one user, so the'
      ' co-occurrence graph has no edge; use content vectors or random_ids.'
    )
  part = graph if len(linked) == num_items else graph[linked][:, linked]
  if dimensions is None:
    dimensions = num_clusters if tree == 'spectral' else 64
  embed = functools.partial(
    spectral_embedding,
    dimensions=dimensions,
    power=float(tree == 'balanced'),
    seed=seed,
  )
  root = embed(part)
  shared = {
    'num_clusters': num_clusters,
    'leaf_size': leaf_size,
    'max_depth': max_depth,
    'seed': seed,
    'mesh': mesh,
  }
  if tree == 'spectral':
    paths = cluster_tree(
      root,
      lambda rows: (
        embed(part[rows][:, rows]) if len(rows) < len(root) else root
      ),
      **shared,
    )
  else:
    paths = cluster_tree(root, lambda rows: root[rows], balanced=True, **shared)
  paths, branches = _with_isolated(
    paths, linked, num_items, num_clusters, leaf_size, seed
  )
  codes, leaves = _with_leaf_tokens(
    paths, np.bincount(item, minlength=num_items), leaf_order, seed
  )
  sizes = [num_clusters] * paths.shape[1]
  sizes[:1] = [size + branches for size in sizes[:1]]
  vectors = np.zeros((num_items, root.shape[1]), np.float32)
  vectors[linked] = root
  facts: dict[str, Any] = {
    'method': 'collaborative_indexing',
    'tree': tree,
    'edges': graph.nnz // 2,
    'isolated': num_items - len(linked),
    'leaves': len(leaves),
    'items_per_leaf': round(float(leaves.mean()), 1),
  }
  return ItemIds(
    codes=codes,
    codebook_sizes=(*sizes, int(leaves.max())),
    facts=facts,
    vectors=vectors,
  )


def spectral_embedding(
  graph: scipy.sparse.csr_array,
  *,
  dimensions: int,
  regularization: float = 0.1,
  power: float = 0.0,
  seed: int = 0,
) -> Float[np.ndarray, 'N D']:
  """Embeds nodes by eigenvectors of the normalised Laplacian.

  Those of the largest eigenvalues of D^-1/2 A D^-1/2, each node scaled to
  length 1: Ng, Jordan & Weiss, "On spectral clustering", 2001. A little weight
  is added between all nodes, or small components, of which such graphs have
  many, would take all leading eigenvectors: Zhang & Rohe, "Understanding
  regularized spectral clustering via graph conductance", 2018.

  Args:
    graph: [N, N], symmetric, no entry negative.
    dimensions: D; N where that is less.
    regularization: the weight added to a node, as a share of the mean degree.
    power: eigenvectors weigh as this power of their eigenvalues: 0 for as many
      of them as there are to be clusters, 1 where there are more (the steps
      of a diffusion map), so that the last ones do not drown the first.
    seed: of the start vector.
  """
  num_nodes = graph.shape[0]
  dimensions = min(dimensions, num_nodes)
  degree = graph.sum(axis=1)
  added = regularization * float(degree.mean()) or 1.0
  scale = (1 / np.sqrt(degree + added)).astype(np.float32)
  if num_nodes <= 3 * dimensions:  # Lanczos needs room beyond the rank
    dense = (graph.toarray() + added / num_nodes) * np.outer(scale, scale)
    values, vectors = np.linalg.eigh(dense)
    values, vectors = values[-dimensions:], vectors[:, -dimensions:]
  else:

    def multiply(x):
      x = scale * x.ravel()
      return scale * (graph @ x + added * x.mean())

    operator = scipy.sparse.linalg.LinearOperator(
      graph.shape, multiply, dtype=np.float32
    )
    start = np.random.default_rng(seed).standard_normal(num_nodes)
    values, vectors = scipy.sparse.linalg.eigsh(
      operator,
      dimensions,
      which='LA',
      v0=start.astype(np.float32),
      tol=1e-4,
    )
  values, vectors = values[::-1], vectors[:, ::-1]
  largest = np.abs(vectors).argmax(axis=0)
  vectors = vectors * np.sign(vectors[largest, np.arange(dimensions)])
  vectors = vectors * np.maximum(values, 0) ** power
  lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
  return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def cluster_tree(
  points: Float[np.ndarray, 'N D'],
  points_of: Callable[[Int[np.ndarray, 'n']], Float[np.ndarray, 'n D']],
  *,
  num_clusters: int,
  leaf_size: int,
  max_depth: int,
  balanced: bool = False,
  seed: int = 0,
  mesh: Mesh | None = None,
) -> Int[np.ndarray, 'N depth']:
  """Cuts points into clusters, and again while one is larger than a leaf.

  Args:
    points: [N, D]; only their number matters here.
    points_of: the points by which the cluster of these rows is to be cut.
    num_clusters: children of a cluster. In a balanced tree no more than are
      needed, so that leaves are full.
    leaf_size: clusters up to this size stay whole.
    max_depth: the tree is no deeper; there must be room for all points.
    balanced: children are to have much the same size.
    seed: of k-means.
    mesh: the devices for k-means.

  Returns:
    int32, the child of each cluster on the way to the leaf; 0 after it.
  """
  paths = np.zeros((len(points), max_depth), np.int32)
  waiting = [(np.arange(len(points)), 0)]
  in_leaves = progress.bar(name='clustering', total=len(points))
  depth = number = 0
  while waiting:
    rows, level = waiting.pop()
    if len(rows) <= leaf_size:
      in_leaves.update(len(rows))
      continue
    levels_left = max_depth - level
    children = num_clusters
    if balanced:
      # As few levels and children as hold them, with some slack.
      levels_left = _depth(len(rows), num_clusters, leaf_size)
      children = min(children, -(-int(SLACK * len(rows)) // leaf_size))
    room = num_clusters ** (levels_left - 1) * leaf_size
    cells = _cut(
      points_of(rows),
      min(children, len(rows)),
      room,
      balanced=balanced,
      seed=seed * 1009 + number,
      mesh=mesh,
    )
    number += 1
    depth = max(depth, level + 1)
    paths[rows, level] = cells
    for cell in np.unique(cells)[::-1]:
      waiting.append((rows[cells == cell], level + 1))
  in_leaves.close()
  return paths[:, :depth]


def _cut(points, num_clusters, room, *, balanced, seed, mesh):
  """Returns the cluster of each point, no more than `room` in a cluster."""
  offsets = None
  if balanced:
    centroids, offsets = balanced_kmeans(
      points, num_clusters, seed=seed, mesh=mesh
    )
  else:
    centroids = kmeans(points, num_clusters, seed=seed, mesh=mesh)
  cells, _ = nearest(points, centroids, offsets, mesh=mesh)
  if np.bincount(cells).max() > room or len(np.unique(cells)) == 1:
    # One cluster of equal points is no cut: it is shared out evenly.
    if len(np.unique(cells)) == 1:
      room = min(room, -(-len(points) // num_clusters))
    distances = scipy.spatial.distance.cdist(points, centroids, 'sqeuclidean')
    if offsets is not None:
      distances -= offsets
    cells = defer(distances, room)
  return cells


def _depth(num_items: int, num_clusters: int, leaf_size: int) -> int:
  """Returns how deep a tree must be to have room for so many items."""
  depth = 0
  while num_clusters**depth * leaf_size < num_items:
    depth += 1
  return depth


def _with_isolated(paths, linked, num_items, num_clusters, leaf_size, seed):
  """Adds the paths of items without an edge, and says in how many branches."""
  isolated = np.setdiff1d(np.arange(num_items), linked)
  if not len(isolated):
    return paths, 0
  depth = max(1, paths.shape[1])
  every = np.zeros((num_items, depth), np.int32)
  every[linked, : paths.shape[1]] = paths
  order = np.random.default_rng(seed).permutation(len(isolated))
  number = order // leaf_size
  for level in range(depth - 1, 0, -1):
    every[isolated, level] = number % num_clusters
    number //= num_clusters
  every[isolated, 0] = num_clusters + number
  return every, int(number.max()) + 1


def _with_leaf_tokens(paths, popularity, leaf_order, seed):
  """Adds the last token, and says how many items each leaf has.

  Equals are in a seeded order: that of the source may know the future.
  """
  chance = np.random.default_rng([seed, 1]).permutation(len(paths))
  leaf, counts = np.zeros(len(paths), np.int64), np.asarray([len(paths)])
  if paths.shape[1]:
    _, leaf, counts = np.unique(
      paths, axis=0, return_inverse=True, return_counts=True
    )
  rank = -popularity if leaf_order == 'popularity' else chance
  order = np.lexsort((chance, rank, leaf))
  first = np.cumsum(counts) - counts
  token = np.empty(len(paths), np.int32)
  token[order] = np.arange(len(paths)) - first[leaf[order]]
  return np.column_stack([paths, token]).astype(np.int32), counts
