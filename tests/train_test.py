import dataclasses
import functools

import flax.traverse_util
import numpy as np
import optax
import pytest

from genrec_jax import evaluate, train
from genrec_jax.data import token_cache
from genrec_jax.ids.item_ids import ItemIds, TokenLayout
from genrec_jax.ids.token_vectors import token_vectors
from genrec_jax.measuring.watching import watched_tasks
from genrec_jax.models import token_tables
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import Transformer
from genrec_jax.training import checkpoints, parameters, writers
from genrec_jax.types import GenrecError

NUM_ITEMS = 30


def write_tokens(run_dir, *, seed=0, more_tasks=None, ids='i'):
  """Each user goes through the items by number; ids of two random codes."""
  layout = TokenLayout(
    num_text_tokens=3, codebook_sizes=(8, 8), user_codebook_sizes=()
  )
  random = np.random.default_rng(seed)
  flat = random.choice(64, NUM_ITEMS, replace=False)
  item_tokens = layout.item_tokens(np.stack([flat // 8, flat % 8], axis=1))

  def examples(count):
    starts = random.integers(NUM_ITEMS, size=count)
    lengths = random.integers(2, 9, size=count)
    histories = [
      np.arange(start, start + length) % NUM_ITEMS
      for start, length in zip(starts, lengths)
    ]
    target = ((starts + lengths) % NUM_ITEMS).astype(np.int32)
    return token_cache.TokenExamples(
      inputs=token_cache.Ragged.from_rows(
        [item_tokens[items].ravel() for items in histories]
      ),
      targets=token_cache.Ragged.from_rows(item_tokens[target]),
      user=np.arange(count, dtype=np.int32),
      target=target,
      tied=np.zeros(count, bool),
      history=token_cache.Ragged.from_rows(histories),
    )

  token_cache.write_token_cache(
    run_dir / 'tokens',
    layout=layout.as_dict(),
    item_tokens=item_tokens,
    item_names=[f'item {item}' for item in range(NUM_ITEMS)],
    examples={
      'a': {'train': examples(90), 'validation': examples(30)},
      **{
        task: {part: examples(9) for part in parts}
        for task, parts in (more_tasks or {}).items()
      },
    },
    inputs={'dataset': 'd', 'split': 's', 'ids': ids},
  )


def test_a_run_directory_is_trained_on_its_tokens_alone(tiny, tmp_path):
  with pytest.raises(GenrecError, match='No tokens at'):
    train.train(run_dir=tmp_path, model=None, num_steps=2)
  write_tokens(tmp_path)
  settings = {
    'run_dir': tmp_path,
    'model': tiny.make_model(),
    'num_steps': 3,
    'make_train_batches': functools.partial(
      train.cached_batches, batch_size=32, num_buckets=1
    ),
    'make_evaluate_fn': functools.partial(
      evaluate.make_evaluate_fn, num_beams=20, batch_size=32
    ),
  }
  progress = train.train(**settings)
  assert train.vocab_size(run_dir=tmp_path) == 128
  directory = tmp_path / 'checkpoints'
  assert checkpoints.find_checkpoint(directory, 'best') == 3
  rows = writers.read_rows(tmp_path / 'logs' / 'metrics.jsonl')
  assert [row['split'] for row in rows] == ['train', 'validation']
  assert progress.best_value == rows[1]['recall@10']
  assert rows[1]['n'] == 30

  assert train.train(**settings, settings={'train.train.seed': 0}) == progress
  more = settings | {'num_steps': 4}
  harmless = {'train.train.seed': 0, 'train.train.num_steps': 4}
  assert train.train(**more, settings=harmless).best_step in (3, 4)
  with pytest.raises(GenrecError, match='train.train.seed was 0 and is 1'):
    train.train(**more, settings={'train.train.seed': 1})

  write_tokens(tmp_path, seed=1)
  with pytest.raises(GenrecError, match='train in another run_dir'):
    train.train(**(settings | {'num_steps': 4}))


@pytest.mark.parametrize('tasks', [('a', 'b'), {'b': 2.0, 'a': 1.0}])
def test_who_watches_is_told_which_tasks_are_trained(tmp_path, tasks):
  class Watched(Exception):
    pass

  def make_evaluate_fn(**settings):
    raise Watched(settings['trained'])

  write_tokens(tmp_path, more_tasks={'b': ['train'], 'c': ['train']})
  with pytest.raises(Watched) as raised:
    train.train(
      run_dir=tmp_path,
      model=None,
      num_steps=1,
      make_train_batches=functools.partial(train.cached_batches, tasks=tasks),
      make_evaluate_fn=make_evaluate_fn,
    )
  assert raised.value.args == (list(tasks),)


def test_tasks_that_are_trained_are_watched(tmp_path):
  more_tasks = {'b': ['train'], 'c': ['train', 'validation']}
  write_tokens(tmp_path, more_tasks=more_tasks)
  cache = token_cache.TokenCache.load(tmp_path / 'tokens')
  assert watched_tasks(cache, None, ['b', 'a']) == ['a']
  assert watched_tasks(cache, None, None) == ['a', 'c']
  assert watched_tasks(cache, 'a', ['b']) == ['a']
  with pytest.raises(GenrecError, match=r'are trained \(b\) has'):
    watched_tasks(cache, None, ['b'])


def write_ids(run_dir, *, vectors=True):
  """Returns ids for `write_tokens`, of items that lie on a circle."""
  angles = 2 * np.pi * np.arange(NUM_ITEMS) / NUM_ITEMS
  ids = ItemIds(
    codes=np.stack(np.divmod(np.arange(NUM_ITEMS), 8), axis=1),
    codebook_sizes=(8, 8),
    vectors=np.stack([np.cos(angles), np.sin(angles)], 1) if vectors else None,
  )
  ids.save(run_dir / 'ids')
  return ids.fingerprint


def start_from_vectors(run_dir, model):
  return train.train(
    run_dir=run_dir,
    model=model,
    num_steps=1,
    make_train_batches=functools.partial(
      train.cached_batches, batch_size=32, num_buckets=1
    ),
    make_evaluate_fn=None,
    start_from_vectors=True,
  )


@pytest.mark.parametrize('tied', [True, False])
def test_tables_start_from_the_vectors_of_the_ids(tiny, tmp_path, tied):
  write_tokens(tmp_path, ids=write_ids(tmp_path))
  # Nothing is learnt in the one step: what is saved is the start.
  model = tiny.make_model(optax.sgd(0.0))
  config = dataclasses.replace(model.module.config, logits_via_embedding=tied)
  model = EncoderDecoder(Transformer(config), optimizer_def=optax.sgd(0.0))
  start_from_vectors(tmp_path, model)
  params = parameters.read_parameters(tmp_path / 'checkpoints/checkpoint_1')
  flat = flax.traverse_util.flatten_dict(params, sep='/')
  table = flat[token_tables.EMBEDDING]
  cache = token_cache.TokenCache.load(tmp_path / 'tokens')
  vectors = ItemIds.load(tmp_path / 'ids').vectors
  tokens, rows = token_vectors(cache.item_tokens, vectors, table.shape[1])
  np.testing.assert_allclose(table[tokens], rows, rtol=1e-6)
  assert not np.isin(np.arange(3), tokens).any()  # pad, eos, unk are drawn
  assert 0.8 < table[:3].std() < 1.2
  if not tied:
    head = flat[token_tables.HEAD][:, tokens]
    np.testing.assert_allclose(head.T * rows.shape[1] ** 0.5, rows, rtol=1e-5)


def test_a_start_from_vectors_that_are_not_there_is_refused(tiny, tmp_path):
  write_tokens(tmp_path, ids=write_ids(tmp_path, vectors=False))
  with pytest.raises(GenrecError, match='made without vectors; leave it out'):
    start_from_vectors(tmp_path, tiny.make_model())
  (tmp_path / parameters.INITIAL).mkdir()
  with pytest.raises(GenrecError, match='parameters that were imported'):
    start_from_vectors(tmp_path, tiny.make_model())
