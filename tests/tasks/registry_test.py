import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import seqio

from genrec_jax.data import splits
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.token_cache import TokenCache
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.tasks import definitions, registry
from genrec_jax.tasks.prompts import Template
from genrec_jax.tokenize import tokenize
from genrec_jax.types import GenrecError

BOTH = ('sequential', 'top_n')


@pytest.fixture(autouse=True)
def _no_tasks_before():
  yield
  seqio.TaskRegistry.reset()
  seqio.MixtureRegistry.reset()
  for name in set(definitions.TASKS) - set(definitions.BUILTIN):
    del definitions.TASKS[name]


def load(run_dir):
  dataset = Dataset.load(run_dir / 'dataset')
  return dataset, splits.load_split(run_dir / 'dataset', dataset)


def read(task, part, *, seed=0, **kwargs):
  dataset = seqio.get_mixture_or_task(task).get_dataset(
    sequence_length=None, split=part, shuffle=False, seed=seed, **kwargs
  )
  return list(dataset.as_numpy_iterator())


def test_tasks_of_a_run_yield_what_its_token_cache_holds(run_dir_with_users):
  run_dir = run_dir_with_users
  tokenize(run_dir=run_dir, tasks=BOTH, copies=2, seed=7, num_candidates=5)
  names = registry.register_tasks(run_dir, name='small')
  assert names == ['small_sequential', 'small_top_n', 'small_all']
  cache = TokenCache.load(run_dir / 'tokens')
  for task in BOTH:
    for part, epochs in (('train', 2), ('validation', 1), ('test', 1)):
      cached = cache.examples(task, part)
      online = read(f'small_{task}', part, seed=7, num_epochs=epochs)
      assert len(cached) == len(online) > 0
      for i, example in enumerate(online):
        np.testing.assert_array_equal(cached.inputs[i], example['inputs'])
        np.testing.assert_array_equal(cached.targets[i], example['targets'])
        for name in ('user', 'target', 'tied'):
          assert getattr(cached, name)[i] == example[name]
        if part != 'train':
          np.testing.assert_array_equal(cached.history[i], example['seen'])


def test_the_examples_are_those_of_the_split(run_dir):
  tokenize(run_dir=run_dir, templates=('plain',), max_history=3)
  registry.register_tasks(run_dir, name='small')
  dataset, split = load(run_dir)
  tokens = TokenCache.load(run_dir / 'tokens').item_tokens
  for part, name in ((splits.TRAIN, 'train'), (splits.TEST, 'test')):
    known = splits.examples(dataset, split, part)
    found = read('small_sequential', name)
    task = seqio.get_mixture_or_task('small_sequential')
    assert len(found) == len(known) == task.num_input_examples(name)
    for i, example in enumerate(found):
      history = known.history(i)
      np.testing.assert_array_equal(example['seen'], history)
      np.testing.assert_array_equal(
        example['inputs'], tokens[history[-3:]].reshape(-1)
      )
      np.testing.assert_array_equal(example['targets'], tokens[known.target[i]])


def test_training_draws_templates_and_evaluation_takes_the_first(run_dir):
  tokenize(run_dir=run_dir, templates=('next', 'plain'))
  registry.register_tasks(run_dir, name='small')
  vocabulary = (
    registry.seqio.get_mixture_or_task('small_sequential')
    .output_features['inputs']
    .vocabulary
  )

  def asks(part, seed):
    return [
      vocabulary.decode(example['inputs']).endswith('What comes next?')
      for example in read('small_sequential', part, seed=seed)
    ]

  assert all(asks('validation', 0))
  drawn = asks('train', 0)
  assert 0.3 < np.mean(drawn) < 0.7
  assert drawn == asks('train', 0) != asks('train', 1)


