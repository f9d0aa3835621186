"""prepare: from raw files to a data set with its split on disk."""

import dataclasses
import json
import os
import pathlib

import numpy as np
import pytest

from genrec_jax.data import dialogue_split
from genrec_jax.data.catalogue import describe
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.splits import (
  TEST,
  leave_one_out,
  load_split,
  train_interactions,
)
from genrec_jax.prepare import prepare
from genrec_jax.types import GenrecError

DATA = pathlib.Path(__file__).resolve().parents[2] / 'shared' / 'data'
OWN = """
name = "mine"
[protocol]
duplicates = "first"
[[layouts]]
[[layouts.files]]
file = "log.tsv"
reader = "delimited"
options = { columns = { user = "u", item = "i", time = "t" } }
"""


@pytest.fixture
def own(tmp_path):
  (tmp_path / 'mine.toml').write_text(OWN)
  rows = [f'u{u}\ti{(u + t) % 5}\t{t}\n' for u in range(4) for t in range(6)]
  (tmp_path / 'log.tsv').write_text('u\ti\tt\n' + ''.join(rows))
  return tmp_path


def _load(run_dir):
  dataset = Dataset.load(run_dir / 'dataset')
  return dataset, load_split(run_dir / 'dataset', dataset)


def test_data_of_ones_own(own, capsys):
  prepare(run_dir=own / 'run', dataset=str(own / 'mine.toml'))
  dataset, split = _load(own / 'run')
  assert dataset.counts['interactions'] == 4 * 5  # the sixth repeats the first
  assert split.protocol == 'leave_one_out'
  assert (split.part == TEST).sum() == 4
  assert '4 users, 5 items, 20 interactions' in capsys.readouterr().out


def test_arguments_win_over_the_description(own):
  prepare(
    run_dir=own / 'run',
    dataset=str(own / 'mine.toml'),
    duplicates='keep',
    split='global_temporal',
    ties='random',
    seed=3,
  )
  dataset, split = _load(own / 'run')
  assert dataset.num_interactions == 24
  assert split.protocol == 'global_temporal'
  assert dataset.facts['ties'] == 'random' and dataset.facts['seed'] == 3


def test_a_split_of_ones_own(own):
  prepare(
    run_dir=own / 'run',
    dataset=str(own / 'mine.toml'),
    split=lambda dataset: leave_one_out(dataset, min_train=3),
  )
  _, split = _load(own / 'run')
  assert split.settings == {'min_train': 3}
  with pytest.raises(GenrecError, match="split 'by_user'.*global_temporal"):
    prepare(run_dir=own, dataset=str(own / 'mine.toml'), split='by_user')


def test_bad_rows_stop_it_or_are_counted_in_the_manifest(own, capsys):
  with open(own / 'log.tsv', 'a') as file:
    file.write('u9\ti1\n')
  with pytest.raises(GenrecError, match='log.tsv, line 26: got 2 columns'):
    prepare(run_dir=own / 'run', dataset=str(own / 'mine.toml'))
  assert not (own / 'run').exists()
  prepare(
    run_dir=own / 'run', dataset=str(own / 'mine.toml'), on_bad_row='skip'
  )
  manifest = json.loads((own / 'run/dataset/manifest.json').read_text())
  assert manifest['facts']['skipped_rows']['log.tsv']['count'] == 1
  assert 'skipped 1 bad rows of log.tsv' in capsys.readouterr().out


def test_counts_that_are_not_as_expected_write_nothing(own):
  with open(own / 'mine.toml', 'a') as file:
    file.write('[expected.full]\nusers = 5\n')
  arguments = {'run_dir': own / 'run', 'dataset': str(own / 'mine.toml')}
  with pytest.raises(GenrecError, match='got 4 users.*expected 5 users'):
    prepare(**arguments)
  assert not (own / 'run').exists()
  prepare(**arguments, expected='off')
  assert _load(own / 'run')[0].facts['expected'] == 'off'


def test_the_simulator_needs_no_file_and_is_seeded(tmp_path):
  fingerprints = []
  for number, seed in enumerate((0, 0, 1)):
    run_dir = tmp_path / str(number)
    prepare(run_dir=run_dir, dataset='simulator', seed=seed)
    fingerprints.append(_load(run_dir)[0].fingerprint)
  assert fingerprints[0] == fingerprints[1] != fingerprints[2]


@pytest.mark.parametrize(
  'name, variant, clock',
  [
    ('amazon_beauty', 'published', 'days'),
    ('amazon_toys', 'published', 'order'),
    ('lastfm', 'published', 'order'),
    ('ml_1m', 'published', 'order'),
    ('ml_100k', 'partial_95285', 'seconds'),
    ('musical_instruments', 'partial_8832', 'days'),
  ],
)
def test_real_data_give_the_expected_counts(tmp_path, name, variant, clock):
  if not (DATA / describe(name).folder).is_dir():
    pytest.skip(f'no real data at {DATA}')
  prepare(run_dir=tmp_path, dataset=name, data_dir=DATA, expected=variant)
  dataset, split = _load(tmp_path)
  assert dataset.facts['clock'] == clock
  assert (split.part == TEST).sum() == dataset.num_users


@pytest.mark.parametrize(
  'name, variant, examples',
  [
    ('redial', 'partial_1813', (4273, 461, 535)),
    ('opendialkg', 'selection', (5284, 593, 861)),
  ],
)
def test_real_dialogues_alone_give_the_expected_counts(
  tmp_path, name, variant, examples, capsys
):
  if not (DATA / name).is_dir():
    pytest.skip(f'no real data at {DATA}')
  prepare(run_dir=tmp_path, dataset=name, data_dir=DATA, expected=variant)
  dataset, split = _load(tmp_path)
  counts = dialogue_split.count_dialogues(dataset, split)
  assert tuple(n['examples'] for n in counts.values()) == examples
  assert f'{examples[0]:,} turns that recommend' in capsys.readouterr().out
  user, item = train_interactions(dataset, split)
  assert user.max() < dataset.num_users and item.max() < dataset.num_items


