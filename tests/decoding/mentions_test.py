"""Mentions in text are items, whatever the model says; nothing else changes."""

import functools
import math

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies

from genrec_jax.decoding.constraints import make_views
from genrec_jax.decoding.mentions import (
  Mention,
  find_items,
  find_mentions,
  invented_share,
  mention_grammar,
)
from genrec_jax.decoding.sampling import Sampling, generate, request_keys
from genrec_jax.decoding.text_beam import text_beam_search
from genrec_jax.decoding.trie_builder import build_trie
from genrec_jax.ids.item_ids import TokenLayout
from genrec_jax.types import EOS_ID, PAD_ID, GenrecError

NUM_ITEMS, BATCH_SIZE, LENGTH = 60, 2, 14
# The last level is wider than a word of a bitmap.
SIZES = (5, 4, 40)
LAYOUTS = {
  variable: TokenLayout(
    num_text_tokens=9,
    codebook_sizes=SIZES,
    user_codebook_sizes=(3,),
    variable_length=variable,
  )
  for variable in (False, True)
}
VOCAB_SIZE = LAYOUTS[True].vocab_size
TEXT = {EOS_ID, *range(3, 9)}


def draw_codes(seed, variable):
  """Distinct ids; where lengths differ, some are the beginning of others."""
  rng = np.random.default_rng(seed)
  rows = {(0, 0, 0), (0, 0, 1), (0, 1, 5)}
  if variable:
    rows |= {(0, -1, -1), (0, 0, -1), (3, -1, -1)}
  while len(rows) < NUM_ITEMS:
    row = (rng.random(3) ** 2 * SIZES).astype(int)
    if variable:
      row[rng.integers(1, 4) :] = -1
    rows.add(tuple(row.tolist()))
    rows.discard((1, -1, -1))  # which is no item anywhere
  return rng.permutation(sorted(rows)).astype(np.int32)


CODES = {variable: draw_codes(5, variable) for variable in (False, True)}
TRIES = {
  variable: build_trie(
    layout.item_tokens(CODES[variable]), blocks=layout.item_blocks
  )
  for variable, layout in LAYOUTS.items()
}


class SlowGrammar:
  """The same by looking through all items at every step."""

  def __init__(self, variable, allowed=range(NUM_ITEMS)):
    offsets = LAYOUTS[variable].level_offsets
    self.items = {
      tuple(code + offset for code, offset in zip(row, offsets) if code >= 0)
      for row in CODES[variable][list(allowed)].tolist()
    }
    self.blocks = LAYOUTS[variable].item_blocks[:3]

  def legal(self, tokens, room):
    """The tokens that may follow, as a set."""
    mention = []
    for token in reversed(tokens):
      if token not in range(self.blocks[0].start, self.blocks[-1].stop):
        break
      mention.insert(0, token)
      if token in self.blocks[0]:
        break
    size = len(mention)
    legal = {
      item[size]
      for item in self.items
      if size and len(item) > size and item[:size] == tuple(mention)
    }
    if not mention or tuple(mention) in self.items:
      legal |= TEXT
      if room >= len(SIZES):
        legal |= {item[0] for item in self.items}
    return legal

  def check(self, tokens):
    """Asserts that each token up to the end of a text was legal."""
    for place, token in enumerate(tokens):
      assert token in self.legal(tokens[:place], len(tokens) - place)
      if token == EOS_ID:
        break


