"""Ratings without taste: how high an item is rated, and how high a user rates.

What a model of ratings must beat. Both learn from train ratings alone.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from jaxtyping import Float, Int

from genrec_jax.types import GenrecError

_MAX_ROUNDS = 1000


class GlobalMean:
  """Predicts the mean of all train ratings, the same for everyone."""

  name = 'global_mean'

  def fit(
    self,
    user: Int[np.ndarray, 'R'],
    item: Int[np.ndarray, 'R'],
    rating: Float[np.ndarray, 'R'],
    num_users: int,
    num_items: int,
  ) -> Self:
    """Takes the mean."""
    del user, item, num_users, num_items
    self.mean = float(_check_ratings(rating).mean())
    return self

  def predict(
    self, user: Int[np.ndarray, 'E'], item: Int[np.ndarray, 'E']
  ) -> Float[np.ndarray, 'E']:
    """Returns the mean for every example."""
    del item
    return np.full(len(user), self.mean)


class UserItemBias:
  """Predicts the mean plus a bias of the user and a bias of the item.

  The biases b minimise the sum over train ratings of (rating - mean - b_user -
  b_item)², plus the damped sum of squares of the biases (Koren, "Factor in
  the neighbors", 2010, on baseline estimates). Users and items are solved for
  in turn, in closed form, until nothing moves: the minimum is unique and this
  finds it. Who or what was never rated in train has bias 0. Predictions are
  put on the scale from the lowest to the highest train rating.

  Args:
    user_damping: how many ratings at the mean every user is given.
    item_damping: how many every item is given.
    tolerance: of the biases, when to stop.
  """

  name = 'user_item_bias'

  def __init__(
    self,
    *,
    user_damping: float = 10.0,
    item_damping: float = 5.0,
    tolerance: float = 1e-8,
  ):
    if min(user_damping, item_damping, tolerance) <= 0:
      raise GenrecError(
        f'Got user_damping={user_damping}, item_damping={item_damping} and'
        f' tolerance={tolerance}, expected numbers above 0: without damping'
        ' the biases are not determined.'
      )
    self.user_damping = user_damping
    self.item_damping = item_damping
    self.tolerance = tolerance

  def fit(
    self,
    user: Int[np.ndarray, 'R'],
    item: Int[np.ndarray, 'R'],
    rating: Float[np.ndarray, 'R'],
    num_users: int,
    num_items: int,
  ) -> Self:
    """Solves for the biases of users and items."""
    rating = _check_ratings(rating)
    self.mean = float(rating.mean())
    self.scale = float(rating.min()), float(rating.max())
    above = rating - self.mean
    user_weight = np.bincount(user, minlength=num_users) + self.user_damping
    item_weight = np.bincount(item, minlength=num_items) + self.item_damping
    user_bias, item_bias = np.zeros(num_users), np.zeros(num_items)
    for _ in range(_MAX_ROUNDS):
      left = above - user_bias[user]
      item_bias = np.bincount(item, left, num_items) / item_weight
      left = above - item_bias[item]
      before = user_bias
      user_bias = np.bincount(user, left, num_users) / user_weight
      if np.abs(user_bias - before).max(initial=0) <= self.tolerance:
        break
    else:
      raise GenrecError(
        f'The biases still move after {_MAX_ROUNDS} rounds; raise the damping'
        f' (now {self.user_damping} and {self.item_damping}) or the tolerance.'
      )
    self.user_bias, self.item_bias = user_bias, item_bias
    return self

  def predict(
    self, user: Int[np.ndarray, 'E'], item: Int[np.ndarray, 'E']
  ) -> Float[np.ndarray, 'E']:
    """Returns the rating of each pair, on the scale."""
    predicted = self.mean + self.user_bias[user] + self.item_bias[item]
    return np.clip(predicted, *self.scale)


def _check_ratings(rating: Float[np.ndarray, 'R']) -> Float[np.ndarray, 'R']:
  rating = np.asarray(rating, np.float64)
  if not len(rating) or not np.isfinite(rating).all():
    raise GenrecError(
      f'Got {len(rating)} train ratings, of which'
      f' {np.count_nonzero(~np.isfinite(rating))} are not finite; expected at'
      ' least one and all finite. Leave out rows without a rating.'
    )
  return rating
