"""Lists chosen again by score less popularity, against loops."""

import numpy as np
import pytest

from genrec_jax.decoding.popularity_penalty import (
  log_popularity,
  penalize_popularity,
)
from genrec_jax.decoding.recommend import Lists
from genrec_jax.types import GenrecError

COUNTS = np.array([40, 20, 9, 4, 2, 1, 0, 0])


@pytest.fixture
def lists():
  rng = np.random.default_rng(0)
  items = np.stack([rng.permutation(len(COUNTS)) for _ in range(9)])
  scores = -np.sort(rng.exponential(2.0, items.shape), axis=1)
  items[0, 5:], scores[0, 5:] = -1, -np.inf
  tokens = np.repeat(items[..., None], 2, axis=2)
  return Lists(items.astype(np.int32), scores.astype(np.float32), tokens)


@pytest.mark.parametrize('penalty', [0.3, 1.0, 5.0])
def test_as_sorting_one_list_at_a_time(lists, penalty):
  popularity = log_popularity(COUNTS)
  found = penalize_popularity(lists, popularity, penalty, top_k=6)
  for row, items in enumerate(lists.items):
    known = {
      item: score - penalty * np.log((COUNTS[item] + 1) / (76 + 8))
      for item, score in zip(items.tolist(), lists.scores[row])
      if item >= 0
    }
    best = sorted(known, key=known.get, reverse=True)[:6]
    assert found.items[row].tolist() == best + [-1] * (6 - len(best))
    for place, item in enumerate(best):
      there = items.tolist().index(item)
      assert found.scores[row, place] == lists.scores[row, there]
      assert (found.tokens[row, place] == lists.tokens[row, there]).all()


def test_no_penalty_changes_nothing(lists):
  found = penalize_popularity(lists, log_popularity(COUNTS), 0.0, top_k=8)
  for name in ('items', 'scores', 'tokens'):
    assert (getattr(found, name) == getattr(lists, name)).all()


def test_more_penalty_is_never_more_popular(lists):
  """Of the k best by s - x p, the sum of p falls as x grows."""
  popularity = log_popularity(COUNTS)
  means = [
    np.mean([popularity[i[i >= 0]].sum() for i in chosen.items])
    for chosen in (
      penalize_popularity(lists, popularity, penalty, top_k=3)
      for penalty in np.linspace(0, 3, 13)
    )
  ]
  assert (np.diff(means) <= 1e-12).all() and means[-1] < means[0]


def test_what_nobody_had_has_a_popularity():
  popularity = log_popularity(COUNTS)
  assert np.isfinite(popularity).all()
  assert np.exp(popularity).sum() == pytest.approx(1)


@pytest.mark.parametrize(
  ('penalty', 'top_k', 'match'),
  [(-1.0, 3, 'penalty -1'), (np.nan, 3, 'nan'), (0.1, 9, 'lists of 8')],
)
def test_bad_values_are_refused(lists, penalty, top_k, match):
  with pytest.raises(GenrecError, match=match):
    penalize_popularity(lists, log_popularity(COUNTS), penalty, top_k=top_k)