@pytest.mark.parametrize('pack', [True, False])
def test_the_standard_feature_converter_takes_them(run_dir, pack):
  tokenize(run_dir=run_dir, tasks=BOTH)
  registry.register_tasks(run_dir, name='small')
  dataset = seqio.get_dataset(
    'small_all',
    task_feature_lengths={'inputs': 128, 'targets': 16},
    feature_converter=seqio.EncDecFeatureConverter(pack=pack),
    shuffle=True,
    seed=0,
  )
  batch = next(dataset.batch(4).as_numpy_iterator())
  assert batch['encoder_input_tokens'].shape == (4, 128)
  targets = batch['decoder_target_tokens']
  weights = batch['decoder_loss_weights']
  np.testing.assert_array_equal(weights, targets > 0)
  items = weights.sum(axis=1) / 2  # Two levels an item, no eos.
  if pack:
    segments = batch['encoder_segment_ids']
    assert items.max() > 1
    np.testing.assert_array_equal(
      segments.max(axis=1), batch['decoder_segment_ids'].max(axis=1)
    )
  else:
    np.testing.assert_array_equal(items, 1)


def test_shuffling_changes_the_order_and_not_the_examples(run_dir):
  tokenize(run_dir=run_dir, templates=('plain',))
  registry.register_tasks(run_dir, name='small')
  task = seqio.get_mixture_or_task('small_sequential')

  def rows(**kwargs):
    dataset = task.get_dataset(None, 'train', num_epochs=1, **kwargs)
    return [int(example['row']) for example in dataset.as_numpy_iterator()]

  ordered, shuffled = rows(shuffle=False), rows(shuffle=True, seed=1)
  assert shuffled != ordered == sorted(shuffled)
  assert shuffled == rows(shuffle=True, seed=1) != rows(shuffle=True, seed=2)


