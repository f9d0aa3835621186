"""Evaluating and recommending from a run directory."""

import json
import shutil

import jax
import numpy as np
import optax
import pyarrow as pa
import pytest

from genrec_jax import artifacts
from genrec_jax.baselines import protocol
from genrec_jax.baselines.popularity import Popularity
from genrec_jax.data import splits
from genrec_jax.data.dataset import RawTables, build_dataset
from genrec_jax.data.token_cache import (
  Ragged,
  TokenCache,
  TokenExamples,
  write_token_cache,
)
from genrec_jax.evaluate import evaluate, make_evaluate_fn, training_seed
from genrec_jax.evaluation import ranking, results
from genrec_jax.ids.item_ids import TokenLayout
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import T5Config, Transformer
from genrec_jax.recommend import recommend
from genrec_jax.training import partitioning, steps
from genrec_jax.training.checkpoints import Checkpoints
from genrec_jax.types import GenrecError

LAYOUT = TokenLayout(codebook_sizes=(6, 8))


def _make_model(width=16):
  config = T5Config(
    vocab_size=LAYOUT.vocab_size,
    emb_dim=width,
    num_heads=2,
    head_dim=8,
    mlp_dim=16,
    num_encoder_layers=1,
    num_decoder_layers=1,
  )
  return EncoderDecoder(Transformer(config), optimizer_def=optax.sgd(0.1))


# One instance, so that tests share what is compiled for it.
MODEL = _make_model()


def _tokenize(dataset, split, item_tokens):
  parts = {}
  for part in (splits.VALIDATION, splits.TEST):
    found = splits.examples(dataset, split, part)
    history = found.ragged_histories()
    parts[splits.PART_NAMES[part]] = TokenExamples(
      inputs=Ragged.from_rows(item_tokens[h].reshape(-1) for h in history),
      targets=Ragged.from_rows(item_tokens[found.target]),
      user=found.user,
      target=found.target,
      tied=found.tied,
      history=history,
    )
  return parts


