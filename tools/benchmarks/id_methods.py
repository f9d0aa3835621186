"""Measures every method of ids on one data set: cost, codes, accuracy.

  python tools/benchmarks/id_methods.py --run_dir=runs/prepared \
    --work_dir=runs/id_methods --codebook_size=512 [--steps=600]

`--run_dir` is a run of which `genrec prepare` has been run. For each method
the `genrec` command builds the ids and trains the same tiny model for the same
number of steps on the same examples, and measures it on validation. The
`--best` methods, by NDCG@10 there, and random codes are then trained with each
of `--seeds` and measured on test, once each; the best of them is compared with
the others by a paired bootstrap over users. What is done already is not done
again. Prints the tables in markdown, and writes them to WORK_DIR/table.md.
The peak of the memory is that of the whole process, libraries included.
"""

import argparse
import functools
import json
import multiprocessing
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import numpy as np

from genrec_jax.data import splits, token_cache
from genrec_jax.data.dataset import Dataset
from genrec_jax.evaluation import ranking, results, significance
from genrec_jax.ids.inspection import neighbourhood_overlap
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.types import EOS_ID, PAD_ID

TASK = 'sequential'
# Two levels where a method is free to choose, so that an item costs the model
# the same number of tokens; what follows is the method's own.
FILES = '--gin_file=ids/{}.gin'
TWO_LEVELS = ('--gin.NUM_LEVELS=2', "--gin.COLLISIONS='nearest_free'")
USER_ITEM = (
  "--gin.svd.item_factors.matrix='interactions'",
  "--gin.svd.item_factors.weighting='tfidf'",
)
RESIDUAL = (FILES.format('residual_kmeans'), *TWO_LEVELS)
PRODUCT = (FILES.format('product_quantization'), *TWO_LEVELS)
TEXT = '--gin_file=vectors/{}_vectors.gin'
METHODS = {
  'residual k-means, PPMI': RESIDUAL,
  'residual k-means, balanced': (*RESIDUAL, '--gin.BALANCED=True'),
  'residual k-means, user-item SVD': (*RESIDUAL, *USER_ITEM),
  'residual k-means, content': (*RESIDUAL, TEXT.format('text')),
  'residual k-means, content + PPMI': (*RESIDUAL, TEXT.format('concatenated')),
  'product quantization': (*PRODUCT, "--gin.ROTATION='none'"),
  'optimised PQ': (*PRODUCT, "--gin.ROTATION='learnt'"),
  'RQ-VAE': (FILES.format('rq_vae'), *TWO_LEVELS, "--gin.ON_COLLAPSE='warn'"),
  'quantile SVD': (FILES.format('quantile_svd'), '--gin.NUM_LEVELS=2'),
  'collaborative, spectral': (FILES.format('collaborative_indexing'),),
  'collaborative, balanced tree': (
    FILES.format('collaborative_indexing'),
    "--gin.TREE='balanced'",
  ),
  'hybrid: k-means, own token': (
    *RESIDUAL,
    FILES.format('hybrid_ids'),
    '--gin.NUM_SHARED=1',
  ),
  'textual': (FILES.format('textual_ids'),),
  'atomic': ('--method=atomic_ids',),
  'random': (FILES.format('random_ids'), '--gin.NUM_LEVELS=2'),
  'sequential (LEAKY)': (
    FILES.format('sequential_ids'),
    '--gin.ALLOW_LEAKY=True',
  ),
}


