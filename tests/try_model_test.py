"""`genrec try` on a run of odd data: what is asked, answered and refused."""

import importlib.util
import io
import json
import pathlib
import re
import sys

import numpy as np
import pytest

from genrec_jax import artifacts, main
from genrec_jax.data import splits
from genrec_jax.data.texts import MENTION
from genrec_jax.data.token_cache import PARTS
from genrec_jax.reporting import worked_examples
from genrec_jax.tasks import definitions
from genrec_jax.tasks.dialogues import MARKS
from genrec_jax.tasks.request_fields import Request
from genrec_jax.tasks.requests import RequestReader
from genrec_jax.types import GenrecError

_path = pathlib.Path(__file__).with_name('odd_data.py')
_spec = importlib.util.spec_from_file_location('odd_data', _path)
odd_data = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(odd_data)

OF_INTERACTIONS = [
  name
  for name, definition in definitions.BUILTIN.items()
  if not definition.of_dialogues
]


@pytest.fixture(scope='module')
def run_dir(tmp_path_factory):
  """A run of every task, trained for a few steps; tests must not change it."""
  return odd_data.write_run(tmp_path_factory.mktemp('odd'))


@pytest.fixture(scope='module')
def reader(run_dir):
  return RequestReader(run_dir)


class Stdin(io.StringIO):
  """What stands in for stdin: a terminal, or not."""

  terminal = False

  def isatty(self):
    return self.terminal


@pytest.fixture
def ask(run_dir, capsys, monkeypatch):
  """Runs the command; returns its status, what it printed, and complained."""

  def ask_command(*flags, lines=(), typed=None):
    stdin = Stdin(''.join(json.dumps(line) + '\n' for line in lines))
    if typed is not None:
      answers = iter(typed)
      stdin.terminal = True
      monkeypatch.setattr('builtins.input', lambda question: next(answers))
    monkeypatch.setattr(sys, 'stdin', stdin)
    capsys.readouterr()
    status = main.main(
      ['try', f'--run_dir={run_dir}', '--checkpoint=last', *flags]
    )
    printed = capsys.readouterr()
    return status, printed.out, ' '.join(printed.err.split())

  return ask_command


def prompt_of(reader, asked):
  return reader.data.vocabulary.decode(asked.examples.inputs[0])


# What happened to the odd data on their way.


def test_no_interaction_is_left_out_without_being_counted(reader):
  facts = reader.cache.manifest['settings']['tasks']
  for task in OF_INTERACTIONS:
    for part in PARTS:
      number = splits.PART_NAMES.index(part)
      rows = int((reader.data.split.part == number).sum())
      kept = len(reader.cache.examples(task, part))
      assert kept + facts[task]['lacking'][part] == rows, (task, part)
  # The first interaction of each user has nothing before it.
  assert facts['sequential']['lacking']['train'] == 13


def test_what_is_cut_is_counted(reader):
  facts = reader.cache.manifest['settings']['tasks']
  assert facts['review']['cut']['review'] >= 3
  assert facts['summary']['cut']['review'] >= 3
  # One title has ten thousand words, one is emoji and bytes.
  assert facts['rating']['cut']['title'] == 2
  assert facts['rating']['cut']['history'] > 0
  assert facts['conversation']['cut'].keys() == {'dialogue'}
  assert facts['conversation_reply']['cut']['reply'] > 0
  lengths = reader.cache.examples('conversation', 'train').inputs.lengths
  full = reader.cache.manifest['settings']['max_text']
  assert lengths.max() <= full
  assert facts['conversation']['cut']['dialogue'] >= (lengths == full).sum() > 0


def test_what_was_mended_and_unknown_is_in_the_manifest(run_dir):
  facts = artifacts.read_manifest(run_dir / 'dataset', 'dataset')['facts']
  assert facts['texts']['review'] == {'blank': 6, 'replaced': 1}
  assert facts['skipped_rows']['explanations.jsonl']['count'] == 21
  # Two of @999, @998 and the one without a title in nine dialogues each.
  assert facts['unknown_mentions'] == {'dialogues.jsonl': 6 * 9}


def test_scripts_and_emoji_are_asked_for_as_they_were_written(reader):
  answers = [
    reader.data.vocabulary.decode(target)
    for part in ('validation', 'test')
    for target in reader.cache.examples('review', part).targets
  ]
  assert odd_data.SHOUTING in answers
  assert odd_data.ENDLESS.strip() in answers


# Prompts.


@pytest.mark.parametrize('task', OF_INTERACTIONS)
@pytest.mark.parametrize('part', ['validation', 'test'])
def test_a_user_is_asked_about_as_tokenize_would(run_dir, reader, task, part):
  if part != 'test':
    reader = RequestReader(run_dir, split=part)
  examples = reader.cache.examples(task, part)
  users = reader.data.dataset.users['user_id'].to_pylist()
  for row in (0, len(examples) - 1):
    asked = reader.read(task, Request(user=users[examples.user[row]]))
    assert asked.part == part
    for name in ('inputs', 'targets', 'history'):
      np.testing.assert_array_equal(
        getattr(asked.examples, name)[0], getattr(examples, name)[row]
      )


