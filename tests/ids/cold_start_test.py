"""New items stand with their like, and nobody else moves."""

import functools

import numpy as np
import pytest
import scipy.sparse

from genrec_jax.build_ids import make_ids
from genrec_jax.data import audit, simulator, splits
from genrec_jax.data.dataset import build_dataset
from genrec_jax.ids import cold_start
from genrec_jax.ids.content import text_vectors
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.ids.product_quantization import product_quantization
from genrec_jax.ids.quantizer import Quantizer
from genrec_jax.ids.residual_quantization import residual_kmeans
from genrec_jax.ids.rq_vae import rq_vae
from genrec_jax.ids.svd import item_factors, quantile_svd
from genrec_jax.types import GenrecError

NOTHING = np.zeros(0, np.int32)


@functools.cache
def shop():
  """The simulator's shop with a tenth of the items held out."""
  dataset = build_dataset('shop', simulator.simulate(num_users=400))
  split = splits.leave_one_out(dataset)
  return splits.hold_out_items(dataset, split, share=0.1)


def factors(*args, seed):
  return item_factors(*args, matrix='cooccurrence', rank=16, seed=seed)


@pytest.mark.parametrize('method', [residual_kmeans, quantile_svd])
def test_held_out_items_share_a_code_with_those_of_their_line(method):
  dataset, split = shop()
  audit.audit_split(dataset, split)
  make = functools.partial(
    method, item_vectors=factors, num_levels=2, codebook_size=32
  )
  line = dataset.items['brand'].to_numpy(), dataset.items['activity'].to_numpy()
  warm = np.setdiff1d(np.arange(dataset.num_items), split.cold_items)

  def share_of_line(ids):
    """Returns the share of a line among the items under the first code."""
    shares = []
    for item in split.cold_items:
      near = warm[ids.codes[warm, 0] == ids.codes[item, 0]]
      same = [(part[near] == part[item]) for part in line]
      shares.append(np.mean(same[0] & same[1]) if len(near) else 0)
    return np.mean(shares)

  ids = make_ids(dataset, split, method=make)
  control = make_ids(dataset, split, method=make, shuffle_cold=True)
  assert share_of_line(ids) > 2 * share_of_line(control)
  np.testing.assert_array_equal(ids.codes[warm], control.codes[warm])


def test_the_others_have_the_ids_of_a_catalogue_without_new_items():
  """Bit for bit, though text and rows of all items are at hand."""
  dataset, split = shop()
  warm = np.setdiff1d(np.arange(dataset.num_items), split.cold_items)
  user, item = splits.train_interactions(dataset, split)
  settings = {'item_vectors': factors, 'codebook_size': 16}
  alone = residual_kmeans(
    user,
    np.searchsorted(warm, item).astype(np.int32),
    dataset.num_users,
    len(warm),
    **settings,
  )
  ids = make_ids(
    dataset, split, method=functools.partial(residual_kmeans, **settings)
  )
  np.testing.assert_array_equal(ids.codes[warm], alone.codes)
  np.testing.assert_array_equal(ids.vectors[warm], alone.vectors)


def planted_vectors():
  generator = np.random.default_rng(0)
  centres = generator.normal(size=(8, 8)) * 10
  noise = generator.normal(size=(200, 8))
  return (np.repeat(centres, 25, axis=0) + noise).astype(np.float32)


