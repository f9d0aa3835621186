import jax
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from genrec_jax.training import optimizers, partitioning, steps
from genrec_jax.types import GenrecError


def run_steps(
  tiny, *, devices, model_parallel, num_steps=3, accumulation_steps=1, **model
):
  """Returns (losses, parameters) after some steps on a mesh."""
  mesh = partitioning.make_mesh(model_parallel, jax.devices()[:devices])
  model = tiny.make_model(**model)
  batches = tiny.make_batches()
  losses = []
  with partitioning.partitioned(mesh):
    abstract = steps.abstract_state(model, mesh)
    state = steps.initial_state(model, mesh, abstract, seed=0)
    step = steps.make_train_step(
      model, mesh, abstract, seed=0, accumulation_steps=accumulation_steps
    )
    for number in [n for n in range(20) if is_short(batches, n)][:num_steps]:
      batch = partitioning.put_batch(
        batches.batch(number), partitioning.batch_sharding(mesh)
      )
      state, metrics, finite = step(state, batch)
      assert finite
      losses.append(float(metrics['loss'].compute()))
  return losses, jax.device_get(state.params), state


def is_short(batches, number):
  # One bucket, so that there is one program to compile.
  return batches.batch(number)['encoder_input_tokens'].shape[1] == 8


@pytest.mark.parametrize('model_parallel', [1, 2])
def test_eight_devices_give_the_losses_of_one(tiny, model_parallel):
  # Plain SGD: Adam turns rounding of tiny gradients into steps of full size.
  optimizer = optimizers.chain(optax.sgd(0.5), clip_norm=1.0, average_decay=0.9)
  expected = run_steps(tiny, devices=1, model_parallel=1, optimizer=optimizer)
  losses, params, state = run_steps(
    tiny, devices=8, model_parallel=model_parallel, optimizer=optimizer
  )
  np.testing.assert_allclose(losses, expected[0], rtol=2e-6)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6),
    params,
    expected[1],
  )
  embedding = state.params['token_embedder']['embedding']
  assert len(embedding.sharding.device_set) == 8
  rows = 128 // model_parallel
  assert embedding.addressable_shards[0].data.shape == (rows, 16)
  average = optimizers.evaluation_params(None, state.opt_state)
  assert jax.tree.map(lambda x: x.sharding, average) == jax.tree.map(
    lambda x: x.sharding, state.params
  )


def test_accumulation_gives_the_update_of_the_whole_batch(tiny):
  # Targets differ in length, so the parts' means must be weighted.
  settings = {
    'devices': 2,
    'model_parallel': 1,
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
  sharding = partitioning.batch_sharding(partitioning.make_mesh())
  with pytest.raises(GenrecError, match='12 rows .* over 8'):
    partitioning.put_batch({'x': np.zeros((12, 2))}, sharding)
