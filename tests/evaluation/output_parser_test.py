"""The output parser: a valid result or a named failure, whatever comes."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from genrec_jax.evaluation.output_parser import OutputParser, parse_rating
from genrec_jax.evaluation.outputs import (
  NO_ITEM,
  REASONS,
  DialogueTurn,
  Failure,
  Mention,
  RankedItems,
  Rating,
  Text,
)
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.types import GenrecError

FIRST = 3  # the piece of byte 0
CODES = np.array([[0, 0, 1], [0, 1, 0], [2, 0, 1], [2, 1, 3]])
SHORT_CODES = np.array([[0, 0, 1], [0, 1, -1], [2, -1, -1], [2, 1, 3]])
NAMES = ['Cedar Tent', 'Blue Lamp', 'Näh-Set', 'Kit']


def decode_bytes(tokens):
  """Spells a text by its bytes, a piece each; broken UTF-8 raises."""
  return bytes(token - FIRST for token in tokens).decode('utf-8')


def pieces(text):
  return [FIRST + byte for byte in text.encode('utf-8')]


def make_parser(codes=CODES, names=NAMES):
  ids = ItemIds(codes, (4, 3, 5), np.array([[0]]), (2,))
  layout = ids.layout(FIRST + 256)
  tokens = layout.item_tokens(ids.codes)
  return OutputParser(layout, tokens, decode_bytes, item_names=names), tokens


PARSER, TOKENS = make_parser()
SHORT_PARSER, SHORT_TOKENS = make_parser(SHORT_CODES)
USER_TOKEN = PARSER.layout.user_offsets[0]


@pytest.mark.parametrize(
  'text, value',
  [
    ('4', 4),
    (' 4.5\n', 4.5),
    ('4,5 stars', 4.5),
    ('1 star', 1),
    ('3/5', 3),
    ('3 / 5 Stars', 3),
    ('2 out of 5', 2),
  ],
)
def test_reads_ratings(text, value):
  assert parse_rating(text, (1, 5)) == Rating(value, clamped=False)


@pytest.mark.parametrize('text, value', [('0', 1), ('7.5', 5), ('9' * 400, 5)])
def test_puts_ratings_on_the_scale(text, value):
  assert parse_rating(text, (1, 5)) == Rating(value, clamped=True)


@pytest.mark.parametrize(
  'text',
  [
    '',
    'four',
    '٤',
    '４',
    '4 or 5',
    '-3',
    '+3',
    '1e0',
    '1_0',
    'nan',
    'inf',
    '4.',
  ]
  + ['.5', '4.5.1', '8/10', '4 out of 10', '4 stars 5', '4stars', '$4', '4%'],
)
def test_refuses_what_is_no_rating(text):
  assert parse_rating(text, (1, 5)) == Failure('no_rating', repr(text))


def test_rating_of_tokens():
  assert PARSER.rating(np.array(pieces('4 stars') + [1, 7])) == Rating(4, False)
  assert PARSER.rating(pieces('well')).reason == 'no_rating'


def test_text_ends_at_eos_and_loses_padding():
  assert PARSER.text([0, *pieces(' naïve '), 1, *pieces('x')]) == Text('naïve')


@pytest.mark.parametrize(
  'tokens, reason',
  [
    (pieces('ï')[:1], 'not_text'),
    ([*pieces('a'), *TOKENS[0]], 'item_in_text'),
    ([USER_TOKEN], 'unknown_token'),
    ([-1], 'unknown_token'),
    ([10**6], 'unknown_token'),
    ([0, 1], 'no_text'),
    (pieces(' \n'), 'no_text'),
    ([], 'no_text'),
    ([70.0, 71.0], 'not_tokens'),
    ([True, False], 'not_tokens'),
    ([[70, 71]], 'not_tokens'),
    ([70, [71]], 'not_tokens'),
    (70, 'not_tokens'),
    ('70', 'not_tokens'),
    (None, 'not_tokens'),
  ],
)
def test_names_what_is_wrong_with_a_text(tokens, reason):
  found = PARSER.text(tokens)
  assert isinstance(found, Failure) and found.reason == reason


def test_half_a_surrogate_pair_is_no_text():
  parser = OutputParser(PARSER.layout, TOKENS, lambda tokens: 'a\ud83d')
  assert parser.text([5]).reason == 'not_text'


def test_ranks_items_by_score_and_counts_what_it_leaves_out():
  rows = TOKENS[[3, 0, 0, 1, 2, 2, 2]]
  rows[4, 1:] = pieces('ok')  # half an id, then text
  rows[5] = 0
  rows[6] = [*TOKENS[2, :2], TOKENS[0, 0]]  # codes of no item
  scores = [-3.0, -1.0, -0.5, -np.inf, -0.1, -0.2, -4.0]
  assert PARSER.ranked_items(rows, scores) == RankedItems(
    items=(0, 3), scores=(-0.5, -3.0), hallucinated=2, repeated=1
  )


def test_ranks_items_of_several_lengths():
  found = SHORT_PARSER.ranked_items(SHORT_TOKENS, np.arange(4))
  assert found.items == (3, 2, 1, 0)


@pytest.mark.parametrize(
  'tokens, scores, reason',
  [
    (TOKENS[:2], [0.5, np.nan], 'not_scores'),
    (TOKENS[:2], [0.5], 'not_scores'),
    (TOKENS[:2], ['a', 'b'], 'not_scores'),
    (TOKENS[0], [0.5, 0.5, 0.5], 'not_tokens'),
    (TOKENS[:2].astype(float), [0.5, 0.1], 'not_tokens'),
    ([[5, 5, 5]], [0.5], 'no_item'),
    (TOKENS[:1, :2], [0.5], 'no_item'),
  ],
)
def test_names_what_is_wrong_with_a_ranking(tokens, scores, reason):
  found = PARSER.ranked_items(tokens, scores)
  assert isinstance(found, Failure) and found.reason == reason


def test_beams_that_hold_nothing_are_an_empty_ranking():
  found = PARSER.ranked_items(np.zeros((2, 3), int), [-np.inf, -np.inf])
  assert found == RankedItems((), ())


def test_finds_items_in_a_turn():
  tokens = [*pieces('Try '), *TOKENS[2], *TOKENS[1], *pieces('!'), 1, 0, 0]
  assert PARSER.dialogue_turn(tokens) == DialogueTurn(
    'Try Näh-SetBlue Lamp!', (Mention(2, 4, 11), Mention(1, 11, 20))
  )


@pytest.mark.parametrize(
  'run, mentioned',
  [
    (TOKENS[0][:2], [NO_ITEM]),
    (TOKENS[0][1:], [NO_ITEM]),
    ([*TOKENS[0], TOKENS[0][2]], [NO_ITEM]),
    ([TOKENS[0][0], *TOKENS[2]], [NO_ITEM, 2]),
    ([TOKENS[0][0], 70, *TOKENS[0][1:]], [NO_ITEM, NO_ITEM]),
    ([*TOKENS[0], *TOKENS[0]], [0, 0]),
  ],
)
def test_counts_mentions_of_no_item(run, mentioned):
  turn = PARSER.dialogue_turn([*pieces('See '), *run])
  assert [mention.item for mention in turn.mentions] == mentioned
  assert turn.hallucinated == mentioned.count(NO_ITEM)
  assert turn.items == tuple({item for item in mentioned if item != NO_ITEM})


def test_items_of_several_lengths_in_a_turn():
  rows = [row[row > 1].tolist() for row in SHORT_TOKENS]
  turn = SHORT_PARSER.dialogue_turn([*rows[2], *rows[0], *rows[1]])
  assert turn.items == (2, 0, 1) and not turn.hallucinated


ANY_TOKEN = st.integers(-2, USER_TOKEN + 4)
# Pieces of valid answers, so that many of them are nearly right.
ALMOST = st.lists(
  st.one_of(
    st.sampled_from([row.tolist() for row in TOKENS]),
    st.sampled_from([row.tolist() for row in SHORT_TOKENS]),
    st.text(max_size=4).map(pieces),
    st.lists(ANY_TOKEN, max_size=3),
  ),
  max_size=6,
).map(lambda parts: sum(parts, []))


@st.composite
def cut_short(draw):
  tokens = draw(ALMOST)
  return tokens[: draw(st.integers(0, len(tokens)))]


class Hostile:
  """An answer that cannot even be shown."""

  def __array__(self, *args, **kwargs):
    raise KeyError('no array')

  def __repr__(self):
    raise KeyError('no repr')


GARBAGE = st.one_of(
  st.none(),
  st.text(),
  st.binary(),
  st.floats(),
  st.builds(Hostile),
  st.recursive(
    st.one_of(st.integers(), st.floats(), st.none(), st.text(max_size=2)),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
  ),
  arrays.arrays(
    arrays.scalar_dtypes(), arrays.array_shapes(min_dims=0, min_side=0)
  ),
)
ANSWER = st.one_of(
  cut_short(),
  cut_short().map(lambda tokens: np.array(tokens, np.int32)),
  st.lists(st.integers(), max_size=5),
  GARBAGE,
)
FUZZED = settings(
  max_examples=300,
  deadline=None,
  database=None,
  derandomize=True,
  suppress_health_check=[HealthCheck.too_slow],
)


def valid_or_named(output, kind):
  if isinstance(output, Failure):
    assert output.reason in REASONS and isinstance(output.raw, str)
    assert len(output.raw) < 1000
    return False
  assert type(output) is kind
  return True


@pytest.mark.parametrize('parser', [PARSER, SHORT_PARSER])
@FUZZED
@given(tokens=ANSWER)
def test_any_text_is_valid_or_fails_by_name(parser, tokens):
  text, rating = parser.text(tokens), parser.rating(tokens)
  if valid_or_named(text, Text):
    assert text.text == text.text.strip() != ''
  if valid_or_named(rating, Rating):
    assert 1 <= rating.value <= 5


@pytest.mark.parametrize('parser', [PARSER, SHORT_PARSER])
@FUZZED
@given(tokens=ANSWER)
def test_any_turn_is_valid_or_fails_by_name(parser, tokens):
  turn = parser.dialogue_turn(tokens)
  if valid_or_named(turn, DialogueTurn):
    for mention in turn.mentions:
      name = '@?' if mention.item == NO_ITEM else NAMES[mention.item]
      assert turn.text[mention.start : mention.stop] == name
    assert len(set(turn.items)) == len(turn.items) <= len(turn.mentions)


BEAMS = st.one_of(
  st.lists(st.sampled_from(TOKENS.tolist()), max_size=5),
  st.lists(st.lists(ANY_TOKEN, min_size=4, max_size=4), max_size=4),
  ANSWER,
)
SCORES = st.one_of(st.lists(st.floats(), max_size=5), GARBAGE)


@pytest.mark.parametrize('parser', [PARSER, SHORT_PARSER])
@FUZZED
@given(tokens=BEAMS, scores=SCORES)
def test_any_beams_are_valid_or_fail_by_name(parser, tokens, scores):
  ranking = parser.ranked_items(tokens, scores)
  if valid_or_named(ranking, RankedItems):
    assert set(ranking.items) <= set(range(4))
    assert len(set(ranking.items)) == len(ranking.items) == len(ranking.scores)
    assert list(ranking.scores) == sorted(ranking.scores, reverse=True)
    left_out = ranking.hallucinated + ranking.repeated
    assert len(ranking.items) + left_out <= len(tokens)


@pytest.mark.parametrize(
  'tokens, options, message',
  [
    (TOKENS[[0, 0]], {}, 'Items 0 and 1 have the same tokens'),
    (TOKENS[:, :2], {}, 'do not come from the layout'),
    (TOKENS + 9, {}, 'codes of item'),
    (TOKENS, {'item_names': ['a']}, '1 names for 4 items'),
    (TOKENS, {'scale': (5, 1)}, 'rating scale'),
  ],
)
def test_refuses_items_that_do_not_fit(tokens, options, message):
  with pytest.raises(GenrecError, match=message):
    OutputParser(PARSER.layout, tokens, decode_bytes, **options)
