"""Synthetic catalogues of any size, to see what grows with them.

Items stand in small rings. A user mostly goes on to the next item of the ring,
sometimes to another one of it, and sometimes to another ring, of which a few
are much more popular than the others (Zipf). So the last item alone tells all
there is to know of the next one, which is what item graphs are best at: a
model that is to win here has to learn it as well, from ever fewer interactions
an item. What the simulator has beside that (taste, ratings, words) is not here.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from genrec_jax.data.dataset import RawTables
from genrec_jax.types import GenrecError

NEXT, SAME_RING = 0.6, 0.2  # the rest goes to another ring
MEAN_LENGTH, SHORTEST = 10, 5


def draw(
  *, num_items: int, num_users: int, ring_size: int = 20, seed: int = 0
) -> RawTables:
  """Returns a catalogue and what its users took, as raw tables.

  Args:
    num_items: N, those that nobody took included.
    num_users: U; a history has 5 items or more, 10 in the mean.
    ring_size: items of a ring.
    seed: of everything; items are numbered at random.

  Raises:
    GenrecError: if there are fewer than two rings.
  """
  num_rings = num_items // ring_size
  if num_rings < 2 or num_users < 1:
    raise GenrecError(
      f'Got num_items={num_items:,} in rings of {ring_size} and'
      f' num_users={num_users:,}; expected two rings and one user at least.'
    )
  random = np.random.default_rng(seed)
  names = random.permutation(num_items)
  # By inversion, as `choice` with probabilities is slow.
  popularity = np.cumsum(1 / np.arange(1, num_rings + 1))
  popularity /= popularity[-1]
  lengths = SHORTEST + random.poisson(MEAN_LENGTH - SHORTEST, num_users)

  def any_ring(count):
    return np.searchsorted(popularity, random.random(count))

  ring = any_ring(num_users)
  place = random.integers(0, ring_size, num_users)
  steps = []
  for _ in range(lengths.max()):
    steps.append(ring * ring_size + place)
    chance = random.random(num_users)
    place = np.where(
      chance < NEXT,
      (place + 1) % ring_size,
      random.integers(0, ring_size, num_users),
    )
    ring = np.where(chance < NEXT + SAME_RING, ring, any_ring(num_users))
  taken = np.arange(lengths.max()) < lengths[:, None]  # user by user, in order
  item = names[np.stack(steps, axis=1)[taken]]
  user = np.repeat(np.arange(num_users), lengths)
  return RawTables(
    interactions=pa.table(
      {
        'user': pa.array(user).cast(pa.string()),
        'item': pa.array(item).cast(pa.string()),
      }
    ),
    items=pa.table({'item_id': pa.array(names).cast(pa.string())}),
    facts={
      'synthetic': {
        'num_items': num_items,
        'num_users': num_users,
        'ring_size': ring_size,
        'seed': seed,
      }
    },
  )
