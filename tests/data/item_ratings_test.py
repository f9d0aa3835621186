import dataclasses

import numpy as np

from genrec_jax.data import simulator, splits
from genrec_jax.data.dataset import build_dataset
from genrec_jax.data.item_ratings import ratings_of_others


def test_others_are_all_train_rows_of_the_item_but_those_of_the_user():
  dataset = build_dataset('small', simulator.simulate(num_users=60))
  split = splits.leave_one_out(dataset)
  rating = dataset.interactions['rating'].to_numpy()
  for part in (splits.TRAIN, splits.TEST):
    examples = splits.examples(dataset, split, part)
    found = ratings_of_others(dataset, split, examples, most=4)
    assert len(found) == len(examples) > 50
    assert found.lengths.max() == 4
    for number in range(0, len(examples), 7):
      rows = np.flatnonzero(
        (split.part == splits.TRAIN)
        & (dataset.item == examples.target[number])
        & (dataset.user != examples.user[number])
      )
      rows = rows[np.argsort(dataset.time[rows])]
      np.testing.assert_array_equal(found[number], rating[rows][-4:])


def test_held_out_ratings_change_nothing():
  tables = simulator.simulate(num_users=60)
  dataset = build_dataset('small', tables)
  split = splits.leave_one_out(dataset)
  examples = splits.examples(dataset, split, splits.TEST)
  before = ratings_of_others(dataset, split, examples)
  column = dataset.interactions.column_names.index('rating')
  rating = dataset.interactions['rating'].to_numpy().copy()
  rating[split.part != splits.TRAIN] = 1.0
  changed = dataset.interactions.set_column(column, 'rating', [rating])
  after = ratings_of_others(
    dataclasses.replace(dataset, interactions=changed), split, examples
  )
  np.testing.assert_array_equal(before.values, after.values)
