import errno

import pytest

from genrec_jax import arguments, artifacts, main
from genrec_jax.training import writers
from genrec_jax.types import GenrecError


def error_of(capsys, *arguments):
  assert main.main(list(arguments)) == 1
  return ' '.join(capsys.readouterr().err.split())


def test_help_lists_every_command_with_what_it_does(capsys):
  assert main.main(['--help']) == 0
  text = capsys.readouterr().out
  for command in main.COMMANDS:
    assert f'  {command} ' in text


@pytest.mark.parametrize('command', [*main.COMMANDS, 'run'])
def test_each_command_has_help(command, capsys):
  assert main.main([command, '--help']) == 0
  assert '--run_dir' in capsys.readouterr().out


@pytest.mark.parametrize(
  'arguments, said',
  [
    (['prepar'], 'Unknown command'),
    (['prepare'], 'needs --run_dir'),
    (['prepare', '--run_dir=r', '--dataste=x'], 'did you mean dataset'),
    (['prepare', '--run_dir=r', '--dataset=beautiful'], 'amazon_beauty'),
    (['prepare', '--run_dir=r'], "lacks 'dataset'"),
    (['prepare', 'x', '--run_dir=r'], 'expected --NAME=VALUE'),
    (['train', '--run_dir=r', '--gin_file=nowhere.gin'], 'No gin file'),
    (['evaluate', '--run_dir=r'], "lacks 'model'"),
    (['build_ids', '--run_dir=r'], 'No dataset at'),
    (['run', '--run_dir=r', '--seed=1'], 'takes no --seed'),
    (
      [
        'train',
        '--run_dir=r',
        '--gin_file=experiments/tiny.gin',
        '--gin.train.train.num_stps=3',
      ],
      'num_stps',
    ),
    (
      ['train', '--run_dir=r', '--gin_file=experiments/tiny.gin'],
      'needs a value for DATASET',
    ),
    (
      [
        'train',
        '--run_dir=r',
        '--gin_file=experiments/tiny.gin',
        '--gin.TRAIN_STEPZ=1',
      ],
      'did you mean TRAIN_STEPS',
    ),
    (['train', '--run_dir=r', '--num_steps=many'], "--num_steps = 'many'"),
    (
      [
        'prepare',
        '--run_dir=r',
        '--gin_file=experiments/tiny.gin',
        "--gin.DATASET='simulator'",
        "--gin.BATCH_SIZE='abc'",
      ],
      "BATCH_SIZE = 'abc' for train.cached_batches.batch_size, expected a"
      ' whole number',
    ),
    (['prepare', '--run_dir=/dev/null/r', '--dataset=simulator'], 'in the way'),
    (
      [
        'train',
        '--run_dir=r',
        '--gin_file=experiments/tiny.gin',
        "--gin.DATASET='simulator'",
      ],
      'No tokens at',
    ),
  ],
)
def test_a_mistake_gets_one_paragraph_with_a_way_out(
  arguments, said, capsys, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  error = error_of(capsys, *arguments)
  assert said in error
  assert 'Traceback' not in error and ' at 0x' not in error


def test_a_full_disk_is_a_clean_stop(capsys, tmp_path, monkeypatch):
  def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, 'No space left on device', 'somewhere')

  monkeypatch.setattr(artifacts, 'write_directory', full)
  error = error_of(
    capsys, 'prepare', f'--run_dir={tmp_path}', '--dataset=simulator'
  )
  assert 'the disk is full' in error


def test_a_directory_is_replaced_whole_or_not_at_all(tmp_path):
  path = tmp_path / 'artefact'
  with artifacts.write_directory(path) as directory:
    (directory / 'a').write_text('first')
  with pytest.raises(RuntimeError):
    with artifacts.write_directory(path) as directory:
      (directory / 'a').write_text('second')
      raise RuntimeError
  assert (path / 'a').read_text() == 'first'
  assert [p.name for p in tmp_path.iterdir()] == ['artefact']


def test_a_refused_command_leaves_the_configuration_as_it_was(tmp_path):
  run_dir = tmp_path / 'run'
  prepare = ['prepare', f'--run_dir={run_dir}']
  tiny = ['--gin_file=experiments/tiny.gin', "--gin.DATASET='simulator'"]
  assert main.main([*prepare, *tiny, '--k_core=1000']) == 1
  assert not (run_dir / 'config.gin').exists()
  assert main.main([*prepare, *tiny]) == 0
  config = (run_dir / 'config.gin').read_text()
  assert "DATASET = 'simulator'" in config
  assert main.main([*prepare, *tiny, '--gin.SEED=1', '--k_core=1000']) == 1
  assert (run_dir / 'config.gin').read_text() == config


def test_what_each_command_ran_with_is_recorded(tmp_path):
  run_dir = tmp_path / 'run'
  prepare = ['prepare', f'--run_dir={run_dir}']
  tiny = ['--gin_file=experiments/tiny.gin', "--gin.DATASET='simulator'"]
  assert main.main([*prepare, *tiny]) == 0
  config = (run_dir / 'config.gin').read_text()
  # A binding without a file holds for its command alone.
  assert main.main([*prepare, '--gin.SEED=1', '--k_core=2']) == 0
  assert main.main([*prepare, '--gin.SEED=1', '--k_core=1000']) == 1
  assert (run_dir / 'config.gin').read_text() == config
  first, second = writers.read_rows(run_dir / 'commands.jsonl')
  assert first['gin_files'] == ['experiments/tiny.gin']
  assert first['bindings'] == ["DATASET = 'simulator'"]
  assert second['bindings'] == ['SEED = 1'] and second['gin_files'] == []
  assert second['command'] == 'prepare' and second['flags'] == {'k_core': '2'}


def test_arguments_are_split_by_what_they_are_for():
  flags, files, bindings = arguments.parse(
    ['--seed=3', '--name=a=b', '--on', '--top-k', '5', '--gin.A=[1]']
  )
  assert flags == {'seed': '3', 'name': 'a=b', 'on': 'True', 'top_k': '5'}
  assert (files, bindings) == ([], ['A = [1]'])


def test_a_manifest_of_another_kind_is_refused(tmp_path):
  artifacts.write_manifest(tmp_path, kind='ids', fingerprint='f', inputs={})
  with pytest.raises(GenrecError, match="expected 'dataset'"):
    artifacts.read_manifest(tmp_path, 'dataset')
