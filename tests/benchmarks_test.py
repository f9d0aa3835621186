"""The benchmarks: of the search its catalogues and check, of ids the judge."""

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
