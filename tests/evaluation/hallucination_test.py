"""Invented IDs are counted, each by its kind and where it leaves."""

import numpy as np
import pytest

from genrec_jax.evaluation.hallucination import (
  KINDS,
  ItemPaths,
  invented_shares,
  keep_items,
  mass_shares,
)
from genrec_jax.evaluation.outputs import NO_ITEM
from genrec_jax.ids.item_ids import TokenLayout
from genrec_jax.types import EOS_ID, PAD_ID, UNK_ID, GenrecError

FIXED = TokenLayout(
  num_text_tokens=8, codebook_sizes=(4, 4), user_codebook_sizes=(2,)
)
CODES = np.array([[0, 1], [0, 3], [2, 1]])
VARIABLE = TokenLayout(
  num_text_tokens=8, codebook_sizes=(4, 4), variable_length=True
)
# The second is the beginning of the third.
SHORT = np.array([[0, -1], [1, -1], [1, 3], [2, 1]])


def code(level, value):
  return FIXED.level_offsets[level] + value


@pytest.mark.parametrize(
  ('tokens', 'level', 'kind'),
  [
    ([code(0, 1), code(1, 1)], 0, 'unknown_path'),
    ([code(0, 0), code(1, 2)], 1, 'unknown_path'),
    ([code(1, 1), code(1, 1)], 0, 'wrong_level'),
    ([code(0, 0), code(0, 0)], 1, 'wrong_level'),
    ([5, code(1, 1)], 0, 'text'),
    ([code(0, 0), UNK_ID], 1, 'text'),
    ([EOS_ID, PAD_ID], 0, 'too_short'),
    ([code(0, 0), EOS_ID], 1, 'too_short'),
    ([PAD_ID, code(1, 1)], 0, 'no_token'),
    ([code(0, 0), FIXED.user_offsets[0]], 1, 'no_token'),
    ([FIXED.vocab_size - 1, 0], 0, 'no_token'),
  ],
)
def test_a_planted_id_is_known_by_what_is_wrong_with_it(tokens, level, kind):
  found = ItemPaths(FIXED, FIXED.item_tokens(CODES)).follow([tokens])
  assert found.item[0] == NO_ITEM
  assert (found.level[0], list(KINDS)[found.kind[0]]) == (level, kind)


@pytest.mark.parametrize(
  ('tokens', 'level', 'kind'),
  [
    ([code(0, 0), code(1, 1), EOS_ID], 1, 'too_long'),
    ([code(0, 0), 5, EOS_ID], 1, 'too_long'),
    ([code(1, 0) - 4 + 1, code(1, 3), 5], 2, 'too_long'),
    ([code(0, 1), code(1, 1), EOS_ID], 1, 'unknown_path'),
    ([code(0, 2), EOS_ID, PAD_ID], 1, 'too_short'),
  ],
)
def test_ids_of_different_length_end_where_items_end(tokens, level, kind):
  paths = ItemPaths(VARIABLE, VARIABLE.item_tokens(SHORT))
  found = paths.follow([tokens])
  assert found.item[0] == NO_ITEM
  assert (found.level[0], list(KINDS)[found.kind[0]]) == (level, kind)


def test_every_sequence_is_an_item_or_is_not():
  """Against a table of all items, over all sequences there are."""
  for layout, codes in ((FIXED, CODES), (VARIABLE, SHORT)):
    items = layout.item_tokens(codes)
    number = {tuple(row): item for item, row in enumerate(items.tolist())}
    size = layout.num_tokens
    grid = np.indices((size,) * items.shape[1]).reshape(items.shape[1], -1).T
    found = ItemPaths(layout, items).follow(grid)
    expected = [number.get(tuple(row), NO_ITEM) for row in grid.tolist()]
    assert found.item.tolist() == expected
    assert ((found.level < 0) == (found.item >= 0)).all()
    assert ((found.kind < 0) == (found.item >= 0)).all()
    for row, level in zip(grid.tolist(), found.level.tolist()):
      begun = {key[:level] for key in number}
      if level >= 0:
        assert tuple(row[:level]) in begun
        assert tuple(row[: level + 1]) not in {k[: level + 1] for k in number}


def test_shares_of_planted_ids_are_counted():
  paths = ItemPaths(FIXED, FIXED.item_tokens(CODES))
  real = FIXED.item_tokens(CODES)
  tokens = np.stack([real, real, real[::-1]])
  tokens[0, 1] = [code(0, 1), code(1, 1)]  # no such path
  tokens[0, 2] = [5, code(1, 1)]  # text
  tokens[1, 2, 1] = EOS_ID  # short, but past the head
  written = np.ones((3, 3), bool)
  written[2, 0] = False
  found = paths.follow(tokens)
  shares = invented_shares(found, written, np.arange(3), top_k=2, num_levels=2)
  assert shares['outputs'] == 8
  assert shares['no_item']['mean'] == pytest.approx(3 / 8)
  assert shares['any_no_item']['mean'] == pytest.approx(1 / 3)
  assert shares['no_item']['low'] <= 3 / 8 <= shares['no_item']['high']
  kinds = {name: share for name, share in shares['kinds'].items() if share}
  assert kinds == {'unknown_path': 1 / 8, 'text': 1 / 8, 'too_short': 1 / 8}
  assert shares['levels'] == [2 / 8, 1 / 8]


def test_what_is_left_is_a_list():
  items = np.array([[3, -1, 3, 5], [-1, -1, -1, -1]], np.int32)
  scores = np.array([[-3.0, -1, -2, -2.5], [0, 0, 0, 0]])
  assert keep_items(items, scores, 3).tolist() == [[3, 5, -1], [-1] * 3]


def test_mass_outside_is_what_is_missing():
  shares = mass_shares(np.array([[0.9, 0.5], [1 + 1e-6, 0.7]]), np.arange(2))
  assert shares['outside']['mean'] == pytest.approx(0.4)
  assert shares['levels'] == pytest.approx([0.05, 0.35])
  assert shares['outside']['low'] == pytest.approx(0.3)
  assert shares['outside']['high'] == pytest.approx(0.5)


def test_what_is_no_catalogue_is_refused():
  with pytest.raises(GenrecError, match='share their tokens'):
    ItemPaths(FIXED, FIXED.item_tokens(CODES[[0, 1, 0]]))
  with pytest.raises(GenrecError, match='shape'):
    ItemPaths(VARIABLE, FIXED.item_tokens(CODES))
  with pytest.raises(GenrecError, match='sequences of 3 tokens'):
    ItemPaths(FIXED, FIXED.item_tokens(CODES)).follow([[1, 2, 3]])
