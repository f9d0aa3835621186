"""Properties of the module: caching, packing, scan, remat, dtype, dropout."""

import dataclasses

import flax.core
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import partitioning
from flax.traverse_util import flatten_dict

from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import T5Config, Transformer
from genrec_jax.types import GenrecError

CONFIG = T5Config(
  vocab_size=32,
  emb_dim=8,
  num_heads=2,
  head_dim=4,
  mlp_dim=12,
  num_encoder_layers=2,
  num_decoder_layers=2,
  dropout_rate=0.0,
)


def make_model(**choices):
  config = dataclasses.replace(CONFIG, **choices)
  return EncoderDecoder(Transformer(config), loss_normalizing_factor=None)


def make_batch(inputs, targets):
  inputs, targets = np.asarray(inputs), np.asarray(targets)
  return {
    'encoder_input_tokens': inputs,
    'decoder_input_tokens': np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
    'decoder_target_tokens': targets,
    'decoder_loss_weights': (targets != 0).astype(np.int32),
  }


BATCH = make_batch(
  [[5, 6, 7, 8, 9], [9, 3, 0, 0, 0]], [[4, 10, 20], [30, 10, 21]]
)
SHAPES = {name: value.shape for name, value in BATCH.items()}


def init(model):
  return jax.jit(
    lambda: model.get_initial_variables(jax.random.key(0), SHAPES)
  )()


@pytest.fixture(scope='module')
def params():
  return flax.core.unfreeze(init(make_model())['params'])


def stack_layers(params):
  """Returns the parameters of the scanned model."""
  stacked = {}
  for stack, tree in params.items():
    layer_names = sorted(name for name in tree if name.startswith('layers_'))
    stacked[stack] = {k: v for k, v in tree.items() if k not in layer_names}
    if layer_names:
      stacked[stack][stack] = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *(tree[n] for n in layer_names)
      )
  return stacked


@pytest.fixture(scope='module')
def loss_and_gradient(params):
  return jax.jit(jax.value_and_grad(loss_of(make_model())))(params)


def loss_of(model):
  return lambda params: model.eval_fn(params, BATCH)[0]


@pytest.mark.parametrize(
  ('scan', 'remat'), [(False, 'minimal'), (True, 'minimal'), (True, 'full')]
)
def test_scan_and_remat_change_no_number(
  params, loss_and_gradient, scan, remat
):
  loss, gradient = loss_and_gradient
  if scan:
    params, gradient = stack_layers(params), stack_layers(gradient)
  model = make_model(scan_layers=scan, remat_policy=remat)
  scan_loss, scan_gradient = jax.jit(jax.value_and_grad(loss_of(model)))(params)
  np.testing.assert_allclose(scan_loss, loss, rtol=1e-6)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
    scan_gradient,
    gradient,
  )


def uncached_beams(num_beams, num_steps):
  """Returns random beams [2, K, T] and the batch that feeds them whole."""
  beams = np.random.default_rng(0).integers(1, 32, (2, num_beams, num_steps))
  beams[..., 0] = 0  # The start token; after it the beams part.
  tiled = {
    name: np.repeat(value, num_beams, axis=0) for name, value in BATCH.items()
  }
  tiled['decoder_input_tokens'] = beams.reshape(-1, num_steps)
  return jnp.asarray(beams), tiled


@pytest.mark.parametrize(
  ('lengths', 'scan', 'tied', 'dtype', 'tolerance'),
  [
    ((1, 1, 1), False, True, 'float32', 1e-5),
    ((1, 3), False, True, 'float32', 1e-5),
    ((1, 1, 2), True, True, 'float32', 1e-5),
    ((1, 2), False, False, 'float32', 1e-5),
    # Steps round otherwise than a whole sequence does.
    ((1, 1, 2), False, True, 'bfloat16', 0.05),
  ],
)
def test_cached_steps_of_beams_equal_the_uncached_logits(
  params, lengths, scan, tied, dtype, tolerance
):
  """Steps of one token or several, beams that part and change places."""
  model = make_model(scan_layers=scan, logits_via_embedding=tied, dtype=dtype)
  params = stack_layers(params) if scan else params
  if not tied:
    params = with_own_head(params)
  num_beams, num_steps = 3, sum(lengths)
  beams, tiled = uncached_beams(num_beams, num_steps)
  turned = jnp.array([2, 1, 0, 3, 5, 4])

  @jax.jit
  def run(params):
    step, cache = model.start_decoding(params, BATCH)
    first, cache = step(beams[:, 0, :1], cache)
    stepped = [jnp.repeat(first, num_beams, axis=0)]
    # Rows lead in every leaf: what a beam search relies upon.
    cache = jax.tree.map(lambda x: jnp.repeat(x, num_beams, axis=0), cache)
    rows, done = beams.reshape(-1, num_steps), 1
    order = jnp.arange(len(rows))
    for length in lengths[1:]:
      order = order[turned]
      cache = jax.tree.map(lambda x: x[turned], cache)
      tokens = rows[order, done : done + length]
      logits, cache = step(tokens, cache)
      stepped.append(logits[jnp.argsort(order)])
      done += length
    lengths_kept = {leaf.shape[-3] for leaf in jax.tree.leaves(cache)}
    assert lengths_kept == {num_steps}
    return jnp.concatenate(stepped, axis=1), model.logits(params, tiled)

  stepped, uncached = run(params)
  np.testing.assert_allclose(stepped, uncached, rtol=tolerance, atol=tolerance)


