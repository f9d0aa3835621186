"""Whether lists of items obey what prompts wish for, with and without filter.

A prompt with {wanted} asks for an attribute of its target, such as a category.
Which one it is follows from user and item (data/attributes.py), and so is
known here again. The same wishes are also made views of the trie, that nothing
else may come in: what the prompt achieves stands between lists that were not
asked and lists that could not help it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Int32

from genrec_jax.answering.facts import TaskFacts
from genrec_jax.answering.items import check_scores
from genrec_jax.answering.run import Run
from genrec_jax.data.attributes import draw_wishes, read_attributes
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.decoding.catalogue_views import VIEWS_AT_ONCE, recommend_wished
from genrec_jax.decoding.recommend import make_recommend_fn, take_examples
from genrec_jax.evaluation import control
from genrec_jax.measuring.measured import Settings
from genrec_jax.measuring.train_data import TrainData

WANTED = 'wanted'
FILTERED = 'model, filtered'
COLUMNS = tuple(
  f'{name}@{k}' for name in ('obey', 'obey_by_chance') for k in (1, 10)
)


@dataclasses.dataclass(frozen=True, eq=False)
class Wishes:
  """What E examples wish for.

  Attributes:
    wish: of each, a row of `has`; -1 for nothing.
    has: of each wish that occurs, the items that meet it.
  """

  wish: Int32[np.ndarray, 'E']
  has: Bool[np.ndarray, 'A N']

  def measure(self, items: np.ndarray) -> dict[str, float]:
    """Returns how many items of lists obey; see evaluation/control.py."""
    cutoffs = [k for k in control.CUTOFFS if k <= items.shape[1]]
    return control.measure_lists(items, self.has, self.wish, cutoffs=cutoffs)


def find_wishes(
  run: Run, facts: TaskFacts, examples: TokenExamples, data: TrainData | None
) -> Wishes | None:
  """Returns the wishes of examples; None where prompts have none.

  None, too, where there is no dataset to say what items are, and where no
  target of a small sample has an attribute.
  """
  if WANTED not in facts.prompt or data is None:
    return None
  settings = run.cache.manifest['settings']
  attributes = read_attributes(data.dataset.items, settings[WANTED])
  drawn = draw_wishes(attributes, examples.user, examples.target)
  asked = np.unique(drawn[drawn >= 0])
  if not len(asked):
    return None
  place = np.where(drawn >= 0, np.searchsorted(asked, drawn), -1)
  return Wishes(place.astype(np.int32), attributes.items_with(asked))


def rank_wished(
  run: Run, examples: TokenExamples, wishes: Wishes, settings: Settings
) -> Int32[np.ndarray, 'E K']:
  """Returns the best items that meet the wish of each example, and no other.

  Raises:
    GenrecError: if scores are not numbers.
  """
  recommend = make_recommend_fn(
    run.model,
    run.trie,
    num_beams=settings.num_beams,
    normalization=settings.normalization,
  )
  items = np.full((len(examples), settings.num_beams), -1, np.int32)
  for start in range(0, max(1, len(wishes.has)), VIEWS_AT_ONCE):
    stop = start + VIEWS_AT_ONCE
    mine = (wishes.wish >= start) & (wishes.wish < stop)
    rows = np.flatnonzero(mine | ((wishes.wish < 0) & (start == 0)))
    if not len(rows):
      continue
    with run.partitioned():
      lists = recommend_wished(
        recommend,
        run.params,
        take_examples(examples, rows),
        trie=run.trie,
        has=wishes.has[start:stop],
        wish=np.where(mine[rows], wishes.wish[rows] - start, -1),
        batch_size=run.rows(settings.batch_size, len(rows)),
        exclude_seen=settings.exclude_seen,
        place=run.place,
      )
    check_scores(lists.scores, run.step)
    items[rows] = lists.items
  return items