def test_what_is_not_said_is_named_with_its_flag(reader):
  for task, request, said in (
    ('rating', Request(item='105'), r'\{rated_history\}.*--user=ID or --hist'),
    ('rating', Request(history=['105']), r'\{item\}.*--item=ID'),
    ('summary', Request(), r'\{review\}, which nothing says; pass --review'),
    ('conversation', Request(), r'\{dialogue\}.*--dialogue="User: '),
    ('sequential_yes_no', Request(history=['105']), r'\{offered\}.*--item'),
  ):
    with pytest.raises(GenrecError, match=said):
      reader.read(task, request)
  with pytest.raises(GenrecError, match=r'\{candidates\}.*--candidates'):
    reader.read('top_n', Request(history=['105']), template='choose')


def test_who_is_unknown_is_told_who_is_near(reader):
  for request, said in (
    (Request(user='usr 3'), "No user has the id 'usr 3'; near it.*'user 3'"),
    (Request(user='user 3', item='Tool nmber 107'), "'Tool number 107'"),
    (Request(history=['105', '1o6']), "No item .* '1o6'; near it.*'106'"),
  ):
    with pytest.raises(GenrecError, match=said):
      reader.read('rating', request)


def test_an_item_is_found_by_its_title(reader):
  by_title = reader.read(
    'rating', Request(history=['Tool number 105'], item=odd_data.SHOUTING)
  )
  by_id = reader.read('rating', Request(history=['105'], item='101'))
  np.testing.assert_array_equal(
    by_title.examples.inputs[0], by_id.examples.inputs[0]
  )


def test_candidates_and_what_is_offered_stand_in_the_prompt(reader):
  layout, codes = reader.data.vocabulary.layout, reader.data.ids.codes
  rows = [reader.knowledge.items.find(one) for one in ('110', '112')]
  asked = reader.read(
    'top_n',
    Request(history=['105'], candidates=['110', '112']),
    template='choose',
  )
  tokens = layout.item_tokens(codes[rows]).reshape(-1)
  assert asked.examples.inputs[0][-4:].tolist() == tokens.tolist()
  asked = reader.read('sequential_yes_no', Request(history=['105'], item='112'))
  assert asked.examples.inputs[0][-2:].tolist() == tokens[2:].tolist()
  assert asked.part is None


def test_held_out_templates_can_be_tried_and_unknown_ones_are_listed(reader):
  asked = reader.read(
    'review', Request(user='user 3'), template='held_out_words'
  )
  assert prompt_of(reader, asked).startswith('Put in words what')
  with pytest.raises(GenrecError, match='held_out_words'):
    reader.template('review', 'held_out_wrods')


def test_what_is_said_but_not_shown_is_told(reader):
  asked = reader.read('review', Request(user='user 3', rating=4.0))
  assert any(
    note.startswith('rating is not read by template plain; --template=stars')
    for note in asked.notes
  )


def test_ten_thousand_words_are_cut_and_blanks_refused(reader):
  asked = reader.read('summary', Request(review=odd_data.ENDLESS))
  assert asked.examples.inputs.lengths.tolist() == [48]
  assert any('the first 48 are read' in note for note in asked.notes)
  with pytest.raises(GenrecError, match='review of blanks alone'):
    reader.read('summary', Request(review=' \t'))


def test_a_rating_off_the_scale_is_refused(reader):
  with pytest.raises(GenrecError, match='rating 9, expected one from 1 to 5'):
    reader.read('review', Request(user='once', rating=9.0), template='stars')


def test_an_item_without_a_title_is_asked_about_and_told(reader):
  asked = reader.read(
    'rating',
    Request(user='once', item=odd_data.NAMELESS),
    template='named',
  )
  assert 'called?' in prompt_of(reader, asked)
  assert f'{odd_data.NAMELESS} has no title' in asked.notes


def test_a_typed_dialogue_keeps_what_is_no_item_as_text(reader):
  asked = reader.read(
    'conversation', Request(dialogue='I had [Nothing] and [105] 😀 שלום')
  )
  first, second = reader.data.ids.codes[reader.knowledge.items.find('105')]
  assert prompt_of(reader, asked) == (
    f'User: I had [Nothing] and <i0:{first}><i1:{second}> 😀 שלום'
  )
  assert any('[Nothing] is no item' in note for note in asked.notes)


def test_a_dialogue_of_the_data_is_typed_as_tokenize_writes_it(reader):
  dataset, examples = reader.data.dataset, reader.cache.examples
  turns = dataset.dialogues.to_pylist()
  known = reader.data.examples(
    definitions.task_definition('conversation'), (), 'test'
  )
  for number, (start, row) in enumerate(zip(known.starts, known.rows)):
    said = []
    for turn in turns[start:row]:
      text = turn['text']
      for item in turn['items']:
        text = text.replace(MENTION, f'[{reader.knowledge.items.ids[item]}]', 1)
      said.append(MARKS[turn['role']] + text)
    asked = reader.read('conversation', Request(dialogue=' '.join(said)))
    np.testing.assert_array_equal(
      asked.examples.inputs[0], examples('conversation', 'test').inputs[number]
    )
  assert number > 3