def main():
  """Measures and prints."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--run_dir', type=pathlib.Path, required=True)
  parser.add_argument('--work_dir', type=pathlib.Path, required=True)
  parser.add_argument('--codebook_size', type=int, default=256)
  parser.add_argument('--steps', type=int, default=600)
  parser.add_argument('--max_history', type=int, default=10)
  parser.add_argument('--validation_examples', type=int, default=5000)
  parser.add_argument('--methods', nargs='*', default=list(METHODS))
  parser.add_argument('--best', type=int, default=4)
  parser.add_argument('--seeds', type=int, nargs='*', default=[0, 1, 2])
  parser.add_argument('--gin', nargs='*', default=[], help='further bindings')
  arguments = parser.parse_args()
  rows = {}
  for name in arguments.methods:
    rows[name] = measure(name, 0, arguments)
    print(name, json.dumps(rows[name]), flush=True)
  lines = validation_table(rows)
  print('\n'.join(lines), flush=True)
  honest = [
    name
    for name, row in rows.items()
    if 'error' not in row and 'LEAKY' not in name
  ]
  honest.sort(key=lambda name: -rows[name]['validation']['ndcg@10'])
  # Random codes are always compared: what a method gains, it gains over them.
  chosen = honest[: arguments.best]
  chosen += [name for name in ('random',) if name in honest[arguments.best :]]
  metrics = {}
  for name in chosen:
    seeds = [measure(name, seed, arguments) for seed in arguments.seeds]
    metrics[name] = [measure_test(row['run_dir']) for row in seeds]
    print(name, 'is measured on test', flush=True)
  lines += ['', *test_table(metrics)]
  print('\n'.join(lines))
  (arguments.work_dir / 'table.md').write_text('\n'.join(lines) + '\n')


def measure_test(run_dir) -> dict:
  """Returns the test metrics of every user; measures them if need be."""
  run_dir = pathlib.Path(run_dir)
  if not results.result_path(run_dir, 'test', TASK).exists():
    genrec('evaluate', run_dir, '--split=test', '--baselines=()')
  _, lists = results.read_result(run_dir, 'test', TASK)
  return ranking.example_metrics(lists['items_model'], lists['target'])


def validation_table(rows) -> list[str]:
  """Returns the table of all methods: cost, codes, validation."""
  lines = [
    '| ids | build s | peak GB | collisions before | prefixes by level |'
    ' perplexity by level | neighbours under one first code (by chance) |'
    ' Recall@10 | NDCG@10 |',
    '|---|---|---|---|---|---|---|---|---|',
  ]
  for name, row in rows.items():
    if 'error' in row:
      lines.append(f'| {name} | {row["error"]} |' + ' |' * 7)
      continue
    codes = describe(pathlib.Path(row['run_dir']))
    rate = codes['collision_rate']
    levels = codes['levels']
    cells = [
      name,
      f'{row["seconds"]:.1f}',
      f'{row["peak_gb"]:.2f}',
      '–' if rate is None else f'{rate:.1%}',
      ' / '.join(f'{level["prefixes"]:,}' for level in levels),
      ' / '.join(f'{level["perplexity"]:,.0f}' for level in levels),
      f'{codes["overlap"]:.3f} ({codes["by_chance"]:.3f})',
      f'{row["validation"]["recall@10"]:.4f}',
      f'{row["validation"]["ndcg@10"]:.4f}',
    ]
    lines.append(f'| {" | ".join(cells)} |')
  return lines


def test_table(metrics) -> list[str]:
  """Returns the table of the chosen methods, means over seeds, on test.

  The first is the best on validation; the others are compared with it, each
  user's metric averaged over seeds first.
  """
  lines = [
    '| ids, test | Recall@10, by seed | NDCG@10, by seed | mean Recall@10 |'
    ' mean NDCG@10 | NDCG@10 less than that of the first (95 %) | p |',
    '|---|---|---|---|---|---|---|',
  ]
  by_user = {
    name: np.mean([seed['ndcg@10'] for seed in seeds], axis=0)
    for name, seeds in metrics.items()
  }
  first = next(iter(by_user.values()), None)
  for name, seeds in metrics.items():
    cells = [name]
    for metric in ('recall@10', 'ndcg@10'):
      cells.append(' '.join(f'{seed[metric].mean():.4f}' for seed in seeds))
    for metric in ('recall@10', 'ndcg@10'):
      mean = np.mean([seed[metric].mean() for seed in seeds])
      cells.append(f'{mean:.4f}')
    if by_user[name] is first:
      cells += ['–', '–']
    else:
      found = significance.paired_bootstrap(first, by_user[name])
      interval = f'({found.low:+.4f}, {found.high:+.4f})'
      cells += [f'{found.mean:+.4f} {interval}', f'{found.p_value:.4f}']
    lines.append(f'| {" | ".join(cells)} |')
  return lines


def measure(name, seed, arguments) -> dict:
  """Builds ids and trains on them; returns what that cost and validation."""
  slug = re.sub(r'\W+', '_', name).strip('_').lower()
  run_dir = arguments.work_dir / f'{slug}_{seed}'
  done = run_dir / 'measured.json'
  if done.exists():
    return json.loads(done.read_text())
  shutil.rmtree(run_dir, ignore_errors=True)
  run_dir.mkdir(parents=True)
  shutil.copytree(arguments.run_dir / 'dataset', run_dir / 'dataset')
  try:
    built = build(run_dir, METHODS[name], seed, arguments)
    # In a process of its own: a child's peak is never below its parent's size.
    spawned = multiprocessing.get_context('spawn').Process(
      target=write_tokens, args=(run_dir,)
    )
    spawned.start()
    spawned.join()
    started = time.monotonic()
    genrec('train', run_dir)
  except subprocess.CalledProcessError as error:
    return {'error': error.output.strip().replace('\n', ' ')[-160:]}
  row = {
    **built,
    'train_seconds': time.monotonic() - started,
    'validation': last_metrics(run_dir),
    'run_dir': str(run_dir),
  }
  done.write_text(json.dumps(row))
  return row


def write_tokens(run_dir):
  """Writes what `genrec tokenize` writes for the template 'plain'.

  The ids of the history and nothing else: without SeqIO it takes a second,
  where a million examples would take minutes for each of the methods.
  """
  ids = ItemIds.load(run_dir / 'ids')
  dataset = Dataset.load(run_dir / 'dataset')
  split = splits.load_split(run_dir / 'dataset', dataset)
  layout = ids.layout()
  item_tokens = layout.item_tokens(ids.codes)
  max_history = read_macro(run_dir, 'MAX_HISTORY')
  parts = {}
  for number, part in enumerate(token_cache.PARTS):
    examples = splits.examples(dataset, split, number)
    history = examples.ragged_histories(max_history)
    target = np.arange(len(examples) + 1)
    empty = token_cache.Ragged(
      np.zeros(0, np.int32), np.zeros(len(examples) + 1, np.int64)
    )
    parts[part] = token_cache.TokenExamples(
      inputs=spell(item_tokens, history.values, history.offsets, EOS_ID),
      targets=spell(item_tokens, examples.target, target, PAD_ID),
      user=examples.user,
      target=examples.target,
      tied=examples.tied,
      history=empty if part == 'train' else examples.ragged_histories(),
    )
  token_cache.write_token_cache(
    run_dir / 'tokens',
    layout=layout.as_dict(),
    item_tokens=item_tokens,
    item_names=dataset.item_names(),
    examples={'sequential': parts},
    inputs={
      'dataset': dataset.fingerprint,
      'split': split.fingerprint,
      'ids': ids.fingerprint,
    },
    settings={'templates': {'sequential': ['plain']}},
  )


def spell(item_tokens, items, offsets, last_control) -> token_cache.Ragged:
  """Returns rows of items in tokens, those up to `last_control` left out."""
  tokens = item_tokens[items]
  kept = tokens > last_control
  starts = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
  return token_cache.Ragged(tokens[kept], starts[offsets])


def read_macro(run_dir, name) -> int:
  """Returns an integer macro of a run's configuration."""
  text = (run_dir / 'config.gin').read_text()
  return int(re.search(rf'^{name} = (\d+)', text, re.MULTILINE)[1])


