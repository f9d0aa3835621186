"""The search behind T5X's calling convention."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.decoding.beam_search import beam_search
from genrec_jax.decoding.t5x import make_decode_fn
from genrec_jax.decoding.trie_builder import build_trie
from genrec_jax.types import GenrecError

VOCAB_SIZE = 12


@pytest.mark.parametrize('cache_offset', [0, 1])
def test_decode_fn_keeps_the_contract_of_t5x(
  toy_model, draw_catalogue, cache_offset
):
  """Ascending, padded, K rows a request from the first step, caches scanned."""
  item_tokens = draw_catalogue(7, 30, 3, VOCAB_SIZE)
  trie = build_trie(item_tokens)
  model = toy_model(batch_size=2, vocab_size=VOCAB_SIZE)

  def with_layers(cache, times):
    if not cache_offset:
      return cache
    change = (lambda x: x[None]) if times > 0 else (lambda x: x[0])
    return jax.tree.map(change, cache)

  def tokens_to_logits(state):
    assert state.cur_token.shape == (2 * 5, 1)
    logits, cache = model.tokens_to_logits(
      state.cur_token, with_layers(state.cache, -1)
    )
    return logits[:, 0], with_layers(cache, 1)

  decodes, scores = jax.jit(
    lambda cache: make_decode_fn(trie)(
      inputs=jnp.zeros((2, 6), jnp.int32),
      cache=cache,
      tokens_to_logits=tokens_to_logits,
      num_decodes=5,
      cache_offset=cache_offset,
      eos_id=1,
      decode_rng=None,
    )
  )(with_layers(model.cache(), 1))
  run = functools.partial(beam_search, batch_size=2, num_beams=5)
  found = jax.jit(lambda cache: run(trie, model.tokens_to_logits, cache))(
    model.cache()
  )
  np.testing.assert_array_equal(decodes[:, ::-1, :3], found.tokens)
  assert decodes.shape == (2, 5, 6) and not decodes[..., 3:].any()
  np.testing.assert_allclose(scores[:, ::-1], found.scores, rtol=1e-6)


def test_decode_fn_refuses_targets_shorter_than_an_item(draw_catalogue):
  decode = make_decode_fn(build_trie(draw_catalogue(0, 5, 3, 9)))
  with pytest.raises(GenrecError, match='length 2, expected at least 3'):
    decode(jnp.zeros((1, 2), jnp.int32), {}, None)
