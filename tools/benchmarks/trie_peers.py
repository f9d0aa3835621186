"""The contestants of the benchmark of the search, ours among them.

Each is built from a catalogue and then makes, for a batch and a number of
beams, a function of the stored logits: of level 0 [B, V], of every other
[B * M, V], row b * M + m being beam m of request b. So all of them read the
same numbers, and what is timed is everything but the model.
"""

from __future__ import annotations

import functools
import importlib
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from genrec_jax.decoding.beam_search import beam_search
from genrec_jax.decoding.trie_builder import build_trie

OURS = 'genrec_jax'
STATIC = 'STATIC'
STATIC_30 = 'STATIC, 30 a beam'
UNCONSTRAINED = 'unconstrained'
LOGSUMEXP = 'logsumexp'
CALLBACK = 'callback trie'
NAMES = (OURS, STATIC, STATIC_30, UNCONSTRAINED, LOGSUMEXP, CALLBACK)
# Those that must find the same items as ours.
EXACT = (STATIC, CALLBACK)

WITHOUT_STATIC = """\
STATIC is not importable, and its rows are left out. To have them:
  git clone https://github.com/youtube/static-constraint-decoding
  PYTHONPATH=static-constraint-decoding python tools/benchmarks/trie_decode.py
"""

Stored = Sequence[jax.Array]
# From stored logits to what was found; the tokens are [B, M, L].
Search = Callable[[Stored], dict[str, jax.Array]]


def static_module(name: str):
  """Returns a module of STATIC's package, or None where it is not installed."""
  try:
    return importlib.import_module(f'static_decoding.{name}')
  except ModuleNotFoundError as error:
    if (error.name or '').split('.')[0] != 'static_decoding':
      raise
    return None


class Ours:
  """This package's search."""

  def __init__(self, codes: np.ndarray, codebook_size: int):
    start = time.perf_counter()
    self.trie = build_trie(
      codes, blocks=[range(codebook_size)] * codes.shape[1], pad_id=None
    )
    jax.block_until_ready(self.trie)
    self.build_seconds = time.perf_counter() - start
    self.nbytes = self.trie.nbytes
    self.navigation_bytes = self.trie.navigation_bytes

  def search(self, batch_size: int, num_beams: int) -> Search:
    """Returns the search; scores and items come with the tokens."""

    @jax.jit
    def run(trie, stored):
      position = 0

      def tokens_to_logits(tokens, cache, block=None):
        nonlocal position
        levels = stored[position : position + tokens.shape[1]]
        position += tokens.shape[1]
        # Where a level has fewer nodes than there are beams: the first rows.
        beams = tokens.shape[0] // batch_size
        logits = jnp.stack(
          [
            level.reshape(batch_size, -1, level.shape[-1])[:, :beams].reshape(
              tokens.shape[0], -1
            )
            for level in levels
          ],
          axis=1,
        )
        if block is not None:
          logits = logits[..., block.start : block.stop]
        return logits, cache

      found = beam_search(
        trie,
        tokens_to_logits,
        {},
        batch_size,
        num_beams,
        force_tails=False,  # all steps are measured
      )
      return {
        'tokens': found.tokens,
        'scores': found.scores,
        'items': found.items,
        'valid': found.valid,
      }

    return functools.partial(run, self.trie)


class Static:
  """STATIC (arXiv 2602.22647), its builder and its search as published.

  It wants sorted rows, so sorting is not in its build time.
  """

  def __init__(self, sorted_codes: np.ndarray, codebook_size: int):
    build = static_module('csr_utils').build_static_index
    rows = sorted_codes.astype(np.int32)
    start = time.perf_counter()
    packed, indptr, branches, *masks = build(rows, codebook_size, 2)
    self._arrays = jax.block_until_ready(
      [jnp.asarray(array) for array in (packed, indptr, *masks)]
    )
    self.build_seconds = time.perf_counter() - start
    self.nbytes = sum(array.nbytes for array in self._arrays)
    self._branches = tuple(map(int, branches))
    self._codebook_size = codebook_size

  def search(
    self, batch_size: int, num_beams: int, tokens_per_beam: int
  ) -> Search:
    """Returns the search; exact where `tokens_per_beam` is `num_beams`."""
    search = static_module('decoding_jax').sparse_transition_jax

    def run(stored):
      tokens = search(
        _next_stored,
        tuple(stored),
        batch_size,
        num_beams,
        tokens_per_beam,
        0,
        len(stored),
        self._codebook_size,
        self._branches,
        *self._arrays,
        d_dense=2,
      )
      return {'tokens': tokens}

    return run


