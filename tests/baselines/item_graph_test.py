"""Tests of the item graph, against walks taken one by one."""

import numpy as np
import pytest

from genrec_jax.baselines.item_graph import ItemGraph
from genrec_jax.baselines.markov import Markov
from genrec_jax.baselines.protocol import recommend
from genrec_jax.data.token_cache import Ragged
from genrec_jax.types import GenrecError

NUM_ITEMS = 9


@pytest.fixture(scope='module')
def interactions():
  generator = np.random.default_rng(0)
  user = np.sort(generator.integers(12, size=60))
  return user, generator.integers(NUM_ITEMS - 1, size=60)  # one never used


def test_scores_are_the_probabilities_of_walks(interactions):
  user, item = interactions
  edges = np.zeros((NUM_ITEMS, NUM_ITEMS))
  for here in range(len(user)):
    for there in range(here + 1, min(here + 3, len(user))):
      if user[here] == user[there]:
        edges[item[here], item[there]] += 1 / (there - here)
        edges[item[there], item[here]] += 0.25 / (there - here)
  expected = np.zeros(NUM_ITEMS)
  for start, weight in ((5, 1.0), (3, 0.5)):  # 7 is too long ago
    for first in range(NUM_ITEMS):
      one = weight * edges[start, first] / edges[start].sum()
      expected[first] += one
      for second in range(NUM_ITEMS):
        if edges[first].any():
          two = one * edges[first, second] / edges[first].sum()
          expected[second] += 0.3 * two
  graph = ItemGraph(
    window=2, backward=0.25, two_steps=0.3, recency=0.5, last_items=2
  ).fit(user, item, NUM_ITEMS)
  np.testing.assert_allclose(
    graph.scores(np.array([[7, 3, 5], [-1, -1, -1]])),
    [expected, np.zeros(NUM_ITEMS)],
    atol=1e-6,
  )


def test_one_step_from_the_last_item_is_the_markov_chain(interactions):
  graph = ItemGraph(window=1, backward=0, two_steps=0, last_items=1)
  rows = Ragged.from_rows([[0, 1], [2, 3, 4], [5], [NUM_ITEMS - 1], []])
  np.testing.assert_array_equal(
    recommend(graph.fit(*interactions, NUM_ITEMS), rows, top_k=NUM_ITEMS),
    recommend(Markov().fit(*interactions, NUM_ITEMS), rows, top_k=NUM_ITEMS),
  )


def test_settings_out_of_range_are_refused():
  with pytest.raises(GenrecError, match='window=0'):
    ItemGraph(window=0)
  with pytest.raises(GenrecError, match='backward=-1'):
    ItemGraph(backward=-1)
