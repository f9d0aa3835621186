"""What prompts say of users, hidden in training and rewritten in tokens."""

import numpy as np
import pyarrow as pa
import pytest

from genrec_jax.answering.attributes import (
  attribute_tokens,
  check_attributes,
  rewrite_attributes,
)
from genrec_jax.answering.prompts import TextPieces
from genrec_jax.data import splits
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.token_cache import TokenCache
from genrec_jax.data.user_attributes import (
  NO_VALUE,
  UNKNOWN,
  read_user_attributes,
)
from genrec_jax.decoding.new_users import new_user_examples
from genrec_jax.tasks.request_fields import Request
from genrec_jax.tasks.requests import RequestReader
from genrec_jax.tokenize import tokenize
from genrec_jax.types import GenrecError

COLUMNS = ('sex', 'home_town')
SEX = ['F', 'M', None]
TOWNS = ['Ulm', 'Bad Homburg vor der Höhe', '12', None]
NUM_USERS = 30  # of the room's data set


@pytest.fixture(scope='module')
def write_run(tmp_path_factory, small):
  """Returns the function that tokenizes a run whose users have columns."""

  def write(sex=SEX, town=TOWNS, **settings):
    run_dir = tmp_path_factory.mktemp('run')
    made = small.make_dataset()
    numbers = [int(name[1:]) for name in made.users['user_id'].to_pylist()]
    users = pa.table(
      {
        'user_id': made.users['user_id'],
        'sex': [sex[n % len(sex)] for n in numbers],
        'home_town': [town[n // 3 % len(town)] for n in numbers],
        'number': numbers,
      }
    )
    dataset = Dataset(
      'small',
      made.interactions,
      made.items,
      users,
      made.dialogues,
      made.facts,
    )
    split = splits.leave_one_out(dataset)
    dataset.save(run_dir / 'dataset')
    splits.save_split(split, dataset, run_dir / 'dataset')
    small.make_ids(dataset, split).save(run_dir / 'ids')
    settings = {
      'templates': 'attributes_next',
      'user_attributes': COLUMNS,
      'text_pieces': 320,
      **settings,
    }
    tokenize(run_dir=run_dir, **settings)
    return run_dir

  return write


@pytest.fixture(scope='module')
def run_dir(write_run):
  return write_run()


def known(run_dir):
  users = Dataset.load(run_dir / 'dataset').users
  return read_user_attributes(users, COLUMNS)


def say(cache, tokens):
  return TextPieces(cache.text_model).decode([int(t) for t in tokens])


def test_a_prompt_says_what_its_user_is(run_dir):
  cache, attributes = TokenCache.load(run_dir / 'tokens'), known(run_dir)
  examples = cache.examples('sequential', 'validation')
  users = Dataset.load(run_dir / 'dataset').users
  for row, user in enumerate(examples.user):
    text_tokens = cache.layout['num_text_tokens']
    inputs = examples.inputs[row]
    told = say(cache, inputs[inputs < text_tokens])
    sex, town = (users[name][int(user)].as_py() for name in COLUMNS)
    expected = f'sex {sex or UNKNOWN} home town {town or UNKNOWN}'
    assert told == f'User: {expected}History:What comes next?'
  assert attributes.values == (('F', 'M'), tuple(sorted(TOWNS[:3])))
  assert (attributes.of(np.array([-1])) == NO_VALUE).all()


def test_rewritten_prompts_are_those_of_other_users(write_run, run_dir):
  """Example by example what tokenization writes, had users been others."""
  flipped = write_run(
    sex=['M', 'F', 'F'],
    town=['12', None, 'Ulm', 'Bad Homburg vor der Höhe'],
    text_model=run_dir / 'tokens' / 'text.model',
    text_pieces=None,
  )
  cache, other = (TokenCache.load(d / 'tokens') for d in (run_dir, flipped))
  said = attribute_tokens(cache)
  check_attributes(said, known(run_dir))
  for part in ('validation', 'test'):
    examples = cache.examples('sequential', part)
    expected = other.examples('sequential', part)
    old, new = (known(d).of(examples.user) for d in (run_dir, flipped))
    assert (old != new).any(axis=1).all()
    found = rewrite_attributes(examples, said, old, new)
    np.testing.assert_array_equal(found.inputs.values, expected.inputs.values)
    np.testing.assert_array_equal(found.inputs.offsets, expected.inputs.offsets)
    again = rewrite_attributes(found, said, new, old)
    np.testing.assert_array_equal(again.inputs.values, examples.inputs.values)


def test_another_order_says_the_same(run_dir):
  cache = TokenCache.load(run_dir / 'tokens')
  examples = cache.examples('sequential', 'test')
  values = known(run_dir).of(examples.user)
  said = attribute_tokens(cache)
  turned = rewrite_attributes(examples, said, values, values, order=(1, 0))
  row = int(np.flatnonzero((values >= 0).all(axis=1))[0])
  sex, town = (known(run_dir).name(c, v) for c, v in enumerate(values[row]))
  text = turned.inputs[row]
  text = text[text < cache.layout['num_text_tokens']]
  assert f'User: home town {town} sex {sex}History' in say(cache, text)
  assert sorted(text) == sorted(
    t for t in examples.inputs[row] if t < cache.layout['num_text_tokens']
  )


def test_training_hides_a_share_and_evaluation_nothing(write_run):
  hiding = write_run(attribute_dropout=0.5, copies=4)
  cache, attributes = TokenCache.load(hiding / 'tokens'), known(hiding)
  unknown = attribute_tokens(cache).tokens[0][0]

  def share_hidden(part):
    examples = cache.examples('sequential', part)
    is_known = attributes.of(examples.user)[:, 0] >= 0
    rows = np.flatnonzero(is_known)
    told = [bytes(examples.inputs[row].astype(np.int32)) for row in rows]
    return np.mean([bytes(np.array(unknown, np.int32)) in t for t in told])

  # Half of the examples hide everything, half of the others this one.
  assert share_hidden('train') == pytest.approx(0.75, abs=0.08)
  assert share_hidden('validation') == share_hidden('test') == 0


def test_who_is_new_is_unknown(run_dir):
  cache = TokenCache.load(run_dir / 'tokens')
  examples = new_user_examples(cache, 'sequential', [[3, 5]])
  asked = RequestReader(run_dir).read(
    'sequential', Request(history=('i3', 'i5'))
  )
  items = RequestReader(run_dir).knowledge.items
  rows = [items.find(name) for name in ('i3', 'i5')]
  examples = new_user_examples(cache, 'sequential', [rows])
  np.testing.assert_array_equal(examples.inputs[0], asked.examples.inputs[0])
  told = [t for t in examples.inputs[0] if t < cache.layout['num_text_tokens']]
  assert f' sex {UNKNOWN} home town {UNKNOWN}' in say(cache, told)


def test_a_request_says_what_its_user_is(run_dir):
  reader = RequestReader(run_dir)
  cache = TokenCache.load(run_dir / 'tokens')
  examples = cache.examples('sequential', 'test')
  for row in (0, 7):
    user = reader.knowledge.users.ids[examples.user[row]]
    asked = reader.read('sequential', Request(user=user))
    np.testing.assert_array_equal(
      asked.examples.inputs[0], examples.inputs[row]
    )


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'user_attributes': ()}, 'expected columns .*: sex, home_town'),
    ({'user_attributes': 'sex,sex'}, 'each once'),
    ({'user_attributes': 'age'}, "no attribute 'age'.*: sex, home_town"),
    ({'user_attributes': 'number'}, 'has 30 values, expected from 2 to 25'),
    ({'templates': 'next'}, 'none of the templates shows'),
    ({'attribute_dropout': 1.5}, 'must be a share'),
  ],
)
def test_what_cannot_be_said_is_told(write_run, settings, message):
  with pytest.raises(GenrecError, match=message):
    write_run(**settings)


def test_prompts_that_do_not_say_it_cannot_be_changed(write_run, run_dir):
  plain = write_run(templates='next', user_attributes=())
  with pytest.raises(GenrecError, match='--templates=attributes'):
    attribute_tokens(TokenCache.load(plain / 'tokens'))
  cache = TokenCache.load(run_dir / 'tokens')
  examples = cache.examples('sequential', 'test')
  values = known(run_dir).of(examples.user)
  others = np.where(values == 0, 1, 0).astype(np.int32)
  with pytest.raises(GenrecError, match='0 times, expected once'):
    rewrite_attributes(examples, attribute_tokens(cache), others, values)