@pytest.mark.parametrize(
  ('kind', 'variable'),
  [
    ('default', False),
    ('default', True),
    ('dense', True),
    ('sparse', False),
    ('exceptions', True),
    ('hybrid', True),
  ],
)
def test_what_is_legal_at_each_step(trie_kinds, kind, variable):
  """On random ways, with items excluded and views, for each kind of level."""
  layout, rng = LAYOUTS[variable], np.random.default_rng(0)
  trie = build_trie(
    layout.item_tokens(CODES[variable]),
    blocks=layout.item_blocks,
    thresholds=trie_kinds[kind],
  )
  # Four requests: all items; some; some of a view; none.
  exclude = np.full((4, NUM_ITEMS), -1, np.int32)
  exclude[1:3, :30] = rng.permutation(NUM_ITEMS)[:30]
  exclude[3] = np.arange(NUM_ITEMS)
  view = np.arange(NUM_ITEMS) % 2 == 0
  grammar = mention_grammar(
    trie,
    layout,
    exclude=exclude,
    views=make_views(trie, view[None]),
    view=np.array([-1, -1, 0, -1]),
  )
  slow = [
    SlowGrammar(variable, set(range(NUM_ITEMS)) - set(excluded) - unseen)
    for excluded, unseen in zip(
      exclude.tolist(), [set(), set(), set(np.flatnonzero(~view)), set()]
    )
  ]
  slow = [of_request for of_request in slow for _ in range(10)]
  texts = [[] for _ in slow]

  @jax.jit
  def step(grammar, state, token, room):
    state = grammar.advance(state, token)
    return state, grammar.legal(state, room)

  state, token = grammar.start(len(slow)), np.full(len(slow), PAD_ID)
  for room in range(LENGTH, 0, -1):
    state, legal = step(grammar, state, token, room)
    for row, text in enumerate(texts):
      expected = sorted(slow[row].legal(text, room))
      assert np.flatnonzero(legal[row]).tolist() == expected
      # Codes rather than text, so that mentions are many.
      likely = [code for code in expected if code >= 9] or expected
      text.append(int(rng.choice(likely if rng.random() < 0.8 else expected)))
    token = np.array([text[-1] for text in texts])


def table_model(tokens, cache, block=None):
  """A model that knows the last token alone, by a table a row."""
  table = cache['table']
  return table[jnp.arange(len(tokens))[:, None], tokens], cache


def draw_table(seed):
  table = np.random.default_rng(seed).normal(
    size=(BATCH_SIZE, VOCAB_SIZE, VOCAB_SIZE)
  )
  table[..., EOS_ID] -= 1
  return {'table': (2 * table).astype(np.float32)}


GREEDY = jax.jit(
  functools.partial(generate, table_model, batch_size=BATCH_SIZE, length=LENGTH)
)
DRAW = jax.jit(
  functools.partial(
    generate, table_model, batch_size=BATCH_SIZE, length=LENGTH, num_samples=4
  )
)
FEW = hypothesis.settings(max_examples=20, deadline=None, derandomize=True)


@FEW
@hypothesis.given(
  seed=strategies.integers(0, 1000), variable=strategies.booleans()
)
def test_no_logits_invent_an_item(seed, variable):
  trie, layout = TRIES[variable], LAYOUTS[variable]
  texts = DRAW(
    draw_table(seed),
    keys=request_keys(jax.random.key(seed), np.arange(BATCH_SIZE)),
    sampling=Sampling(temperature=0.5 + seed % 3),
    grammar=mention_grammar(trie, layout),
  )
  tokens = np.asarray(texts.tokens).reshape(-1, LENGTH)
  mentions = find_mentions(trie, layout, tokens)
  assert len(mentions) > 5
  assert invented_share(mentions) == 0.0
  # Also in the words of a reference that has neither trie nor mentions.
  slow = SlowGrammar(variable)
  for text in tokens.tolist():
    slow.check(text)


@FEW
@hypothesis.given(
  seed=strategies.integers(0, 1000), variable=strategies.booleans()
)
def test_greedy_texts_are_those_of_a_slow_reference(seed, variable):
  cache, slow = draw_table(seed), SlowGrammar(variable)
  grammar = mention_grammar(TRIES[variable], LAYOUTS[variable])
  found = np.asarray(GREEDY(cache, grammar=grammar).tokens)[:, 0].tolist()
  for table, text in zip(cache['table'], found):
    expected = []
    while len(expected) < LENGTH and EOS_ID not in expected:
      logits = table[expected[-1] if expected else PAD_ID]
      legal = slow.legal(expected, LENGTH - len(expected))
      expected.append(max(legal, key=lambda token: logits[token]))
    assert text == expected + [PAD_ID] * (LENGTH - len(expected))