def test_candidates_are_the_target_among_unseen_items(run_dir):
  tokenize(run_dir=run_dir, tasks='top_n', templates='which', num_candidates=20)
  registry.register_tasks(run_dir, name='small')
  both = read('small_top_n', 'train', num_epochs=2)
  first, second = both[: len(both) // 2], both[len(both) // 2 :]
  places = []
  for example in first:
    candidates = example['candidates'].tolist()
    assert len(set(candidates)) == 20
    assert not set(candidates) & set(example['seen'].tolist())
    places.append(candidates.index(example['target']))
  assert 6 < np.mean(places) < 13
  assert any(
    a['candidates'].tolist() != b['candidates'].tolist()
    for a, b in zip(first, second)
  )
  # Those of an evaluation example do not depend on the run's seed.
  for a, b in zip(
    read('small_top_n', 'test', seed=0), read('small_top_n', 'test', seed=5)
  ):
    np.testing.assert_array_equal(a['inputs'], b['inputs'])


def test_a_user_without_tokens_is_their_items_in_random_order(run_dir):
  tokenize(
    run_dir=run_dir, tasks='top_n', templates='straight', text_pieces=400
  )
  registry.register_tasks(run_dir, name='small')
  tokens = TokenCache.load(run_dir / 'tokens').item_tokens
  in_order = []
  for example in read('small_top_n', 'test'):
    shown = example['inputs'][-2 * len(example['history']) :].reshape(-1, 2)
    expected = tokens[example['history']]
    assert sorted(shown.tolist()) == sorted(expected.tolist())
    in_order.append(shown.tolist() == expected.tolist())
  assert not all(in_order)


def test_ids_that_differ_in_length_end_with_eos_in_targets_alone(
  run_dir_with_variable_ids,
):
  run_dir = run_dir_with_variable_ids
  tokenize(run_dir=run_dir, templates='plain')
  cached = TokenCache.load(run_dir / 'tokens').examples('sequential', 'test')
  ids = ItemIds.load(run_dir / 'ids')
  lengths = (ids.codes >= 0).sum(axis=1)
  assert (cached.inputs.values > 1).all()
  for i in range(len(cached)):
    assert cached.targets[i].tolist()[-1] == 1
    assert len(cached.targets[i]) == lengths[cached.target[i]] + 1
    assert len(cached.inputs[i]) == lengths[cached.history[i]].sum()


def test_the_evaluator_ranks_beams(run_dir):
  tokenize(run_dir=run_dir, templates='plain')
  registry.register_tasks(run_dir, name='small')
  tokens = TokenCache.load(run_dir / 'tokens').item_tokens
  evaluator = seqio.Evaluator(
    'small_sequential',
    feature_converter=seqio.EncDecFeatureConverter(pack=False),
    eval_split='validation',
  )

  def predict(dataset, model_feature_shapes=None):
    """Has the target second; the best beam comes last, as T5X has it."""
    found = []
    for index, features in dataset.as_numpy_iterator():
      target = features['decoder_target_tokens']
      others = tokens[(tokens != target).any(axis=1)][:4]
      beams = [np.zeros_like(target), *others[:3], target, others[3]]
      found.append((int(index), np.stack(beams)))
    scores = [[-np.inf, -5.0, -4.0, -3.0, -2.0, -1.0]] * len(found)
    return found, {'scores': scores}

  metrics, _ = evaluator.evaluate(
    compute_metrics=True,
    step=0,
    predict_fn=predict,
    score_fn=lambda *_: [],
    predict_with_aux_fn=predict,
  )
  result = metrics.result()['small_sequential']
  assert result['recall@1'] == 0 and result['recall@5'] == 1
  np.testing.assert_allclose(result['ndcg@5'], 1 / np.log2(3), rtol=1e-6)


def test_a_task_of_ones_own_may_bring_slots(run_dir):
  registry.define_task(
    'mine',
    [Template('t', 'After {latest} comes')],
    slots={'latest': lambda e, tokens, seed: tokens.items(e['seen'][-1:])},
  )
  tokenize(run_dir=run_dir, tasks='mine')
  cached = TokenCache.load(run_dir / 'tokens')
  example = cached.examples('mine', 'test')
  last = cached.item_tokens[example.history[0][-1]]
  assert set(last) < set(example.inputs[0].tolist())


@pytest.mark.parametrize(
  'define, complaint',
  [
    (('sequential', [Template('a', '{history}')]), 'comes with genrec_jax'),
    (('mine', [Template('a', '{item}')]), 'profile, retrieved_items, user'),
    (('mine', [Template('a', '{target}')]), 'candidates, history'),
  ],
)
def test_a_wrong_definition_says_what_is_wrong(define, complaint):
  with pytest.raises(GenrecError, match=complaint):
    registry.define_task(*define)


def test_a_name_is_registered_once(run_dir):
  tokenize(run_dir=run_dir)
  registry.register_tasks(run_dir, name='small')
  with pytest.raises(GenrecError, match='choose another name'):
    registry.register_tasks(run_dir, name='small')


def test_tasks_of_a_cache_made_from_other_ids_are_refused(run_dir):
  tokenize(run_dir=run_dir)
  dataset, split = load(run_dir)
  ids = ItemIds.load(run_dir / 'ids')
  ItemIds(ids.codes[::-1], ids.codebook_sizes, inputs=ids.inputs).save(
    run_dir / 'ids'
  )
  with pytest.raises(GenrecError, match='tokenize'):
    registry.register_tasks(run_dir, name='small')


def test_a_task_without_train_examples_stays_out_of_the_mixture(run_dir):
  dataset, split = load(run_dir)
  reviews = np.where(split.part == splits.TEST, 'fine for me', None)
  dataset = dataclasses.replace(
    dataset,
    interactions=dataset.interactions.append_column(
      'review', pa.array(reviews, pa.string())
    ),
  )
  dataset.save(run_dir / 'dataset')
  split = dataclasses.replace(split, dataset_fingerprint=dataset.fingerprint)
  splits.save_split(split, dataset, run_dir / 'dataset')
  ids = ItemIds.load(run_dir / 'ids')
  inputs = {
    **ids.inputs,
    'dataset': dataset.fingerprint,
    'split': split.fingerprint,
    'train': splits.train_fingerprint(dataset, split),
  }
  dataclasses.replace(ids, inputs=inputs).save(run_dir / 'ids')
  tokenize(run_dir=run_dir, tasks=('sequential', 'review'), templates='plain')
  names = registry.register_tasks(run_dir, name='small')
  assert names == ['small_sequential', 'small_review', 'small_all']
  mixture = seqio.get_mixture_or_task('small_all')
  assert [task.name for task in mixture.tasks] == ['small_sequential']
  assert len(read('small_review', 'test')) == dataset.num_users
