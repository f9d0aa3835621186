"""The TFDS reader, on a small local builder and on TFDS's own mocks."""

import importlib.util

import numpy as np
import pytest

from genrec_jax.data.dataset import build_dataset
from genrec_jax.data.readers import tfds as reader
from genrec_jax.types import GenrecError

pytestmark = [
  pytest.mark.skipif(
    importlib.util.find_spec('tensorflow_datasets') is None,
    reason='tensorflow_datasets is not installed (the extra tasks)',
  ),
  # Of TensorFlow and TFDS themselves.
  pytest.mark.filterwarnings('default'),
]

ROWS = [
  # user, item, stars, day, tags
  ('u1', 'x', 4, '2014-07-02', ['Fun', 'War']),
  ('u2', 'y', 2, '2014-07-01', []),
  ('u1', 'y', 5, '2014-07-01', ['never read: y has a row already']),
]
MAPPING = {
  'time_unit': 'iso8601',
  'interactions': {
    'user': 'who',
    'item': 'thing/id',
    'rating': 'stars',
    'time': 'day',
  },
  'items': {
    'item_id': 'thing/id',
    'attributes': 'thing/tags',
    'kind': 'thing/kind',
  },
}


@pytest.fixture(scope='module')
def tfds():
  import tensorflow_datasets

  return tensorflow_datasets


@pytest.fixture(scope='module')
def data_dir(tfds, tmp_path_factory):
  """A data set that TFDS itself wrote to disk."""

  class SmallShop(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version('1.0.0')
    code_path = None  # no checksums lie beside this file

    def _info(self):
      thing = {
        'id': tfds.features.Text(),
        'tags': tfds.features.Sequence(tfds.features.Text()),
        'kind': tfds.features.ClassLabel(names=['book', 'film']),
      }
      return tfds.core.DatasetInfo(
        builder=self,
        features=tfds.features.FeaturesDict(
          {
            'who': tfds.features.Text(),
            'thing': thing,
            'stars': np.int32,
            'day': tfds.features.Text(),
          }
        ),
        disable_shuffling=True,
      )

    def _split_generators(self, manager):
      return {'train': self._generate_examples()}

    def _generate_examples(self):
      for number, (who, item, stars, day, tags) in enumerate(ROWS):
        kind = 'film' if item == 'x' else 'book'
        thing = {'id': item, 'tags': tags, 'kind': kind}
        yield number, {'who': who, 'thing': thing, 'stars': stars, 'day': day}

  directory = tmp_path_factory.mktemp('tfds')
  SmallShop(data_dir=directory).download_and_prepare()
  return directory


def _read(data_dir, **changes):
  return reader.read(
    'small_shop',
    data_dir=data_dir,
    download=False,
    **{'mapping': MAPPING, **changes},
  )


def test_a_data_set_on_disk_by_a_field_mapping(data_dir):
  dataset = build_dataset('t', _read(data_dir))
  assert dataset.interactions.to_pydict() == {
    'user': [0, 0, 1],
    'item': [1, 0, 1],
    'time': [1404172800, 1404259200, 1404172800],
    'rating': [5, 4, 2],
  }
  assert dataset.items.to_pylist() == [
    {
      'item_id': 'x',
      'title': None,
      'attributes': ['Fun', 'War'],
      'kind': 'film',
    },
    {'item_id': 'y', 'title': None, 'attributes': [], 'kind': 'book'},
  ]
  assert 'small_shop' in dataset.facts['tfds']


def test_bad_rows_are_told_by_number(data_dir):
  mapping = {
    **MAPPING,
    'interactions': {**MAPPING['interactions'], 'time': 'who'},
  }
  with pytest.raises(
    GenrecError, match="row 1: interactions: time 'u1' is not"
  ):
    _read(data_dir, mapping=mapping)


def test_a_field_that_is_not_there_lists_those_that_are(data_dir):
  mapping = {'interactions': {'user': 'who', 'item': 'thing/name'}}
  with pytest.raises(GenrecError, match="'thing/name'.*id, tags, kind"):
    _read(data_dir, mapping=mapping)


def test_a_data_set_without_a_mapping_lists_the_ready_made(data_dir):
  with pytest.raises(GenrecError, match="'small_shop'.*amazon_us_reviews"):
    _read(data_dir, mapping=None)


@pytest.mark.parametrize('name', ['100k-ratings', '25m-ratings'])
def test_ready_made_movielens(tfds, name):
  with tfds.testing.mock_data(num_examples=7):
    raw = reader.read(f'movielens/{name}')
  assert raw.interactions.column_names == ['user', 'item', 'time', 'rating']
  assert raw.interactions.num_rows == 7
  assert raw.items.column_names == ['item_id', 'title', 'attributes']
  assert (raw.users is not None) == (name == '100k-ratings')


def test_ready_made_amazon_us_reviews(tfds):
  def as_dataset(builder, *args, **kwargs):
    import tensorflow as tf

    features = {
      path: '' if feature.dtype == object else 0
      for path, feature in builder.info.features['data'].items()
    }
    row = features | {
      'customer_id': 'u',
      'product_id': 'x',
      'product_title': 'The X',
      'product_category': 'Books',
      'star_rating': 4,
      'review_body': 'long',
      'review_headline': 'short',
      'review_date': '2014-07-01',
    }
    batch = {key: [value] for key, value in row.items()}
    return tf.data.Dataset.from_tensor_slices({'data': batch})

  with tfds.testing.mock_data(as_dataset_fn=as_dataset):
    raw = reader.read('amazon_us_reviews/Books_v1_00')
  assert raw.interactions.to_pylist() == [
    {
      'user': 'u',
      'item': 'x',
      'time': 1404172800,
      'rating': 4,
      'review': 'long',
      'summary': 'short',
    }
  ]
  assert raw.items.to_pylist() == [
    {'item_id': 'x', 'title': 'The X', 'category': 'Books'}
  ]


def test_a_data_set_that_tfds_does_not_know(tmp_path):
  with pytest.raises(GenrecError, match="knows no 'no_such_shop'"):
    reader.read('no_such_shop', mapping=MAPPING, data_dir=tmp_path)
