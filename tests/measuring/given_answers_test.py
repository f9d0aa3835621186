"""What is measured of answers that are given, not decoded."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from genrec_jax.answering.texts import GREEDY, TextAnswers, longest_text
from genrec_jax.data import splits
from genrec_jax.decoding.recommend import Lists, take_examples
from genrec_jax.evaluation import outputs
from genrec_jax.evaluation.conversation import conversation_metrics
from genrec_jax.measuring import items as items_module
from genrec_jax.measuring import texts, unseen
from genrec_jax.measuring.items import group_turns
from genrec_jax.measuring.measured import Settings
from genrec_jax.measuring.replies import measure_named
from genrec_jax.measuring.texts import check_truth
from genrec_jax.measuring.watching import cut_targets
from genrec_jax.reporting import worked_examples
from genrec_jax.types import EOS_ID, GenrecError


def test_named_items_are_counted_by_hand():
  def turn(*items):
    return outputs.DialogueTurn(
      'text', tuple(outputs.Mention(item, 0, 1) for item in items)
    )

  said = [turn(3, -1), turn(), outputs.Failure('no_text', ''), turn(5)]
  truth = [turn(3, 4), turn(1), turn(2), turn(5)]
  assert measure_named(said, truth) == {
    'naming_share': 0.5,
    'mentions': 3,
    'invented_share': pytest.approx(1 / 3),
    'named_recall': pytest.approx(2 / 5),
  }


def test_a_blank_truth_is_an_empty_text_but_one_of_codes_is_none(run):
  facts = run.facts('summary')
  truth = [run.parser.text([]), outputs.Text('fine')]
  assert check_truth(facts, truth) == ['', 'fine']
  truth.append(run.parser.text(run.cache.item_tokens[0]))
  with pytest.raises(GenrecError, match='example 2 .*item_in_text'):
    check_truth(facts, truth)


@pytest.mark.parametrize('features', [None, '--'])
def test_without_features_explanations_are_measured_as_texts(
  run, data, features, monkeypatch
):
  table = data.dataset.interactions
  column = pa.array([features] * len(table), pa.string())
  place = table.column_names.index('feature')
  table = table.set_column(place, 'feature', column)
  dataset = dataclasses.replace(data.dataset, interactions=table)
  said = [outputs.Text('one'), outputs.Text('two')]
  answers = TextAnswers(
    tokens=np.zeros((2, 1, 3), int),
    log_probabilities=np.zeros((2, 1)),
    ended=np.ones((2, 1), bool),
    outputs=[[one] for one in said],
  )
  monkeypatch.setattr(texts, 'write_texts', lambda *args, **more: answers)
  measured = texts.measure_texts(
    run,
    run.facts('explanation'),
    take_examples(run.cache.examples('explanation', 'test'), range(2)),
    Settings(),
    dataclasses.replace(data, dataset=dataset),
  )
  assert measured.columns == texts.COLUMNS
  assert measured.metrics['model']['all']['n'] == 2


def test_a_share_for_cold_items_is_measured_in_dialogues_too(run, monkeypatch):
  """With the settings of the model's own lists: as long, and with repeats."""
  examples = run.cache.examples('conversation', 'test')
  given = []

  def rank_items(run, examples, *, num_beams, **settings):
    items = np.tile(np.arange(num_beams), (len(examples), 1))
    scores = np.zeros(items.shape, np.float32)
    return Lists(items, scores, run.cache.item_tokens[items])

  def rank_with_share(run, examples, lists, settings):
    given.append(settings)
    return lists.items[:, ::-1]

  monkeypatch.setattr(items_module, 'rank_items', rank_items)
  monkeypatch.setattr(unseen, 'rank_with_share', rank_with_share)
  measured = items_module.measure_conversation(
    run, run.facts('conversation'), examples, Settings(cold_share=0.25), None
  )
  listed = measured.arrays['items_model, 0.25 for cold']
  turns, targets = group_turns(examples)
  assert measured.metrics['model, 0.25 for cold'] == conversation_metrics(
    listed, targets, turns.history
  )
  assert [(s.num_beams, s.exclude_seen) for s in given] == [
    (listed.shape[1], False)
  ]


def test_train_examples_on_a_page_have_their_histories(run, data, tmp_path):
  """The token cache leaves them out, and then nothing would be filtered."""
  (tmp_path / 'dataset').symlink_to(run.directory / 'dataset')
  described = []

  class Asking(worked_examples.Asking):
    def describe(self, task, examples, known):
      described.append(examples)
      return []

  def write_page(directory, task, exclude_seen=None):
    copy = dataclasses.replace(run, directory=directory)
    asking = Asking(copy, 3, 5, exclude_seen, GREEDY)
    worked_examples.write_page(asking, task, 'train', 4, 0)
    return described.pop()

  dataset = data.dataset
  examples = write_page(tmp_path, 'sequential')
  known = splits.examples(dataset, data.split, splits.TRAIN)
  for row in range(4):
    of_user = known.user == examples.user[row]
    place = np.flatnonzero(of_user & (known.target == examples.target[row]))[0]
    history = known.history(place).tolist()
    assert examples.history[row].tolist() == history != []
  assert not len(write_page(tmp_path, 'sequential', False).history.values)
  assert not len(write_page(tmp_path, 'conversation').history.values)
  nowhere = tmp_path / 'nowhere'
  nowhere.mkdir()
  for directory, task, exclude_seen, complaint in (
    (nowhere, 'sequential', None, 'nowhere/dataset; pass --exclude_seen=False'),
    (tmp_path, 'conversation', True, "task 'conversation' had seen"),
  ):
    with pytest.raises(GenrecError, match=complaint):
      write_page(directory, task, exclude_seen)


def test_while_training_answers_are_scored_as_they_are_learnt(run):
  """Train answers are twelve tokens long at most, and all end with eos."""
  parts = ('train', 'validation')
  learnt, whole = (run.cache.examples('review', part) for part in parts)
  cut = cut_targets(whole, longest_text(run)).targets
  for targets in (learnt.targets, cut):
    assert targets.lengths.max() == 12
    assert (targets.values[targets.offsets[1:] - 1] == EOS_ID).all()
  assert whole.targets.lengths.max() > 12
  for row in range(len(whole)):
    same = 12 if len(whole.targets[row]) <= 12 else 11
    assert cut[row][:same].tolist() == whole.targets[row][:same].tolist()
