import dataclasses
import pathlib

import flax.linen.partitioning
import gin
import jax
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from genrec_jax import main
from genrec_jax.models import encoder, transformer
from genrec_jax.training import optimizers, partitioning, steps
from genrec_jax.types import GenrecError

MESHES = pathlib.Path(main.__file__).resolve().parent.parent / 'gin/meshes'
# Of the parameters, over 8 devices.
PARTS = {'data': 1, 'tensor': 2, 'fsdp': 8, 'fsdp_tensor': 8, 'sequence': 8}
# Plain SGD: Adam turns rounding of tiny gradients into steps of full size.
OPTIMIZER = optimizers.chain(
  optax.sgd(0.5, momentum=0.5), clip_norm=1.0, average_decay=0.9
)


def read_leaf(name):
  """Returns the arguments that gin/meshes/NAME.gin binds."""
  gin.clear_config()
  gin.add_config_file_search_path(str(MESHES.parent))
  gin.parse_config_file(str(MESHES / f'{name}.gin'))
  rules = gin.query_parameter('AXIS_RULES/macro.value')
  devices = gin.query_parameter('MODEL_PARALLEL/macro.value')
  gin.clear_config()
  # The tiny model has two heads.
  return {'axis_rules': rules, 'model_parallel': min(devices, 2)}


def run_steps(
  tiny,
  *,
  devices=8,
  model_parallel=1,
  axis_rules=partitioning.AXIS_RULES,
  num_steps=3,
  accumulation_steps=1,
  start=None,
  **model,
):
  """Returns (losses, parameters, state) after some steps on a mesh."""
  mesh = partitioning.make_mesh(model_parallel, jax.devices()[:devices])
  model = tiny.make_model(**model)
  batches = tiny.make_batches()
  losses = []
  with partitioning.partitioned(mesh, axis_rules):
    abstract = steps.abstract_state(model, mesh, axis_rules)
    if start is None:
      state = steps.initial_state(model, mesh, abstract, seed=0)
    else:
      state = jax.device_put(
        start, jax.tree.map(lambda x: x.sharding, abstract)
      )
    step = steps.make_train_step(
      model, mesh, abstract, seed=0, accumulation_steps=accumulation_steps
    )
    for number in [n for n in range(20) if is_short(batches, n)][:num_steps]:
      batch = partitioning.put_batch(
        batches.batch(number), partitioning.batch_sharding(mesh, axis_rules)
      )
      state, metrics, finite = step(state, batch)
      assert finite
      losses.append(float(metrics['loss'].compute()))
  return losses, jax.device_get(state.params), state


def is_short(batches, number):
  # One bucket, so that there is one program to compile.
  return batches.batch(number)['encoder_input_tokens'].shape[1] == 8


@pytest.fixture(scope='module')
def start(tiny):
  state = run_steps(tiny, devices=1, num_steps=0, optimizer=OPTIMIZER)[2]
  return jax.device_get(state)


@pytest.fixture(scope='module')
def on_one_device(tiny, start):
  return run_steps(tiny, devices=1, start=start, optimizer=OPTIMIZER)


@pytest.mark.parametrize('leaf', sorted(p.stem for p in MESHES.glob('*.gin')))
def test_eight_devices_give_the_losses_of_one(tiny, start, on_one_device, leaf):
  losses, params, state = run_steps(
    tiny, **read_leaf(leaf), start=start, optimizer=OPTIMIZER
  )
  np.testing.assert_allclose(losses, on_one_device[0], rtol=2e-6)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6),
    params,
    on_one_device[1],
  )
  # Parameters, momentum and average: each device holds its part. A table of
  # relative positions has no width.
  for tree in (state.params, state.opt_state):
    whole = sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    held = sum(
      leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree)
    )
    assert whole <= held * PARTS[leaf] < 1.2 * whole


def test_accumulation_gives_the_update_of_the_whole_batch(tiny):
  # Targets differ in length, so the parts' means must be weighted.
  settings = {
    'devices': 2,
    'num_steps': 1,
    'dropout_rate': 0.0,
    'optimizer': optax.sgd(0.05),
  }
  whole = run_steps(tiny, **settings)
  parts = run_steps(tiny, **settings, accumulation_steps=4)
  np.testing.assert_allclose(parts[0], whole[0], rtol=1e-6)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), parts[1], whole[1]
  )


