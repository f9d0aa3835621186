"""A server: the same answers whatever is asked beside, in few shapes."""

import dataclasses

import numpy as np
import pytest

from genrec_jax.answering.histories import HistoryReader
from genrec_jax.answering.serving import Server, choose_widths
from genrec_jax.decoding.recommend import (
  make_recommend_fn,
  recommend_examples,
  take_examples,
)
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import Transformer
from genrec_jax.train import item_token_ranges
from genrec_jax.types import GenrecError

BEAMS = 8


@pytest.fixture(scope='module')
def server(run):
  return Server(run, 'sequential', num_beams=BEAMS, batch_size=4, num_widths=2)


@pytest.fixture(scope='module')
def requests(run):
  """Histories of one to six items, in no order of their lengths."""
  rng = np.random.default_rng(0)
  lengths = [5, 1, 6, 2, 1, 6, 4, 1, 3]
  histories = [
    rng.choice(len(run.cache.item_tokens), n, replace=False) for n in lengths
  ]
  reader = HistoryReader(run.directory, run.cache, 'sequential')
  return reader.examples(histories)


def test_requests_of_several_lengths_get_what_one_length_gives(
  run, server, requests
):
  plan = server.plan(requests)
  assert {batch.width for batch in plan} == set(server.widths)
  answers = server.answer(requests)
  with run.partitioned():
    padded = recommend_examples(
      make_recommend_fn(run.model, run.trie, num_beams=BEAMS),
      run.params,
      requests,
      batch_size=run.rows(16, 16),
      num_buckets=1,
      place=run.place,
    )
  np.testing.assert_array_equal(answers.items, padded.items)
  np.testing.assert_allclose(answers.scores, padded.scores, rtol=1e-5)
  for history, items in zip(requests.history, answers.items):
    assert not set(history) & set(items)


def test_an_answer_does_not_depend_on_what_is_asked_beside_it(server, requests):
  whole = server.answer(requests)
  order = [7, 2, 4]
  some = server.answer(take_examples(requests, order))
  np.testing.assert_array_equal(some.items, whole.items[order])
  np.testing.assert_allclose(some.scores, whole.scores[order], rtol=1e-5)


def test_no_more_is_compiled_than_the_shapes_there_are(run, server, requests):
  most = server.warm_up()
  assert most == len(server.widths) * len(server.row_counts)
  for count in range(1, 10):
    server.answer(take_examples(requests, range(count)))
  assert len(server.shapes) == most


def test_the_widest_input_holds_the_longest_history_of_a_new_user(run):
  """Also where the run's own examples are all shorter."""
  reader = HistoryReader(run.directory, run.cache, 'sequential')
  longest = reader.examples([range(12)]).inputs.lengths[0]
  widths = choose_widths(run.cache, 'sequential', 3)
  assert len(widths) <= 3 and 0 <= widths[-1] - longest < 8


def test_numbers_that_cannot_be_are_refused(run):
  for settings in ({'batch_size': 0}, {'num_widths': 0}):
    with pytest.raises(GenrecError, match='=0; expected at least 1'):
      Server(run, 'sequential', num_beams=BEAMS, **settings)


@pytest.mark.parametrize('items_per_block', [1, 2])
def test_what_is_kept_of_blocks_gives_the_same_answers(
  run, requests, items_per_block
):
  """With the parameters of the run, though it was trained to see all."""
  config = dataclasses.replace(
    run.model.module.config,
    num_block_local_layers=1,
    item_token_ranges=item_token_ranges(run_dir=run.directory),
    items_per_block=items_per_block,
  )
  run = dataclasses.replace(run, model=EncoderDecoder(Transformer(config)))
  settings = {'num_beams': BEAMS, 'batch_size': 4, 'widths': (32,)}
  keeping = Server(run, 'sequential', **settings)
  plain = Server(run, 'sequential', cache_blocks=False, **settings)
  assert plain.blocks is None
  expected = plain.answer(requests)
  for time in range(2):
    answers = keeping.answer(requests)
    np.testing.assert_array_equal(answers.items, expected.items)
    np.testing.assert_allclose(answers.scores, expected.scores, rtol=1e-5)
    if time == 0:
      computed = keeping.blocks.computed
      assert 0 < computed <= requests.inputs.lengths.sum()
  assert keeping.blocks.computed == computed
