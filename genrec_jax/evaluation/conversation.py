"""Recall of the items that a recommender names in a dialogue.

About half of the Recall@1 that is published for the common benchmarks comes
from repeating an item that the dialogue has named already: copying the context
does that too, and recommends nothing (He et al., "Large language models as
zero-shot conversational recommenders", CIKM 2023). Therefore each result is
given three times: over all targets, over the `new` ones, which is the measure
to go by, and over the `repeated` ones.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from genrec_jax.data.token_cache import Ragged
from genrec_jax.evaluation import ranking
from genrec_jax.types import GenrecError

CUTOFFS = (1, 10, 50)


def conversation_metrics(
  recommended: Int[np.ndarray, 'E K'], targets: Ragged, mentioned: Ragged
) -> dict[str, dict[str, float]]:
  """Returns Recall@1, @10 and @50 over all, new and repeated targets.

  Lists are taken as they are: whether they may hold mentioned items is for the
  method to say, and moves `new` too.

  Args:
    recommended: ranked items for each of E turns, best first; -1 where there
      is none.
    targets: the items that each turn names, at least one; an item that it
      names twice counts once.
    mentioned: the items that the dialogue named before each turn.

  Returns:
    For 'all', 'new' and 'repeated' the mean over `n` targets, `recall@1`, ...,
    which is what is published, where a turn that names three items counts as
    three; and the mean over `turns`, `turn_recall@1`, ..., where it counts as
    one and its recall is the share of its items that is found. Cutoffs that
    the lists do not reach are left out, and means over nothing.

  Raises:
    GenrecError: if there are not as many of each, a turn has no target, or as
      `ranking.target_ranks`.
  """
  turn, item, repeats = _targets(recommended, targets, mentioned)
  found = ranking.example_metrics(
    recommended[turn],
    item,
    [k for k in CUTOFFS if k <= np.shape(recommended)[1]],
  )
  found = {name: x for name, x in found.items() if name.startswith('recall@')}
  slices = {
    'all': np.ones(len(item), bool),
    'new': ~repeats,
    'repeated': repeats,
  }
  result = ranking.slice_metrics(found, slices)
  for name, keep in slices.items():
    result[name] |= _turn_means(
      {kind: values[keep] for kind, values in found.items()}, turn[keep]
    )
  return result


def _targets(
  recommended: Int[np.ndarray, 'E K'], targets: Ragged, mentioned: Ragged
) -> tuple[Int[np.ndarray, 'n'], Int[np.ndarray, 'n'], Bool[np.ndarray, 'n']]:
  """Returns turn and item of each target, and whether it was mentioned."""
  counts = len(recommended), len(targets), len(mentioned)
  if len(set(counts)) > 1 or not counts[0]:
    raise GenrecError(
      f'Got {counts[0]} lists, targets of {counts[1]} turns and mentioned items'
      f' of {counts[2]}; expected as many of each, and at least one.'
    )
  if not targets.lengths.all():
    raise GenrecError(
      f'Turn {int(targets.lengths.argmin())} names no item, expected at least'
      ' one each; leave out turns that recommend nothing.'
    )
  if min(row.values.min(initial=0) for row in (targets, mentioned)) < 0:
    raise GenrecError(
      'Got a negative number for an item, expected rows of the items table.'
    )
  width = 1 + max(row.values.max(initial=0) for row in (targets, mentioned))
  turns = np.arange(counts[0], dtype=np.int64)
  key = np.unique(np.repeat(turns, targets.lengths) * width + targets.values)
  named = np.repeat(turns, mentioned.lengths) * width + mentioned.values
  return key // width, key % width, np.isin(key, named)


def _turn_means(
  found: dict[str, Float[np.ndarray, 'n']], turn: Int[np.ndarray, 'n']
) -> dict[str, float]:
  """Returns the number of turns and the means over their own means."""
  turns, place, counts = np.unique(
    turn, return_inverse=True, return_counts=True
  )
  result = {'turns': len(turns)}
  if len(turns):
    for name, values in found.items():
      shares = np.bincount(place, values) / counts
      result[f'turn_{name}'] = float(shares.mean())
  return result
