"""What a checkpoint says to the examples of each kind of task."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.answering import texts
from genrec_jax.answering.answer import answer
from genrec_jax.answering.choices import score_choices
from genrec_jax.answering.facts import choose_tasks, sample_examples
from genrec_jax.answering.prompts import TextPieces, spell_prompt
from genrec_jax.data.batches import eval_batches
from genrec_jax.data.token_cache import Ragged, TokenExamples
from genrec_jax.decoding.recommend import take_examples
from genrec_jax.evaluation.outputs import Failure
from genrec_jax.types import GenrecError


def first(run, task, count, part='validation'):
  return take_examples(run.cache.examples(task, part), range(count))


def score_targets(run, examples):
  """The log-probabilities of targets, by teacher forcing."""
  scores = np.zeros(len(examples))
  for index, batch in eval_batches(examples, batch_size=len(examples)):
    scores[index] = run.model.score_batch(run.params, batch)
  return scores


def test_choices_are_scored_as_targets_are(run):
  examples, facts = first(run, 'rating', 8), run.facts('rating')
  scores = score_choices(run, facts, examples)
  assert [text for text, _, _ in facts.choices] == ['1', '2', '3', '4', '5']
  for place, (_, _, tokens) in enumerate(facts.choices):
    targets = Ragged.from_rows([tokens] * len(examples))
    forced = score_targets(run, dataclasses.replace(examples, targets=targets))
    np.testing.assert_allclose(scores[:, place], forced, atol=1e-4)
  answers = answer(run, 'rating', examples)
  shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
  np.testing.assert_allclose(
    answers.expected, shares @ np.arange(1, 6), rtol=1e-5
  )


def test_yes_has_the_rest_of_no(run):
  examples = first(run, 'rating_yes_no', 8)
  facts = run.facts('rating_yes_no')
  answers = answer(run, 'rating_yes_no', examples)
  no, yes = score_choices(run, facts, examples).T
  np.testing.assert_allclose(answers.log_odds, yes - no, atol=1e-5)
  np.testing.assert_allclose(
    answers.yes, np.exp(yes) / (np.exp(yes) + np.exp(no)), rtol=1e-4
  )


def test_no_reply_invents_an_item_but_without_the_trie(run):
  examples = first(run, 'conversation_reply', 4)
  drawn = texts.TextDecoding(temperature=3.0, num_samples=4, max_length=16)
  replies = answer(run, 'conversation_reply', examples, text_decoding=drawn)
  free = dataclasses.replace(drawn, free_mentions=True)
  invented = answer(run, 'conversation_reply', examples, text_decoding=free)

  def count(answers, name):
    said = [one for outputs in answers.outputs for one in outputs]
    assert len(said) == 16 and not any(isinstance(s, Failure) for s in said)
    return sum(getattr(one, name) for one in said)

  mentions = sum(
    len(one.mentions) for outputs in replies.outputs for one in outputs
  )
  assert mentions > 0 and count(replies, 'hallucinated') == 0
  assert count(invented, 'hallucinated') > 0


def test_texts_are_drawn_by_seed(run):
  examples = first(run, 'summary', 5)

  def draw(seed):
    decoding = texts.TextDecoding(top_p=0.9, seed=seed, max_length=6)
    return answer(run, 'summary', examples, text_decoding=decoding)

  assert np.array_equal(draw(1).tokens, draw(1).tokens)
  assert not np.array_equal(draw(1).tokens, draw(2).tokens)
  # As many rows as examples, though the batch has eight for eight devices.
  assert draw(1).tokens.shape == (5, 1, 6)


def test_beams_are_likelier_than_the_greedy_text(run):
  examples = first(run, 'review', 5)
  greedy = answer(run, 'review', examples)
  beams = texts.TextDecoding(num_beams=3, alpha=0.0)
  found = answer(run, 'review', examples, text_decoding=beams)
  assert found.tokens.shape == (5, 3, texts.longest_text(run))
  best = found.log_probabilities.max(axis=1)
  assert (best >= greedy.log_probabilities[:, 0] - 1e-4).all()


def test_dialogues_may_come_back_to_what_they_mentioned(run):
  examples = first(run, 'conversation', 4)
  width = len(run.cache.item_tokens)
  lists = answer(run, 'conversation', examples, num_beams=width)
  apart = answer(
    run, 'conversation', examples, num_beams=width, exclude_seen=True
  )
  for row in range(len(examples)):
    mentioned = set(examples.history[row].tolist())
    assert mentioned <= set(lists.items[row].tolist())
    assert not mentioned & set(apart.items[row].tolist())


def test_prompts_are_spelled_with_names(run):
  examples = first(run, 'conversation_reply', 1)
  spelled = spell_prompt(examples.inputs[0], run.layout, run.parser)
  assert spelled.startswith('User: ') and 'System: ' in spelled
  for item in examples.history[0]:
    assert f'[{run.cache.item_names[item]}]' in spelled


def test_a_spelled_dialogue_reads_like_one(run):
  item, name = run.cache.item_tokens[3].tolist(), run.cache.item_names[3]
  tokens = run.pieces.encode('User: Is there one like') + item
  tokens += run.pieces.encode('?') + run.pieces.encode('System: Yes.')
  assert spell_prompt(tokens, run.layout, run.parser) == (
    f'User: Is there one like [{name}]? System: Yes.'
  )


def test_users_and_codes_of_no_item_are_spelled_too(run):
  layout = dataclasses.replace(run.layout, user_codebook_sizes=(8, 8))
  user = layout.user_tokens(np.array([[1, 2]]))[0].tolist()
  item = run.cache.item_tokens[3].tolist()
  tokens = [*user, *item, item[0], *run.pieces.encode('so'), 0, 0]
  expected = f'[user] [{run.cache.item_names[3]}] [?] so'
  assert spell_prompt(tokens, layout, run.parser) == expected


def test_texts_need_sentencepiece_and_say_so(run, monkeypatch):
  monkeypatch.setitem(sys.modules, 'sentencepiece', None)
  pieces = TextPieces(run.cache.text_model)
  assert not pieces.available
  with pytest.raises(GenrecError, match=r'genrec_jax\[text\]'):
    pieces.encode('words')
  assert TextPieces(None).available
  with pytest.raises(GenrecError, match='has no text'):
    TextPieces(None).encode('words')


@pytest.mark.parametrize(
  ('settings', 'complaint'),
  [
    ({'num_beams': 2, 'top_k': 3}, 'leave one of them out'),
    ({'num_samples': 2}, 'which are all the same'),
  ],
)
def test_decodings_that_are_none_are_refused(settings, complaint):
  with pytest.raises(GenrecError, match=complaint):
    texts.TextDecoding(**settings)


def test_broken_parameters_are_refused(run):
  broken = dataclasses.replace(
    run, params=jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), run.params)
  )
  for task in ('sequential', 'rating', 'summary'):
    with pytest.raises(GenrecError, match='not numbers'):
      answer(broken, task, first(run, task, 2))


def test_tasks_are_chosen_by_name_and_sampled(run):
  assert choose_tasks(run.cache, None, 'test') == run.cache.tasks()
  assert choose_tasks(run.cache, 'rating', 'test') == ['rating']
  assert choose_tasks(run.cache, 'summary,rating', 'test') == [
    'summary',
    'rating',
  ]
  with pytest.raises(GenrecError, match='expected one of: conversation'):
    choose_tasks(run.cache, ['rating', 'none'], 'test')
  examples = run.cache.examples('rating', 'test')
  sample, subset = sample_examples(examples, 7, 3)
  assert subset == {'examples': 7, 'of': len(examples), 'seed': 3}
  assert np.array_equal(sample.user, sample_examples(examples, 7, 3)[0].user)
  assert sample_examples(examples, None, 3)[1] is None


def test_a_sample_of_dialogues_has_whole_turns():
  """Turn t of dialogue t // 2 names one item more than the turn before it."""
  turns = np.repeat(np.arange(6), np.arange(1, 7)).astype(np.int32)
  examples = TokenExamples(
    inputs=Ragged.from_rows([[turn % 2 + 3] for turn in turns]),
    targets=Ragged.from_rows(turns[:, None]),
    user=turns // 2,
    target=turns,
    tied=np.zeros(len(turns), bool),
    history=Ragged.from_rows([[]] * len(turns)),
  )
  for seed in range(4):
    sample, subset = sample_examples(examples, 3, seed, whole_turns=True)
    taken, counts = np.unique(sample.target, return_counts=True)
    assert len(taken) == 3 and counts.tolist() == (taken + 1).tolist()
    assert subset == {'examples': len(sample), 'of': 21, 'seed': seed}
  assert sample_examples(examples, 6, 0, whole_turns=True) == (examples, None)