@pytest.mark.parametrize('variable', [False, True])
def test_every_item_can_be_mentioned(variable):
  """Before, between and after text, and one after the other."""
  layout = LAYOUTS[variable]
  slow = SlowGrammar(variable)
  named = sorted(slow.items)
  scripts = np.full((NUM_ITEMS, LENGTH), PAD_ID, np.int32)
  for row, (first, second) in enumerate(zip(named, named[1:] + named)):
    text = [*first, 3, 8, *first, *second, 4, EOS_ID]
    scripts[row, : len(text)] = text

  def by_script(tokens, cache, block=None):
    del tokens, block
    script, place = cache['script'], cache['place']
    wanted = jnp.take_along_axis(script, place[:, None], axis=1)
    logits = 9.0 * jax.nn.one_hot(wanted, VOCAB_SIZE)
    return logits, {'script': script, 'place': place + 1}

  run = jax.jit(
    functools.partial(generate, by_script, batch_size=NUM_ITEMS, length=LENGTH)
  )
  cache = {'script': scripts, 'place': np.zeros(NUM_ITEMS, np.int32)}
  grammar = mention_grammar(TRIES[variable], layout)
  found = run(cache, grammar=grammar).tokens[:, 0]
  np.testing.assert_array_equal(found, scripts)


def test_beams_hold_their_own_places_in_the_trie():
  trie, layout = TRIES[True], LAYOUTS[True]
  search = jax.jit(
    functools.partial(
      text_beam_search,
      table_model,
      batch_size=BATCH_SIZE,
      length=LENGTH,
      num_beams=6,
    )
  )
  slow, count = SlowGrammar(True), 0
  for seed in range(5):
    found = search(draw_table(seed), grammar=mention_grammar(trie, layout))
    assert (found.log_probabilities > -math.inf).all()
    tokens = np.asarray(found.tokens).reshape(-1, LENGTH)
    mentions = find_mentions(trie, layout, tokens)
    count += len(mentions)
    assert all(mention.item >= 0 for mention in mentions)
    for text in tokens.tolist():
      slow.check(text)
  assert count > 50


def test_mentions_are_found_and_counted():
  layout = LAYOUTS[True]
  trie = TRIES[True]
  item_of = {tuple(row): item for item, row in enumerate(CODES[True].tolist())}
  a, b, c = layout.level_offsets
  texts = np.array(
    [
      # An item, one inside its beginning, and one at the end of the text.
      [a, b, c + 1, a, 4, a, b, 5, a + 3, EOS_ID],
      # One that goes on too long, a code without an opener, one cut short.
      [a, b, c, c, 3, b, 3, 4, a + 1, PAD_ID],
      [3, 4, 5, EOS_ID, PAD_ID, PAD_ID, PAD_ID, PAD_ID, PAD_ID, PAD_ID],
    ]
  )
  found = find_mentions(trie, layout, texts)
  assert found == [
    Mention(0, 0, 3, item_of[0, 0, 1]),
    Mention(0, 3, 4, item_of[0, -1, -1]),
    Mention(0, 5, 7, item_of[0, 0, -1]),
    Mention(0, 8, 9, item_of[3, -1, -1]),
    Mention(1, 0, 4, -1),
    Mention(1, 5, 6, -1),
    Mention(1, 8, 9, -1),
  ]
  assert invented_share(found) == pytest.approx(3 / 7)
  assert math.isnan(invented_share([]))


@pytest.mark.parametrize('variable', [False, True])
def test_items_are_found_by_their_tokens(variable):
  layout, codes = LAYOUTS[variable], CODES[variable]
  named = [
    [
      code + offset
      for code, offset in zip(row, layout.level_offsets)
      if code >= 0
    ]
    for row in codes.tolist()
  ]
  others = [[], [3], named[0] + named[0], [EOS_ID], [PAD_ID, PAD_ID], [10**6]]
  found = find_items(TRIES[variable], layout, named + others)
  assert found.tolist() == [*range(NUM_ITEMS), *[-1] * len(others)]


def test_a_trie_of_another_layout_is_an_error():
  with pytest.raises(GenrecError, match='Got a trie over the tokens'):
    mention_grammar(TRIES[False], LAYOUTS[True])
