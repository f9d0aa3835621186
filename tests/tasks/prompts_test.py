import pytest

from genrec_jax.tasks import prompts
from genrec_jax.tasks.prompts import Literal, Slot, Template
from genrec_jax.types import GenrecError


def test_a_prompt_becomes_literal_runs_and_slots():
  assert prompts.parse('{{a}} {user} buys {history}?', ['user', 'history']) == (
    Literal('{a}'),
    Slot('user'),
    Literal('buys'),
    Slot('history'),
    Literal('?'),
  )


@pytest.mark.parametrize(
  'text', ['{item}', '{history!r}', '{history:>5}', '{}']
)
def test_an_unknown_slot_lists_the_known(text):
  with pytest.raises(GenrecError, match='history, user'):
    prompts.parse(text, ['user', 'history'])


def test_unmatched_braces_say_how_to_write_one():
  with pytest.raises(GenrecError, match='brace'):
    prompts.parse('{history', ['history'])


@pytest.mark.parametrize('task', ['sequential', 'top_n'])
def test_every_builtin_task_has_seen_and_held_out_templates(task):
  seen = [template.seen for template in prompts.builtin_templates(task)]
  assert seen.count(True) >= 4 and seen.count(False) >= 2


@pytest.mark.parametrize(
  'toml, complaint',
  [
    ('[[template]]\nname="a"\ninput="{history}"', 'inputs, name, seen'),
    ('[[template]]\nname="a"', 'lacks name or inputs'),
    ('[[templates]]\nname="a"\ninputs="x"', r'expected \[\[template\]\]'),
    ('name = ', 'Cannot read'),
    ('[[template]]\nname="a"\ninputs="x"\n' * 2, "2 templates are named 'a'"),
  ],
)
def test_a_bad_template_file_says_what_is_wrong(tmp_path, toml, complaint):
  path = tmp_path / 'bad.toml'
  path.write_text(toml)
  with pytest.raises(GenrecError, match=complaint):
    prompts.read_templates(path)


def test_templates_are_chosen_in_the_order_named_or_all_seen():
  a, b, c = (
    Template('a', 'x'),
    Template('b', 'x'),
    Template('c', 'x', seen=False),
  )
  assert prompts.choose_templates([a, b, c], None) == (a, b)
  assert prompts.choose_templates([a, b, c], ['c', 'a']) == (c, a)
