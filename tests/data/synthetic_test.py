"""Tests of the synthetic catalogues: their walks, their sizes, their seed."""

import numpy as np
import pytest

from genrec_jax.data import catalogue, synthetic
from genrec_jax.data.dataset import build_dataset
from genrec_jax.types import GenrecError


def draw(**settings):
  raw = synthetic.draw(**{'num_items': 400, 'num_users': 3000} | settings)
  user, item = (
    raw.interactions[name].to_numpy().astype(int) for name in ('user', 'item')
  )
  return raw, user, item


def test_users_walk_in_rings():
  raw, user, item = draw(ring_size=20)
  place = np.empty(400, int)  # in the rings, from the name
  place[raw.items['item_id'].to_numpy().astype(int)] = np.arange(400)
  assert (np.diff(user) >= 0).all() and len(np.unique(user)) == 3000
  counts = np.bincount(user)
  assert counts.min() >= 5 and counts.mean() == pytest.approx(10, abs=0.2)
  before, after = place[item[:-1]], place[item[1:]]
  same_user = user[:-1] == user[1:]
  before, after = before[same_user], after[same_user]
  followed = after == before - before % 20 + (before + 1) % 20
  same_ring = after // 20 == before // 20
  # .6, and by chance; .8, and jumps to the ring that one is in.
  assert followed.mean() == pytest.approx(0.6 + 0.2 / 20, abs=0.02)
  assert 0.8 < same_ring.mean() < 0.87
  # The popularity of rings is Zipf's: twice as much as the next, and so on.
  jumped = np.bincount(after[~same_ring] // 20, minlength=20)
  assert jumped[1] / jumped[3] == pytest.approx(2, abs=0.25)


def test_the_seed_decides_and_names_tell_nothing():
  one, same, other = (draw(seed=seed)[0] for seed in (3, 3, 4))
  assert one.interactions.equals(same.interactions)
  assert not one.interactions.equals(other.interactions)
  names = one.items['item_id'].to_numpy().astype(int)
  assert sorted(names) == list(range(400))
  assert abs(np.corrcoef(names, np.arange(400))[0, 1]) < 0.15


def test_the_catalogue_has_items_that_nobody_took():
  raw = draw(num_users=5)[0]
  dataset = build_dataset('few', raw, unused='keep')
  taken = build_dataset('few', raw)
  assert dataset.num_items == 400 and dataset.num_users == 5
  assert dataset.item_names()[: taken.num_items] == taken.item_names()
  assert dataset.interactions.equals(taken.interactions)
  with pytest.raises(GenrecError, match="'all'; expected one of: drop, keep"):
    build_dataset('few', raw, unused='all')


def test_descriptions_say_how_large_they_are():
  description = catalogue.describe('synthetic_1k')
  raw = catalogue.read_raw(description)
  assert raw.items.num_rows == 1000
  assert description.protocol['unused'] == 'keep'
  assert raw.facts['synthetic']['num_users'] == 4000


def test_one_ring_is_refused():
  with pytest.raises(GenrecError, match='num_items=30 in rings of 20'):
    synthetic.draw(num_items=30, num_users=5)
