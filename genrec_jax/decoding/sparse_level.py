"""A level of the trie whose beams gather their own children; see levels.py."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int, Int32

from genrec_jax.decoding import selection
from genrec_jax.decoding.child_ranges import ChildRanges, Identity
from genrec_jax.decoding.constraints import LevelFilter
from genrec_jax.decoding.level_logits import Alphabet, LevelLogits
from genrec_jax.decoding.selection import take, take_along

# Children are dealt out to beams in chunks of one of these sizes,
CHUNK_SIZES = (1, 2, 4, 8)
# to at most so many beams; more gather the full width.
MOST_BEAMS = 1024
_NUM_POWERS = MOST_BEAMS.bit_length()
# What gathering a child costs, in comparisons of a chunk with a beam.
_CHILD_COST = 20


class Expansion(NamedTuple):
  """The children that were chosen, K to a request.

  Attributes:
    score: their scores, -inf for none.
    node: their nodes in the next level.
    parent: the beams they come from; None if each beam has one child.
    code: their codes; None if the level has no codes.
  """

  score: Float32[Array, 'B K']
  node: Int32[Array, 'B K']
  parent: Int32[Array, 'B K'] | None
  code: Int32[Array, 'B K'] | None


def _static() -> dataclasses.Field:
  return dataclasses.field(metadata={'static': True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sparse:
  """A level whose beams gather their own children.

  Attributes:
    ranges: where the children of each node start.
    codes: uint8, uint16 or int32 [children + width], the code of every child;
      None for the level from shared leaves to items, which has no codes.
    alphabet: what the codes mean.
    width: the most children that a node has.
    chunk_bounds: see the function of this name.
  """

  ranges: ChildRanges
  codes: Array | None
  alphabet: Alphabet | None = _static()
  width: int = _static()
  chunk_bounds: tuple[int, ...] = _static()

  @property
  def bitmaps(self) -> None:
    """A sparse level has none."""
    return None

  def child_code(self, child, parent):
    """Returns the codes of children; None where they have none."""
    del parent
    if self.codes is None:
      return None
    return take(self.codes, child).astype(jnp.int32)

  def expand(
    self,
    logits: LevelLogits | None,
    score: Float32[Array, 'B M'],
    node: Int32[Array, 'B M'],
    num_beams: int,
    level_filter: LevelFilter,
  ) -> Expansion:
    """Returns the best children of each request's beams."""
    only_children = isinstance(self.ranges, Identity)
    chunks = None if only_children else self.chunks(node.shape[1])
    found = self.candidates(logits, score, node, level_filter, chunks)
    if only_children:
      return Expansion(found.score, found.node, None, found.code)
    best_BK = best_places(found.score, num_beams)
    return Expansion(
      *(None if x is None else take_along(x, best_BK) for x in found)
    )

  def chunks(self, num_beams: int) -> tuple[int, int] | None:
    """Returns how many chunks of which size hold all children of the beams.

    Live beams stand on distinct nodes, so their children are at most those of
    the largest nodes. None where that saves nothing over gathering `width`
    children for each beam.
    """
    power = (num_beams - 1).bit_length()
    if power >= _NUM_POWERS:
      return None
    bounds = self.chunk_bounds[power::_NUM_POWERS]
    cost, number, size = min(
      (number * (size + num_beams / _CHILD_COST), number, size)
      for number, size in zip(bounds, CHUNK_SIZES, strict=True)
    )
    return (number, size) if cost < num_beams * self.width else None

  def candidates(
    self,
    logits: LevelLogits | None,
    score: Float32[Array, 'B M'],
    node: Int32[Array, 'B M'],
    level_filter: LevelFilter,
    chunks: tuple[int, int] | None,
  ) -> Expansion:
    """Returns all children of the beams, S to a request, in order.

    Args:
      logits: of the level.
      score: of the beams.
      node: of the beams.
      level_filter: what must not be followed.
      chunks: gather so many chunks of such a size, dealt out to the beams as
        they need them; None to gather `width` children for each beam.
    """
    alive_BM = score > -jnp.inf
    start_BM = self.ranges.start(node)
    # What is not alive needs no room.
    count_BM = jnp.where(alive_BM, self.ranges.count(node), 0)
    if chunks is None:
      beam_BC, chunk_BC, place_BM = _equal_shares(node, self.width)
      size = self.width
    else:
      num_chunks, size = chunks
      beam_BC, chunk_BC, place_BM = _dealt_out(count_BM, num_chunks, size)
    slot_BCc = jax.lax.broadcasted_iota(jnp.int32, (*beam_BC.shape, size), 2)
    slot_BCc += chunk_BC[..., None] * size
    child_BCc = take_along(start_BM, beam_BC)[..., None] + slot_BCc
    legal_BCc = slot_BCc < take_along(count_BM, beam_BC)[..., None]

    def of_beam(x_BM):
      if chunks is None:
        return x_BM[..., None]
      return take_along(x_BM, beam_BC)[..., None]

    code_BS = None
    value_BCc = jnp.broadcast_to(of_beam(score), legal_BCc.shape)
    if self.codes is not None:
      code_BCc = take(self.codes, child_BCc).astype(jnp.int32)
      rows_BC = None if chunks is None else beam_BC
      logit_BCc = logits.of_codes(code_BCc, rows_BC)
      base_BM = logits.base(score)
      if logits.normalizer is None:
        among = jnp.where(legal_BCc, logit_BCc, -jnp.inf)
        base_BM -= _logsumexp_by_beam(among, beam_BC, node.shape[1])
      value_BCc = of_beam(base_BM) + logit_BCc
      code_BS = code_BCc.reshape(node.shape[0], -1)
    value_BCc = jnp.where(legal_BCc, value_BCc, -jnp.inf)
    child_BS = child_BCc.reshape(node.shape[0], -1)
    value_BS = level_filter.of_children(
      value_BCc.reshape(child_BS.shape),
      child_BS,
      node,
      alive_BM,
      start_BM,
      count_BM,
      place_BM,
    )
    beam_BS = jnp.broadcast_to(beam_BC[..., None], child_BCc.shape)
    return Expansion(
      value_BS, child_BS, beam_BS.reshape(child_BS.shape), code_BS
    )


