"""Trains one model of all tasks of a run, and one of each task, side by side.

  python tools/benchmarks/tasks_together.py --run_dir=runs/ml_100k \
    --work_dir=runs/ml_100k_alone [--tasks NAME ...] [--split=test]

`--run_dir` is a run whose tokens have been made (`genrec prepare`, `build_ids`,
`tokenize`); its model of all tasks is trained there, as it is configured. In
WORK_DIR/TASK the same model learns from that task alone, as many batches of it
as the mixture holds on average: so both see the same examples as often, and
the models of one task take together as long as that of all. Every model is
measured by `genrec evaluate`; what is done already is not done again. Prints a
table in Markdown: each task's metrics alone and together, beside its floors.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import time

from genrec_jax.data.mixtures import mixing_rates
from genrec_jax.data.token_cache import TokenCache
from genrec_jax.evaluation import results


def main():
  """Trains, measures and prints."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--run_dir', type=pathlib.Path, required=True)
  parser.add_argument('--work_dir', type=pathlib.Path, required=True)
  parser.add_argument('--tasks', nargs='*', help='those to train alone')
  parser.add_argument('--split', default='validation', choices=results.SPLITS)
  arguments = parser.parse_args()
  run_dir = arguments.run_dir
  cache = TokenCache.load(run_dir / 'tokens')
  together = train(run_dir)
  evaluate(run_dir, cache.tasks(), arguments.split)
  print(f'all tasks: {together:.0f} s of training', flush=True)
  rates = mixing_rates(
    {task: cache.manifest['tasks'][task]['train'] for task in cache.tasks()},
    cap=read_macro(run_dir, 'RATE_CAP'),
    temperature=read_macro(run_dir, 'RATE_TEMPERATURE'),
  )
  steps = read_macro(run_dir, 'TRAIN_STEPS')
  alone = arguments.work_dir
  for task in arguments.tasks or cache.tasks():
    share_tokens(run_dir, alone / task)
    seconds = train(
      alone / task,
      f'--gin.TRAIN_STEPS={max(1, round(steps * rates[task]))}',
      f'--gin.train.cached_batches.tasks={(task,)!r}',
    )
    evaluate(alone / task, [task], arguments.split)
    print(f'{task} alone: {seconds:.0f} s of training', flush=True)
  print('\n'.join(table(run_dir, alone, cache.tasks(), arguments.split)))


def share_tokens(run_dir, directory):
  """Makes a run directory of the same data, ids and tokens."""
  directory.mkdir(parents=True, exist_ok=True)
  for name in ('dataset', 'ids', 'tokens'):
    if not (directory / name).exists():
      (directory / name).symlink_to((run_dir / name).resolve())
  if not (directory / 'config.gin').exists():
    shutil.copyfile(run_dir / 'config.gin', directory / 'config.gin')


def train(run_dir, *flags) -> float:
  """Trains a run to its end; returns the seconds that it took in all."""
  done = run_dir / 'train_seconds.json'
  if not done.exists():
    started = time.monotonic()
    genrec('train', run_dir, *flags)
    done.write_text(json.dumps(time.monotonic() - started))
  return json.loads(done.read_text())


def evaluate(run_dir, tasks, split):
  """Measures those tasks of a run that have not been."""
  measured = results.measured_tasks(run_dir, split)
  missing = tuple(task for task in tasks if task not in measured)
  if missing:
    genrec(
      'evaluate', run_dir, f'--split={split}', f'--tasks={",".join(missing)}'
    )


def table(run_dir, alone, tasks, split) -> list[str]:
  """Returns a row for each task, method and slice of the examples."""
  lines = ['| task | n | method | metrics |', '|---|---|---|---|']
  for task in tasks:
    rows = {}
    for name, directory in (('together', run_dir), ('alone', alone / task)):
      measured = results.measured_tasks(directory, split)
      if task not in measured:
        continue
      result, _ = results.read_result(
        directory, split, task, subset=measured[task]
      )
      for row, slices in result['metrics'].items():
        model = row.startswith('model')
        rows[row.replace('model', f'model, {name}') if model else row] = slices
    for row, slices in sorted(rows.items(), key=lambda r: 'model' not in r[0]):
      for part, values in slices.items():
        if part not in ('all', 'new'):
          continue
        shown = [
          f'{column} {values[column]:.4f}'
          for column in result['columns']
          if column in values
        ]
        label = row if part == 'all' else f'{row}, {part} targets'
        lines.append(
          f'| {task} | {int(values["n"]):,} | {label} | {", ".join(shown)} |'
        )
  return lines


def read_macro(run_dir, name):
  """Returns the value of a macro of a run's configuration."""
  text = (run_dir / 'config.gin').read_text()
  found = re.search(rf'^{name} = (.+)', text, re.MULTILINE)
  return json.loads(found[1].replace('None', 'null'))


def genrec(command, run_dir, *flags):
  """Runs a command; prints what it says if it fails."""
  process = subprocess.run(
    [sys.executable, '-m', 'genrec_jax.main', command]
    + [f'--run_dir={run_dir}', *flags],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  if process.returncode:
    sys.exit(f'{process.stdout[-3000:]}\n{command} of {run_dir} failed')


if __name__ == '__main__':
  main()
