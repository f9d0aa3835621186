"""The level arrays describe exactly the items, whatever their order or kind."""

import jax
import numpy as np
import pytest

from genrec_jax.decoding import levels
from genrec_jax.decoding.sparse_level import Sparse
from genrec_jax.decoding.trie_builder import build_trie
from genrec_jax.types import GenrecError


def _walk(trie, items):
  """The tokens of items and the nodes on their way, from the arrays."""
  nodes, tokens = trie.path(len(trie.levels), trie.item_to_row[items])
  return np.asarray(nodes), np.asarray(tokens)


@pytest.mark.parametrize('variable', [False, True])
def test_paths_are_the_items_in_every_kind_of_level(
  draw_catalogue, trie_kinds, variable
):
  item_tokens = draw_catalogue(0, 300, 4, 90, variable=variable)
  for thresholds in trie_kinds.values():
    trie = build_trie(item_tokens, thresholds=thresholds)
    nodes, tokens = _walk(trie, np.arange(300))
    np.testing.assert_array_equal(tokens, item_tokens)
    np.testing.assert_array_equal(trie.tokens(np.arange(300)), item_tokens)
    for depth, column in enumerate(nodes.T):
      prefixes, number = np.unique(
        item_tokens[:, :depth], axis=0, return_inverse=True
      )
      assert trie.num_nodes[depth] == len(prefixes)
      np.testing.assert_array_equal(column, number.reshape(-1))
      if depth < 4:
        node = np.arange(len(prefixes))
        start = trie.levels[depth].ranges.start(node)
        count = trie.levels[depth].ranges.count(node)
        children = np.unique(item_tokens[:, : depth + 1], axis=0)[:, :depth]
        _, counts = np.unique(children, axis=0, return_counts=True)
        np.testing.assert_array_equal(count, counts)
        np.testing.assert_array_equal(start, np.cumsum(counts) - counts)


def test_thresholds_choose_the_kinds(draw_catalogue, trie_kinds):
  item_tokens = draw_catalogue(0, 300, 4, 90)
  kinds = {
    name: {
      type(level) for level in build_trie(item_tokens, thresholds=t).levels[1:]
    }
    for name, t in trie_kinds.items()
  }
  assert kinds['dense'] == {levels.Dense}
  assert kinds['sparse'] == kinds['exceptions'] == {Sparse}
  assert levels.Hybrid in kinds['hybrid']


def test_order_of_the_items_does_not_matter(draw_catalogue):
  item_tokens = draw_catalogue(1, 40, 3, 9)
  order = np.random.default_rng(0).permutation(40)
  one, two = build_trie(item_tokens), build_trie(item_tokens[order])
  np.testing.assert_array_equal(one.row_to_item, order[two.row_to_item])
  for a, b in zip(jax.tree.leaves(one.levels), jax.tree.leaves(two.levels)):
    np.testing.assert_array_equal(a, b)


def test_ids_of_many_bits_are_sorted_by_all_of_them():
  """Twelve codes of ten bits take two words, with ties in the first."""
  rng = np.random.default_rng(0)
  item_tokens = np.repeat(rng.integers(3, 1000, (20, 12)), 10, axis=0)
  item_tokens[:, 8:] = rng.integers(3, 1000, (200, 4))
  item_tokens = rng.permutation(item_tokens)
  trie = build_trie(item_tokens, blocks=[range(3, 1027)] * 12)
  np.testing.assert_array_equal(
    trie.row_to_item, np.lexsort(item_tokens.T[::-1])
  )


def test_prefix_sizes_count_items():
  item_tokens = np.array([[5, 8, 9], [4, 8, 9], [5, 8, 7], [5, 6, 9]])
  sizes = build_trie(item_tokens).prefix_sizes(np.arange(4))
  np.testing.assert_array_equal(
    sizes, [[3, 2, 1], [1, 1, 1], [3, 2, 1], [3, 1, 1]]
  )


def test_tokens_may_be_anything_where_nothing_is_padded():
  item_tokens = np.array([[0, 1], [1, 0], [0, 0]])
  trie = build_trie(item_tokens, pad_id=None)
  np.testing.assert_array_equal(trie.tokens(np.arange(3)), item_tokens)
  assert not any(alphabet.may_end for alphabet in trie.alphabets)


def test_shared_leaves_list_their_items_in_order():
  item_tokens = np.array([[5, 8], [4, 8], [5, 8], [5, 8]])
  trie = build_trie(item_tokens, shared_leaves=True)
  np.testing.assert_array_equal(trie.row_to_item, [1, 0, 2, 3])
  np.testing.assert_array_equal(trie.num_nodes, [1, 2, 2, 4])
  np.testing.assert_array_equal(trie.tokens(np.arange(4)), item_tokens)
  np.testing.assert_array_equal(trie.prefix_sizes(np.array([0])), [[3, 3]])


def test_is_small(draw_catalogue):
  """Two bytes a code and what little tells where children start."""
  trie = build_trie(draw_catalogue(0, 5000, 4, 500))
  assert trie.navigation_bytes < 18 * 5000
  assert trie.nbytes == trie.navigation_bytes + 8 * 5000 + trie.num_nodes.nbytes


@pytest.mark.parametrize(
  'item_tokens, message',
  [
    (np.zeros((0, 3), int), 'at least one'),
    ([[4, 5], [4, -1], [4, 5]], 'item 1 with token -1'),
    ([[4, 2**31]], 'level 1; expected a range'),
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


@pytest.mark.parametrize(
  'options, message',
  [
    ({'blocks': [range(3, 9), range(3, 7)]}, 'item 1 with token 8'),
    ({'blocks': [range(3, 9)]}, '1 blocks for items of 2 tokens'),
    ({'blocks': [range(3, 9, 2), range(9)]}, 'step'),
    ({'pad_id': 7}, 'pad_id=7'),
  ],
)
def test_refuses_blocks_that_do_not_hold_the_tokens(options, message):
  with pytest.raises(GenrecError, match=message):
    build_trie(np.array([[4, 5], [4, 8]]), **options)
