"""States of blocks: those of the whole input, computed once, in little room."""

import flax.core
import jax
import numpy as np
import pytest

from genrec_jax.decoding.block_states import BlockStates
from genrec_jax.decoding.recommend import make_recommend_fn
from genrec_jax.decoding.trie_builder import build_trie
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import T5Config, Transformer
from genrec_jax.types import GenrecError

# Words 3 .. 9 and two levels of ten codes.
SIZES = dict(
  vocab_size=32,
  emb_dim=8,
  num_heads=2,
  head_dim=4,
  mlp_dim=12,
  num_encoder_layers=2,
  num_decoder_layers=1,
  item_token_ranges=((10, 20), (20, 30)),
)
MODELS = {
  number: EncoderDecoder(
    Transformer(
      T5Config(**SIZES, num_block_local_layers=1, items_per_block=number)
    )
  )
  for number in (1, 2)
}
ITEMS = np.array([[10 + i % 10, 20 + i // 2] for i in range(20)], np.int32)


@pytest.fixture(scope='module')
def params():
  shapes = {f'{side}_input_tokens': (1, 4) for side in ('encoder', 'decoder')}
  init = jax.jit(
    lambda: MODELS[1].get_initial_variables(jax.random.key(0), shapes)
  )
  return flax.core.unfreeze(init()['params'])


@pytest.fixture(scope='module')
def encode_blocks():
  """The first layers over a whole input, jitted once a model."""
  return {
    number: jax.jit(model.encode_blocks) for number, model in MODELS.items()
  }


def draw(rng, num_rows, width=16):
  """Draws inputs of words, items, and words that are longer than a page."""
  rows = []
  for _ in range(num_rows):
    items = ITEMS[rng.integers(0, len(ITEMS), rng.integers(0, 5))]
    words = [3, 4, 5, 6, 7, 8][: rng.integers(1, 7)]
    row = [*words[:1], *items.reshape(-1).tolist(), *words]
    rows.append(row + [0] * (width - len(row)))
  return np.array(rows, np.int32)


@pytest.mark.parametrize('items_per_block', [1, 2])
@pytest.mark.parametrize('num_pages', [200, 14])
def test_states_are_those_of_the_whole_input(
  params, encode_blocks, items_per_block, num_pages
):
  """In little room too, where blocks give way and are computed again."""
  states = BlockStates(MODELS[items_per_block], params, num_pages=num_pages)
  rng = np.random.default_rng(0)
  batches = [draw(rng, 2) for _ in range(12)]
  for tokens in batches:
    rows = states.rows(tokens)
    found = np.asarray(states.table)[rows]
    whole = np.asarray(encode_blocks[items_per_block](params, tokens))
    real = tokens != 0
    np.testing.assert_allclose(found[real], whole[real], atol=1e-6)
  asked = sum(np.count_nonzero(tokens) for tokens in batches)
  computed = states.computed
  assert states.asked == asked > computed > 0
  for tokens in batches:
    states.rows(tokens)
  assert (states.computed == computed) == (num_pages == 200)


def test_a_block_that_was_asked_for_last_stays(params):
  states = BlockStates(MODELS[1], params, num_pages=3)
  one, two, three, four = ITEMS[:4, None].tolist()
  for item, computed in (
    *((one, 2), (two, 4), (three, 6), (one, 6)),
    *((four, 8), (one, 8), (three, 8), (two, 10), (four, 12)),
  ):
    states.rows(np.array(item))
    assert states.computed == computed


def test_a_known_catalogue_and_a_longer_history_compute_little(params):
  states = BlockStates(MODELS[1], params, num_pages=30)
  states.add_items(ITEMS)
  assert states.computed == ITEMS.size and len(states) == len(ITEMS)
  history = [3, *ITEMS[:4].reshape(-1).tolist(), 5]
  states.rows(np.array([history + [0] * 4]))
  assert states.computed == ITEMS.size + 2  # the words
  states.rows(np.array([history[:-1] + ITEMS[7].tolist() + [5, 0, 0]]))
  assert states.computed == ITEMS.size + 2


def test_lists_are_those_of_all_layers(params):
  recommend = make_recommend_fn(MODELS[1], build_trie(ITEMS), num_beams=20)
  states = BlockStates(MODELS[1], params, num_pages=40)
  batch = {'encoder_input_tokens': draw(np.random.default_rng(1), 3)}
  exclude = np.array([[0, 3], [5, -1], [-1, -1]], np.int32)
  expected = recommend(params, batch, exclude)
  found = states.recommending(recommend)(params, batch, exclude)
  np.testing.assert_array_equal(found.items, expected.items)
  np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
  with pytest.raises(GenrecError, match='other parameters'):
    states.recommending(recommend)(dict(params), batch)


def test_what_cannot_be_is_refused(params):
  plain = EncoderDecoder(Transformer(T5Config(**SIZES)))
  with pytest.raises(GenrecError, match='no layers that see blocks alone'):
    BlockStates(plain, params, num_pages=3)
  with pytest.raises(GenrecError, match='num_pages=0'):
    BlockStates(MODELS[1], params, num_pages=0)
  with pytest.raises(GenrecError, match='Blocks are of 2 items'):
    BlockStates(MODELS[2], params, num_pages=3).add_items(ITEMS)
  with pytest.raises(GenrecError, match='take 4 pages, but .* has 3'):
    BlockStates(MODELS[1], params, num_pages=3).rows(ITEMS[:4])
