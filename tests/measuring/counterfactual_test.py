"""What changes with the user in the prompt, where it does and where not."""

import dataclasses
import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pyarrow as pa
import pytest

from genrec_jax.answering.run import load_run
from genrec_jax.data import splits
from genrec_jax.data.dataset import RawTables, build_dataset
from genrec_jax.data.token_cache import (
  Ragged,
  TokenCache,
  TokenExamples,
  write_token_cache,
)
from genrec_jax.data.user_attributes import NO_VALUE, read_user_attributes
from genrec_jax.evaluate import evaluate
from genrec_jax.evaluation import counterfactual as distances
from genrec_jax.evaluation import ranking
from genrec_jax.ids.item_ids import TokenLayout
from genrec_jax.measure_counterfactuals import measure_counterfactuals
from genrec_jax.measuring import changes, counterfactual
from genrec_jax.measuring.arms import make_arms
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import T5Config, Transformer
from genrec_jax.reporting import charts
from genrec_jax.reporting.counterfactual_section import counterfactual_section
from genrec_jax.training import partitioning, steps
from genrec_jax.training.checkpoints import Checkpoints
from genrec_jax.types import GenrecError

NUM_USERS, NUM_ITEMS = 24, 40
# Text pieces 3 … 11: of each value one, the unknown one first.
TOKENS = {
  'gender': {'unknown': [3], 'F': [4], 'M': [5]},
  'age': {'unknown': [6, 7], '18': [6, 8], '35': [6, 9], '56': [6, 10]},
}
LAYOUT = TokenLayout(num_text_tokens=12, codebook_sizes=(8, 8))
GENDER = range(3, 6)


class Blind(EncoderDecoder):
  """Does not see the gender: its tokens are all alike."""

  def _hide(self, batch):
    tokens = batch['encoder_input_tokens']
    is_gender = (tokens >= GENDER.start) & (tokens < GENDER.stop)
    hidden = jnp.where(is_gender, GENDER.start, tokens)
    return {**batch, 'encoder_input_tokens': hidden}

  def logits(self, params, batch, dropout_rng=None):
    return super().logits(params, self._hide(batch), dropout_rng)

  def start_decoding(self, params, batch, **settings):
    return super().start_decoding(params, self._hide(batch), **settings)


def make_model(kind):
  config = T5Config(
    vocab_size=LAYOUT.vocab_size,
    emb_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=16,
    num_encoder_layers=1,
    num_decoder_layers=1,
  )
  return kind(Transformer(config), optimizer_def=optax.sgd(0.1))


MODELS = {kind: make_model(kind) for kind in (EncoderDecoder, Blind)}
SETTINGS = {'num_beams': 20, 'batch_size': 16}


