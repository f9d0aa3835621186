"""What is retrieved reaches the prompts, and what must not is found out."""

import dataclasses

import numpy as np
import pytest
import seqio

from genrec_jax.data import simulator, splits
from genrec_jax.data.attributes import draw_wishes, read_attributes
from genrec_jax.data.audit import LeakError
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.token_cache import Ragged, TokenCache
from genrec_jax.retrieval.items import TrainPairs, retrieve_items
from genrec_jax.tasks import definitions, prompts, registry, retrieved
from genrec_jax.tasks.requests import Request, RequestReader
from genrec_jax.tokenize import tokenize
from genrec_jax.types import GenrecError

TASKS = ('sequential', 'explanation', 'conversation_reply')


@pytest.fixture(autouse=True)
def _no_tasks_before():
  yield
  seqio.TaskRegistry.reset()
  seqio.MixtureRegistry.reset()


@pytest.fixture(scope='module')
def shop(save_shop, tmp_path_factory):
  """A simulated shop whose prompts show what BM25 retrieved."""
  directory = tmp_path_factory.mktemp('shop')
  save_shop(
    directory, simulator.simulate(seed=1, num_users=30, num_dialogues=20)
  )
  tokenize(
    run_dir=directory,
    tasks=TASKS,
    templates='retrieved',
    retrieval='bm25',
    num_retrieved=2,
    max_retrieved=40,
    text_pieces=700,
  )
  return directory


def test_what_others_said_stands_in_the_prompt(shop):
  data, cache = registry.load_task_data(shop)
  inputs = cache.examples('explanation', 'test').inputs
  dataset, split = data.dataset, data.split
  rows = np.flatnonzero(split.part == splits.TEST)
  told = dataset.interactions['explanation'].to_pylist()
  train = np.flatnonzero(split.part == splits.TRAIN)
  shown = 0
  for place, row in enumerate(rows):
    prompt = data.vocabulary.decode(inputs[place])
    found = prompt.partition('Said before:')[2].split(' | ')[:-1]
    user, item = dataset.user[row], dataset.item[row]
    near = (dataset.user[train] == user) ^ (dataset.item[train] == item)
    assert set(found) <= {told[other] for other in train[near]}
    assert len(set(found)) == len(found) <= 2
    shown += len(found)
  assert shown > len(rows)


def test_a_request_of_nobody_is_told_what_was_said_of_the_item_alone(shop):
  """And nothing that some user of the data wrote of other items."""
  reader = RequestReader(shop)
  dataset, split = reader.data.dataset, reader.data.split
  told = dataset.interactions['explanation'].to_pylist()
  history = [reader.knowledge.items.ids[item] for item in dataset.item[:2]]
  for item in np.unique(dataset.item[split.part == splits.TRAIN])[:3]:
    request = Request(history=history, item=reader.knowledge.items.ids[item])
    asked = reader.read('explanation', request)
    prompt = reader.data.vocabulary.decode(asked.examples.inputs[0])
    found = prompt.partition('Said before:')[2].split(' | ')[:-1]
    assert found
    near = (split.part == splits.TRAIN) & (dataset.item == item)
    assert set(found) <= {told[row] for row in np.flatnonzero(near)}


def test_retrieved_turns_name_items_by_their_codes(shop):
  data, cache = registry.load_task_data(shop)
  inputs = cache.examples('conversation_reply', 'train').inputs
  blocks = data.vocabulary.layout.item_blocks
  between = data.vocabulary.encode_text(retrieved.BETWEEN)
  for row in range(len(inputs)):
    text = data.vocabulary.decode(inputs[row])
    assert text.startswith('Said before:')
    assert text.partition('Now:')[0].count('<i0:') == 2
  assert all(np.isin(between, inputs.values))
  assert np.isin(inputs.values, blocks[0]).sum() == (
    np.isin(inputs.values, blocks[1]).sum()
  )


def test_tasks_of_a_run_retrieve_what_its_token_cache_holds(shop):
  registry.register_tasks(shop, name='shop')
  cache = TokenCache.load(shop / 'tokens')
  settings = cache.manifest['settings']
  assert settings['retrieval'] == 'bm25'
  assert (settings['num_retrieved'], settings['max_retrieved']) == (2, 40)
  for task in TASKS:
    cached = cache.examples(task, 'test')
    online = seqio.get_mixture_or_task(f'shop_{task}').get_dataset(
      None, 'test', shuffle=False
    )
    for row, example in enumerate(online.as_numpy_iterator()):
      np.testing.assert_array_equal(cached.inputs[row], example['inputs'])


def test_no_item_of_a_history_is_retrieved_though_its_last_ones_ask(shop):
  data, _ = registry.load_task_data(shop)
  definition = definitions.task_definition('sequential')
  known = data.examples(definition, definition.templates[:1], 'test')
  asked = retrieved.item_queries(data, definition, known, 2)
  for row in range(len(known)):
    assert asked.seen[row].tolist() == known.history(row).tolist()
    assert asked.items[row].tolist() == known.history(row)[-2:].tolist()


def test_retrieved_items_are_those_of_the_room(run_dir):
  tokenize(
    run_dir=run_dir,
    templates=('retrieved', 'next'),
    retrieval='dense',
    num_retrieved=3,
  )
  data, cache = registry.load_task_data(run_dir)
  examples = cache.examples('sequential', 'test')
  definition = definitions.task_definition('sequential')
  known = data.examples(definition, definition.templates[:1], 'test')
  found = retrieve_items(
    'dense',
    retrieved.train_pairs(data, definition),
    data.dataset.items,
    retrieved.item_queries(data, definition, known, 20),
    num_results=3,
  )
  assert found.lengths.max() == 3
  for row in range(len(examples)):
    shown = examples.inputs[row][-2 * len(found[row]) :]
    expected = cache.item_tokens[found[row]].reshape(-1)
    np.testing.assert_array_equal(shown, expected)


