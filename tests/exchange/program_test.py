"""The recommender as one program, where nothing of this package is."""

import json
import os
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from genrec_jax import artifacts
from genrec_jax.answering.items import rank_items
from genrec_jax.decoding.recommend import seen_items
from genrec_jax.exchange import program
from genrec_jax.exchange.items import write_items

DOCS = pathlib.Path(__file__).parents[2] / 'docs/export.md'
NUM_BEAMS = 4
NUM_ROWS = 5
ELSEWHERE = """
import importlib.machinery, json, sys
directory, given = sys.argv[1], json.loads(sys.argv[2])
finder = importlib.machinery.PathFinder
find_spec = finder.find_spec
finder.find_spec = lambda name, *arguments: (
  None if name.split('.')[0] in ('genrec_jax', 'flax', 'orbax')
  else find_spec(name, *arguments)
)
{snippet}
allowed = np.array(given['allowed'])
try:
  recommend(np.zeros((facts['max_batch'] + 1, 3), 'int32'),
            np.zeros((facts['max_batch'] + 1, 1), 'int32'), allowed)
  refused = ''
except ValueError as error:
  refused = str(error)
found = recommend(np.array(given['tokens'], 'int32'),
                  np.array(given['exclude'], 'int32'), allowed)
print(json.dumps({{'items': found['items'].tolist(),
                   'scores': found['scores'].tolist(),
                   'best': best, 'refused': refused}}))
"""


@pytest.fixture(scope='module')
def exported(run, tmp_path_factory):
  """A program that takes a mask of items, and examples to call it with."""
  directory = tmp_path_factory.mktemp('program')
  examples = run.cache.examples('sequential', 'test')
  program.write_program(
    directory,
    run,
    num_beams=NUM_BEAMS,
    allowed_items=True,
    examples=examples,
  )
  write_items(directory, run.cache, None)
  return directory, examples


def test_it_lists_the_same_items_where_only_jax_is(run, exported):
  directory, examples = exported
  lists = rank_items(run, examples, num_beams=NUM_BEAMS)
  rows = np.arange(NUM_ROWS)
  allowed = np.ones(len(run.cache.item_tokens), bool)
  given = {
    'tokens': examples.inputs.padded(rows, 30).tolist(),
    'exclude': seen_items(examples.history, rows).tolist(),
    'allowed': allowed.tolist(),
  }
  found = call_elsewhere(directory, given)
  np.testing.assert_array_equal(found['items'], lists.items[:NUM_ROWS])
  np.testing.assert_allclose(
    found['scores'], lists.scores[:NUM_ROWS], atol=1e-5
  )
  names = run.cache.item_names
  assert found['best'] == [names[item] for item in lists.items[0]]
  assert found['refused']  # more rows than the manifest allows


def call_elsewhere(directory, given):
  """Runs docs/export.md's way to load a program, and calls it once more."""
  snippet = re.search(
    r'<!-- program -->\n```python\n(.*?)```', DOCS.read_text(), re.DOTALL
  )[1]
  # The documented call has no mask of items, and this program takes one.
  snippet = snippet.replace(
    "check['exclude'].astype('int32')",
    "check['exclude'].astype('int32'), np.ones(facts['num_items'], bool)",
  )
  done = subprocess.run(
    [
      sys.executable,
      '-c',
      ELSEWHERE.format(snippet=snippet),
      str(directory),
      json.dumps(given),
    ],
    capture_output=True,
    text=True,
    cwd=directory,
    env={k: v for k, v in os.environ.items() if k != 'PYTHONPATH'},
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


def test_items_that_are_not_allowed_are_not_listed(exported):
  directory, examples = exported
  manifest = artifacts.read_manifest(directory, program.KIND)
  called = jax.export.deserialize(
    bytearray((directory / manifest['file']).read_bytes())
  )
  check = manifest['check']
  allowed = np.arange(manifest['num_items']) % 3 == 0
  found = called.call(
    np.array(check['tokens'], np.int32),
    np.array(check['exclude'], np.int32),
    allowed,
  )
  items = np.asarray(found['items'])
  assert (items % 3 == 0).all() and len(set(items[0])) == NUM_BEAMS
  assert not (items == np.array(check['items'])).all()
  seen = set(examples.history[0].tolist())
  assert not seen & set(items[0].tolist())


def test_the_manifest_tells_how_it_is_called(exported):
  manifest = artifacts.read_manifest(exported[0], program.KIND)
  assert manifest['arguments']['tokens']['shape'] == ['b', 's']
  assert manifest['arguments']['allowed']['shape'] == [manifest['num_items']]
  assert manifest['results']['items']['shape'] == ['b', NUM_BEAMS]
  assert manifest['platforms'] == ['cpu', 'cuda', 'tpu']