@pytest.mark.parametrize(
  'method',
  [
    residual_kmeans,
    product_quantization,
    functools.partial(product_quantization, rotation='learnt'),
    functools.partial(
      rq_vae,
      hidden=(16,),
      latent=8,
      num_steps=60,
      batch_size=64,
      on_collapse='warn',
      min_perplexity=0.0,
    ),
  ],
)
def test_a_kept_quantizer_gives_items_the_codes_they_have(method, tmp_path):
  vectors = planted_vectors()
  ids = method(
    NOTHING,
    NOTHING,
    0,
    len(vectors),
    item_vectors=lambda *args, seed: vectors,
    num_levels=2,
    codebook_size=8,
  )
  ids.save(tmp_path / 'ids')
  loaded = ItemIds.load(tmp_path / 'ids')
  assert isinstance(loaded.quantizer, Quantizer)
  left = loaded.quantizer.encode(vectors)
  for level, codebook in enumerate(loaded.quantizer.codebooks):
    distances = np.square(left[:, None] - codebook[None]).sum(axis=2)
    nearest = distances.argmin(axis=1)
    assert (nearest == ids.codes[:, level]).mean() > 0.99
    left = left - codebook[nearest]


def test_first_interactions_say_who_the_neighbours_are():
  """By hand: item 0 is of users 0 and 1, item 1 of user 2, item 2 of all."""
  taken = np.array([[1, 0, 1], [1, 0, 1], [0, 1, 1]])
  new_taken = np.array([[1, 0], [0, 0], [0, 0]])  # the second is of nobody
  ids = ItemIds(codes=np.array([[0, 0], [1, 0], [2, 0]]), codebook_sizes=(3, 2))
  evidence = cold_start.from_interactions(
    ids, *(scipy.sparse.csr_array(t.astype(float)) for t in (taken, new_taken))
  )
  np.testing.assert_allclose(
    evidence.neighbours.toarray(),
    [[1 / np.sqrt(2), 0, 1 / np.sqrt(3)], [0, 0, 0]],
  )
  assert evidence.known.tolist() == [True, False]
  assert cold_start.new_codes(ids, evidence)[0].tolist() == [0, 1]


def test_a_vector_of_ones_own_must_be_of_the_ids_space():
  vectors = planted_vectors()
  ids = ItemIds(
    codes=np.arange(200)[:, None], codebook_sizes=(201,), vectors=vectors
  )
  evidence = cold_start.from_vectors(ids, vectors[3:4])
  assert evidence.neighbours.toarray().argmax() == 3
  with pytest.raises(GenrecError, match='made of 8'):
    cold_start.from_vectors(ids, vectors[:, :5])


def test_new_users_have_the_code_of_users_with_their_items():
  taken = scipy.sparse.csr_array(np.kron(np.eye(2), np.ones((4, 3))))
  ids = ItemIds(
    codes=np.arange(6)[:, None],
    codebook_sizes=(6,),
    user_codes=np.repeat([[1], [3]], 4, axis=0),
    user_codebook_sizes=(5,),
  )
  new = scipy.sparse.csr_array(
    np.array([[0, 0, 0, 0, 1, 1], [1, 0, 0, 0, 0, 0]])
  )
  codes = cold_start.new_user_codes(ids, taken, new)
  assert codes.tolist() == [[3], [1]]


def test_text_ids_are_made_without_the_text_of_held_out_items(tmp_path):
  from genrec_jax.ids.content import read_items

  dataset, split = shop()
  dataset.save(tmp_path / 'dataset')
  splits.save_split(split, dataset, tmp_path / 'dataset')
  loaded = splits.load_split(tmp_path / 'dataset', dataset)
  np.testing.assert_array_equal(loaded.cold_items, split.cold_items)
  items = read_items(tmp_path)
  assert items.num_rows == dataset.num_items - len(split.cold_items)
  vectors = functools.partial(text_vectors, items=items, rank=8)
  method = functools.partial(
    residual_kmeans, item_vectors=vectors, codebook_size=8
  )
  assert make_ids(dataset, split, method=method).num_items == dataset.num_items


def test_a_train_row_of_a_held_out_item_is_a_leak():
  dataset, split = shop()
  leak = splits.Split(
    split.protocol,
    split.part,
    split.dataset_fingerprint,
    split.settings,
    np.sort(dataset.item[split.part == splits.TRAIN][:1]),
  )
  with pytest.raises(audit.LeakError, match='held out of training'):
    audit.audit_split(dataset, leak)
