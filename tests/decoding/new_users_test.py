"""Prompts of users who are in no table."""

import types

import numpy as np
import pytest

from genrec_jax.decoding.new_users import new_user_examples
from genrec_jax.types import GenrecError


def cache_of(prompt, *, user_sizes=(), variable=False, max_history=3):
  """Returns what of a token cache is looked at: ten items of two tokens."""
  tokens = np.arange(30, 50, dtype=np.int32).reshape(10, 2)
  if variable:
    tokens = np.pad(tokens, ((0, 0), (0, 1)), constant_values=1)
    tokens[0, 1:] = (1, 0)  # item 0 has one token
  return types.SimpleNamespace(
    directory='tokens',
    item_tokens=tokens,
    layout={'user_codebook_sizes': user_sizes, 'variable_length': variable},
    manifest={
      'settings': {
        'max_history': max_history,
        'tasks': {'sequential': {} if prompt is None else {'prompt': prompt}},
      }
    },
  )


def test_words_and_slots_come_in_the_order_of_the_prompt():
  cache = cache_of([[7, 8], 'history', [9], 'user'], user_sizes=(4,))
  examples = new_user_examples(
    cache, 'sequential', [[2], [0, 1, 2, 3]], user_tokens=[[60], [61]]
  )
  assert examples.inputs[0].tolist() == [7, 8, 34, 35, 9, 60]
  # The last three items are shown, all four count as seen.
  shown = [7, 8, 32, 33, 34, 35, 36, 37, 9, 61]
  assert examples.inputs[1].tolist() == shown
  assert examples.history[1].tolist() == [0, 1, 2, 3]
  assert not len(examples.targets[1]) and examples.user.tolist() == [-1, -1]


def test_a_profile_is_the_items_where_users_have_no_tokens():
  cache = cache_of(['profile'], max_history=9)
  inputs = new_user_examples(cache, 'sequential', [range(6)]).inputs[0]
  assert sorted(inputs.tolist()) == list(range(30, 42))
  assert (inputs[1::2] == inputs[::2] + 1).all()  # no item is torn apart


def test_ends_of_items_are_left_out():
  cache = cache_of(['history'], variable=True)
  examples = new_user_examples(cache, 'sequential', [[0, 1]])
  assert examples.inputs[0].tolist() == [30, 32, 33]


@pytest.mark.parametrize(
  'prompt, history, message',
  [
    (None, [1], 'genrec tokenize'),
    (['candidates'], [1], "slot 'candidates'"),
    (['history'], [], 'history of new user 0 is empty'),
    (['user', 'history'], [1], 'user_tokens'),
  ],
)
def test_what_cannot_be_filled_in_is_refused(prompt, history, message):
  cache = cache_of(prompt, user_sizes=(4,))
  with pytest.raises(GenrecError, match=message):
    new_user_examples(cache, 'sequential', [history])