def test_an_axis_of_the_mesh_goes_to_the_first_rule():
  rules = read_leaf('sequence')['axis_rules']
  spec = flax.linen.partitioning.logical_to_mesh_axes
  assert spec(encoder.ENCODED, rules) == P('data', 'model', None)
  assert spec(transformer.DECODED, rules) == P('data', None, None)
  attended = ('batch', 'length', 'heads', 'kv')
  assert spec(attended, rules) == P('data', None, 'model', None)
  assert spec(('embed', 'mlp'), rules) == P('data', 'model')


def test_activations_lie_as_the_rules_say():
  rules, mesh = read_leaf('sequence')['axis_rules'], partitioning.make_mesh(2)
  x = jax.device_put(np.ones((8, 6, 16)), partitioning.replicated(mesh))
  with partitioning.partitioned(mesh, rules):
    lay = jax.jit(lambda x: transformer.constrain(x, encoder.ENCODED))
    assert lay(x).sharding.spec == P('data', 'model')


def test_a_bfloat16_model_has_float32_masters_and_moments(tiny):
  model, mesh = tiny.make_model(), partitioning.make_mesh()
  config = dataclasses.replace(model.module.config, dtype='bfloat16')
  model.module = transformer.Transformer(config)
  batch = tiny.make_batches().batch(0)
  with partitioning.partitioned(mesh):
    before = steps.abstract_state(model, mesh)
    step = steps.make_train_step(model, mesh, before, seed=0)
    program, (after, _, _) = jax.make_jaxpr(step, return_shape=True)(
      before, batch
    )
  assert 'bf16[' in str(program)
  leaves = jax.tree.leaves((after.params, after.opt_state))
  assert {leaf.dtype.name for leaf in leaves} == {'float32', 'int32'}


def test_parameters_lie_as_the_rules_say(tiny):
  mesh = partitioning.make_mesh(2)
  assert mesh.shape == {'data': 4, 'model': 2}
  state = steps.abstract_state(tiny.make_model(), mesh)
  specs = jax.tree.map(lambda leaf: leaf.sharding.spec, state.params)
  assert specs['token_embedder']['embedding'] == P('model', None)
  mlp = specs['encoder']['layers_0']['mlp']
  assert mlp['wi']['kernel'] == P(None, 'model')
  assert mlp['wo']['kernel'] == P('model', None)
  assert specs['encoder']['encoder_norm']['scale'] in (P(None), P())


def test_adafactor_sums_are_replicated_beside_cut_parameters(tiny):
  params = {'kernel': jax.ShapeDtypeStruct((256, 128), np.float32)}
  mesh = partitioning.make_mesh(2)
  cut = {'kernel': jax.sharding.NamedSharding(mesh, P('model', None))}
  shardings = partitioning.optimizer_shardings(
    optimizers.adafactor(learning_rate=1e-3, average_decay=0.9),
    params,
    cut,
    mesh,
  )
  specs = [leaf.spec for leaf in jax.tree.leaves(shardings)]
  assert specs.count(P('model', None)) == 1
  assert set(specs) == {P(), P('model', None)}


def test_what_cannot_be_cut_is_refused(tiny):
  with pytest.raises(GenrecError, match='does not divide the 8 devices'):
    partitioning.make_mesh(3)
  with pytest.raises(GenrecError, match=r"rel_embedding has 2 'heads'"):
    steps.abstract_state(tiny.make_model(), partitioning.make_mesh(4))
  fsdp = read_leaf('fsdp')['axis_rules']
  mesh = partitioning.make_mesh(devices=jax.devices()[:3])
  with pytest.raises(GenrecError, match=r"16 'embed'.*the 3 devices"):
    steps.abstract_state(tiny.make_model(), mesh, fsdp)
  sharding = partitioning.batch_sharding(partitioning.make_mesh())
  with pytest.raises(GenrecError, match='12 rows .* over 8'):
    partitioning.put_batch({'x': np.zeros((12, 2))}, sharding)