def test_dialogues_with_nothing_to_measure_are_refused(tmp_path):
  message = {'text': 'hi', 'senderWorkerId': 1}
  record = {
    'conversationId': '1',
    'initiatorWorkerId': 1,
    'respondentWorkerId': 2,
    'movieMentions': {},
    'messages': [message, {**message, 'senderWorkerId': 2}],
  }
  (tmp_path / 'told.jsonl').write_text(json.dumps(record))
  (tmp_path / 'told.toml').write_text(
    'name = "told"\n[[layouts]]\n[[layouts.files]]\nfile = "told.jsonl"\n'
    'reader = "redial_dialogues"\n'
  )
  with pytest.raises(
    GenrecError, match='have 0 train, 0 valid.*more dialogues'
  ):
    prepare(run_dir=tmp_path / 'run', dataset=str(tmp_path / 'told.toml'))
  assert not (tmp_path / 'run').exists()


def test_what_was_made_of_texts_is_told(tmp_path, capsys):
  (tmp_path / 'own.toml').write_text(
    'name = "own"\n[[layouts]]\n[[layouts.files]]\nfile = "reviews.json"\n'
    'reader = "amazon_reviews"\n[[layouts.files]]\nfile = "told.jsonl"\n'
    'reader = "explanations"\n'
  )
  reviews = [
    {
      'reviewerID': 'u',
      'asin': f'i{day}',
      'overall': 5.0,
      'unixReviewTime': day * 86400,
      'reviewText': 'Good' if day % 2 else '',
      'summary': f'{day}',
    }
    for day in range(4)
  ]
  told = [
    {
      'user': user,
      'item': 'i1',
      'feature': 'tone',
      'opinion': 'good',
      'sentiment': 1,
      'sentence': 'Good',
    }
    for user in ('u', 'u', 'nobody')
  ]
  for name, records in (('reviews.json', reviews), ('told.jsonl', told)):
    lines = [json.dumps(record) + '\n' for record in records]
    (tmp_path / name).write_text(''.join(lines))
  prepare(run_dir=tmp_path / 'run', dataset=str(tmp_path / 'own.toml'))
  out = capsys.readouterr().out
  for line in (
    '1 interactions have an explanation, of 3: 1 are further ones of the same'
    ' interaction, 1 of none',
    '2 rows have review text; 2 of these are word for word that of another'
    ' row, 1 held out ones that of a train row',
    'review: 2 blank ones left out, characters replaced in 0',
  ):
    assert line in out


def test_both_layouts_of_beauty_are_the_same_sequences(tmp_path):
  if not (DATA / 'amazon_beauty').is_dir():
    pytest.skip(f'no real data at {DATA}')
  datasets = []
  for layout in ('timed', 'sequences'):
    prepare(
      run_dir=tmp_path / layout,
      dataset='amazon_beauty',
      data_dir=DATA,
      layout=layout,
    )
    datasets.append(_load(tmp_path / layout)[0])
  np.testing.assert_array_equal(datasets[0].item, datasets[1].item)
  np.testing.assert_array_equal(datasets[0].user, datasets[1].user)


def test_a_split_that_holds_nothing_out_is_refused(own):
  (own / 'log.tsv').write_text(
    'u\ti\tt\nu1\ti1\t1\nu1\ti2\t2\nu2\ti1\t3\nu2\ti2\t3\n'
  )
  with pytest.raises(GenrecError) as raised:
    prepare(run_dir=own / 'run', dataset=str(own / 'mine.toml'))
  error = str(raised.value)
  assert '0 validation rows and 0 test rows of 4 interactions' in error
  assert 'Of 2 users 0 have 3' in error and '--split=' in error
  assert not (own / 'run').exists()


def test_tables_and_split_appear_together_or_not_at_all(own):
  arguments = {'run_dir': own / 'run', 'dataset': str(own / 'mine.toml')}
  prepare(**arguments)
  _, before = _load(own / 'run')

  def unwritable(dataset):
    split = leave_one_out(dataset)
    # As a full disk would: what is written last cannot be.
    return dataclasses.replace(split, settings={'broken': object()})

  with pytest.raises(TypeError):
    prepare(**arguments, split=unwritable, duplicates='keep')
  dataset, split = _load(own / 'run')
  assert dataset.num_interactions == 20
  assert split.fingerprint == before.fingerprint
  assert [path.name for path in (own / 'run').iterdir()] == ['dataset']


def test_what_may_not_be_read_is_not_said_to_be_written(own):
  (own / 'folder.toml').mkdir()
  with pytest.raises(GenrecError, match='Cannot read .*folder.toml: is a dir'):
    prepare(run_dir=own / 'run', dataset=str(own / 'folder.toml'))
  if os.getuid() == 0:
    pytest.skip('root may read everything')
  data = own / 'data'
  data.mkdir()
  description = {'dataset': str(own / 'mine.toml'), 'data_dir': data}
  (own / 'log.tsv').rename(data / 'log.tsv')
  for path in (data / 'log.tsv', data):
    mode = path.stat().st_mode
    path.chmod(0)
    try:
      with pytest.raises(GenrecError, match=f'Cannot read {path}'):
        prepare(run_dir=own / 'run', **description)
    finally:
      path.chmod(mode)
