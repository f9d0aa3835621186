"""tools/launch.py: what it prints is what a shell runs, quotes included."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

LAUNCH = pathlib.Path(__file__).resolve().parent.parent / 'tools/launch.py'
COMMAND = [
  'genrec', 'train', '--run_dir=a run', '''--gin.DATASET="it's $HOME; a"''',
  '--gin.TASKS=("x", {braces})',
]  # fmt: skip
SETTINGS = {
  'slurm': ['--partition=big gpus', '--nodes=2', '--directory=.'],
  'tpu_vm': ['--tpu=slice', '--zone=us-east5-a', '--directory=.'],
  'xpk': [
    '--cluster=c', '--project=p', '--zone=z', '--tpu_type=v5p-128',
    '--image=registry/image:1',
  ],
}  # fmt: skip
RECORD = f"""#!{sys.executable}
import json, os, pathlib, sys
path = pathlib.Path(os.environ['RECORDS'], pathlib.Path(sys.argv[0]).name)
path.write_text(json.dumps(sys.argv[1:]))
"""
# Each runs what it was given, as the real one does on every host.
CLUSTERS = {
  'sbatch': '#!/bin/bash\ntee "$RECORDS/script" | bash -s\n',
  'srun': '#!/bin/bash\nwhile [[ $1 == --* ]]; do shift; done\nexec "$@"\n',
  'gcloud': '#!/bin/bash\nfor last; do :; done\nbash -c "${last#--command=}"\n',
  'xpk': '#!/bin/bash\nfor last; do :; done\nbash -c "${last#--command=}"\n',
}


def launch(*arguments, **settings):
  return subprocess.run(
    [sys.executable, LAUNCH, *arguments],
    capture_output=True,
    text=True,
    **settings,
  )


@pytest.fixture
def cluster(tmp_path):
  """The environment of a shell that has clusters, which record a command."""
  for name, text in {**CLUSTERS, 'genrec': RECORD}.items():
    (tmp_path / name).write_text(text)
    (tmp_path / name).chmod(0o755)
  path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
  return {**os.environ, 'PATH': path, 'RECORDS': str(tmp_path / 'records')}


@pytest.mark.parametrize('recipe', SETTINGS)
@pytest.mark.parametrize('printed', [True, False])
def test_every_host_gets_the_command_as_it_was_typed(
  recipe, printed, cluster, tmp_path
):
  (tmp_path / 'records').mkdir()
  dry_run = ['--dry_run'] if printed else []
  run = launch(
    recipe, *dry_run, *SETTINGS[recipe], '--', *COMMAND,
    env=cluster, cwd=tmp_path,
  )  # fmt: skip
  assert run.returncode == 0, run.stderr
  recorded = tmp_path / 'records' / 'genrec'
  if printed:
    assert not recorded.exists()
    subprocess.run(
      ['bash', '-c', run.stdout], env=cluster, cwd=tmp_path, check=True
    )
  assert json.loads(recorded.read_text()) == [
    *COMMAND[1:], '--distributed=auto'
  ]  # fmt: skip


def test_slurm_is_told_of_nodes_and_of_one_task_a_gpu(cluster, tmp_path):
  (tmp_path / 'records').mkdir()
  launch('slurm', *SETTINGS['slurm'], '--', *COMMAND, env=cluster, cwd=tmp_path)
  script = (tmp_path / 'records' / 'script').read_text().splitlines()
  assert script[0] == '#!/bin/bash'
  for line in (
    "--partition='big gpus'", '--nodes=2', '--ntasks-per-node=8',
    '--gpus-per-node=8', '--signal=TERM@120',
  ):  # fmt: skip
    assert f'#SBATCH {line}' in script


def test_a_tpu_is_reached_on_all_workers():
  run = launch('tpu_vm', '--dry_run', *SETTINGS['tpu_vm'], '--', 'genrec')
  assert run.stdout.startswith(
    'gcloud compute tpus tpu-vm ssh slice --zone=us-east5-a --worker=all'
    " '--command=cd . || exit 1"
  )


@pytest.mark.parametrize(
  'arguments, said',
  [
    (['slurm', '--', 'genrec'], 'needs partition; pass --partition=…'),
    (['slurm', '--node=2', '--', 'genrec'], 'did you mean nodes'),
    (['slrum', '--', 'genrec'], "Unknown cluster 'slrum'"),
    (['slurm', '--partition=p'], 'Got no command to start'),
    (['slurm', 'x', '--', 'genrec'], "Got 'x', expected --dry_run"),
  ],
)
def test_what_is_missing_or_unknown_is_said(arguments, said):
  run = launch(*arguments)
  assert run.returncode == 1 and said in run.stderr
