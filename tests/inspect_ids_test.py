"""Tests of the command that says what codes mean, on a small data set."""

import json
import re

import numpy as np
import pytest

from genrec_jax import main
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.splits import load_split, train_interactions
from genrec_jax.ids import inspection
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.reporting import lookup
from genrec_jax.types import GenrecError

DATASET = """\
name = 'shop'
title = 'A small simulated shop'
source = 'the simulator'
licence = 'none'

[protocol]
ties = 'source'
duplicates = 'keep'
k_core = 0
split = 'leave_one_out'

[[layouts]]
name = 'drawn'

[[layouts.files]]
reader = 'simulator'

[layouts.files.options]
num_users = 100
num_dialogues = 5
"""


def genrec(run_dir, command, *arguments):
  assert main.main([command, f'--run_dir={run_dir}', *arguments]) == 0


@pytest.fixture(scope='module')
def run_dir(tmp_path_factory):
  directory = tmp_path_factory.mktemp('shop')
  (directory / 'shop.toml').write_text(DATASET)
  genrec(directory / 'run', 'prepare', f'--dataset={directory / "shop.toml"}')
  return directory / 'run'


@pytest.mark.parametrize(
  'method', ['quantile_svd', 'textual_ids', 'atomic_ids']
)
def test_the_page_holds_the_numbers_and_asks_nothing_of_the_network(
  run_dir, method, capsys, pages
):
  genrec(run_dir, 'build_ids', f'--method={method}')
  genrec(run_dir, 'inspect_ids', '--max_map_items=3', '--num_shuffles=1')
  text = capsys.readouterr().out
  result = json.loads((run_dir / 'ids_report.json').read_text())
  html = (run_dir / 'ids_report.html').read_text()
  ids = ItemIds.load(run_dir / 'ids')
  assert result['fingerprints']['ids'] == ids.fingerprint
  dataset = Dataset.load(run_dir / 'dataset')
  user, item = train_interactions(
    dataset, load_split(run_dir / 'dataset', dataset)
  )
  assert result['overlap'] == inspection.neighbourhood_overlap(
    ids.codes, user, item, num_shuffles=1
  )
  assert {'attributes', 'brand', 'category'} <= result['attributes'].keys()
  for shown in (text, html):
    assert f'{result["overlap"]["nearest"]:.4f}' in shown
  assert pages.requests(html) == []
  if method == 'atomic_ids':
    assert 'No two items share their first code.' in text
  else:
    assert result['prefixes']


def test_a_prefix_is_looked_up(run_dir, capsys):
  genrec(run_dir, 'build_ids', '--method=quantile_svd')
  ids = ItemIds.load(run_dir / 'ids')
  first = int(np.bincount(ids.codes[:, 0]).argmax())
  capsys.readouterr()
  genrec(run_dir, 'inspect_ids', f'--prefix={first}')
  text = capsys.readouterr().out
  assert f'Prefix {first}: {(ids.codes[:, 0] == first).sum()} items' in text
  catalogue = lookup.Catalogue.load(run_dir)
  with pytest.raises(GenrecError, match='after 0 comes no 9999'):
    catalogue.rows_of([0, 9999])
  with pytest.raises(GenrecError, match='expected 1 to'):
    catalogue.rows_of([0] * 9)


def test_an_item_is_looked_up(run_dir, capsys):
  genrec(run_dir, 'build_ids', '--method=quantile_svd')
  catalogue = lookup.Catalogue.load(run_dir)
  capsys.readouterr()
  genrec(run_dir, 'inspect_ids', f'--item={catalogue.item_ids[5]}')
  text = capsys.readouterr().out
  nearest, together = text.split('Taken together with')
  shared = [int(n) for n in re.findall(r'^  [* ] (\d) of', nearest, re.M)]
  assert shared == sorted(shared, reverse=True) and len(shared) == 10
  known = catalogue.neighbors[5][catalogue.neighbors[5] >= 0]
  assert [
    line.split('  ')[-1] for line in together.strip().splitlines()[1:]
  ] == [catalogue.names[row] for row in known]
  with pytest.raises(GenrecError, match=f'near it are .*{catalogue.names[5]}'):
    catalogue.row_of(catalogue.names[5])
