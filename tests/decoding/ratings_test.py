"""Answers are scored as the loss scores them; ratings are their mean."""

import jax
import numpy as np
import pytest

from genrec_jax.decoding.ratings import (
  expected_value,
  pad_candidates,
  score_candidates,
)
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import T5Config, Transformer
from genrec_jax.types import GenrecError

MODEL = EncoderDecoder(
  Transformer(
    T5Config(
      vocab_size=16,
      emb_dim=16,
      num_heads=2,
      head_dim=8,
      mlp_dim=32,
      num_encoder_layers=1,
      num_decoder_layers=1,
    )
  )
)
INPUTS = np.array([[4, 9, 7, 1, 0], [5, 0, 0, 0, 0]], np.int32)
# All answers in one table, so that they are scored by one pass.
ANSWERS = {
  'one token each': [[5], [6], [7]],
  'the first in common': [[3, 5, 1], [3, 6, 1], [3, 7, 8, 9, 1]],
  'nothing in common': [[4, 1], [5, 6, 7, 1], [8, 4, 1]],
  'one begins the other': [[7, 9], [7, 9, 2, 3]],
  'only one': [[9, 4, 1]],
}


@pytest.fixture(scope='module')
def params():
  shapes = {
    name: (1, 4) for name in ('encoder_input_tokens', 'decoder_input_tokens')
  }
  return jax.jit(
    lambda: MODEL.get_initial_variables(jax.random.key(0), shapes)['params']
  )()


@pytest.fixture(scope='module')
def losses(params):
  """What the loss says of each answer after each input."""
  answers = [tuple(answer) for group in ANSWERS.values() for answer in group]
  targets = np.tile(pad_candidates(answers), (2, 1))
  scores = jax.jit(MODEL.score_batch)(
    params,
    {
      'encoder_input_tokens': np.repeat(INPUTS, len(answers), axis=0),
      'decoder_input_tokens': np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
      'decoder_target_tokens': targets,
      'decoder_loss_weights': (targets != 0).astype(np.int32),
    },
  )
  return dict(zip(answers, np.asarray(scores).reshape(2, -1).T))


@pytest.mark.parametrize('group', ANSWERS)
def test_answers_are_scored_as_the_loss_scores_them(params, losses, group):
  answers = ANSWERS[group]
  scores = score_candidates(
    MODEL,
    params,
    {'encoder_input_tokens': INPUTS},
    pad_candidates(answers),
  )
  expected = np.stack([losses[tuple(answer)] for answer in answers], axis=1)
  np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


def test_expected_values_by_hand():
  scores = np.array([np.log([0.02, 0.06]), [-3.0, -np.inf]])
  # A quarter and three quarters; 'yes' against 'no' is a value of 1 and 0.
  np.testing.assert_allclose(expected_value(scores, [1, 5]), [4, 1], 1e-6)
  np.testing.assert_allclose(expected_value(scores, [1, 0]), [0.25, 1], 1e-6)


@pytest.mark.parametrize(
  ('candidates', 'message'),
  [
    ([[5, 0, 6]], r'Candidate 0 is \[5, 0, 6\]'),
    ([[5, 6], [0, 0]], r'Candidate 1 is \[0, 0\]'),
    (np.zeros((0, 2)), r'shape \(0, 2\)'),
  ],
)
def test_wrong_candidates_are_errors(params, candidates, message):
  batch = {'encoder_input_tokens': INPUTS}
  with pytest.raises(GenrecError, match=message):
    score_candidates(MODEL, params, batch, np.array(candidates))


def test_values_must_be_as_many_as_candidates():
  with pytest.raises(GenrecError, match='Got 3 values for 2 candidates'):
    expected_value(np.zeros((1, 2)), [1, 2, 3])
