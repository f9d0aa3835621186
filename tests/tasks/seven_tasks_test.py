"""All built-in tasks on the simulator: what is asked, and what is answered."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import sentencepiece

from genrec_jax.data import dialogue_split, simulator, splits
from genrec_jax.data.audit import LeakError
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.item_ratings import ratings_of_others
from genrec_jax.data.texts import MENTION
from genrec_jax.data.token_cache import TokenCache
from genrec_jax.ids.item_ids import ItemIds, TokenLayout
from genrec_jax.tasks import definitions, registry, vocabulary
from genrec_jax.tasks.dialogues import join_context
from genrec_jax.tasks.prompts import Template
from genrec_jax.tokenize import tokenize
from genrec_jax.types import EOS_ID, GenrecError

# The shortest prompts of all tasks.
TEMPLATES = ('plain', 'straight')


@dataclasses.dataclass
class Run:
  """A run of which all tasks are tokenized, and what it was made from."""

  directory: object
  dataset: Dataset
  split: splits.Split
  ids: ItemIds
  cache: TokenCache
  vocabulary: vocabulary.RecommendationVocabulary

  def decoded(self, task, part):
    """Returns the answers of a part as texts, and the rows they are of."""
    definition = definitions.task_definition(task)
    data = registry.TaskData(
      self.dataset, self.split, self.ids, self.vocabulary
    )
    templates = [t for t in definition.templates if t.name == 'plain']
    rows = data.examples(definition, templates, part).rows
    targets = self.cache.examples(task, part).targets
    assert len(rows) == len(targets)
    return [self.vocabulary.decode(targets[i]) for i in range(len(rows))], rows


@pytest.fixture(scope='module')
def make_run(save_shop):
  """The function that makes a run in a directory."""

  def make(directory, tasks, **settings):
    raw = simulator.simulate(seed=1, num_users=40, num_dialogues=12)
    reviews = raw.interactions['review'].to_pylist()
    reviews[:2] = [None, 'نظرة رائعة 😀 ' + 'wonderful kettle ' * 400]
    place = raw.interactions.column_names.index('review')
    raw = dataclasses.replace(
      raw,
      interactions=raw.interactions.set_column(
        place, 'review', pa.array(reviews, pa.string())
      ),
    )
    made = save_shop(directory, raw)
    tokenize(run_dir=directory, tasks=tasks, **settings)
    cache = TokenCache.load(directory / 'tokens')
    known = vocabulary.RecommendationVocabulary(
      TokenLayout.from_dict(cache.layout), cache.text_model.read_bytes()
    )
    return Run(directory, *made, cache, known)

  return make


@pytest.fixture(scope='module')
def run(make_run, tmp_path_factory):
  return make_run(
    tmp_path_factory.mktemp('seven'),
    tuple(definitions.BUILTIN),
    templates=TEMPLATES,
    max_answer=12,
    text_pieces=1500,
  )


@pytest.mark.parametrize('name', definitions.BUILTIN)
def test_a_task_has_ten_templates_and_two_that_are_held_out(name):
  templates = definitions.BUILTIN[name].templates
  assert sum(template.seen for template in templates) >= 10
  assert sum(not template.seen for template in templates) >= 2
  definitions.BUILTIN[name].parse(templates)


@pytest.mark.parametrize('column', ['explanation', 'review', 'summary'])
def test_held_out_texts_are_asked_for_whole(run, column):
  answers, rows = run.decoded(column, 'test')
  expected = run.dataset.interactions[column].take(rows).to_pylist()
  assert answers == expected
  assert len(set(expected)) > 10


def test_train_answers_are_cut_and_the_cut_ones_counted(run):
  targets = run.cache.examples('review', 'train').targets
  assert targets.lengths.max() == 12
  assert (targets.values[targets.offsets[1:] - 1] == EOS_ID).all()
  facts = run.cache.manifest['settings']['tasks']['review']
  assert facts['cut']['review'] >= 1
  # One review was taken away; its interaction is still one to be rated.
  assert sum(facts['lacking'].values()) == 1
  rated = run.cache.manifest['settings']['tasks']['rating']
  assert sum(rated['lacking'].values()) == 0


def test_ratings_are_numbers_and_their_choices_are_known(run):
  answers, rows = run.decoded('rating', 'test')
  ratings = run.dataset.interactions['rating'].take(rows).to_pylist()
  assert [float(answer) for answer in answers] == ratings
  choices = run.cache.manifest['settings']['tasks']['rating']['choices']
  assert [value for _, value, _ in choices] == [1, 2, 3, 4, 5]
  for text, _, tokens in choices:
    assert run.vocabulary.decode(tokens) == text
    assert tokens[-1] == EOS_ID
  liked, _ = run.decoded('rating_yes_no', 'test')
  assert [answer == 'yes' for answer in liked] == [r >= 4 for r in ratings]


def test_a_history_is_shown_with_its_ratings(run):
  examples = run.cache.examples('rating', 'test')
  _, rows = run.decoded('rating', 'test')
  row = int(rows[5])
  start = int(run.dataset.user_offsets[run.dataset.user[row]])
  ratings = run.dataset.interactions['rating'].to_pylist()
  items = run.vocabulary.layout.item_tokens(run.ids.codes)
  expected = []
  for place in range(max(start, row - 20), row):
    expected += items[run.dataset.item[place]].tolist()
    expected += run.vocabulary.encode_text(f'{ratings[place]:g}')
  expected += items[run.dataset.item[row]].tolist()
  assert examples.inputs[5].tolist() == expected


def test_what_others_gave_the_item_is_shown(make_run, tmp_path):
  run = make_run(tmp_path, ['rating'], templates=['others'])
  examples = splits.examples_at(
    run.dataset, np.flatnonzero(run.split.part == splits.TEST)
  )
  others = ratings_of_others(run.dataset, run.split, examples)
  number = int(np.argmax(others.lengths))
  prompt = run.vocabulary.decode(
    run.cache.examples('rating', 'test').inputs[number]
  )
  told = ''.join(f'{stars:g}' for stars in others[number])
  assert others.lengths[number] > 2
  assert f'Others gave{told}to' in prompt


def test_the_item_offered_is_the_next_one_half_of_the_time(run):
  answers, rows = run.decoded('sequential_yes_no', 'train')
  inputs = run.cache.examples('sequential_yes_no', 'train').inputs
  items = run.vocabulary.layout.item_tokens(run.ids.codes)
  offered = np.array([inputs[i][-2:] for i in range(len(rows))])
  is_next = (offered == items[run.dataset.item[rows]]).all(axis=1)
  assert [answer == 'yes' for answer in answers] == is_next.tolist()
  assert 0.4 < is_next.mean() < 0.6


def test_a_reply_names_items_by_their_codes(run):
  answers, rows = run.decoded('conversation_reply', 'train')
  table = run.dataset.dialogues
  for answer, text, items in zip(
    answers, table['text'].take(rows).to_pylist(), table['items'].take(rows)
  ):
    for item in items.as_py():
      first, second = run.ids.codes[item]
      text = text.replace(MENTION, f'<i0:{first}><i1:{second}>', 1)
    # Train answers are cut to 12 tokens.
    assert answer and text.startswith(answer)


def test_a_conversation_asks_for_each_item_that_is_named_next(run):
  examples = run.cache.examples('conversation', 'test')
  known = dialogue_split.examples(run.dataset, run.split, splits.TEST)
  assert examples.target.tolist() == known.targets.values.tolist()
  counts = known.targets.lengths
  expected = [known.mentioned[i] for i in np.repeat(range(len(known)), counts)]
  assert [list(row) for row in examples.history] == [
    list(row) for row in expected
  ]


def test_what_a_dialogue_named_is_shown_once_each(make_run, tmp_path):
  run = make_run(
    tmp_path, ['conversation'], templates=['mentioned'], max_history=1
  )
  examples = run.cache.examples('conversation', 'test')
  items = run.vocabulary.layout.item_tokens(run.ids.codes)
  before = run.vocabulary.encode_text('Named so far:')
  after = run.vocabulary.encode_text('What next?')
  assert examples.history.lengths.max() > 1
  for number, history in enumerate(examples.history):
    named = items[history[-1:]].reshape(-1).tolist()
    assert len({*history.tolist()}) == len(history)
    assert examples.inputs[number].tolist() == [*before, *named, *after]


def test_a_context_keeps_the_last_turns_that_have_room():
  turns = [np.arange(10, 14), np.arange(20, 23), np.arange(30, 32)]
  marks = [np.array([m]) for m in (1, 2, 3)]

  def joined(room):
    return join_context(
      turns, marks, max_tokens=room, within=range(31, 40)
    ).tolist()

  assert joined(12) == [1, 10, 11, 12, 13, 2, 20, 21, 22, 3, 30, 31]
  assert joined(11) == [2, 20, 21, 22, 3, 30, 31]
  assert joined(6) == [3, 30, 31]
  # 31 stands within an ID of which 30 is no more shown.
  assert joined(2) == [3]


def test_a_summary_that_stands_in_its_input_is_found(make_run, tmp_path):
  registry.define_task(
    'fed_back',
    [Template('t', '{item} {headline}', '{summary}')],
    slots={'headline': lambda e, tokens, _: tokens.text(e['summary'])},
    answer='text',
    answer_slot='summary',
    columns=('summary',),
  )
  try:
    with pytest.raises(LeakError, match='fed_back/train'):
      make_run(tmp_path, 'fed_back')
  finally:
    del definitions.TASKS['fed_back']


@pytest.mark.parametrize(
  ('task', 'complaint'),
  [
    ('review', r"'review' of the interactions, but 'small' has user.*time"),
    ('conversation', "'small' has none"),
  ],
)
def test_data_without_what_is_asked_for_are_refused(run_dir, task, complaint):
  with pytest.raises(GenrecError, match=complaint):
    tokenize(run_dir=run_dir, tasks=task)


def test_what_ranks_items_takes_a_task_that_asks_for_one(run):
  assert run.cache.tasks()[0] == run.cache.item_task() == 'sequential'
  assert run.cache.item_task('conversation') == 'conversation'
  with pytest.raises(GenrecError, match='conversation, sequential, top_n'):
    run.cache.item_task('rating')


def test_a_text_model_of_ones_own_is_taken(run, tmp_path):
  tokenize(
    run_dir=run.directory,
    tasks='summary',
    templates='plain',
    text_model=run.cache.text_model,
  )
  taken = TokenCache.load(run.directory / 'tokens')
  assert taken.layout == run.cache.layout

  other = tmp_path / 'other.model'
  with open(other, 'wb') as file:
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(['a few words', 'and some more']),
      model_writer=file,
      vocab_size=20,
      hard_vocab_limit=False,
      minloglevel=2,
    )
  with pytest.raises(GenrecError, match=r'expected \(0, 1, 2\)'):
    tokenize(run_dir=run.directory, tasks='summary', text_model=other)


def test_a_text_that_ones_own_task_asks_for_is_whole_in_test(
  make_run, tmp_path
):
  registry.define_task(
    'own_review',
    [Template('t', '{item} {rating}', '{review}')],
    answer='text',
    answer_slot='review',
  )
  try:
    run = make_run(tmp_path, 'own_review', max_text=4, text_pieces=1500)
    targets = run.cache.examples('own_review', 'test').targets
    texts = {run.vocabulary.decode(targets[i]) for i in range(len(targets))}
  finally:
    del definitions.TASKS['own_review']
  assert texts <= set(run.dataset.interactions['review'].to_pylist())
