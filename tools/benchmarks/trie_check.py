"""Whether the contestants of the benchmark found what they should."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import trie_peers

# Scores nearer than this are ties in float32.
TOLERANCE = 1e-4


def alike(stored, batch_size):
  """Returns logits that are the same for all beams of a request.

  Contestants order their beams in different ways, so only with these do they
  search for the same thing; the compiled functions are those that are timed.
  """
  first, *others = stored
  return (first,) + tuple(
    jnp.repeat(
      logits.reshape(batch_size, -1, logits.shape[-1])[:, 0],
      logits.shape[0] // batch_size,
      axis=0,
    )
    for logits in others
  )


def scores_of(tokens, stored):
  """Returns the float64 scores [B, M] of items under logits that are alike."""
  total = np.zeros(tokens.shape[:2])
  for level, logits in enumerate(stored):
    logits = np.asarray(logits, np.float64).reshape(
      len(tokens), -1, logits.shape[-1]
    )[:, 0]
    normalizer = np.logaddexp.reduce(logits, axis=1, keepdims=True)
    total += np.take_along_axis(logits, tokens[..., level], 1) - normalizer
  return total


def check(found, sorted_codes, stored):
  """Compares what was found; returns the facts, 'wrong' naming what differs.

  Args:
    found: contestant -> what its search returned on logits that are alike.
    sorted_codes: the catalogue, in which every item found must be.
    stored: these logits.
  """
  facts, wrong = {}, []
  ours = np.asarray(found[trie_peers.OURS]['tokens'])
  score = scores_of(ours, stored)
  error = np.abs(np.asarray(found[trie_peers.OURS]['scores']) - score).max()
  facts['score_error'] = float(error)
  if not error < TOLERANCE:
    wrong.append(f'scores of ours differ from float64 by up to {error:.2g}')
  catalogue = _rows_as_keys(sorted_codes)
  keys = _rows_as_keys(ours.reshape(-1, ours.shape[-1]))
  place = np.minimum(np.searchsorted(catalogue, keys), len(catalogue) - 1)
  invented = int((catalogue[place] != keys).sum())
  if invented:
    wrong.append(f'{invented} items of ours are not in the catalogue')
  for name, result in found.items():
    if name not in (*trie_peers.EXACT, trie_peers.STATIC_30):
      continue
    theirs = np.asarray(result['tokens'])
    their_score = scores_of(theirs, stored)
    same = differing = 0
    for request, (a, b) in enumerate(zip(ours, theirs)):
      a, b = set(map(tuple, a.tolist())), set(map(tuple, b.tolist()))
      same += len(a & b)
      gap = np.sort(score[request]) - np.sort(their_score[request])
      differing += a != b and bool((np.abs(gap) > TOLERANCE).any())
    facts[f'share of our items found by {name}'] = same / ours[..., 0].size
    if differing and name in trie_peers.EXACT:
      wrong.append(f'{name} finds other items for {differing} requests')
  facts['wrong'] = wrong
  return facts


def _rows_as_keys(rows):
  """Returns one sortable key a row: its codes as big-endian bytes."""
  rows = np.ascontiguousarray(rows.astype('>u2'))
  return rows.view(f'S{2 * rows.shape[1]}')[:, 0]
