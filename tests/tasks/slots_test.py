import numpy as np
import pytest
import tensorflow as tf

from genrec_jax.tasks import slots


@tf.function(reduce_retracing=True)
def sample(seen, num_items, num_samples, seed):
  return slots.sample_unseen(
    seen, num_items=num_items, num_samples=num_samples, seed=tf.stack([seed, 0])
  )


def draw(seen, num_items, num_samples, seed):
  arguments = (seen, num_items, num_samples, seed)
  return sample(*(tf.constant(a, tf.int32) for a in arguments)).numpy()


def test_every_unseen_item_is_drawn_equally_often():
  seen = [3, 0, 3, 9]
  draws = [draw(seen, 30, 4, seed) for seed in range(1500)]
  assert all(len(set(d.tolist())) == 4 for d in draws)
  counts = np.bincount(np.concatenate(draws), minlength=30)
  assert counts[[0, 3, 9]].sum() == 0
  unseen = np.delete(counts, [0, 3, 9])
  expected = 1500 * 4 / 27
  # Binomial counts: 5 standard deviations.
  assert abs(unseen - expected).max() < 5 * np.sqrt(expected)


@pytest.mark.parametrize('num_unseen', [0, 1, 3, 5])
def test_a_small_catalogue_gives_all_that_is_left(num_unseen):
  seen = list(range(10 - num_unseen))
  found = draw(seen, 10, 4, seed=0)
  assert len(set(found.tolist())) == len(found) == min(4, num_unseen)
  assert all(10 - num_unseen <= item < 10 for item in found)
