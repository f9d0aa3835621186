"""A saved trie is the same trie, memory-mapped, or an error that says why."""

import jax
import numpy as np
import pytest

from genrec_jax.decoding.trie_builder import build_trie
from genrec_jax.decoding.trie_files import load_trie, save_trie
from genrec_jax.types import GenrecError


@pytest.mark.parametrize('shared', [False, True])
def test_comes_back_as_it_was(draw_catalogue, trie_kinds, tmp_path, shared):
  item_tokens = draw_catalogue(0, 200, 4, 90, variable=True)
  for name, thresholds in trie_kinds.items():
    trie = build_trie(item_tokens, thresholds=thresholds, shared_leaves=shared)
    save_trie(trie, tmp_path / name, inputs={'ids': 'abc'})
    loaded = load_trie(tmp_path / name)
    assert jax.tree.structure(loaded) == jax.tree.structure(trie)
    for one, two in zip(jax.tree.leaves(loaded), jax.tree.leaves(trie)):
      assert isinstance(one, np.memmap)
      np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(
      jax.device_put(loaded).tokens(np.arange(200)), item_tokens
    )


def test_a_changed_or_missing_file_is_an_error(draw_catalogue, tmp_path):
  save_trie(build_trie(draw_catalogue(0, 50, 3, 20)), tmp_path / 'trie')
  path = tmp_path / 'trie' / 'trie.row_to_item.npy'
  rows = np.load(path)
  np.save(path, rows[::-1])
  with pytest.raises(GenrecError, match='was changed after it was written'):
    load_trie(tmp_path / 'trie')
  np.testing.assert_array_equal(
    load_trie(tmp_path / 'trie', verify=False).row_to_item, rows[::-1]
  )
  path.write_bytes(path.read_bytes()[:100])
  with pytest.raises(GenrecError, match='lacks a whole trie.row_to_item.npy'):
    load_trie(tmp_path / 'trie')
  with pytest.raises(GenrecError, match='No trie at'):
    load_trie(tmp_path)