def last_metrics(run_dir) -> dict:
  """Returns the validation metrics after the last step."""
  lines = (run_dir / 'logs' / 'metrics.jsonl').read_text().splitlines()
  found = [json.loads(line) for line in lines if 'recall@10' in line]
  return {
    name.rsplit('/', 1)[-1]: value
    for name, value in found[-1].items()
    if 'recall@' in name or 'ndcg@' in name
  }


def build(run_dir, flags, seed, arguments) -> dict:
  """Builds the ids; returns the seconds and the peak of the memory."""
  output, peak = genrec(
    'build_ids',
    run_dir,
    '--gin_file=experiments/tiny.gin',
    *flags,
    "--gin.DATASET='prepared'",
    f'--gin.SEED={seed}',
    f'--gin.CODEBOOK_SIZE={arguments.codebook_size}',
    f'--gin.TRAIN_STEPS={arguments.steps}',
    f'--gin.MAX_HISTORY={arguments.max_history}',
    f'--gin.CHECKPOINT_PERIOD={arguments.steps}',
    '--gin.EVAL_PERIOD=None',
    '--gin.evaluate.make_evaluate_fn.max_examples='
    f'{arguments.validation_examples}',
    '--gin.train.cached_batches.num_buckets=2',  # less to compile
    *(f'--gin.{binding}' for binding in arguments.gin),
  )
  seconds = float(re.search(r'([\d.]+) s; ids are in', output)[1])
  return {'seconds': seconds, 'peak_gb': peak}


def genrec(command, run_dir, *flags) -> tuple[str, float]:
  """Runs a command; returns what it printed and its peak memory in GB."""
  process = subprocess.Popen(
    [sys.executable, '-m', 'genrec_jax.main', command]
    + [f'--run_dir={run_dir}', *flags],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  output = process.stdout.read()
  _, status, usage = os.wait4(process.pid, 0)
  if os.waitstatus_to_exitcode(status):
    raise subprocess.CalledProcessError(1, command, output)
  return output, usage.ru_maxrss / 2**20


def describe(run_dir) -> dict:
  """Returns what the codes of a run are like."""
  ids = ItemIds.load(run_dir / 'ids')
  user, item = train_part(run_dir / 'dataset')
  overlap = neighbourhood_overlap(ids.codes, user, item)
  return {
    'levels': ids.facts['levels'],
    'collision_rate': ids.facts.get('collision_rate'),
    'overlap': overlap['prefixes'][0],
    'by_chance': overlap['shuffled']['prefixes'][0],
  }


@functools.cache
def train_part(directory):
  """Returns user and item of the train interactions."""
  dataset = Dataset.load(directory)
  return splits.train_interactions(
    dataset, splits.load_split(directory, dataset)
  )


if __name__ == '__main__':
  main()
