"""Tests of item ids and their tokens."""

import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from genrec_jax import artifacts
from genrec_jax.ids.item_ids import ItemIds, TokenLayout
from genrec_jax.types import EOS_ID, PAD_ID, GenrecError

CODES = np.array([[0, 1], [3, 2], [0, 0]], np.int32)


def test_two_items_with_the_same_codes_are_refused():
  with pytest.raises(GenrecError, match=r'items 0 and 2 both have \[0, 1\]'):
    ItemIds(codes=CODES[[0, 1, 0]], codebook_sizes=(4, 4))


@pytest.mark.parametrize(
  'codes', [[[0, 4]], [[-1, 0]], [[0, -2]], [[-1, -1]], [[0, 1, 2]], [0, 1]]
)
def test_codes_outside_their_codebook_are_refused(codes):
  with pytest.raises(GenrecError, match='expected'):
    ItemIds(codes=np.array(codes), codebook_sizes=(4, 4))


def test_saved_ids_are_loaded_as_they_were(tmp_path):
  ids = ItemIds(
    codes=CODES,
    codebook_sizes=(4, 4),
    user_codes=np.array([[5], [5]]),
    user_codebook_sizes=(8,),
    facts={'method': 'by hand'},
    inputs={'train': 'abc'},
    vectors=np.ones((3, 2)),
  )
  ids.save(tmp_path / 'ids', item_ids=['a', 'b', 'c'], names=['A\tB', 'B', 'C'])
  loaded = ItemIds.load(tmp_path / 'ids')
  assert loaded.fingerprint == ids.fingerprint
  np.testing.assert_array_equal(loaded.codes, ids.codes)
  np.testing.assert_array_equal(loaded.user_codes, ids.user_codes)
  np.testing.assert_array_equal(loaded.vectors, ids.vectors)
  assert (loaded.facts, loaded.inputs) == (ids.facts, ids.inputs)
  assert (tmp_path / 'ids' / 'items.tsv').read_text().splitlines() == [
    'item_id\tname\tcodes',
    'a\tA B\t0 1',
    'b\tB\t3 2',
    'c\tC\t0 0',
  ]


def test_a_changed_file_is_refused(tmp_path):
  ItemIds(codes=CODES, codebook_sizes=(4, 4)).save(tmp_path / 'ids')
  np.save(tmp_path / 'ids' / 'items.npy', CODES[::-1])
  with pytest.raises(GenrecError, match='changed after it was written'):
    ItemIds.load(tmp_path / 'ids')
  assert artifacts.read_manifest(tmp_path / 'ids', 'ids')['num_items'] == 3


@st.composite
def ids(draw):
  sizes = draw(st.lists(st.integers(1, 200), min_size=1, max_size=4))
  one_id = st.tuples(*(st.integers(0, size - 1) for size in sizes))
  codes = np.array(
    draw(st.lists(one_id, min_size=1, max_size=20, unique=True)), np.int32
  )
  if draw(st.booleans()):
    codes = np.where(np.arange(len(sizes)) < draw(st.integers(1, 4)), codes, -1)
    codes = np.unique(codes, axis=0)
  return ItemIds(
    codes=codes,
    codebook_sizes=tuple(sizes),
    user_codes=np.arange(3)[:, None],
    user_codebook_sizes=(3,),
  )


@hypothesis.given(ids(), st.integers(3, 300))
@hypothesis.settings(deadline=None)
def test_tokens_stand_for_one_code_each(ids, num_text_tokens):
  layout = ids.layout(num_text_tokens)
  tokens = layout.item_tokens(ids.codes)
  assert tokens.shape == (ids.num_items, layout.tokens_per_item)
  np.testing.assert_array_equal(layout.item_codes(tokens), ids.codes)
  for row, codes in zip(tokens.tolist(), ids.codes.tolist()):
    spoken = [layout.describe(token) for token in row]
    expected = [f'level {n} code {c}' for n, c in enumerate(codes) if c >= 0]
    assert spoken[: len(expected)] == expected
    assert spoken[len(expected) :][:1] == ['eos'] * layout.variable_length
  users = layout.user_tokens(ids.user_codes)
  assert [layout.describe(token) for token in users[:, 0].tolist()] == [
    f'user level 0 code {code}' for code in range(3)
  ]
  assert layout.vocab_size % 128 == 0
  assert users.max() < layout.vocab_size <= users.max() + 128
  as_json = json.loads(json.dumps(layout.as_dict()))
  assert TokenLayout.from_dict(as_json) == layout
  assert as_json['vocab_size'] == layout.vocab_size


def test_ids_that_differ_in_length_end_with_eos():
  ids = ItemIds(codes=np.array([[0, 1], [1, -1]]), codebook_sizes=(2, 2))
  np.testing.assert_array_equal(
    ids.layout().item_tokens(ids.codes), [[3, 6, EOS_ID], [4, EOS_ID, PAD_ID]]
  )
