import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genrec_jax.training import optimizers
from genrec_jax.types import GenrecError


def values(schedule, steps):
  return [float(schedule(jnp.int32(step))) for step in steps]


def test_schedules_by_hand():
  constant = optimizers.constant(learning_rate=2.0, warmup_steps=4)
  np.testing.assert_allclose(values(constant, [0, 1, 3, 9]), [0.5, 1, 2, 2])
  root = optimizers.inverse_square_root(learning_rate=2.0, warmup_steps=4)
  np.testing.assert_allclose(values(root, [1, 3, 15, 63]), [1, 2, 1, 0.5])
  cosine = optimizers.cosine(
    learning_rate=2.0, warmup_steps=2, num_steps=10, final_fraction=0.1
  )
  np.testing.assert_allclose(
    values(cosine, [0, 2, 6, 10, 99]), [1, 2, 1.1, 0.2, 0.2], rtol=1e-6
  )


@pytest.mark.parametrize('make', [optimizers.adamw, optimizers.adafactor])
def test_an_optimizer_tells_its_learning_rate(make):
  schedule = optimizers.constant(learning_rate=2.0, warmup_steps=4)
  assert values(make(learning_rate=schedule).learning_rate, [0, 9]) == [0.5, 2]
  assert values(make(learning_rate=0.1).learning_rate, [7]) == pytest.approx(
    [0.1]
  )
  assert optax.chain(make(learning_rate=schedule)).init({'a': jnp.ones(2)})


def test_a_warm_up_longer_than_the_run_is_refused():
  with pytest.raises(GenrecError, match='fewer steps of.*WARMUP_STEPS=1'):
    optimizers.cosine(learning_rate=1.0, warmup_steps=10, num_steps=10)


@pytest.mark.parametrize('decay_embeddings', [False, True])
@pytest.mark.parametrize('make', [optimizers.adamw, optimizers.adafactor])
def test_weight_decay_spares_norms_biases_and_tables(make, decay_embeddings):
  params = {
    'mlp': {'kernel': jnp.ones((2, 2))},
    'norm': {'scale': jnp.ones(2)},
    'relpos_bias': {'rel_embedding': jnp.ones((2, 2))},
    'token_embedder': {'embedding': jnp.ones((2, 2))},
  }
  optimizer = make(
    learning_rate=0.1, weight_decay=0.1, decay_embeddings=decay_embeddings
  )
  zeros = {k: {n: 0 * x for n, x in v.items()} for k, v in params.items()}
  updates, _ = optimizer.update(zeros, optimizer.init(params), params)
  moved = {k for k, v in updates.items() for x in v.values() if (x != 0).any()}
  assert moved == {'mlp'} | ({'token_embedder'} if decay_embeddings else set())


def test_gradients_are_clipped_to_the_global_norm():
  optimizer = optimizers.chain(
    optimizers.average_params(0.5), clip_norm=1.0, average_decay=None
  )
  params = {'a': jnp.zeros(1), 'b': jnp.zeros(1)}
  gradients = {'a': jnp.array([30.0]), 'b': jnp.array([40.0])}
  updates, _ = optimizer.update(gradients, optimizer.init(params), params)
  np.testing.assert_allclose([updates['a'][0], updates['b'][0]], [0.6, 0.8])


def test_the_average_follows_the_updated_parameters():
  optimizer = optimizers.average_params(0.5)
  params = {'a': jnp.array([0.0])}
  state = optimizer.init(params)
  average = 0.0
  for count in range(6):
    _, state = optimizer.update({'a': jnp.array([1.0])}, state, params)
    params = {'a': params['a'] + 1}
    kept = min(0.5, (1 + count) / (10 + count))
    average = kept * average + (1 - kept) * (count + 1)
  found = optimizers.evaluation_params(params, (state,))
  np.testing.assert_allclose(found['a'], [average], rtol=1e-6)
  assert optimizers.evaluation_params(params, ()) is params
