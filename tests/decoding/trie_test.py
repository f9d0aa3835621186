"""The level arrays describe exactly the items, whatever their order."""

import jax
import numpy as np
import pytest

from genrec_jax.decoding.trie import build_trie
from genrec_jax.types import GenrecError


def _walk(trie):
  """Yields (tokens, row) of every path from the root, in order of nodes."""
  beams = [((), 0)]
  for level in range(trie.num_levels):
    first = np.asarray(trie.first_child[level])
    token = np.asarray(trie.token[level])
    beams = [
      ((*tokens, int(token[child])), child)
      for tokens, node in beams
      for child in range(first[node], first[node + 1])
    ]
  return beams


@pytest.mark.parametrize('variable', [False, True])
def test_paths_are_the_items(draw_catalogue, variable):
  item_tokens = draw_catalogue(0, 60, 4, 9, variable=variable)
  trie = build_trie(item_tokens)
  paths = _walk(trie)
  assert [row for _, row in paths] == list(range(60))
  items = np.asarray(trie.row_to_item)
  np.testing.assert_array_equal(
    [tokens for tokens, _ in paths], item_tokens[items]
  )
  np.testing.assert_array_equal(
    np.asarray(trie.item_to_row)[items], np.arange(60)
  )


def test_order_of_the_items_does_not_matter(draw_catalogue):
  item_tokens = draw_catalogue(1, 40, 3, 9)
  order = np.random.default_rng(0).permutation(40)
  one, two = build_trie(item_tokens), build_trie(item_tokens[order])
  np.testing.assert_array_equal(one.row_to_item, order[two.row_to_item])
  for a, b in zip(one.first_child + one.token, two.first_child + two.token):
    np.testing.assert_array_equal(a, b)


def test_prefix_sizes_count_items():
  item_tokens = np.array([[5, 8, 9], [4, 8, 9], [5, 8, 7], [5, 6, 9]])
  sizes = build_trie(item_tokens).prefix_sizes(np.arange(4))
  np.testing.assert_array_equal(
    sizes, [[3, 2, 1], [1, 1, 1], [3, 2, 1], [3, 1, 1]]
  )


def test_is_a_pytree_with_static_widths(draw_catalogue):
  trie = build_trie(draw_catalogue(2, 30, 3, 9))
  widths = jax.jit(lambda trie: np.zeros(trie.max_children))(trie)
  assert widths.shape == trie.max_children


@pytest.mark.parametrize(
  'item_tokens, message',
  [
    (np.zeros((0, 3), int), 'at least one'),
    ([[4, 5], [4, -1]], 'item 1'),
    ([[4, 2**31]], 'outside'),
    ([[4.0, 5.0]], 'integers'),
    ([[4, 5], [6, 7], [4, 5]], 'items 0 and 2, both [4, 5]'),
    ([[4, 0, 0]], '[4, 0, 0]'),
    ([[4, 1, 5]], '[4, 1, 5]'),
    ([[4, 1, 0], [0, 0, 0]], 'item 1'),
  ],
)
def test_refuses_what_is_no_catalogue(item_tokens, message):
  with pytest.raises(GenrecError) as error:
    build_trie(np.asarray(item_tokens))
  assert message in str(error.value)