def test_templates_with_such_slots_are_taken_on_request_alone(run_dir):
  for task, definition in definitions.BUILTIN.items():
    optional = (*prompts.RETRIEVED, prompts.WANTED, prompts.USER_ATTRIBUTES)
    chosen = prompts.choose_templates(definition.templates, None)
    assert not any(prompts.uses(template, optional) for template in chosen)
    retrieving = prompts.choose_templates(
      definition.templates, None, retrieval=True
    )
    if any(slot in definition.slots for slot in prompts.RETRIEVED):
      assert len(retrieving) > 1
      assert all(prompts.uses(t, prompts.RETRIEVED) for t in retrieving), task
    else:
      assert retrieving == chosen
  with pytest.raises(GenrecError, match='--retrieval=bm25'):
    tokenize(run_dir=run_dir, templates='retrieved')
  with pytest.raises(GenrecError, match='bm25, dense, none'):
    tokenize(run_dir=run_dir, retrieval='bm52')
  with pytest.raises(GenrecError, match='plain, next.* shows what'):
    tokenize(run_dir=run_dir, retrieval='bm25', templates=('plain', 'next'))
  with pytest.raises(GenrecError, match='at least 1 of each'):
    tokenize(run_dir=run_dir, retrieval='bm25', num_retrieved=0)


def test_items_put_near_by_ones_own_rows_fail(run_dir, monkeypatch):
  def careless(method, train, items, queries, **settings):
    nobody = np.full(len(queries.owner), -1)
    queries = dataclasses.replace(queries, owner=nobody)
    return retrieve_items(method, train, items, queries, **settings)

  monkeypatch.setattr(retrieved, 'retrieve_items', careless)
  with pytest.raises(LeakError, match='sequential/train'):
    tokenize(run_dir=run_dir, templates='retrieved', retrieval='dense')


def test_items_put_near_by_held_out_rows_fail(run_dir, monkeypatch):
  def everything(data, definition):
    return TrainPairs(data.dataset.user, data.dataset.item)

  honest = retrieved.retrieve

  def careless(data, *arguments, **settings):
    with monkeypatch.context() as patch:
      patch.setattr(retrieved, 'train_pairs', everything)
      return honest(data, *arguments, **settings)

  monkeypatch.setattr(retrieved, 'retrieve', careless)
  with pytest.raises(LeakError, match='sequential/train'):
    tokenize(run_dir=run_dir, templates='retrieved', retrieval='dense')


def test_a_text_that_retrieves_itself_fails(shop, tmp_path, monkeypatch):
  for kind in ('dataset', 'ids'):
    (tmp_path / kind).symlink_to(shop / kind)

  def careless(method, documents, queries, **settings):
    # The user's own texts, that of the example among them.
    return Ragged.from_rows(
      documents.rows[documents.user == user] for user in queries.user
    )

  monkeypatch.setattr(retrieved, 'retrieve_sentences', careless)
  with pytest.raises(LeakError, match='explanation/train .* their own'):
    tokenize(
      run_dir=tmp_path,
      tasks='explanation',
      templates='retrieved',
      retrieval='bm25',
      text_pieces=700,
    )


@pytest.mark.parametrize(
  'max_tokens, expected',
  [
    (7, [3, 4, 10, 20, 5, 10, 20]),
    (6, [3, 4, 10, 20, 5]),
    (4, [3, 4, 10, 20]),
    (3, [3, 4]),
    (1, [3]),
  ],
)
def test_a_cut_leaves_no_part_of_an_id(max_tokens, expected):
  tokens = np.array([3, 4, 10, 20, 5, 10, 20])
  cut = retrieved.cut_tokens(tokens, max_tokens, range(20, 30))
  assert cut.tolist() == expected


def test_a_wish_is_an_attribute_of_the_target(shop, tmp_path):
  for kind in ('dataset', 'ids'):
    (tmp_path / kind).symlink_to(shop / kind)
  tokenize(
    run_dir=tmp_path, templates='wanted', wanted='category', text_pieces=700
  )
  data, cache = registry.load_task_data(tmp_path)
  dataset = Dataset.load(tmp_path / 'dataset')
  attributes = read_attributes(dataset.items, 'category')
  examples = cache.examples('sequential', 'test')
  wishes = draw_wishes(attributes, examples.user, examples.target)
  category = dataset.items['category'].to_pylist()
  assert cache.manifest['settings']['wanted'] == 'category'
  asked = 0
  for row in range(len(examples)):
    prompt = data.vocabulary.decode(examples.inputs[row])
    wish = prompt.rpartition('Only')[2]
    if wishes[row] >= 0:
      assert wish == category[examples.target[row]]
      assert wish == attributes.values[wishes[row]]
      asked += 1
    else:
      assert not wish
  assert asked > len(examples) / 2
  blank = cache.manifest['settings']['tasks']['sequential']['blank']
  without = 0
  for part in cache.parts('sequential'):
    some = cache.examples('sequential', part)
    without += (draw_wishes(attributes, some.user, some.target) < 0).sum()
  assert blank == {'wanted': without}
