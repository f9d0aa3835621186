"""Tests of retrieval followed by ranking."""

import numpy as np
import pytest

from genrec_jax.baselines.ease import EASE
from genrec_jax.baselines.item_graph import ItemGraph
from genrec_jax.baselines.item_knn import ItemKNN
from genrec_jax.baselines.markov import Markov
from genrec_jax.baselines.matrix_factorization import ALS, BPR
from genrec_jax.baselines.multi_stage import MultiStage
from genrec_jax.baselines.popularity import Popularity
from genrec_jax.baselines.protocol import candidate_scores, recommend
from genrec_jax.data.token_cache import Ragged
from genrec_jax.types import GenrecError

NUM_ITEMS = 30
RANKING = {
  'ease': lambda: EASE(recency=0.7),
  'als': lambda: ALS(factors=4),
  'bpr': lambda: BPR(factors=4),
  'item_graph': ItemGraph,
  'markov': Markov,
}


@pytest.fixture(scope='module')
def interactions():
  generator = np.random.default_rng(0)
  user = np.sort(generator.integers(40, size=300))
  return user, generator.integers(NUM_ITEMS, size=300)


@pytest.fixture(scope='module')
def histories():
  generator = np.random.default_rng(1)
  rows = [generator.integers(NUM_ITEMS, size=n % 9) for n in range(40)]
  return Ragged.from_rows(rows)


@pytest.mark.parametrize('name', RANKING)
def test_with_the_whole_catalogue_it_is_its_second_stage(
  name, interactions, histories
):
  one = RANKING[name]().fit(*interactions, NUM_ITEMS)
  two = MultiStage(
    retrieval=Popularity(),
    ranking=RANKING[name](),
    num_candidates=NUM_ITEMS,
    exclude_seen=False,
  ).fit(*interactions, NUM_ITEMS)
  rows = np.array([[-1, 3, 5, 3], [-1, -1, -1, -1], [1, 2, 3, 4]])
  np.testing.assert_allclose(two.scores(rows), one.scores(rows), atol=1e-6)
  # Where all scores are equal, too.
  empty = Ragged.from_rows([[]])
  np.testing.assert_array_equal(
    recommend(two, empty, top_k=NUM_ITEMS),
    recommend(one, empty, top_k=NUM_ITEMS),
  )


@pytest.mark.parametrize('name', RANKING)
def test_scores_of_candidates_are_those_of_all_items(name, interactions):
  baseline = RANKING[name]().fit(*interactions, NUM_ITEMS)
  histories = np.array([[-1, 3, 5, 3], [-1, -1, -1, -1], [1, 2, 3, 4]])
  candidates = np.array([[0, 5, 29], [7, 1, -1], [3, 2, 1]])
  scores = candidate_scores(baseline, histories, candidates)
  expected = np.take_along_axis(
    baseline.scores(histories), np.maximum(candidates, 0), axis=1
  )
  np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_lists_hold_what_was_retrieved_in_the_order_of_the_second_stage(
  interactions, histories
):
  ranking = ItemGraph()
  two = MultiStage(retrieval=ItemKNN(), ranking=ranking, num_candidates=6)
  lists = recommend(two.fit(*interactions, NUM_ITEMS), histories, top_k=8)
  retrieved = recommend(two.retrieval, histories, top_k=6)
  np.testing.assert_array_equal(
    np.sort(lists),
    np.sort(np.pad(retrieved, ((0, 0), (0, 2)), constant_values=-1)),
  )
  places = np.argsort(
    recommend(ranking, histories, top_k=NUM_ITEMS, exclude_seen=False), axis=1
  )
  along = np.take_along_axis(places, lists[:, :6], axis=1)
  assert (np.diff(along) > 0).all()


def test_seen_items_take_no_place_among_the_candidates(interactions):
  two = MultiStage(
    retrieval=Popularity(), ranking=Markov(), num_candidates=5
  ).fit(*interactions, NUM_ITEMS)
  most_used = recommend(two.retrieval, Ragged.from_rows([[]]), top_k=5)[0]
  lists = recommend(two, Ragged.from_rows([most_used]), top_k=5)
  assert (lists >= 0).all() and not np.isin(lists, most_used).any()


def test_no_candidates_are_refused():
  with pytest.raises(GenrecError, match='num_candidates=0'):
    MultiStage(retrieval=Popularity(), ranking=Markov(), num_candidates=0)
