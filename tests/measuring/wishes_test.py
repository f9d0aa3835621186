"""Wishes are found again, and lists with a filter obey them all."""

import dataclasses

import jax
import numpy as np
import pyarrow as pa
import pytest

from genrec_jax.answering.facts import task_facts
from genrec_jax.answering.run import Run
from genrec_jax.data import splits
from genrec_jax.data.attributes import draw_wishes, read_attributes
from genrec_jax.data.dataset import RawTables, build_dataset
from genrec_jax.data.token_cache import (
  Ragged,
  TokenCache,
  TokenExamples,
  write_token_cache,
)
from genrec_jax.decoding import catalogue_views
from genrec_jax.decoding.recommend import take_examples, trie_of_tokens
from genrec_jax.ids.item_ids import TokenLayout
from genrec_jax.measuring import wishes
from genrec_jax.measuring.items import measure_items
from genrec_jax.measuring.measured import Settings
from genrec_jax.measuring.train_data import TrainData
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import T5Config, Transformer

NUM_ITEMS, NUM_USERS = 20, 12
SETTINGS = Settings(num_beams=10, batch_size=NUM_USERS)


@pytest.fixture(scope='module')
def dataset():
  random = np.random.default_rng(0)
  rows = [
    (f'u{user}', f'i{item}', time)
    for user in range(NUM_USERS)
    for time, item in enumerate(random.permutation(NUM_ITEMS)[:5])
  ]
  user, item, time = zip(*rows)
  kinds = [
    [f'colour {i % 2}', f'size {i % 3}', 'rare'][: 2 + (i == 0)]
    for i in range(NUM_ITEMS)
  ]
  return build_dataset(
    'toy',
    RawTables(
      interactions=pa.table({'user': user, 'item': item, 'time': time}),
      items=pa.table(
        {
          'item_id': [f'i{i}' for i in range(NUM_ITEMS)],
          'attributes': kinds,
        }
      ),
    ),
  )


@pytest.fixture(scope='module')
def make_run(dataset, tmp_path_factory):
  """Returns the function from a prompt to a run with an untrained model."""
  layout = TokenLayout(num_text_tokens=3, codebook_sizes=(5, 5))
  model = EncoderDecoder(
    Transformer(
      T5Config(
        vocab_size=layout.vocab_size,
        emb_dim=8,
        num_heads=1,
        head_dim=8,
        mlp_dim=8,
        num_encoder_layers=1,
        num_decoder_layers=1,
      )
    )
  )
  shapes = {
    name: (1, 4) for name in ('encoder_input_tokens', 'decoder_input_tokens')
  }
  params = model.get_initial_variables(jax.random.PRNGKey(0), shapes)['params']
  codes = np.stack([np.arange(NUM_ITEMS) // 5, np.arange(NUM_ITEMS) % 5], 1)
  item_tokens = layout.item_tokens(codes)
  split = splits.leave_one_out(dataset)
  known = splits.examples(dataset, split, splits.TEST)
  history = known.ragged_histories()
  examples = TokenExamples(
    inputs=Ragged.from_rows(item_tokens[h].reshape(-1) for h in history),
    targets=Ragged.from_rows(item_tokens[known.target]),
    user=known.user,
    target=known.target,
    tied=known.tied,
    history=history,
  )

  def make(prompt):
    directory = tmp_path_factory.mktemp('run')
    write_token_cache(
      directory / 'tokens',
      layout=layout.as_dict(),
      item_tokens=item_tokens,
      item_names=dataset.item_names(),
      examples={'sequential': {'test': examples}},
      inputs={'dataset': dataset.fingerprint},
      settings={
        'wanted': 'attributes',
        'tasks': {'sequential': {'answer': 'item', 'prompt': prompt}},
      },
    )
    cache = TokenCache.load(directory / 'tokens')
    trie = trie_of_tokens(cache)
    return Run(directory, cache, model, params, 0, None, trie)

  return make


def find(run, dataset):
  data = TrainData(dataset, splits.leave_one_out(dataset))
  facts = task_facts(run.cache, 'sequential')
  examples = run.cache.examples('sequential', 'test')
  return facts, examples, data, wishes.find_wishes(run, facts, examples, data)


def test_wishes_are_those_that_prompts_were_written_with(make_run, dataset):
  _, examples, _, found = find(make_run(['history', 'wanted']), dataset)
  attributes = read_attributes(dataset.items)
  drawn = draw_wishes(attributes, examples.user, examples.target)
  assert 'rare' not in attributes.values
  assert len(found.has) == len(np.unique(drawn))
  np.testing.assert_array_equal(
    found.has[found.wish], attributes.items_with(drawn)
  )
  assert found.has[found.wish, examples.target].all()


def test_prompts_without_a_wish_are_measured_as_before(make_run, dataset):
  run = make_run(['history'])
  facts, examples, data, found = find(run, dataset)
  assert found is None
  measured = measure_items(run, facts, examples, SETTINGS, data)
  assert list(measured.metrics) == ['model']
  assert not [name for name in measured.columns if 'obey' in name]


def test_a_sample_without_any_wish_has_none_to_measure(make_run, dataset):
  run = make_run(['history', 'wanted'])
  facts, examples, data, _ = find(run, dataset)
  kinds = dataset.items['attributes'].to_pylist()
  kinds[examples.target[0]] = []
  place = dataset.items.column_names.index('attributes')
  items = dataset.items.set_column(place, 'attributes', pa.array(kinds))
  data = TrainData(dataclasses.replace(dataset, items=items), data.split)
  sample = take_examples(examples, [0])
  assert wishes.find_wishes(run, facts, sample, data) is None


def test_a_filter_obeys_and_the_model_is_measured_beside_it(
  make_run, dataset, monkeypatch
):
  # Few views at once, so that several rounds are needed.
  monkeypatch.setattr(wishes, 'VIEWS_AT_ONCE', 2)
  monkeypatch.setattr(catalogue_views, 'VIEWS_AT_ONCE', 2)
  run = make_run(['history', 'wanted'])
  facts, examples, data, found = find(run, dataset)
  assert len(found.has) > 2
  measured = measure_items(run, facts, examples, SETTINGS, data)
  filtered = measured.metrics[wishes.FILTERED]['all']
  model = measured.metrics['model']['all']
  assert filtered['obey@1'] == filtered['obey@10'] == 1
  assert 0 < model['obey@10'] < 1
  assert filtered['obey_n'] == model['obey_n'] == NUM_USERS
  # A filter that the target passes cannot push it down the list.
  assert filtered['recall@10'] >= model['recall@10']
  assert set(wishes.COLUMNS) <= set(measured.columns)
