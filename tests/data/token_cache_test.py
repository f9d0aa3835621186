"""The token cache gives back what was put in, and refuses to be mixed."""

import json

import numpy as np
import pytest

from genrec_jax.data import token_cache
from genrec_jax.data.token_cache import Ragged, TokenCache, TokenExamples
from genrec_jax.types import GenrecError


def make_examples(rng, num_examples, vocab_size, num_items):
  def rows(stop, longest):
    return Ragged.from_rows(
      rng.integers(0, stop, rng.integers(0, longest + 1))
      for _ in range(num_examples)
    )

  return TokenExamples(
    inputs=rows(vocab_size, 20),
    targets=rows(vocab_size, 4),
    user=np.arange(num_examples, dtype=np.int32),
    target=rng.integers(0, num_items, num_examples, dtype=np.int32),
    tied=rng.random(num_examples) < 0.5,
    history=rows(num_items, 9),
  )


def write(directory, *, vocab_size=128, seed=0, **changes):
  rng = np.random.default_rng(seed)
  num_items = 7
  arguments = {
    'layout': {'vocab_size': vocab_size, 'codebook_sizes': [4, 4]},
    'item_tokens': rng.integers(3, vocab_size, (num_items, 3), np.int32),
    'item_names': [f'item {i}' for i in range(num_items)],
    'examples': {
      'toy_sequential': {
        'train': make_examples(rng, 11, vocab_size, num_items),
        'test': make_examples(rng, 0, vocab_size, num_items),
      }
    },
    'inputs': {'dataset': 'd', 'split': 's', 'ids': 'i'},
  }
  arguments |= changes
  token_cache.write_token_cache(directory, **arguments)
  return arguments


@pytest.mark.parametrize(
  ('vocab_size', 'dtype'), [(1 << 16, np.uint16), ((1 << 16) + 128, np.int32)]
)
def test_gives_back_what_was_written(tmp_path, vocab_size, dtype):
  written = write(tmp_path / 'tokens', vocab_size=vocab_size)
  cache = TokenCache.load(tmp_path / 'tokens', inputs={'ids': 'i'})
  assert cache.layout == written['layout']
  assert cache.item_names == written['item_names']
  np.testing.assert_array_equal(cache.item_tokens, written['item_tokens'])
  assert cache.tasks() == ['toy_sequential']
  assert cache.parts('toy_sequential') == ['train', 'test']
  assert token_cache.vocab_size(tmp_path / 'tokens') == vocab_size
  for part in ('train', 'test'):
    examples = cache.examples('toy_sequential', part)
    assert examples.inputs.values.dtype == dtype
    expected = written['examples']['toy_sequential'][part].arrays()
    for name, array in examples.arrays().items():
      np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_same_content_has_the_same_fingerprint(tmp_path):
  for name, seed in (('one', 0), ('two', 0), ('other', 1)):
    write(tmp_path / name, seed=seed)
  one, two, other = (
    TokenCache.load(tmp_path / name) for name in ('one', 'two', 'other')
  )
  assert one.fingerprint == two.fingerprint != other.fingerprint
  assert one.vocabulary_fingerprint == two.vocabulary_fingerprint


def test_refuses_other_ids(tmp_path):
  write(tmp_path / 'tokens')
  with pytest.raises(GenrecError, match='made from the ids i'):
    TokenCache.load(tmp_path / 'tokens', inputs={'ids': 'other'})


def test_refuses_another_vocabulary(tmp_path):
  write(tmp_path / 'one')
  write(tmp_path / 'two', seed=1)
  one = TokenCache.load(tmp_path / 'one').vocabulary_fingerprint
  TokenCache.load(tmp_path / 'one', vocabulary=one)
  with pytest.raises(GenrecError, match='this run needs'):
    TokenCache.load(tmp_path / 'two', vocabulary=one)
  # A layout copied over from another cache.
  path = tmp_path / 'one' / 'vocabulary.json'
  path.write_text(json.dumps({'vocab_size': 256, 'codebook_sizes': [8]}))
  with pytest.raises(GenrecError, match='the manifest names'):
    TokenCache.load(tmp_path / 'one')


def test_refuses_tokens_beyond_the_vocabulary(tmp_path):
  rng = np.random.default_rng(0)
  examples = make_examples(rng, 5, vocab_size=300, num_items=7)
  with pytest.raises(GenrecError, match=r'expected 0\.\.127'):
    write(tmp_path / 'tokens', examples={'toy': {'train': examples}})
  assert not (tmp_path / 'tokens').exists()


def test_a_cut_file_is_named(tmp_path):
  write(tmp_path / 'tokens')
  path = tmp_path / 'tokens' / 'toy_sequential' / 'train' / 'inputs.npy'
  path.write_bytes(path.read_bytes()[:-10])
  with pytest.raises(GenrecError, match=r'inputs\.npy'):
    TokenCache.load(tmp_path / 'tokens').examples('toy_sequential', 'train')


def test_unknown_task_lists_the_known(tmp_path):
  write(tmp_path / 'tokens')
  cache = TokenCache.load(tmp_path / 'tokens')
  with pytest.raises(GenrecError, match='toy_sequential'):
    cache.examples('toy_top_n', 'train')


def test_padded_rows_by_hand():
  ragged = Ragged.from_rows([[5, 6], [], [7, 8, 9]])
  np.testing.assert_array_equal(
    ragged.padded(np.array([2, -1, 0, 1]), 4),
    [[7, 8, 9, 0], [0, 0, 0, 0], [5, 6, 0, 0], [0, 0, 0, 0]],
  )
  assert ragged[-1].tolist() == [7, 8, 9]
