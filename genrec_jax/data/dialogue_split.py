"""Dialogues in the one split, and the examples that follow from it.

A dialogue is in one part as a whole. An example is a turn in which the
recommender names items, after at least one other turn.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow.compute as pc
from jaxtyping import Int32, Int64

from genrec_jax.data.dataset import Dataset
from genrec_jax.data.dialogues import RECOMMENDER, mention_pairs, mentions
from genrec_jax.data.splits import (
  PART_NAMES,
  TEST,
  TRAIN,
  UNUSED,
  VALIDATION,
  Split,
)
from genrec_jax.data.token_cache import Ragged
from genrec_jax.types import GenrecError, unknown_name


def split_dialogues(
  dataset: Dataset,
  split: Split,
  *,
  validation_fraction: float = 0.1,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> Split:
  """Returns the split with a part for each dialogue.

  Where the source has parts of its own (a column `part` of 'train' and
  'test'), its test dialogues are the test part and validation is drawn from
  its train dialogues; elsewhere both are drawn from all. Train dialogues that
  name an item which is held out of training are unused.

  Args:
    dataset: the dataset.
    split: of its interactions.
    validation_fraction: of the dialogues to draw from.
    test_fraction: of all dialogues, where the source has no parts.
    seed: of the draw.
  """
  offsets = dataset.dialogue_offsets
  part = np.full(len(offsets) - 1, TRAIN, np.int8)
  random = np.random.default_rng([seed, 0])
  if 'part' in dataset.dialogues.column_names:
    own = dataset.dialogues['part'].take(offsets[:-1]).to_pylist()
    for name in own:
      if name not in ('train', 'test'):
        raise unknown_name('part of a dialogue', str(name), ('train', 'test'))
    part[np.array(own) == 'test'] = TEST
    test_fraction = None
  else:
    count = round(test_fraction * len(part))
    part[random.permutation(len(part))[:count]] = TEST
  rest = random.permutation(np.flatnonzero(part == TRAIN))
  part[rest[: round(validation_fraction * len(rest))]] = VALIDATION
  dialogue, item = mention_pairs(dataset.dialogues)
  cold = np.unique(dialogue[np.isin(item, split.cold_items)])
  part[cold[part[cold] == TRAIN]] = UNUSED
  settings = {
    'validation_fraction': validation_fraction,
    'test_fraction': test_fraction,
    'seed': seed,
  }
  return dataclasses.replace(
    split,
    dialogue_part=part,
    settings={**split.settings, 'dialogues': settings},
  )


@dataclasses.dataclass(frozen=True, eq=False)
class DialogueExamples:
  """The E examples of a part: what the recommender says, and names, next.

  Attributes:
    rows: the turn of the recommender, a row of the dialogues table.
    starts: the first turn of its dialogue: the context is the contiguous
      slice starts[i]:rows[i] of the table, and never empty.
    dialogue: the number of the dialogue.
    targets: the items that the turn names, each once, in order; one or more.
    mentioned: the items that its context names, each once, in order.
  """

  rows: Int64[np.ndarray, 'E']
  starts: Int64[np.ndarray, 'E']
  dialogue: Int32[np.ndarray, 'E']
  targets: Ragged
  mentioned: Ragged

  def __len__(self) -> int:
    return len(self.rows)


def examples(dataset: Dataset, split: Split, part: int) -> DialogueExamples:
  """Returns the examples of a part, in the order of the dataset.

  Raises:
    GenrecError: if the split has no parts of this dataset's dialogues.
  """
  offsets = dataset.dialogue_offsets
  if len(split.dialogue_part) != len(offsets) - 1:
    raise GenrecError(
      f'The split has parts of {len(split.dialogue_part)} dialogues, but the'
      f' dataset has {len(offsets) - 1}; run `genrec prepare` again (in code:'
      ' dialogue_split.split_dialogues).'
    )
  named = mentions(dataset.dialogues)
  responds = pc.equal(dataset.dialogues['role'], RECOMMENDER).to_numpy()
  turn = dataset.dialogues['turn'].to_numpy()
  rows = np.flatnonzero(responds & (named.lengths > 0) & (turn > 0))
  dialogue = np.searchsorted(offsets, rows, side='right') - 1
  kept = split.dialogue_part[dialogue] == part
  rows, dialogue = rows[kept], dialogue[kept]
  starts = offsets[dialogue]
  before = zip(named.offsets[starts], named.offsets[rows])
  return DialogueExamples(
    rows,
    starts,
    dialogue.astype(np.int32),
    Ragged.from_rows(list(dict.fromkeys(named[row].tolist())) for row in rows),
    Ragged.from_rows(
      list(dict.fromkeys(named.values[start:stop].tolist()))
      for start, stop in before
    ),
  )


def count_dialogues(
  dataset: Dataset, split: Split
) -> dict[str, dict[str, int]]:
  """Returns for each part what a reader of a result must know of it.

  `dialogues` and `examples`; those of its examples that name an item which
  train dialogues never name (`cold`), and those that name none which their
  context has not named already (`repeated`).
  """
  dialogue, item = mention_pairs(dataset.dialogues)
  seen = np.zeros(dataset.num_items, bool)
  seen[item[split.dialogue_part[dialogue] == TRAIN]] = True
  counts = {}
  for part in (TRAIN, VALIDATION, TEST):
    known = examples(dataset, split, part)
    pairs = [(known.targets[i], known.mentioned[i]) for i in range(len(known))]
    counts[PART_NAMES[part]] = {
      'dialogues': int((split.dialogue_part == part).sum()),
      'examples': len(known),
      'cold': sum(not seen[targets].all() for targets, _ in pairs),
      'repeated': sum(bool(np.isin(*pair).all()) for pair in pairs),
    }
  return counts
