import numpy as np
import pytest

from genrec_jax.data.token_cache import Ragged
from genrec_jax.retrieval.bm25 import BM25
from genrec_jax.retrieval.dense import InnerProducts, LatentSemantics
from genrec_jax.retrieval.search import search, search_pools
from genrec_jax.retrieval.words import count_words

QUERIES, DOCUMENTS = 23, 40


@pytest.fixture
def vectors():
  random = np.random.default_rng(0)
  return (
    random.normal(size=(QUERIES, 6)).astype(np.float32),
    random.normal(size=(DOCUMENTS, 6)).astype(np.float32),
  )


def rows_of(ragged):
  return [ragged[row].tolist() for row in range(len(ragged))]


@pytest.mark.parametrize('rows_at_once', [1, 5, 100])
def test_a_search_by_blocks_finds_the_nearest_of_all(vectors, rows_at_once):
  queries, documents = vectors
  random = np.random.default_rng(1)
  excluded = Ragged.from_rows(
    random.choice(DOCUMENTS, count) for count in random.integers(0, 8, QUERIES)
  )
  found = search(
    InnerProducts(documents),
    queries,
    7,
    excluded=excluded,
    rows_at_once=rows_at_once,
  )
  for row, query in enumerate(queries):
    order = np.argsort(-(documents @ query))
    order = order[~np.isin(order, excluded[row])]
    assert found[row].tolist() == order[:7].tolist()


@pytest.mark.parametrize('pairs_at_once', [1, 30, 10_000])
def test_a_search_in_pools_finds_the_nearest_of_each(vectors, pairs_at_once):
  queries, documents = vectors
  random = np.random.default_rng(2)
  pools = Ragged.from_rows(
    random.choice(DOCUMENTS, count, replace=False)
    for count in random.integers(0, 30, QUERIES)
  )
  found = search_pools(
    InnerProducts(documents), queries, pools, 4, pairs_at_once=pairs_at_once
  )
  for row, query in enumerate(queries):
    pool = pools[row]
    order = pool[np.argsort(-(documents[pool] @ query))]
    assert found[row].tolist() == order[:4].tolist()


def test_documents_without_a_word_in_common_are_not_found():
  numbers = {}
  index = BM25(count_words(['red boots', 'red', 'kettle'], numbers))
  queries = index.represent(count_words(['red', 'socks'], numbers, grows=False))
  found = search(index, queries, 3)
  assert sorted(found[0].tolist()) == [0, 1] and not len(found[1])


def test_all_of_a_pool_may_be_found_the_nearest_first():
  numbers = {}
  index = BM25(count_words(['red boots', 'red', 'kettle'], numbers))
  queries = index.represent(count_words(['red', 'socks'], numbers, grows=False))
  pools = Ragged.from_rows([[2, 0], [0, 1, 2]])
  found = rows_of(search_pools(index, queries, pools, 3))
  assert found[0] == [0, 2] and sorted(found[1]) == [0, 1, 2]


def test_equal_scores_do_not_tell_the_number_of_a_document():
  index = InnerProducts(np.ones((200, 2), np.float32))
  queries = np.ones((1, 2), np.float32)
  first = [search(index, queries, 5, seed=s)[0].tolist() for s in range(30)]
  assert first == [
    search(index, queries, 5, seed=s)[0].tolist() for s in range(30)
  ]
  # 150 draws of 0..199: their mean lies within 5 standard errors of 99.5.
  assert abs(np.mean(first) - 99.5) < 5 * 200 / np.sqrt(12 * 150)


def test_topics_find_a_document_that_shares_no_word_with_the_query():
  numbers = {}
  documents = (
    ['kettle spout water'] * 4
    + ['boots grip mountain'] * 4
    + ['water boil', 'mountain walk']
  )
  index = LatentSemantics.fit(count_words(documents, numbers), rank=2)
  asked = count_words(['kettle', 'boots'], numbers, grows=False)
  scores = index.scores(index.represent(asked))
  assert scores[0, 8] > 0.5 > scores[0, 9]
  assert scores[1, 9] > 0.5 > scores[1, 8]