def test_the_end_of_a_long_dialogue_is_read(reader):
  talk = f'User: {odd_data.ENDLESS} System: Yes? User: [105] again'
  asked = reader.read('conversation', Request(dialogue=talk))
  assert prompt_of(reader, asked).endswith('again')
  assert len(asked.examples.inputs[0]) <= 48
  assert any('its last turns' in note for note in asked.notes)


# Answers, through the command.


def test_items_come_with_their_paths_and_the_truth(ask):
  status, printed, _ = ask(
    '--task=sequential',
    '--top_k=5',
    lines=[{'user': 'user 3'}, {'user': 'once'}, {'history': ['105', '116']}],
  )
  assert status == 0
  lists = printed.split('Task sequential')[1:]
  assert len(lists) == 3
  for text in lists:
    paths = [line for line in text.splitlines() if ' > ' in line]
    assert len(paths) == 5 and all(path.endswith(' (1)') for path in paths)
  assert 'Truth (test part): 116' in lists[0]
  assert 'has nothing in the test part' in lists[1]
  assert 'Truth' not in lists[2]


def test_a_rating_comes_with_its_distribution(ask):
  status, printed, _ = ask(
    '--task=rating', '--user=once', f'--item={odd_data.NAMELESS}'
  )
  assert status == 0
  shares = [
    float(line.split()[1])
    for line in printed.splitlines()
    if line[:6].strip() == '' and line.split()[:1] in [[n] for n in '12345']
  ]
  assert len(shares) == 5 and abs(sum(shares) - 1) < 0.003


def test_texts_are_drawn_by_seed(ask):
  flags = '--task=summary', '--review=It works 👍🏽', '--num_samples=3'
  drawn = [
    ask(*flags, '--temperature=1.5', f'--seed={seed}')[1] for seed in (1, 1, 2)
  ]
  texts = [
    [line for line in one.splitlines() if not re.fullmatch(r'[0-9.]+ s', line)]
    for one in drawn
  ]
  assert drawn[0].count('log p') == 3
  assert texts[0] == texts[1] != texts[2]
  status, _, complaint = ask(*flags, '--temperature=1.5', '--text_beams=2')
  assert status == 1 and 'searched for or drawn' in complaint


def test_a_line_that_is_wrong_is_named(ask):
  status, _, complaint = ask(
    '--task=rating', lines=[{'user': 'once'}, {'usr': 'once'}]
  )
  assert status == 1
  assert 'Line 2 of stdin' in complaint and 'user' in complaint
  status, _, complaint = ask('--task=rating', lines=['once'])
  assert status == 1 and 'expected an object' in complaint
  status, _, complaint = ask('--task=rating')
  assert status == 1 and "such as --user='user 0'" in complaint
  status, _, complaint = ask('--task=ratign', '--user=once')
  assert status == 1 and 'rating' in complaint


def test_at_a_terminal_one_is_asked_and_may_err(ask):
  # The user, then the item; the data know what a user had before.
  status, printed, complaint = ask(
    '--task=rating', typed=['usr 3', '', 'user 3', '105', '', '', '']
  )
  assert status == 0
  assert "No user has the id 'usr 3'" in complaint
  assert printed.count('expected; generated') == 1
  assert 'item Tool number 105 (105)' in printed


def test_a_talk_goes_on_with_the_reply(ask):
  status, printed, _ = ask(
    '--task=conversation_reply', typed=['I had [105]', 'And another?', '']
  )
  assert status == 0
  first, second = printed.split('Prompt, as the model reads it:')[1:]
  assert 'System:' not in first
  assert 'System:' in second and 'And another?' in second


def test_prompts_are_filled_up_to_few_lengths(reader):
  examples = reader.cache.examples('rating', 'train')
  filled = worked_examples.fill_up(examples).inputs
  assert set(filled.lengths) <= {32, 64, 96}
  for row in range(len(examples)):
    before, padded = examples.inputs[row], filled[row]
    assert padded[: len(before)].tolist() == before.tolist()
    assert not padded[len(before) :].any()


def test_the_page_shows_every_task_and_asks_nothing_of_the_network(
  ask, run_dir, pages
):
  status, printed, _ = ask('--page', '--page_examples=1')
  assert status == 0 and '10 examples of 10 tasks' in printed
  html = (run_dir / worked_examples.PAGE).read_text(encoding='utf-8')
  assert html.count('<article>') == 10
  for task in definitions.BUILTIN:
    assert f'<h2 id="{task}">' in html
  assert pages.requests(html) == []
  written = json.loads((run_dir / 'examples.json').read_text())
  assert [len(shown) for shown in written['tasks'].values()] == [1] * 10
  assert 'width=device-width' in html