@pytest.fixture(scope='module')
def run_dir(tmp_path_factory):
  """A run whose prompts say gender and age; its model is not trained."""
  run_dir = tmp_path_factory.mktemp('runs') / 'told'
  rng = np.random.default_rng(0)
  rows = [
    (f'u{user}', f'i{item}', time)
    for user in range(NUM_USERS)
    for time, item in enumerate(rng.permutation(NUM_ITEMS)[:5])
  ]
  user, item, time = zip(*rows)
  users = pa.table(
    {
      'user_id': [f'u{user}' for user in range(NUM_USERS)],
      'gender': [('F', 'M', 'M', None)[u % 4] for u in range(NUM_USERS)],
      'age': [(18, 35, 56)[u % 3] for u in range(NUM_USERS)],
    }
  )
  interactions = pa.table({'user': user, 'item': item, 'time': time})
  dataset = build_dataset(
    'told', RawTables(interactions=interactions, users=users)
  )
  split = splits.leave_one_out(dataset)
  dataset.save(run_dir / 'dataset')
  splits.save_split(split, dataset, run_dir / 'dataset')
  codes = np.stack([np.arange(NUM_ITEMS) // 8, np.arange(NUM_ITEMS) % 8], 1)
  item_tokens = LAYOUT.item_tokens(codes[: dataset.num_items])
  attributes = read_user_attributes(dataset.users, tuple(TOKENS))
  parts = {}
  for part in (splits.VALIDATION, splits.TEST):
    known = splits.examples(dataset, split, part)
    history = known.ragged_histories()
    values = attributes.of(known.user)
    parts[splits.PART_NAMES[part]] = TokenExamples(
      inputs=Ragged.from_rows(
        [*say(attributes, of_user), *item_tokens[items].reshape(-1)]
        for of_user, items in zip(values, history)
      ),
      targets=Ragged.from_rows(item_tokens[known.target]),
      user=known.user,
      target=known.target,
      tied=known.tied,
      history=history,
    )
  write_token_cache(
    run_dir / 'tokens',
    layout=LAYOUT.as_dict(),
    item_tokens=item_tokens,
    item_names=dataset.item_names(),
    examples={'sequential': parts},
    inputs={
      'dataset': dataset.fingerprint,
      'split': split.fingerprint,
      'ids': 'some',
    },
    settings={
      'attribute_tokens': TOKENS,
      'tasks': {'sequential': {'answer': 'item'}},
    },
  )
  model, mesh = MODELS[EncoderDecoder], partitioning.make_mesh()
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


def say(attributes, values):
  names = [attributes.name(c, v) for c, v in enumerate(values)]
  return [t for told, name in zip(TOKENS.values(), names) for t in told[name]]


@pytest.fixture(scope='module')
def measured(run_dir):
  return {
    kind: (
      measure_counterfactuals(
        run_dir=run_dir, model=model, num_flips=2, **SETTINGS
      ),
      dict(
        np.load(
          changes.result_path(run_dir, 'validation', 'sequential').with_suffix(
            '.npz'
          )
        )
      ),
    )
    for kind, model in MODELS.items()
  }


def test_who_does_not_see_an_attribute_changes_nothing(measured):
  """Exactly: not a place of a list, not a bit of a probability."""
  blind = measured[Blind][0]['arms']
  for arm in ('same', 'gender flipped', 'gender unknown'):
    found = blind[arm]['all']
    assert found['overlap@10']['mean'] == found['rbo']['mean'] == 1, arm
    for name in set(found) - {'n', 'overlap@10', 'rbo'}:
      assert found[name] == {'mean': 0, 'low': 0, 'high': 0}, (arm, name)
  assert blind['age flipped']['all']['changed']['mean'] > 0.9
  assert blind['reordered']['all']['changed']['mean'] > 0.3


def test_who_sees_it_changes(measured):
  seeing = measured[EncoderDecoder][0]['arms']
  assert seeing['same']['all']['changed']['mean'] == 0
  for arm in ('gender flipped', 'gender unknown', 'all unknown'):
    found = seeing[arm]['all']
    assert found['changed']['mean'] > 0.5, arm
    assert found['overlap@10']['mean'] < 1 and found['rbo']['mean'] < 1
    assert found['first_token']['mean'] > 0
    assert found['target_change']['mean'] > 0


def test_measures_are_those_of_prompts_written_by_hand(run_dir, measured):
  """The flipped arm against a run whose users are of the other gender."""
  result, arrays = measured[EncoderDecoder]
  cache = TokenCache.load(run_dir / 'tokens')
  examples = cache.examples('sequential', 'validation')
  base = evaluate(
    run_dir=run_dir, model=MODELS[EncoderDecoder], baselines=(), **SETTINGS
  )
  assert base['sequential']['metrics']['model']['all'][
    'ndcg@10'
  ] == pytest.approx(result['truth']['all']['ndcg@10']['mean'])
  rows = arrays['row of gender flipped']
  values = arrays['values'][rows]
  assert (values[:, 0] != NO_VALUE).all()
  flipped = arrays['values of gender flipped']
  assert (flipped[:, 0] == 1 - values[:, 0]).all()
  assert (flipped[:, 1] == values[:, 1]).all()
  inputs = [
    [
      *TOKENS['gender']['FM'[1 - value]],
      *examples.inputs[row][1:],
    ]
    for row, value in zip(rows, values[:, 0])
  ]
  by_hand = dataclasses.replace(
    examples, inputs=_all_rows(examples, rows, inputs)
  )
  model, params = load(run_dir)
  for row, overlap, rbo, loss, first, change in zip(
    rows,
    *(
      arrays[f'{name} of gender flipped']
      for name in (
        'overlap@10',
        'rbo',
        'ndcg_loss@10',
        'first_token',
        'target_change',
      )
    ),
  ):
    (before, p, score), (after, q, other) = (
      best_items(model, params, cache, one, row) for one in (examples, by_hand)
    )
    assert overlap == pytest.approx(
      len({*before[:10]} & {*after[:10]}) / len({*before[:10]} | {*after[:10]})
    )
    assert rbo == pytest.approx(
      distances.rank_biased_overlap([before], [after])[0]
    )
    ndcg = [
      ranking.example_metrics([one], [examples.target[row]], [10])['ndcg@10'][0]
      for one in (before, after)
    ]
    assert loss == pytest.approx(ndcg[0] - ndcg[1])
    assert first == pytest.approx(abs(p - q).sum() / 2, rel=1e-3)
    assert change == pytest.approx(abs(score - other), rel=1e-3)


def _all_rows(examples, rows, inputs):
  changed = dict(zip(rows.tolist(), inputs))
  return Ragged.from_rows(
    changed.get(row, examples.inputs[row]) for row in range(len(examples))
  )


def load(run_dir):
  run = load_run(run_dir, MODELS[EncoderDecoder])
  return run.model, run.params


def best_items(model, params, cache, examples, row):
  """Scores every item by teacher forcing; no trie, no beams, no batches."""
  items = np.arange(len(cache.item_tokens))
  tokens = cache.item_tokens
  batch = {
    'encoder_input_tokens': np.tile(examples.inputs[row], (len(items), 1)),
    'decoder_input_tokens': np.pad(tokens[:, :-1], ((0, 0), (1, 0))),
    'decoder_target_tokens': tokens,
    'decoder_loss_weights': np.ones_like(tokens),
  }
  batch = {name: jnp.asarray(v, jnp.int32) for name, v in batch.items()}
  scores, logits = score(params, batch, model=model)
  scores = np.array(scores)
  target = scores[examples.target[row]]
  scores[examples.history[row]] = -np.inf
  block = LAYOUT.item_blocks[0]
  first = np.asarray(jax.nn.softmax(logits[block.start : block.stop]))
  return np.argsort(-scores)[:20], first, target


@functools.partial(jax.jit, static_argnames='model')
def score(params, batch, *, model):
  return model.score_batch(params, batch), model.logits(params, batch)[0, 0]


def test_flips_and_groups_are_means_of_their_examples(measured):
  result, arrays = measured[EncoderDecoder]
  arm = result['arms']['age flipped']
  rows = arrays['row of age flipped']
  ages = np.array(result['attributes']['age'])
  own = ages[arrays['values'][rows][:, 1]]
  told = ages[arrays['values of age flipped'][:, 1]]
  # Two other values each, and there are no more than two.
  assert len(rows) == 2 * NUM_USERS and (own != told).all()
  overlaps = arrays['overlap@10 of age flipped']
  assert len(arm['flips']) == 6
  for flip, found in arm['flips'].items():
    before, after = flip.split(' → ')
    chosen = (own == before) & (told == after)
    assert found['n'] == chosen.sum() == NUM_USERS // 3
    assert found['overlap@10']['mean'] == pytest.approx(overlaps[chosen].mean())
    assert found['overlap@10']['low'] <= found['overlap@10']['mean']
  for age, found in arm['groups']['age'].items():
    assert found['overlap@10']['mean'] == pytest.approx(
      overlaps[own == age].mean()
    )
  assert set(arm['groups']['gender']) == {'F', 'M', 'unknown'}
  # Who has no known gender is in no arm that changes it.
  assert result['arms']['gender flipped']['n'] == NUM_USERS * 3 // 4


def test_a_model_without_attributes_is_set_beside(run_dir):
  evaluate(
    run_dir=run_dir, model=MODELS[EncoderDecoder], baselines=(), **SETTINGS
  )
  result = measure_counterfactuals(
    run_dir=run_dir,
    model=MODELS[EncoderDecoder],
    attributes='gender',
    without=run_dir,
    max_examples=9,
    **SETTINGS,
  )
  assert result['subset']['examples'] == result['n'] == 9
  assert list(result['arms']) == [
    'same',
    'reordered',
    'gender flipped',
    'gender unknown',
    'all unknown',
    'without',
  ]
  # The other run is this one.
  found = result['arms']['without']['all']
  assert found['overlap@10']['mean'] == 1 and found['n'] == 9
  assert found['ndcg_loss@10'] == {'mean': 0, 'low': 0, 'high': 0}
  path = changes.result_path(run_dir, 'validation', 'sequential', subset=True)
  assert json.loads(path.read_text()) == json.loads(json.dumps(result))


def test_the_test_part_is_logged(run_dir, capsys):
  measure_counterfactuals(
    run_dir=run_dir,
    model=MODELS[EncoderDecoder],
    split='test',
    attributes='gender',
    **SETTINGS,
  )
  assert 'look 1 of this run' in capsys.readouterr().out
  assert (run_dir / changes.FOLDER / 'test_log.jsonl').exists()


def test_choices_by_hand():
  before = np.array([[0.5, 0.5], [0.9, 0.1]])
  after = np.array([[0.25, 0.75], [0.9, 0.1]])
  settings = {'truth': np.array([1.0, 0]), 'values': [0.0, 1.0]}
  found = counterfactual.compare_choices(
    before, after, kind='yes_no', **settings
  )
  assert found['change'].tolist() == found['choices'].tolist() == [0.25, 0]
  assert found['changed'].tolist() == [1, 0]
  assert found['log_loss_rise'] == pytest.approx([np.log(0.5 / 0.75), 0])
  found = counterfactual.compare_choices(
    before,
    after,
    np.array([1.0, 5.0]),
    [1.0, 5.0],
    kind='rating',
  )
  assert found['change'].tolist() == [1, 0]
  assert found['error_rise'].tolist() == [1, 0]


def test_the_picture_has_a_point_for_each_arm_and_group(measured):
  result, _ = measured[EncoderDecoder]
  section = counterfactual_section(result)
  picture = section['figures'][0]
  arms = {k: v for k, v in result['arms'].items() if k != 'same'}
  for name, arm in arms.items():
    change = charts.write_number(1 - arm['all']['overlap@10']['mean'])
    lost = charts.write_number(arm['all']['ndcg_loss@10']['mean'])
    assert f'>{name} ({arm["all"]["n"]}): {change}, {lost}<' in picture
  for age in (18, 35, 56):
    assert f'>age {age} ({2 * NUM_USERS // 3}): ' in picture
  assert len(section['tables'][0]['rows']) == len(result['arms'])
  flips = [row['name'] for row in section['tables'][1]['rows']]
  assert flips[:2] == ['gender: F → M (6)', 'gender: M → F (12)']
  assert counterfactual_section(None) is None


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'attributes': 'height'}, "nothing of 'height'; expected some of: gender"),
    ({'num_flips': 0}, 'num_flips=0'),
    ({'task': 'rating'}, 'expected one of: sequential'),
    ({'split': 'train'}, 'expected one of: test, validation'),
  ],
)
def test_what_cannot_be_measured_is_told(run_dir, settings, message):
  with pytest.raises(GenrecError, match=message):
    measure_counterfactuals(
      run_dir=run_dir, model=MODELS[EncoderDecoder], **settings
    )


def test_who_the_users_are_must_be_there(run_dir, tmp_path):
  shutil.copytree(run_dir / 'tokens', tmp_path / 'tokens')
  with pytest.raises(GenrecError, match='What users are stands in'):
    measure_counterfactuals(run_dir=tmp_path, model=MODELS[EncoderDecoder])


def test_draws_do_not_hang_on_what_else_is_changed(run_dir):
  users = splits.Dataset.load(run_dir / 'dataset').users
  attributes = read_user_attributes(users, tuple(TOKENS))
  values = attributes.of(np.arange(NUM_USERS))
  every, alone = (
    {arm.name: arm for arm in make_arms(attributes, values, chosen=chosen)}
    for chosen in (None, ['age'])
  )
  assert 'gender flipped' not in alone
  np.testing.assert_array_equal(
    every['age flipped'].values, alone['age flipped'].values
  )