@pytest.fixture(scope='module')
def fresh_run(tmp_path_factory):
  """A run of 30 users and up to 40 items whose model is not trained."""
  run_dir = tmp_path_factory.mktemp('runs') / 'toy'
  rng = np.random.default_rng(0)
  rows = [
    (f'u{user}', f'i{item}', int(day))
    for user in range(30)
    for day, item in enumerate(rng.permutation(40)[: rng.integers(3, 6)])
  ]
  user, item, time = zip(*rows)
  dataset = build_dataset(
    'toy',
    RawTables(
      interactions=pa.table(
        {'user': user, 'item': item, 'time': [t // 2 for t in time]}
      )
    ),
  )
  split = splits.leave_one_out(dataset)
  dataset.save(run_dir / 'dataset')
  splits.save_split(split, dataset, run_dir / 'dataset')
  places = rng.permutation(48)[: dataset.num_items]
  item_tokens = LAYOUT.item_tokens(np.stack([places // 8, places % 8], 1))
  write_token_cache(
    run_dir / 'tokens',
    layout=LAYOUT.as_dict(),
    item_tokens=item_tokens,
    item_names=dataset.item_names(),
    examples={'sequential': _tokenize(dataset, split, item_tokens)},
    inputs={
      'dataset': dataset.fingerprint,
      'split': split.fingerprint,
      'ids': 'some',
    },
  )
  model, mesh = MODEL, partitioning.make_mesh()
  state = steps.initial_state(
    model, mesh, steps.abstract_state(model, mesh), seed=0
  )
  store = Checkpoints(
    run_dir / 'checkpoints',
    inputs={
      'vocabulary': TokenCache.load(run_dir / 'tokens').vocabulary_fingerprint
    },
  )
  store.save(state, step=7, position={}, progress={'best_step': 7})
  store.close()
  return run_dir


@pytest.fixture
def run_dir(fresh_run, tmp_path):
  return shutil.copytree(fresh_run, tmp_path / 'toy')


def test_writes_the_numbers_and_what_made_them(run_dir, capsys):
  settings = {'num_beams': 20, 'batch_size': 16}
  result = evaluate(
    run_dir=run_dir, model=MODEL, baselines=(Popularity,), **settings
  )['sequential']
  stored, lists = results.read_result(run_dir, 'validation', 'sequential')
  assert stored == json.loads(json.dumps(result))
  cache = TokenCache.load(run_dir / 'tokens')
  examples = cache.examples('sequential', 'validation')
  found = ranking.ranking_metrics(lists['items_model'], examples.target)
  assert {'n': 30, **found} == result['metrics']['model']['all']
  tied, untied = (
    result['metrics']['model'][s]['n'] for s in ('tied', 'untied')
  )
  assert tied > 0 and untied > 0 and tied + untied == 30
  assert result['invalid_share'] == 0 == result['empty_share']
  assert result['checkpoint'] == {
    'chosen': 'best',
    'step': 7,
    'training_seed': None,
  }
  assert result['fingerprints']['vocabulary'] == cache.vocabulary_fingerprint

  dataset_dir = run_dir / 'dataset'
  dataset = splits.Dataset.load(dataset_dir)
  split = splits.load_split(dataset_dir, dataset)
  popularity = Popularity().fit(
    *splits.train_interactions(dataset, split), dataset.num_items
  )
  np.testing.assert_array_equal(
    lists['items_popularity'],
    protocol.recommend(popularity, examples.history, top_k=20),
  )
  printed = capsys.readouterr().out
  assert 'popularity' in printed and 'test part' not in printed


@pytest.mark.parametrize(
  ('settings', 'seed'),
  [(None, None), ({}, 0), ({'train.train.seed': 5}, 5)],
)
def test_a_result_names_the_seed_that_its_checkpoint_was_trained_with(
  settings, seed, tmp_path
):
  more = {} if settings is None else {'settings': settings}
  directory = tmp_path / 'checkpoints'
  directory.mkdir()
  artifacts.write_manifest(
    directory, kind='checkpoints', fingerprint='', inputs={}, **more
  )
  assert training_seed(tmp_path) == seed


def test_during_training_the_same_numbers(run_dir):
  settings = {'model': MODEL, 'batch_size': 16, 'seed': 3}
  sample = evaluate(run_dir=run_dir, baselines=(), max_examples=11, **settings)[
    'sequential'
  ]
  assert sample['subset'] == {'examples': 11, 'of': 30, 'seed': 3}
  assert results.measured_tasks(run_dir, 'validation') == {'sequential': True}
  with pytest.raises(GenrecError, match='No result at'):
    results.read_result(run_dir, 'validation', 'sequential')
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  params = steps.initial_state(
    settings['model'],
    mesh,
    steps.abstract_state(settings['model'], mesh),
    seed=0,
  ).params
  measure = make_evaluate_fn(run_dir=run_dir, max_examples=11, **settings)
  assert measure(params, 7) == sample['metrics']['model']['all']


def test_a_share_for_cold_items_is_a_row_of_its_own(run_dir):
  settings = {'model': MODEL, 'batch_size': 16, 'baselines': ()}
  settings |= {'num_beams': 6, 'cold_share': 0.5}
  with pytest.raises(GenrecError, match='there are none'):
    evaluate(run_dir=run_dir, **settings)
  path, cold = run_dir / 'dataset' / 'split.json', [1, 5, 7, 11, 20, 30]
  facts = json.loads(path.read_text()) | {'cold_items': cold}
  path.write_text(json.dumps(facts))
  evaluate(run_dir=run_dir, **settings)
  result, arrays = results.read_result(run_dir, 'validation', 'sequential')
  assert set(result['metrics']) == {'model', 'model, 0.5 for cold'}
  assert result['metrics']['model, 0.5 for cold']['cold']['n'] > 0
  listed = arrays['items_model, 0.5 for cold']
  assert (np.isin(listed[:, :4], cold).sum(axis=1) >= 2).all()
  assert (np.isin(arrays['items_model'], cold).sum(axis=1) < 3).any()


def test_the_test_part_is_logged_and_never_taken_for_validation(
  run_dir, capsys
):
  for look in (1, 2):
    evaluate(
      run_dir=run_dir,
      model=MODEL,
      split='test',
      baselines=(),
      batch_size=16,
    )
    assert f'look {look} of this run' in capsys.readouterr().out
  directory = run_dir / 'evaluation'
  log = (directory / 'test_log.jsonl').read_text().splitlines()
  assert [json.loads(line)['checkpoint']['step'] for line in log] == [7, 7]
  with pytest.raises(GenrecError, match='--split=validation --tasks=seq'):
    results.read_result(run_dir, 'validation', 'sequential')
  shutil.copytree(directory / 'test', directory / 'validation')
  with pytest.raises(GenrecError, match='of the split test, expected validat'):
    results.read_result(run_dir, 'validation', 'sequential')


def test_needs_no_dataset_without_baselines(run_dir):
  shutil.rmtree(run_dir / 'dataset')
  arguments = {'run_dir': run_dir, 'model': MODEL}
  with pytest.raises(GenrecError, match=r'--baselines="\(\)"'):
    evaluate(**arguments)
  assert recommend(users=3, top_k=2, **arguments).startswith('User 3, ')


def _forget_checkpoints(run_dir):
  shutil.rmtree(run_dir / 'checkpoints')


def _rename_items(run_dir):
  path = run_dir / 'checkpoints' / 'manifest.json'
  manifest = json.loads(path.read_text())
  manifest['inputs']['vocabulary'] = 'another'
  path.write_text(json.dumps(manifest))


def _build_other_ids(run_dir):
  (run_dir / 'ids').mkdir()
  manifest = {'kind': 'ids', 'fingerprint': 'other', 'inputs': {}}
  (run_dir / 'ids' / 'manifest.json').write_text(json.dumps(manifest))


@pytest.mark.parametrize(
  'change, arguments, message',
  [
    (_forget_checkpoints, {}, 'genrec train'),
    (_rename_items, {}, 'vocabulary another'),
    (_build_other_ids, {}, 'made from the ids some'),
    (None, {'checkpoint': 6}, 'one of the steps 7'),
    (None, {'model': _make_model(24)}, 'of another model'),
    (None, {'split': 'train'}, 'expected one of: test, validation'),
    (None, {'tasks': 'top_n'}, 'expected one of: sequential'),
    (None, {'max_examples': 0}, 'at least 1'),
  ],
)
def test_refuses_what_does_not_belong_together(
  run_dir, change, arguments, message
):
  if change:
    change(run_dir)
  arguments = {'model': MODEL, 'baselines': (), **arguments}
  with pytest.raises(GenrecError, match=message):
    evaluate(run_dir=run_dir, **arguments)


def test_recommends_with_names_scores_and_paths(run_dir, capsys):
  table = recommend(run_dir=run_dir, model=MODEL, users=['u3', 'u8'], top_k=4)
  assert table in capsys.readouterr().out
  records = [
    json.loads(line)
    for line in (run_dir / 'recommendations.jsonl').read_text().splitlines()
  ]
  assert [record['user_id'] for record in records] == ['u3', 'u8']
  cache = TokenCache.load(run_dir / 'tokens')
  for record in records:
    seen = {item['item'] for item in record['history']}
    entries = record['recommendations']
    assert [entry['rank'] for entry in entries] == [1, 2, 3, 4]
    scores = [entry['score'] for entry in entries]
    assert scores == sorted(scores, reverse=True)
    for entry in entries:
      assert entry['item'] not in seen
      assert entry['name'] == cache.item_names[entry['item']]
      tokens = cache.item_tokens[entry['item']]
      assert [step['token'] for step in entry['path']] == tokens.tolist()
      first = (cache.item_tokens[:, 0] == tokens[0]).sum()
      assert [step['items'] for step in entry['path']] == [first, 1]
      assert entry['name'] in table


@pytest.mark.parametrize(
  'arguments, message',
  [
    ({'users': ['nobody']}, r"'nobody', expected one of the 30 .* u0, u1"),
    ({'top_k': 30}, 'raise num_beams'),
  ],
)
def test_refuses_requests_it_cannot_answer(run_dir, arguments, message):
  with pytest.raises(GenrecError, match=message):
    recommend(run_dir=run_dir, model=MODEL, **arguments)
