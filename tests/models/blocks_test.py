"""Blocks of an input, and encoder layers that see one block at a time."""

import dataclasses
import doctest

import flax.core
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.exchange.hugging_face import hugging_face_config
from genrec_jax.models import blocks
from genrec_jax.models.blocks import number_blocks
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import T5Config, Transformer
from genrec_jax.types import GenrecError

# Words 3 .. 9, two levels of codes, users from 30 on.
RANGES = ((10, 20), (20, 30))
CONFIG = T5Config(
  vocab_size=40,
  emb_dim=8,
  num_heads=2,
  head_dim=4,
  mlp_dim=12,
  num_encoder_layers=3,
  num_decoder_layers=1,
  num_block_local_layers=2,
  item_token_ranges=RANGES,
)
INPUTS = np.array(
  [
    [31, 3, 4, 12, 25, 17, 21, 5, 12, 25, 0, 0],
    [3, 4, 17, 21, 12, 25, 19, 29, 13, 20, 5, 6],
  ]
)


def make_model(**choices):
  return EncoderDecoder(Transformer(dataclasses.replace(CONFIG, **choices)))


@pytest.fixture(scope='module')
def params():
  shapes = {f'{side}_input_tokens': (1, 4) for side in ('encoder', 'decoder')}
  init = jax.jit(
    lambda: make_model().get_initial_variables(jax.random.key(0), shapes)
  )
  return flax.core.unfreeze(init()['params'])


def slow_blocks(row, items_per_block):
  """Reads a row from left to right."""
  number, items, before, found = 0, 0, None, []
  for token in row:
    kind = 'pad' if token == 0 else 'item' if 10 <= token < 30 else 'words'
    begins = kind != before
    if kind != 'item':
      items = 0
    elif token < 20:
      begins = begins or items % items_per_block == 0
      items += 1
    number += begins
    before = kind
    found.append(number)
  return found


@pytest.mark.parametrize('items_per_block', [1, 2, 3])
@pytest.mark.parametrize('xp', [np, jnp])
def test_blocks_are_those_of_one_who_reads(items_per_block, xp):
  rng = np.random.default_rng(items_per_block)
  rows = []
  for _ in range(50):
    parts = [
      rng.integers(30, 40, 1)
      if rng.random() < 0.3
      else rng.integers(3, 10, 2)
      if rng.random() < 0.3
      else [rng.integers(10, 20), rng.integers(20, 30)]
      for _ in range(rng.integers(0, 11))
    ]
    row = [int(token) for part in parts for token in part]
    rows.append(row + [0] * (24 - len(row)))
  found = number_blocks(xp.asarray(rows), RANGES, items_per_block, xp=xp)
  assert found.dtype == np.int32
  assert found.tolist() == [slow_blocks(row, items_per_block) for row in rows]


def test_examples_of_docstrings():
  assert doctest.testmod(blocks).failed == 0


def encode_blocks(model, params, tokens):
  run = jax.jit(model.encode_blocks)
  return np.asarray(run(params, np.asarray(tokens)))


@pytest.mark.parametrize('items_per_block', [1, 2])
def test_what_is_made_of_a_block_depends_on_nothing_else(
  params, items_per_block
):
  """A block alone in a row gives the same as between others, anywhere."""
  model = make_model(items_per_block=items_per_block)
  whole = encode_blocks(model, params, INPUTS)
  numbers = number_blocks(INPUTS, RANGES, items_per_block, xp=np)
  alone, places = [], []
  for row in range(len(INPUTS)):
    for number in np.unique(numbers[row][INPUTS[row] != 0]):
      at = np.flatnonzero(numbers[row] == number)
      alone.append(np.pad(INPUTS[row, at], (0, 12 - len(at))))
      places.append((row, at))
  assert len(alone) > 6
  states = encode_blocks(model, params, alone)
  for state, (row, at) in zip(states, places):
    np.testing.assert_allclose(state[: len(at)], whole[row, at], atol=1e-6)


def test_layers_above_see_everything(params):
  """Else the last item would not know of the first."""
  model = make_model()

  @jax.jit
  def encode(tokens):
    return model.module.apply(
      {'params': params},
      tokens,
      enable_dropout=False,
      method=model.module.encode,
    )

  other = INPUTS.copy()
  other[:, 1] = 9
  change = np.abs(encode(INPUTS) - encode(other)).max(axis=-1)
  assert (change[:, 8:] > 1e-6)[INPUTS[:, 8:] != 0].all()


def test_logits_of_kept_states_are_those_of_all_layers(params):
  model = make_model()
  batch = {'encoder_input_tokens': INPUTS}
  steps = np.array([[0, 12], [0, 17]])

  @jax.jit
  def run(params, batch):
    step, cache = model.start_decoding(params, batch)
    return step(steps, cache)[0]

  states = encode_blocks(model, params, INPUTS)
  np.testing.assert_allclose(
    run(params, {**batch, 'block_states': states}),
    run(params, batch),
    atol=1e-5,
  )
  # They are used: others give other logits.
  wrong = run(params, {**batch, 'block_states': states[::-1]})
  assert np.abs(wrong - run(params, batch)).max() > 1e-3


def test_packed_rows_have_the_blocks_of_their_examples(params):
  model = make_model(items_per_block=3)
  first, second = INPUTS[0, :10], INPUTS[1]
  packed = np.concatenate([first, second])[None]
  segments = np.array([1] * 10 + [2] * 12)[None]

  @jax.jit
  def encode(tokens, segments=None):
    return model.module.apply(
      {'params': params},
      tokens,
      segments,
      enable_dropout=False,
      method=model.module.encode,
    )

  whole = encode(packed, segments)[0]
  np.testing.assert_allclose(whole[:10], encode(first[None])[0], atol=1e-5)
  np.testing.assert_allclose(whole[10:], encode(second[None])[0], atol=1e-5)


def test_all_layers_may_see_blocks_alone_and_remat_changes_nothing(params):
  model = make_model(num_block_local_layers=3)
  again = make_model(num_block_local_layers=3, remat_policy='full')
  whole = encode_blocks(model, params, INPUTS)
  assert np.array_equal(whole, encode_blocks(again, params, INPUTS))


@pytest.mark.parametrize(
  'choices, message',
  [
    ({'num_block_local_layers': 4}, 'from 0 to the 3 layers'),
    ({'num_block_local_layers': -1}, 'from 0 to the 3 layers'),
    ({'item_token_ranges': ()}, 'train.item_token_ranges'),
    ({'items_per_block': 0}, 'at least one item a block'),
    ({'scan_layers': True}, 'scan_layers = False'),
  ],
)
def test_what_cannot_be_is_refused(choices, message):
  with pytest.raises(GenrecError, match=message):
    make_model(**choices)


def test_a_model_without_such_layers_keeps_nothing(params):
  model = make_model(num_block_local_layers=0)
  with pytest.raises(GenrecError, match='no layers that see blocks alone'):
    model.encode_blocks(params, INPUTS)


def test_hugging_face_has_no_such_layers():
  with pytest.raises(GenrecError, match='num_block_local_layers=2'):
    hugging_face_config(CONFIG)