def _equal_shares(node: Int32[Array, 'B M'], width: int):
  """Each beam has one chunk; see `_dealt_out`."""
  beam_BM = jax.lax.broadcasted_iota(jnp.int32, node.shape, 1)
  return beam_BM, jnp.zeros_like(node), beam_BM * width


def _dealt_out(count_BM: Int32[Array, 'B M'], num_chunks: int, size: int):
  """Deals chunks out to beams by what they need, in the order of beams.

  Returns:
    beam_BC, the beam of each chunk; chunk_BC, its number among those of the
    beam; place_BM, where among all slots the first child of a beam lies.
  """
  needed_BM = -(-count_BM // size)
  end_BM = jnp.cumsum(needed_BM, axis=1)
  number = jnp.arange(num_chunks)[None, None, :]
  beam_BC = (end_BM[..., None] <= number).sum(axis=1, dtype=jnp.int32)
  # Chunks that nobody needs lie behind the children of the last beam.
  beam_BC = jnp.minimum(beam_BC, count_BM.shape[1] - 1)
  first_BM = end_BM - needed_BM
  chunk_BC = number[0] - take_along(first_BM, beam_BC)
  return beam_BC, chunk_BC, first_BM * size


def _logsumexp_by_beam(
  value_BCc: Float32[Array, 'B C c'],
  beam_BC: Int32[Array, 'B C'],
  num_beams: int,
) -> Float32[Array, 'B M']:
  """Returns the logsumexp of the values of each beam; 0 where it has none."""
  request_B1 = jnp.arange(value_BCc.shape[0])[:, None]
  lowest = jnp.full((value_BCc.shape[0], num_beams), -jnp.inf)
  highest_BM = lowest.at[request_B1, beam_BC].max(value_BCc.max(axis=-1))
  highest_BM = jnp.where(highest_BM > -jnp.inf, highest_BM, 0.0)
  shifted = jnp.exp(value_BCc - take_along(highest_BM, beam_BC)[..., None])
  total_BM = (
    jnp.zeros_like(lowest).at[request_B1, beam_BC].add(shifted.sum(axis=-1))
  )
  return jnp.where(total_BM > 0, highest_BM + jnp.log(total_BM), 0.0)


def largest_counts(
  counts: Int[np.ndarray, 'nodes'],
) -> Int[np.ndarray, 'some']:
  """Returns the largest numbers of children of a level's nodes, descending."""
  if len(counts) > MOST_BEAMS:
    counts = np.partition(counts, -MOST_BEAMS)[-MOST_BEAMS:]
  return np.sort(counts)[::-1].astype(np.int64)


def chunk_bounds(largest: Int[np.ndarray, 'some']) -> tuple[int, ...]:
  """Returns how many chunks the children of 1, 2, 4, ... nodes take at most.

  Args:
    largest: from `largest_counts`.

  Returns:
    For each size in CHUNK_SIZES, one after another: the chunks of the 1, 2, 4,
    ..., MOST_BEAMS largest nodes.
  """
  bounds = []
  for size in CHUNK_SIZES:
    chunks = np.cumsum(-(-largest // size))
    bounds += [
      int(chunks[min(1 << power, len(chunks)) - 1])
      for power in range(_NUM_POWERS)
    ]
  return tuple(bounds)


def best_places(value: Float32[Array, 'B C'], k: int) -> Int32[Array, 'B K']:
  """Returns the places of the best, in ascending order; at most C."""
  _, best = selection.top_k(value, min(k, value.shape[-1]))
  return jnp.sort(best, axis=-1)
