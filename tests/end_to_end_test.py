"""Raw files to a ranked list, through the `genrec` command, on small data."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from genrec_jax import main

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
num_users = 150
num_dialogues = 5
"""

BINDINGS = [
  '--gin.TRAIN_STEPS=24',
  '--gin.WARMUP_STEPS=4',
  '--gin.EVAL_PERIOD=12',
  '--gin.CHECKPOINT_PERIOD=12',
  '--gin.BATCH_SIZE=32',
  '--gin.CODEBOOK_SIZE=64',
  '--gin.NUM_BEAMS=10',
  '--gin.train.cached_batches.num_buckets=1',
  '--gin.transformer.T5Config.num_encoder_layers=1',
  '--gin.transformer.T5Config.num_decoder_layers=1',
]


@pytest.fixture(scope='module')
def run_dir(tmp_path_factory):
  """A run of every command, in one process of its own."""
  directory = tmp_path_factory.mktemp('small')
  (directory / 'shop.toml').write_text(DATASET)
  run_dir = directory / 'run'
  done = genrec(
    'run',
    f'--run_dir={run_dir}',
    '--gin_file=experiments/tiny.gin',
    f'--gin.DATASET={str(directory / "shop.toml")!r}',
    *BINDINGS,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  (directory / 'stdout').write_text(done.stdout)
  return run_dir


def genrec(*arguments, blocked=()):
  """Runs the command in a process where some packages cannot be imported."""
  script = f"""
import importlib.machinery
import sys
finder = importlib.machinery.PathFinder
find_spec = finder.find_spec
finder.find_spec = lambda name, *arguments: (
  None
  if name.split('.')[0] in {tuple(blocked)!r}
  else find_spec(name, *arguments)
)
from genrec_jax import main
sys.exit(main.main({list(arguments)!r}))
"""
  root = pathlib.Path(main.__file__).resolve().parent.parent
  environment = {**os.environ, 'XLA_FLAGS': '', 'PYTHONPATH': str(root)}
  return subprocess.run(
    [sys.executable, '-c', script],
    capture_output=True,
    text=True,
    env=environment,
  )


def test_a_run_leaves_every_artefact(run_dir):
  for name in ('dataset', 'ids', 'tokens'):
    assert (run_dir / name / 'manifest.json').exists()
  for name in (
    'config.gin',
    'checkpoints/checkpoint_24',
    'logs/metrics.jsonl',
    'evaluation/validation/sequential.json',
    'recommendations.jsonl',
    'report.html',
  ):
    assert (run_dir / name).exists(), name


def test_every_listed_item_exists_and_was_not_seen(run_dir):
  folder = run_dir / 'evaluation' / 'validation'
  lists = np.load(folder / 'sequential.npz')
  result = json.loads((folder / 'sequential.json').read_text())
  assert result['invalid_share'] == 0
  for items in lists['items_model']:
    assert len(set(items)) == len(items) and min(items) >= 0


def test_the_report_asks_nothing_of_the_network(run_dir, pages):
  html = (run_dir / 'report.html').read_text()
  assert 'popularity' in html and 'path through the trie' in html
  assert pages.requests(html) == []
  assert pages.policy(html)['default-src'] == ["'none'"]
  assert pages.policy(html)['script-src'] == ["'none'"]


def test_training_and_evaluation_need_no_tensorflow(run_dir, tmp_path):
  """From the token cache alone, as on a machine with the base package."""
  alone = tmp_path / 'alone'
  alone.mkdir()
  shutil.copytree(run_dir / 'tokens', alone / 'tokens')
  shutil.copy(run_dir / 'config.gin', alone)
  blocked = (
    'tensorflow',
    'tensorflow_text',
    'seqio',
    'tensorflow_datasets',
    'sentencepiece',
    'jinja2',
    'sklearn',
  )
  for command in (
    ('train',),
    ('evaluate', '--baselines=()'),
    ('recommend', '--top_k=3'),
  ):
    done = genrec(*command, f'--run_dir={alone}', blocked=blocked)
    assert done.returncode == 0, done.stdout + done.stderr
  rows = [
    (directory / 'logs' / 'metrics.jsonl').read_text().splitlines()[-1]
    for directory in (run_dir, alone)
  ]
  losses = [json.loads(row)['recall@10'] for row in rows]
  assert losses[0] == losses[1]


def test_a_new_item_is_recommended_to_a_new_user(run_dir, tmp_path):
  """From the items of a file and a history, without TensorFlow or SeqIO."""
  grown = shutil.copytree(run_dir, tmp_path / 'grown')
  _, *lines = (grown / 'ids' / 'items.tsv').read_text().splitlines()
  (item_id, title, _), (other, _, _) = (l.split('\t') for l in lines[:2])
  (tmp_path / 'new.tsv').write_text(f'item_id\ttitle\nnew-1\t{title}\n')
  for command in (
    ('add_items', f'--items={tmp_path / "new.tsv"}'),
    ('recommend', f'--history={item_id},{other}', '--cold_share=1.0'),
  ):
    done = genrec(
      *command,
      f'--run_dir={grown}',
      blocked=('tensorflow', 'tensorflow_text', 'seqio', 'sentencepiece'),
    )
    assert done.returncode == 0, done.stdout + done.stderr
  (record,) = (grown / 'recommendations.jsonl').read_text().splitlines()
  record = json.loads(record)
  assert [item['name'] for item in record['history']][0] == title
  first, *others = record['recommendations']
  assert first['new'] and first['name'] == title
  assert not any(entry['new'] for entry in others)


def test_ids_of_other_data_are_refused(run_dir, tmp_path, capsys):
  mixed = tmp_path / 'mixed'
  shutil.copytree(run_dir, mixed)
  built = main.main(
    ['build_ids', f'--run_dir={mixed}', '--seed=1', '--method=random_ids']
  )
  assert built == 0
  assert main.main(['evaluate', f'--run_dir={mixed}']) == 1
  error = capsys.readouterr().err
  assert 'ids' in error and 'genrec tokenize' in error


def test_a_missing_checkpoint_is_named(run_dir, capsys):
  arguments = ['evaluate', f'--run_dir={run_dir}', '--checkpoint=7']
  assert main.main(arguments) == 1
  assert '24' in capsys.readouterr().err


def test_the_ledger_tells_what_the_run_measured(run_dir, pages, tmp_path):
  """Beside another on other data, which stands in tables of its own."""
  other = tmp_path / 'other'
  shutil.copytree(run_dir / 'evaluation', other / 'evaluation')
  path = other / 'evaluation' / 'validation' / 'sequential.json'
  result = json.loads(path.read_text())
  value = result['metrics']['model']['all']['recall@10']
  result['fingerprints']['dataset'] = 'another'
  path.write_text(json.dumps(result))
  arguments = [f'--run_dir={run_dir}', f'--runs={other}', '--metric=recall@10']
  assert main.main(['ledger', *arguments]) == 0
  html = (run_dir / 'ledger.html').read_text()
  assert pages.requests(html) == []
  assert 'holds results on 2 pairs of dataset and split' in html
  told = [cells[5] for cells in pages.Page(html).cells() if len(cells) == 16]
  assert [one.split()[0] for one in told[1:]] == [f'{value:.4f}'] * 2
