import copy

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from genrec_jax.ids.item_ids import TokenLayout
from genrec_jax.tasks import vocabulary
from genrec_jax.tasks.vocabulary import RecommendationVocabulary
from genrec_jax.types import EOS_ID, PAD_ID, UNK_ID, GenrecError

TEXTS = ['What comes next?', 'Choose an item for the user', 'Crème 50 ml'] * 9


def make(text=True, **kwargs) -> RecommendationVocabulary:
  model = vocabulary.train_text_model(TEXTS, 400) if text else None
  layout = TokenLayout(
    num_text_tokens=vocabulary.count_pieces(model) if text else 3,
    codebook_sizes=(11, 5),
    user_codebook_sizes=(4,),
    **kwargs,
  )
  return RecommendationVocabulary(layout, model)


VOCABULARY = make()


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=['Cs', 'Cc'])))
def test_no_text_is_lost(text):
  assert VOCABULARY.decode(VOCABULARY.encode_text(text)) == text


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_encoding_is_the_inverse_of_decoding_what_prompts_hold(data):
  layout = VOCABULARY.layout
  codes = st.integers(layout.num_text_tokens, layout.num_tokens - 1)
  text = st.sampled_from(TEXTS + ['?', 'عربى', '☃']).map(VOCABULARY.encode_text)
  runs = data.draw(st.lists(st.lists(codes, min_size=1), max_size=4))
  tokens = []
  for run in runs:
    tokens += data.draw(text) + run
  assert VOCABULARY.encode(VOCABULARY.decode(tokens)) == tokens


def test_ids_read_as_level_and_code():
  tokens = VOCABULARY.layout.item_tokens(np.array([[10, 4]]))
  user = VOCABULARY.layout.user_tokens(np.array([[3]]))
  assert VOCABULARY.decode(tokens) == ['<i0:10><i1:4>']
  assert VOCABULARY.decode(user[0]) == '<u0:3>'


def test_text_that_looks_like_an_id_stays_text():
  tokens = VOCABULARY.encode_text('<i0:10>')
  assert max(tokens) < VOCABULARY.layout.num_text_tokens
  assert VOCABULARY.encode('<i0:10>') != tokens


def test_decoding_takes_one_sequence_or_beams_of_any_kind():
  rows = VOCABULARY.layout.item_tokens(np.array([[0, 1], [2, 3]]))
  expected = ['<i0:0><i1:1>', '<i0:2><i1:3>']
  assert VOCABULARY.decode(rows) == expected
  assert VOCABULARY.decode(rows.tolist()) == expected
  assert VOCABULARY.decode(tf.constant(rows)) == expected
  assert VOCABULARY.decode(rows[0]) == expected[0]


def test_decoding_ends_at_eos_and_survives_what_is_no_token():
  first, second = VOCABULARY.layout.item_tokens(np.array([[0, 1]]))[0]
  assert VOCABULARY.decode([first, EOS_ID, second]) == '<i0:0>'
  assert VOCABULARY.decode([PAD_ID, first, -1]) == '<i0:0>'
  beyond = VOCABULARY.vocab_size - 1
  assert VOCABULARY.decode([beyond]) == VOCABULARY.decode([UNK_ID])


def test_the_graph_mode_agrees_with_python():
  text = 'What comes next?<i0:3><i1:2> Crème ☃<u0:1>'
  tokens = VOCABULARY.encode(text)
  encode = tf.function(VOCABULARY.encode_tf)
  decode = tf.function(VOCABULARY.decode_tf)
  encode_text = tf.function(VOCABULARY.encode_text_tf)
  assert encode(tf.constant(text)).numpy().tolist() == tokens
  assert decode(tf.constant(tokens)).numpy().decode() == text
  assert [t.decode() for t in decode(tf.constant([tokens] * 2)).numpy()] == [
    text
  ] * 2
  assert encode_text(tf.constant(text)).numpy().tolist() == (
    VOCABULARY.encode_text(text)
  )


def test_a_vocabulary_without_text_has_codes_alone():
  plain = make(text=False)
  assert plain.encode('<i0:0><u0:3>') == [3, 22]
  assert plain.decode([3, 22]) == '<i0:0><u0:3>'
  assert plain.vocab_size == 128
  with pytest.raises(GenrecError, match='no text pieces'):
    plain.encode_text('word')


def test_training_the_text_model_is_deterministic():
  assert VOCABULARY.text_model == vocabulary.train_text_model(TEXTS, 400)


@pytest.mark.parametrize(
  'texts, pieces, complaint',
  [([' '], 400, 'text_pieces=0'), (TEXTS, 200, 'at least 300')],
)
def test_too_little_to_learn_from_says_so(texts, pieces, complaint):
  with pytest.raises(GenrecError, match=complaint):
    vocabulary.train_text_model(texts, pieces)


def test_a_text_model_of_another_layout_is_refused():
  with pytest.raises(GenrecError, match='token layout is for 3'):
    RecommendationVocabulary(TokenLayout(), VOCABULARY.text_model)


def test_copies_are_equal_and_others_are_not():
  assert copy.deepcopy(VOCABULARY) == VOCABULARY != make(text=False)
