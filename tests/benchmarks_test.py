"""The benchmarks: of the search its catalogues and check, of ids the judge."""

import functools
import pathlib

import jax
import numpy as np
import pytest
import scipy.sparse

FOLDER = pathlib.Path(__file__).resolve().parent.parent / 'tools/benchmarks'


@pytest.fixture
def modules(monkeypatch):
  monkeypatch.syspath_prepend(str(FOLDER))
  import trie_catalogues
  import trie_check
  import trie_peers

  return trie_catalogues, trie_check, trie_peers


@pytest.mark.parametrize('skew', ['uniform', 'zipf'])
def test_catalogues_hold_distinct_codes(modules, skew):
  catalogues, _, _ = modules
  codes = catalogues.generate(2000, 3, 20, skew)
  assert codes.shape == (2000, 3) and codes.max() == 19
  assert len(np.unique(codes, axis=0)) == 2000


def test_the_check_passes_equal_lists_and_names_a_wrong_one(modules):
  catalogues, check, peers = modules
  batch_size, num_beams, num_levels, codebook_size = 2, 5, 3, 32
  codes = catalogues.generate(300, num_levels, codebook_size, 'zipf')
  ordered = catalogues.sort_rows(codes)
  stored = tuple(
    jax.random.normal(jax.random.key(level), (rows, codebook_size))
    for level, rows in enumerate([2, 10, 10])
  )
  stored = check.alike(stored, batch_size)
  found = {
    peers.OURS: peers.Ours(codes, codebook_size),
    peers.CALLBACK: peers.CallbackTrie(ordered, codebook_size),
  }
  found = {
    name: peer.search(batch_size, num_beams)(stored)
    for name, peer in found.items()
  }
  assert check.check(found, ordered, stored)['wrong'] == []

  tokens = np.array(found[peers.CALLBACK]['tokens'])
  tokens[0, 0, 0] = (tokens[0, 0, 0] + 1) % codebook_size
  found[peers.CALLBACK]['tokens'] = tokens
  (wrong,) = check.check(found, ordered, stored)['wrong']
  assert 'other items for 1 requests' in wrong


def test_peers_of_ids_are_judged_by_numbers_known_beforehand(monkeypatch):
  monkeypatch.syspath_prepend(str(FOLDER))
  import id_peers

  graph = scipy.sparse.csr_array(np.kron(np.eye(2), np.ones((3, 3))))
  halves, odd = np.repeat([0, 1], 3), np.array([0, 0, 0, 0, 0, 1])
  judged = id_peers.judge('clusters', graph, {'here': halves, 'peer': odd})
  assert judged['here'] == {
    'normalised cut': 0,
    'evenness': pytest.approx(2),
    'largest': 0.5,
  }
  assert judged['peer']['normalised cut'] == pytest.approx(2 / 15 + 2 / 3)
  exact, other = np.eye(4)[:, :2], np.eye(4)[:, [0, 3]]
  judged = id_peers.judge(
    'svd', np.diag([3.0, 2, 1, 0]), {'here, lanczos': exact, 'peer': other}
  )
  assert list(judged['here, lanczos'].values()) == pytest.approx([1, 0])
  assert list(judged['peer'].values()) == pytest.approx([9 / 13, 90])


def test_products_and_bytes_are_counted_as_often_as_a_loop_runs(monkeypatch):
  monkeypatch.syspath_prepend(str(FOLDER))
  import mesh_traffic

  mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), ('x',))

  def lie(*names):
    return jax.NamedSharding(mesh, jax.P(*names))

  @functools.partial(jax.jit, in_shardings=(lie(None, 'x'), lie(None, 'x')))
  def run(x, kernels):
    def layer(x, kernel):
      return jax.lax.with_sharding_constraint(x @ kernel, lie(None, 'x')), None

    return jax.lax.scan(layer, x, kernels)[0]

  shapes = [
    jax.ShapeDtypeStruct(shape, np.float32) for shape in ((8, 16), (5, 16, 16))
  ]
  found = mesh_traffic.count(run.lower(*shapes).compile().as_text())
  # Each device has 4 rows of each of 5 kernels and 4 columns of x; it ends
  # with 4 columns of the sum over devices.
  assert found.flops == 5 * 2 * 8 * 4 * 16
  assert found.sent == {'all-reduce over 4': 5 * 2 * 3 / 4 * (8 * 16 * 4)}


def test_state_is_predicted_from_what_is_cut(monkeypatch):
  monkeypatch.syspath_prepend(str(FOLDER))
  import mesh_memory

  model = mesh_memory.make_model('tiny')
  variables = mesh_memory.parameters_of(model)
  count = sum(leaf.size for leaf in jax.tree.leaves(variables['params']))
  shape = mesh_memory.Shape(rows=32)
  whole, cut = (
    mesh_memory.predict(
      model, variables, mesh_memory.read_rules(leaf), 8, 1, shape
    )
    for leaf in ('data', 'fsdp')
  )
  assert whole.state == 3 * 4 * count and whole.gradients == 4 * count
  # All but the tables of relative positions.
  assert cut.state - whole.state // 8 < 3 * 4 * (2 * 32 * 4)
  assert whole.saved == cut.saved
