"""Descriptions of data sets: those of configs/, and mistakes in one's own."""

import pathlib

import pytest

from genrec_jax.data import catalogue
from genrec_jax.types import GenrecError

OWN = """
name = "mine"
source = "our log server"
[[layouts]]
name = "log"
[[layouts.files]]
file = ["log.csv", "old.csv"]
reader = "delimited"
[layouts.files.options]
delimiter = ","
columns = { user = "u", item = "i" }
[[layouts.files]]
file = "items.json"
reader = "item_attributes"
optional = true
[[layouts]]
name = "sequences"
[[layouts.files]]
file = "seq.txt"
reader = "sequences"
[expected.all]
users = 1
items = 2
interactions = 2
"""


def _describe(tmp_path, text=OWN):
  path = tmp_path / 'mine.toml'
  path.write_text(text)
  return catalogue.describe(path)


SYNTHETIC = [f'synthetic_{size}' for size in ('1k', '10k', '100k', '1m')]


def test_every_data_set_is_described():
  assert set(catalogue.known_datasets()) == {
    'amazon_beauty',
    'amazon_sports',
    'amazon_toys',
    'yelp',
    'lastfm',
    'ml_100k',
    'ml_1m',
    'musical_instruments',
    'opendialkg',
    'redial',
    'simulator',
    *SYNTHETIC,
  }


@pytest.mark.parametrize('name', catalogue.known_datasets())
def test_each_says_where_from_how_and_what_must_come_out(name):
  description = catalogue.describe(name)
  assert description.name == name
  assert description.source and description.licence and description.layouts
  protocol = {'ties', 'duplicates', 'k_core', 'split'}
  assert set(description.protocol) - {'unused'} == protocol
  if name not in ('simulator', *SYNTHETIC):
    variant = catalogue.choose_variant(description, None)
    counts = {'users', 'items', 'interactions'}
    if name in ('redial', 'opendialkg'):
      counts = {'dialogues'}
    assert set(description.expected[variant]) >= counts


def test_an_unknown_name_lists_the_known_and_the_way_to_own_data():
  with pytest.raises(GenrecError, match="'beauty'.*amazon_beauty.*own.*README"):
    catalogue.describe('beauty')


@pytest.mark.parametrize(
  'old, new, reason',
  [
    ('"delimited"', '"csv"', "reader 'csv'; expected one of.*delimited"),
    ('delimiter =', 'separator =', "delimited Unknown key 'separator'"),
    ('name = "mine"', 'nam = "mine"', "key 'nam'.*expected, folder"),
    ('[expected.all]', '[protocol]\nk = 5\n[expected.all]', "protocol. .*'k'"),
    ('file = "seq.txt"\n', '', 'the reader sequences needs a `file`'),
    ('[[layouts]]', '[[layouts]', 'no TOML'),
  ],
)
def test_a_mistake_in_a_description_is_named(tmp_path, old, new, reason):
  with pytest.raises(GenrecError, match=reason):
    _describe(tmp_path, OWN.replace(old, new, 1))


def test_the_layout_is_the_first_whose_files_are_there(tmp_path):
  description = _describe(tmp_path)
  with pytest.raises(
    GenrecError, match='log.csv or old.csv; or seq.txt.*our l'
  ):
    catalogue.read_raw(description)
  (tmp_path / 'seq.txt').write_text('a x y\n')
  raw = catalogue.read_raw(description)
  assert raw.facts['layout'] == 'sequences' and raw.items is None
  (tmp_path / 'mine').mkdir()
  (tmp_path / 'mine' / 'old.csv').write_text('u,i\nb,z\n')
  (tmp_path / 'items.json').write_text('{"z": ["tag"]}')
  raw = catalogue.read_raw(description)
  assert raw.facts['layout'] == 'log'
  assert raw.interactions['item'].to_pylist() == ['z']
  assert raw.items['item_id'].to_pylist() == ['z']
  assert set(raw.facts['sources']) == {'old.csv', 'items.json'}
  raw = catalogue.read_raw(description, layout='sequences')
  assert raw.interactions['user'].to_pylist() == ['a', 'a']
  with pytest.raises(GenrecError, match="layout 'raw'.*log, sequences"):
    catalogue.read_raw(description, layout='raw')


def test_counts_that_differ_are_shown_with_the_expected_ones():
  description = catalogue.describe('ml_100k')
  counts = {'users': 943, 'items': 1671, 'interactions': 95285}
  with pytest.raises(GenrecError) as error:
    catalogue.check_expected(description, counts, {}, 'published')
  for part in ('1,671 items', '1,682 items', '95,285', '100,000'):
    assert part in str(error.value)
  assert '--expected=partial_95285' in str(error.value)
  catalogue.check_expected(description, counts, {}, 'partial_95285')
  catalogue.check_expected(description, counts, {}, 'off')


def test_a_file_of_another_content_is_refused_even_if_the_counts_agree():
  description = catalogue.describe('lastfm')
  counts = {'users': 1090, 'items': 3646, 'interactions': 52551}
  sha256 = description.expected['published']['sha256']
  catalogue.check_expected(description, counts, sha256, 'published')
  with pytest.raises(GenrecError, match='LastFM.txt have the sha256 00'):
    catalogue.check_expected(
      description, counts, sha256 | {'LastFM.txt': '00'}, 'published'
    )


def test_the_default_variant(tmp_path):
  assert catalogue.choose_variant(_describe(tmp_path), None) == 'all'
  unchecked = _describe(tmp_path, OWN.split('[expected')[0])
  assert catalogue.choose_variant(unchecked, None) == 'off'
  assert catalogue.choose_variant(catalogue.describe('ml_100k'), None) == (
    'published'
  )
  with pytest.raises(GenrecError, match="'some'.*off, partial_95285, publ"):
    catalogue.choose_variant(catalogue.describe('ml_100k'), 'some')


def test_descriptions_are_found_in_an_installed_package(tmp_path, monkeypatch):
  datasets = tmp_path / 'package' / '_configs' / 'datasets'
  datasets.mkdir(parents=True)
  (datasets / 'only.toml').write_text(OWN)
  monkeypatch.setattr(catalogue, '_PACKAGE', tmp_path / 'package')
  assert catalogue.known_datasets() == ['only']
  monkeypatch.setattr(catalogue, '_PACKAGE', pathlib.Path(tmp_path) / 'none')
  with pytest.raises(GenrecError, match='install the package again'):
    catalogue.known_datasets()
