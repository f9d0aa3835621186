"""Recommending new items, and to new users."""

import json
import shutil

import numpy as np
import optax
import pyarrow as pa
import pytest

from genrec_jax.add_items import add_items
from genrec_jax.data import splits
from genrec_jax.data.dataset import RawTables, build_dataset
from genrec_jax.data.token_cache import (
  Ragged,
  TokenCache,
  TokenExamples,
  write_token_cache,
)
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.ids.new_items import NewItems
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import T5Config, Transformer
from genrec_jax.recommend import recommend
from genrec_jax.training import partitioning, steps
from genrec_jax.training.checkpoints import Checkpoints
from genrec_jax.types import GenrecError

NUM_ITEMS, NUM_USERS = 20, 12
MODEL = EncoderDecoder(
  Transformer(
    T5Config(
      vocab_size=128,
      emb_dim=16,
      num_heads=2,
      head_dim=8,
      mlp_dim=16,
      num_encoder_layers=1,
      num_decoder_layers=1,
    )
  ),
  optimizer_def=optax.sgd(0.1),
)


@pytest.fixture(scope='module')
def fresh_run(tmp_path_factory):
  """A run whose model is not trained, with user tokens and two new items."""
  run_dir = tmp_path_factory.mktemp('runs') / 'toy'
  rng = np.random.default_rng(0)
  rows = [
    (f'u{user}', f'i{item}', time)
    for user in range(NUM_USERS)
    for time, item in enumerate(rng.permutation(NUM_ITEMS)[:5])
  ]
  user, item, time = zip(*rows)
  titles = [f'{"red" if i % 2 else "blue"} thing {i}' for i in range(NUM_ITEMS)]
  dataset = build_dataset(
    'toy',
    RawTables(
      interactions=pa.table({'user': user, 'item': item, 'time': time}),
      items=pa.table(
        {
          'item_id': [f'i{i}' for i in range(NUM_ITEMS)],
          'title': titles,
          'colour': [title.split()[0] for title in titles],
          'price': [float(i) for i in range(NUM_ITEMS)],
        }
      ),
    ),
  )
  split = splits.leave_one_out(dataset)
  dataset.save(run_dir / 'dataset')
  splits.save_split(split, dataset, run_dir / 'dataset')
  inputs = {'dataset': dataset.fingerprint, 'split': split.fingerprint}
  ids = ItemIds(
    codes=np.stack([np.arange(dataset.num_items) % 5] * 2, 1)
    + np.stack([0 * np.arange(20), np.arange(20) // 5 * 5], 1),
    codebook_sizes=(5, 25),
    user_codes=np.arange(NUM_USERS)[:, None],
    user_codebook_sizes=(NUM_USERS,),
    inputs=inputs,
  )
  ids.save(run_dir / 'ids')
  layout = ids.layout()
  item_tokens = layout.item_tokens(ids.codes)
  user_tokens = layout.user_tokens(ids.user_codes)
  found = splits.examples(dataset, split, splits.TEST)
  history = found.ragged_histories()
  examples = TokenExamples(
    inputs=Ragged.from_rows(
      np.concatenate([user_tokens[u], item_tokens[h].reshape(-1)])
      for u, h in zip(found.user, history)
    ),
    targets=Ragged.from_rows(item_tokens[found.target]),
    user=found.user,
    target=found.target,
    tied=found.tied,
    history=history,
  )
  write_token_cache(
    run_dir / 'tokens',
    layout=layout.as_dict(),
    item_tokens=item_tokens,
    item_names=dataset.item_names(),
    examples={'sequential': {'test': examples}},
    inputs={**inputs, 'ids': ids.fingerprint},
    settings={
      'max_history': 20,
      'tasks': {
        'sequential': {'answer': 'item', 'prompt': ['user', 'history']}
      },
    },
  )
  mesh = partitioning.make_mesh()
  state = steps.initial_state(
    MODEL, mesh, steps.abstract_state(MODEL, mesh), seed=0
  )
  store = Checkpoints(
    run_dir / 'checkpoints',
    inputs={
      'vocabulary': TokenCache.load(run_dir / 'tokens').vocabulary_fingerprint
    },
  )
  store.save(state, step=7, position={}, progress={'best_step': 7})
  store.close()
  (run_dir / 'new.jsonl').write_text(
    '{"item_id": "n0", "title": "red thing"}\n'
    '{"item_id": "n1", "title": "blue thing"}\n'
  )
  add_items(run_dir=run_dir, items=run_dir / 'new.jsonl')
  return run_dir


@pytest.fixture
def run_dir(fresh_run, tmp_path):
  return shutil.copytree(fresh_run, tmp_path / 'run')


def records_of(run_dir, **settings):
  """Recommends with as many beams as items, so that all are listed."""
  settings = {'top_k': 22, 'num_beams': 22, **settings}
  recommend(run_dir=run_dir, model=MODEL, **settings)
  lines = (run_dir / 'recommendations.jsonl').read_text().splitlines()
  return [json.loads(line)['recommendations'] for line in lines]


def test_new_items_are_listed_and_the_others_keep_their_scores(run_dir, capsys):
  """A score over the vocabulary does not depend on what else there is."""
  with_new = records_of(run_dir, users=['u3', 'u5'])
  assert 'new: red thing' in capsys.readouterr().out
  without = records_of(run_dir, users=['u3', 'u5'], new_items=False)
  for more, fewer in zip(with_new, without):
    new = [entry for entry in more if entry['new']]
    assert {entry['name'] for entry in new} == {'red thing', 'blue thing'}
    assert {entry['item'] for entry in new} == {NUM_ITEMS, NUM_ITEMS + 1}
    scores = {e['item']: e['score'] for e in more if not e['new']}
    assert scores == {e['item']: e['score'] for e in fewer}


def test_a_model_in_parts_recommends_the_same(run_dir):
  """In 4 by width and 2 by heads, and so the encoder's lengths."""
  rules = [(axis, 'model') for axis in ('heads', 'mlp', 'vocab', 'joined_kv')]
  rules = [('batch', 'data'), *rules, ('embed', 'data'), ('length', 'model')]
  whole = records_of(run_dir, users=['u3', 'u5'])
  parts = records_of(
    run_dir, users=['u3', 'u5'], model_parallel=2, axis_rules=rules
  )
  for one, other in zip(whole, parts, strict=True):
    assert [e['item'] for e in one] == [e['item'] for e in other]
    np.testing.assert_allclose(
      [e['score'] for e in one], [e['score'] for e in other], rtol=1e-5
    )


def test_a_new_user_gets_what_a_user_with_that_history_and_code_gets(run_dir):
  """Who took what u3 took alone has the code of u3, and so the same input."""
  dataset_ids = [f'u{u}' for u in range(NUM_USERS)]
  examples = TokenCache.load(run_dir / 'tokens').examples('sequential', 'test')
  names = pa.parquet.read_table(run_dir / 'dataset' / 'items.parquet')
  row = dataset_ids.index('u3')
  history = [names['item_id'][i].as_py() for i in examples.history[row]]
  known = records_of(run_dir, users=['u3'])
  assert records_of(run_dir, history=','.join(history)) == known


def test_a_new_item_may_stand_in_a_history(run_dir):
  (listed,) = records_of(run_dir, history=['i3', 'i4', 'i5', 'n1'])
  assert [e['name'] for e in listed if e['new']] == ['red thing']


def test_a_share_of_the_places_goes_to_new_items(run_dir):
  (listed,) = records_of(run_dir, users='u3', cold_share=1.0, top_k=4)
  assert [entry['new'] for entry in listed] == [True, True, False, False]
  scores = [entry['score'] for entry in listed]
  assert scores[0] >= scores[1] and scores[2] >= scores[3]


def test_a_penalty_lists_what_fewer_had_and_keeps_the_scores(run_dir):
  (plain,) = records_of(run_dir, users='u3', top_k=20)
  (rare,) = records_of(run_dir, users='u3', top_k=20, popularity_penalty=1e6)
  known = {entry['item']: entry['score'] for entry in plain}
  assert known == {entry['item']: entry['score'] for entry in rare}
  dataset = splits.Dataset.load(run_dir / 'dataset')
  split = splits.load_split(run_dir / 'dataset', dataset)
  _, item = splits.train_interactions(dataset, split)
  counts = np.bincount(item, minlength=dataset.num_items + 2)  # two are new
  listed = [counts[entry['item']] for entry in rare]
  assert listed == sorted(listed) and listed[0] == 0 < listed[-1]


def test_conditions_leave_the_order_of_what_meets_them(run_dir, capsys):
  (everything,) = records_of(run_dir, users='u3')
  (listed,) = records_of(
    run_dir, users='u3', only=['colour=Red'], cheaper_than=8.0
  )
  said = '20 items (4 with colour=Red and price < 8)'
  assert said in capsys.readouterr().out
  cheap_and_red = {f'red thing {i}' for i in (1, 3, 5, 7)}
  assert [e['name'] for e in listed] == [
    e['name'] for e in everything if e['name'] in cheap_and_red
  ]
  assert listed


def test_who_had_all_that_meets_a_condition_gets_an_empty_list(run_dir):
  settings = {'only': ['colour=red'], 'cheaper_than': 2.0}
  assert records_of(run_dir, history='i1,i2,i3', **settings) == [[]]


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'only': ['colour=green']}, "No item has 'green' in its 'colour'"),
    ({'cheaper_than': 3.0, 'price_column': 'cost'}, "no column 'cost'"),
    ({'cheaper_than': 3.0, 'cold_share': 0.5}, 'one view of the catalogue'),
    ({'history': 'i3,i99'}, "item 'i99' in the history"),
    ({'history': 'i3', 'users': 'u3'}, 'both users'),
    ({'cold_share': 2.0}, 'cold_share=2.0'),
    ({'popularity_penalty': -1.0}, 'penalty -1.0'),
    ({'popularity_penalty': 1.0, 'cold_share': 0.1}, 'one of them'),
    ({'split': 'train'}, 'expected one of: test, validation'),
    ({'cold_share': 0.5, 'new_items': False}, 'there are none'),
    ({'history': 'n0'}, 'took no item that another user took'),
  ],
)
def test_what_cannot_be_is_refused(run_dir, settings, message):
  with pytest.raises(GenrecError, match=message):
    records_of(run_dir, **settings)


def test_new_items_of_other_ids_are_refused(run_dir):
  new = NewItems.load(run_dir / 'new_items')
  NewItems(new.codes, new.records, {**new.inputs, 'ids': '0' * 64}).save(
    run_dir / 'new_items'
  )
  with pytest.raises(GenrecError, match='were added to the ids 000000000000'):
    records_of(run_dir)
  assert records_of(run_dir, new_items=False)
