"""A function of batches, over all examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Int64

from genrec_jax.data.batches import eval_batches, suggest_buckets
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.types import GenrecError

PyTree = Any
# Puts a batch's arrays, of this process's rows, on the devices.
PlaceFn = Callable[[Mapping[str, np.ndarray]], Mapping[str, Array]]


def map_examples(
  function: Callable[[Mapping[str, Array]], PyTree],
  examples: TokenExamples,
  *,
  batch_size: int | None = None,
  batches: Iterable[tuple[np.ndarray, Mapping[str, np.ndarray]]] | None = None,
  names: Sequence[str] = ('encoder_input_tokens',),
  more: Callable[[Int64[np.ndarray, 'B']], Mapping[str, np.ndarray]] = (
    lambda index: {}
  ),
  num_buckets: int = 5,
  place: PlaceFn = dict,
) -> PyTree:
  """Returns what a function gives of all examples, in buckets of like length.

  With several processes each feeds its share of the rows and gets all results.

  Args:
    function: from the features of a batch, on the devices, to a tree of arrays
      [B, ...].
    examples: E of them.
    batch_size: rows of a batch over all processes, B.
    batches: the numbers of the examples of each batch, and the batch, instead
      of those in buckets (`data.batch_plans.planned_inputs`).
    names: the features of `data.batches` that the function reads.
    more: further features, of the numbers of the examples; -1 is an empty row.
    num_buckets: the most input lengths that are compiled; fewer where the
      examples fill fewer batches.
    place: puts a batch on the devices; by default where JAX puts it.

  Returns:
    The tree with arrays [E, ...], in the order of the examples.

  Raises:
    GenrecError: if there are no examples.
  """
  if not len(examples):
    raise GenrecError('Got no examples to answer; check the split.')
  found, pending = [], []

  def collect():
    index, result = pending.pop()
    if jax.process_count() > 1:
      result = multihost_utils.process_allgather(result, tiled=True)
    real = index >= 0
    arrays = jax.tree.map(lambda array: np.asarray(array)[real], result)
    found.append((index[real], arrays))

  if batches is None:
    assert batch_size is not None
    # More buckets than full batches would add rows, and compilations.
    num_buckets = min(num_buckets, -(-len(examples) // batch_size))
    batches = eval_batches(
      examples,
      batch_size=batch_size,
      bucket_boundaries=suggest_buckets(examples.inputs.lengths, num_buckets),
    )
  for index, batch in batches:
    share = len(index) // jax.process_count()
    mine = slice(jax.process_index() * share, (jax.process_index() + 1) * share)
    features = {name: batch[name][mine] for name in names}
    result = function(place({**features, **more(index[mine])}))
    # Devices work on this batch while the one before is fetched.
    if pending:
      collect()
    pending.append((index, result))
  collect()
  order = np.argsort(np.concatenate([index for index, _ in found]))
  return jax.tree.map(
    lambda *parts: np.concatenate(parts)[order],
    *(arrays for _, arrays in found),
  )
