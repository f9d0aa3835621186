"""Checkpoints of T5X in both of its formats, without T5X."""

import flax.serialization
import numpy as np
import pytest
import tensorstore
from flax.traverse_util import flatten_dict

from genrec_jax.exchange import t5x
from genrec_jax.training.parameters import write_parameters
from genrec_jax.types import GenrecError

PARAMS = {
  'token_embedder': {
    'embedding': np.arange(12, dtype=np.float32).reshape(4, 3)
  },
  'encoder': {
    'encoder_norm': {'scale': np.ones(3, np.float32)},
    'layers_0': {'mlp': {'wo': {'kernel': np.full((2, 3), 7, np.float32)}}},
  },
}


def write_old(directory):
  """Writes the format that T5 1.1 and Flan-T5 were published in.

  Small arrays are in the msgpack file; of large ones it has the spec under
  which TensorStore wrote them, on another machine.
  """
  directory.mkdir()

  def store(name, array):
    spec = {
      'driver': 'zarr',
      'kvstore': {'driver': 'file', 'path': str(directory / name)},
      'metadata': {'compressor': {'id': 'gzip'}, 'shape': array.shape},
      'dtype': 'float32',
    }
    tensorstore.open(spec, create=True).result().write(array).result()
    kvstore = {'driver': 'gfile', 'path': name}
    return {'driver': 'zarr', 'kvstore': kvstore, 'metadata': {}}

  flat = flatten_dict(PARAMS)
  tree = {}
  for path, array in flat.items():
    inner = tree
    for part in path[:-1]:
      inner = inner.setdefault(part, {})
    name = '.'.join(('target', *path))
    inner[path[-1]] = store(name, array) if array.ndim > 1 else array
  content = {'version': 3, 'optimizer': {'target': tree, 'state': {'step': 9}}}
  (directory / 'checkpoint').write_bytes(
    flax.serialization.msgpack_serialize(content)
  )


@pytest.mark.parametrize('is_old', [False, True])
def test_a_checkpoint_is_read_by_its_name_or_as_the_last(tmp_path, is_old):
  write_parameters(tmp_path / 'checkpoint_8', {'x': np.ones(1)}, step=8)
  path = tmp_path / 'checkpoint_9'
  if is_old:
    write_old(path)
  else:
    write_parameters(path, PARAMS, step=9)
  for place in (path, tmp_path):
    found = t5x.read_weights(place)
    expected = flatten_dict(PARAMS, sep='/')
    assert found.keys() == expected.keys()
    for name, array in expected.items():
      np.testing.assert_array_equal(found[name], array)


def test_what_is_no_t5_is_refused(tmp_path):
  with pytest.raises(GenrecError, match='No checkpoint of T5X'):
    t5x.read_weights(tmp_path)
  write_parameters(tmp_path / 'checkpoint_0', {'x': np.ones(1)})
  with pytest.raises(GenrecError, match='has no token_embedder/embedding'):
    t5x.read_weights(tmp_path)


def test_an_array_that_was_not_copied_is_told(tmp_path):
  write_old(tmp_path / 'checkpoint_9')
  name = 'target.encoder.layers_0.mlp.wo.kernel'
  for file in (tmp_path / 'checkpoint_9' / name).iterdir():
    file.unlink()
  with pytest.raises(GenrecError, match='copy all of it again'):
    t5x.read_weights(tmp_path)