def with_own_head(params):
  """Returns the parameters with a head that is not the embedding."""
  head = np.random.default_rng(1).standard_normal((8, 32)).astype(np.float32)
  decoder = params['decoder'] | {'logits_dense': {'kernel': head}}
  return params | {'decoder': decoder}


@pytest.mark.parametrize('scan', [False, True])
def test_a_cache_of_fixed_length_equals_one_that_grows(params, scan):
  """What a search that loops by `lax.while_loop` needs."""
  model = make_model(scan_layers=scan)
  params = stack_layers(params) if scan else params
  tokens = jnp.array([[0, 4, 9], [0, 30, 2]])

  @jax.jit
  def run(params):
    step, cache = model.start_decoding(params, BATCH)
    grown, _ = step(tokens, cache)
    step, cache = model.start_decoding(params, BATCH, length=4)

    def advance(cache, token):
      logits, cache = step(token[:, None], cache)
      return cache, logits[:, 0]

    _, logits = jax.lax.scan(advance, cache, tokens.T)
    return grown, jnp.swapaxes(logits, 0, 1)

  grown, fixed = run(params)
  np.testing.assert_allclose(fixed, grown, atol=1e-5)


@pytest.mark.parametrize('tied', [False, True])
def test_a_block_of_the_head_is_those_columns(params, tied):
  model = make_model(logits_via_embedding=tied)
  params = params if tied else with_own_head(params)

  @jax.jit
  def run(params):
    step, cache = model.start_decoding(params, BATCH)
    tokens = jnp.array([[0, 4], [0, 30]])
    return step(tokens, cache, None)[0], step(tokens, cache, range(5, 12))[0]

  whole, block = run(params)
  np.testing.assert_allclose(block, whole[..., 5:12], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('block', [range(30, 33), range(4, 4), range(4, 8, 2)])
def test_a_block_that_is_no_part_of_the_vocabulary_is_refused(params, block):
  def run(params):
    step, cache = make_model().start_decoding(params, BATCH)
    return step(jnp.zeros((2, 1), jnp.int32), cache, block)

  with pytest.raises(GenrecError, match='within the 32 tokens'):
    jax.eval_shape(run, params)


def test_a_block_of_a_table_in_shards_need_not_divide(params):
  """Seven tokens from a table whose 32 rows lie on four devices."""
  model = make_model()
  mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), ('model',))
  rules = [('vocab', 'model'), ('batch', None), ('length', None)]
  table = jax.NamedSharding(mesh, jax.P('model', None))
  whole = jax.NamedSharding(mesh, jax.P())
  shardings = jax.tree.map(lambda _: whole, params)
  shardings['token_embedder']['embedding'] = table

  @jax.jit
  def run(params):
    step, cache = model.start_decoding(params, BATCH)
    return step(jnp.zeros((2, 1), jnp.int32), cache, range(5, 12))[0]

  expected = run(params)
  with jax.set_mesh(mesh), partitioning.axis_rules(rules):
    found = jax.jit(run.__wrapped__)(jax.device_put(params, shardings))
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_driver_that_tiles_and_keeps_no_cross_attention_agrees(params):
  """T5X's own model class tiles the encoder output and keeps 'cache' alone."""
  model = make_model()
  tokens = np.repeat(BATCH['encoder_input_tokens'], 2, axis=0)
  token = np.array([[3], [4], [5], [6]])

  @jax.jit
  def run(params):
    step, cache = model.start_decoding(params, BATCH, length=2)
    cache = jax.tree.map(lambda x: jnp.repeat(x, 2, axis=0), cache)
    grouped, _ = step(jnp.asarray(token), cache)
    encoded = model.module.apply(
      {'params': params}, tokens, enable_dropout=False, method='encode'
    )
    tiled, _ = model.module.apply(
      {'params': params, 'cache': cache},
      encoded,
      tokens,
      token,
      token,
      enable_dropout=False,
      decode=True,
      max_decode_length=2,
      mutable=['cache'],
      method='decode',
    )
    return grouped, tiled

  grouped, tiled = run(params)
  np.testing.assert_allclose(grouped, tiled, atol=1e-5)