def _next_stored(tokens, key):
  """A model in STATIC's convention; its random key holds what comes next."""
  del tokens
  return key[0][:, None, :], key[1:]


def unconstrained(batch_size: int, num_beams: int) -> Search:
  """Returns the plain search: every token is legal, a flat top-k a step."""

  @jax.jit
  def run(stored):
    scores = jnp.zeros((batch_size, 1), jnp.float32)
    path = jnp.zeros((batch_size, 1, 0), jnp.int32)
    for logits in stored:
      scores, parents, tokens = _flat_step(logits, scores, num_beams)
      path = _extend(path, parents, tokens)
    return {'tokens': path, 'scores': scores}

  return run


def _flat_step(logits, scores, num_beams, mask=0.0):
  """Follows beams by the best of all tokens; `logits` [B * M, V]."""
  vocabulary = logits.shape[-1]
  # The normaliser is that of all tokens, masked or not, as everywhere here.
  log_probabilities = jax.nn.log_softmax(logits) + mask
  candidates = scores[..., None] + log_probabilities.reshape(
    *scores.shape, vocabulary
  )
  scores, best = lax.top_k(candidates.reshape(len(scores), -1), num_beams)
  return scores, best // vocabulary, best % vocabulary


def _extend(path, parents, tokens):
  path = jnp.take_along_axis(path, parents[..., None], axis=1)
  return jnp.concatenate([path, tokens[..., None]], axis=-1)


@jax.jit
def logsumexp(stored: Stored) -> dict[str, jax.Array]:
  """Computes the normalisers alone: no exact search can do without."""
  return {
    'normalizers': tuple(jax.nn.logsumexp(logits, axis=-1) for logits in stored)
  }


class CallbackTrie:
  """A trie of nested dicts behind a `prefix_allowed_tokens_fn`.

  As Hugging Face's `generate` constrains: a Python call for each beam gives
  its allowed tokens, all others get -inf, and a flat top-k follows. The mask
  is filled in NumPy between two jitted steps, which costs less than to call
  back from inside a jitted search. Nodes are made when a search first comes
  to them (a whole trie of 10 million items would fill tens of GB) and stay,
  so the searches that are timed only look them up.
  """

  def __init__(self, sorted_codes: np.ndarray, codebook_size: int):
    self._rows = sorted_codes
    self._codebook_size = codebook_size
    self._root = self._make_node(0, len(sorted_codes), 0)

  def _make_node(self, start: int, stop: int, level: int) -> dict:
    """Returns token -> (start, stop, level), a child that is not yet made."""
    column = self._rows[start:stop, level]
    opens = np.flatnonzero(np.r_[True, column[1:] != column[:-1]])
    bounds = [*(opens + start).tolist(), stop]
    return {
      token: (first, last, level + 1)
      for token, first, last in zip(column[opens].tolist(), bounds, bounds[1:])
    }

  def allowed_tokens(self, batch_id: int, prefix: np.ndarray) -> list[int]:
    """Returns the tokens that may follow; a `prefix_allowed_tokens_fn`."""
    del batch_id
    node = self._root
    for token in prefix.tolist():
      child = node[token]
      if type(child) is tuple:
        child = node[token] = self._make_node(*child)
      node = child
    return list(node)

  def search(self, batch_size: int, num_beams: int) -> Search:
    """Returns the search, which runs on the host between jitted steps."""

    @jax.jit
    def step(logits, mask, scores, path):
      scores, parents, tokens = _flat_step(logits, scores, num_beams, mask)
      return scores, _extend(path, parents, tokens)

    def run(stored):
      scores = jnp.zeros((batch_size, 1), jnp.float32)
      path = jnp.zeros((batch_size, 1, 0), jnp.int32)
      for logits in stored:
        prefixes = np.asarray(path)
        mask = np.full(logits.shape, -np.inf, np.float32)
        row = 0
        for batch_id, beams in enumerate(prefixes):
          for prefix in beams:
            mask[row, self.allowed_tokens(batch_id, prefix)] = 0
            row += 1
        scores, path = step(logits, mask, scores, path)
      return {'tokens': path, 'scores': scores}

    return run