def test_packed_examples_have_the_loss_of_unpacked_ones(params):
  model = make_model()
  rows = [
    make_batch([[5, 6, 7]], [[4, 10]]),
    make_batch([[9, 3]], [[30, 10, 21]]),
  ]
  packed = {
    name: np.concatenate([row[name] for row in rows], axis=1) for name in SHAPES
  }
  packed |= {
    'encoder_segment_ids': np.array([[1, 1, 1, 2, 2, 0]]),
    'decoder_segment_ids': np.array([[1, 1, 2, 2, 2]]),
    'encoder_positions': np.array([[0, 1, 2, 0, 1, 0]]),
    'decoder_positions': np.array([[0, 1, 0, 1, 2]]),
  }
  packed['encoder_input_tokens'] = np.pad(
    packed['encoder_input_tokens'], ((0, 0), (0, 1))
  )
  loss = jax.jit(lambda batch: model.eval_fn(params, batch)[0])
  losses = [loss(row) for row in rows]
  packed_loss = loss(packed)
  np.testing.assert_allclose(packed_loss, sum(losses), rtol=1e-5)


def test_padding_changes_no_logit(params):
  model = make_model()
  longer = BATCH | {
    'encoder_input_tokens': np.pad(
      BATCH['encoder_input_tokens'], ((0, 0), (0, 3))
    )
  }
  logits = jax.jit(model.logits)
  np.testing.assert_allclose(
    logits(params, BATCH), logits(params, longer), atol=1e-5
  )


def test_bfloat16_is_close_and_keeps_logits_and_parameters_float32(params):
  model = make_model(dtype='bfloat16')
  logits = jax.jit(model.logits)(params, BATCH)
  exact = jax.jit(make_model().logits)(params, BATCH)
  assert logits.dtype == jnp.float32
  assert float(jnp.abs(logits - exact).max()) > 0.0
  np.testing.assert_allclose(logits, exact, atol=0.1)
  variables = jax.eval_shape(
    lambda: model.get_initial_variables(jax.random.key(0), SHAPES)
  )
  assert {leaf.dtype.name for leaf in jax.tree.leaves(variables['params'])} == {
    'float32'
  }


def test_dropout_follows_its_key_and_only_that(params):
  model = make_model(dropout_rate=0.5)
  loss = jax.jit(lambda key: model.loss_fn(params, BATCH, key)[0])
  first, again, other = (loss(jax.random.key(seed)) for seed in (1, 1, 2))
  assert first == again
  assert first != other
  # Without a key there is none, whatever the rate.
  logits = jax.jit(lambda: model.logits(params, BATCH))()
  no_dropout = jax.jit(lambda: make_model().logits(params, BATCH))()
  np.testing.assert_array_equal(logits, no_dropout)


@pytest.mark.parametrize('scan', [False, True])
def test_every_parameter_names_its_axes(scan):
  model = make_model(scan_layers=scan, logits_via_embedding=False)
  variables = jax.eval_shape(
    lambda: model.get_initial_variables(jax.random.key(0), SHAPES)
  )
  names = partitioning.get_axis_names(variables['params_axes'])
  ranks = flatten_dict(
    jax.tree.map(
      lambda leaf: leaf.ndim, flax.core.unfreeze(variables['params'])
    )
  )
  assert ranks == {
    path: len(axes)
    for path, axes in flatten_dict(flax.core.unfreeze(names)).items()
  }
  if scan:
    axes = names['encoder']['encoder']['mlp']['wi']['kernel']
    assert tuple(axes) == ('layers', 'embed', 'mlp')


def test_parameters_have_the_names_of_t5x(params):
  names = set(flatten_dict(params, sep='/'))
  assert {
    'token_embedder/embedding',
    'encoder/relpos_bias/rel_embedding',
    'encoder/layers_1/attention/query/kernel',
    'decoder/layers_0/encoder_decoder_attention/out/kernel',
    'decoder/layers_0/mlp/wi/kernel',
    'decoder/decoder_norm/scale',
  } < names


def test_unknown_choices_name_the_known_ones():
  with pytest.raises(GenrecError, match="'some'.*full, minimal, none"):
    make_model(remat_policy='some')
  with pytest.raises(GenrecError, match='gelu, linear, relu, silu'):
    make_model(mlp_activations=('swish',))
