"""Measures the search over the trie against everything else there is.

  GLIBC_TUNABLES=glibc.malloc.hugetlb=1 \\
    python tools/benchmarks/trie_decode.py --out=trie.json --plot=trie.html

Compares, in one process and in turns: this package; STATIC, as published,
where its package is importable (beams exact, and its inexact 30 tokens a
beam); the same search unconstrained; logsumexp alone, the floor; and a trie of
dicts behind a callback, as Hugging Face constrains. All read the same stored
logits, so a time is that of the search without its model: milliseconds a
step, which is a search over L. A ratio is how much longer a contestant takes
than ours: the median over the rounds of the ratio within a round.

Every configuration is checked first: the exact contestants must find the same
items, with the scores that float64 arithmetic gives.

On Linux the process starts itself again with the huge pages of GLIBC_TUNABLES
where these are not set: XLA maps its buffers afresh at each step, and all
contestants gain. Prints a table and whether each target is met. The JSON is
written after every configuration, so an interrupted run leaves what it
measured; the whole grid takes some hours, --quick a few minutes.
"""

import argparse
import functools
import gc
import itertools
import json
import multiprocessing
import os
import pathlib
import platform
import resource
import subprocess
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
import trie_catalogues
import trie_check
import trie_peers
import trie_report

# Spreads logits like a trained model's: beams neither all alike nor all one.
TEMPERATURE = 2.0
# A contestant is called at least three times a round unless a call takes
# longer than this (seconds).
SLOW = 0.4
ALL_BEAMS = (10, 50, 100)


def draw_logits(batch_size, num_beams, codebook_size, num_levels):
  """Returns stored logits: [B, V], then [B * M, V] for each further level."""
  keys = jax.random.split(jax.random.key(0), num_levels)
  rows = [batch_size] + [batch_size * num_beams] * (num_levels - 1)
  return tuple(
    TEMPERATURE * jax.random.normal(key, (count, codebook_size), jnp.float32)
    for key, count in zip(keys, rows)
  )


def take_turns(runs, stored, rounds, seconds):
  """Calls every contestant in turn, and returns seconds a call.

  Args:
    runs: contestant -> search; each has been called before.
    stored: the logits.
    rounds: how often each has its turn.
    seconds: about how long a turn lasts.

  Returns:
    contestant -> [rounds], the median call of each turn.
  """

  def timed(run):
    start = time.perf_counter()
    jax.block_until_ready(run(stored))
    return time.perf_counter() - start

  calls = {}
  for name, run in runs.items():
    once = timed(run)
    least = 3 if once < SLOW else 1
    calls[name] = min(max(least, int(seconds / once)), 200)
  names = list(runs)
  medians = {name: [] for name in names}
  gc.collect()
  gc.disable()
  try:
    for turn in range(rounds):
      # Nobody always follows the same one.
      shift = turn % len(names)
      for name in names[shift:] + names[:shift]:
        times = [timed(runs[name]) for _ in range(calls[name])]
        medians[name].append(float(np.median(times)))
  finally:
    gc.enable()
  return medians


class Catalogue:
  """One catalogue with every contestant's index of it."""

  def __init__(self, settings, contestants, seed=0):
    num_items, num_levels, codebook_size, skew = settings
    self.codes = trie_catalogues.generate(*settings, seed)
    self.facts = dict(
      num_items=num_items, levels=num_levels, codebook=codebook_size, skew=skew
    )
    self._contestants = contestants
    self.ours = trie_peers.Ours(self.codes, codebook_size)
    self.facts[trie_peers.OURS] = self._index_facts(
      self.ours, navigation_bytes=self.ours.navigation_bytes
    )
    self.codes = trie_catalogues.sort_rows(self.codes)
    self.facts['nodes'] = trie_catalogues.prefix_counts(self.codes)
    self.static = self.callback = None
    if {trie_peers.STATIC, trie_peers.STATIC_30} & set(contestants):
      self.static = trie_peers.Static(self.codes, codebook_size)
      self.facts[trie_peers.STATIC] = self._index_facts(self.static)
    if trie_peers.CALLBACK in contestants:
      self.callback = trie_peers.CallbackTrie(self.codes, codebook_size)

  def measure_build_memory(self, codebook_size):
    """Builds once more, in a process of its own, and notes its memory."""
    with tempfile.TemporaryDirectory() as folder:
      path = os.path.join(folder, 'codes.npy')
      np.save(path, self.codes)
      context = multiprocessing.get_context('spawn')
      with context.Pool(1) as pool:
        peak = pool.apply(build_peak, (path, codebook_size))
    self.facts[trie_peers.OURS]['build_peak_bytes'] = peak

  def _index_facts(self, index, **more):
    size = len(self.codes)
    facts = dict(
      build_seconds=index.build_seconds,
      build_microseconds_per_item=1e6 * index.build_seconds / size,
      bytes_per_item=index.nbytes / size,
    )
    for name, value in more.items():
      facts[f'{name}_per_item'] = value / size
    return facts

  def searches(self, batch_size, num_beams):
    """Returns contestant -> search."""
    static = self.static and self.static.search
    makers = {
      trie_peers.OURS: self.ours.search,
      trie_peers.STATIC: static
      and functools.partial(static, tokens_per_beam=num_beams),
      # With no more than 30 beams it would be exact, or do needless work.
      trie_peers.STATIC_30: static
      and num_beams > 30
      and functools.partial(static, tokens_per_beam=30),
      trie_peers.UNCONSTRAINED: trie_peers.unconstrained,
      trie_peers.LOGSUMEXP: lambda *_: trie_peers.logsumexp,
      trie_peers.CALLBACK: self.callback and self.callback.search,
    }
    return {
      name: maker(batch_size, num_beams)
      for name, maker in makers.items()
      if maker and name in self._contestants
    }


def build_peak(path, codebook_size):
  """Returns the most bytes this process ever held, having built a trie."""
  trie_peers.Ours(np.load(path), codebook_size)
  if sys.platform == 'linux':
    # `ru_maxrss` would begin with what the parent held when it forked.
    for line in pathlib.Path('/proc/self/status').read_text().splitlines():
      if line.startswith('VmHWM'):
        return 1024 * int(line.split()[1])
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(catalogue, batch_size, num_beams, options):
  """Checks and times one configuration; returns its row of the results."""
  codebook_size, num_levels = (
    catalogue.facts['codebook'],
    catalogue.facts['levels'],
  )
  stored = draw_logits(batch_size, num_beams, codebook_size, num_levels)
  runs = catalogue.searches(batch_size, num_beams)
  same = trie_check.alike(stored, batch_size)
  found = {name: jax.block_until_ready(run(same)) for name, run in runs.items()}
  facts = trie_check.check(found, catalogue.codes, same)
  del found, same
  for run in runs.values():  # the callback's dicts of these logits, too
    jax.block_until_ready(run(stored))
  seconds = take_turns(runs, stored, options.repeats, options.seconds)
  row = {
    name: catalogue.facts[name]
    for name in ('num_items', 'levels', 'codebook', 'skew')
  }
  row |= dict(batch=batch_size, beams=num_beams, check=facts)
  row['load_average'] = os.getloadavg()[0]
  ours = np.array(seconds[trie_peers.OURS])
  row['ms_per_step'], row['ratio'] = {}, {}
  for name, times in seconds.items():
    steps = 1e3 * np.array(times) / num_levels
    row['ms_per_step'][name] = spread(steps)
    row['ratio'][name] = spread(np.array(times) / ours)
  if options.bandwidth:
    moved = trie_report.bytes_to_move(row, catalogue.facts['nodes'])
    row['roofline_ms'] = 1e3 * moved / num_levels / options.bandwidth
  return row


def spread(values):
  """Returns the median, least and largest of the rounds."""
  return dict(
    median=float(np.median(values)),
    min=float(values.min()),
    max=float(values.max()),
  )


def copy_bandwidth() -> float:
  """Returns the bytes a second that a copy reads and writes."""
  array = jnp.zeros(1 << 27, jnp.float32)
  copy = jax.jit(lambda x: x + 1)
  best = float('inf')
  for _ in range(10):
    start = time.perf_counter()
    copy(array).block_until_ready()
    best = min(best, time.perf_counter() - start)
  return 2 * array.nbytes / best


def environment():
  """Returns what the times depend on."""
  root = pathlib.Path(__file__).resolve().parents[2]

  def git(*arguments):
    done = subprocess.run(
      ['git', *arguments], cwd=root, capture_output=True, text=True
    )
    return done.stdout.strip()

  cpu = platform.processor()
  if os.path.exists('/proc/cpuinfo'):
    for line in pathlib.Path('/proc/cpuinfo').read_text().splitlines():
      if line.startswith('model name'):
        cpu = line.partition(':')[2].strip()
        break
  return dict(
    commit=git('rev-parse', 'HEAD'),
    changed_files=git('status', '--short', '--untracked-files=no').splitlines(),
    command=' '.join(sys.argv),
    date=time.strftime('%Y-%m-%d %H:%M:%S'),
    backend=jax.default_backend(),
    device=jax.devices()[0].device_kind,
    cpu=f'{cpu}, {os.cpu_count()} cores',
    load_average=os.getloadavg(),
    python=platform.python_version(),
    jax=jax.__version__,
    numpy=np.__version__,
    glibc_tunables=os.environ.get('GLIBC_TUNABLES', ''),
  )


def parse_options():
  """Reads the command line."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  add = functools.partial(parser.add_argument, nargs='+')
  add('--num_items', type=int, default=[10**4, 10**6, 10**7])
  add('--levels', type=int, default=[4, 8])
  add('--codebook', type=int, default=[256, 2048])
  add('--skew', choices=trie_catalogues.SKEWS, default=trie_catalogues.SKEWS)
  add('--batch', type=int, default=[1, 32])
  add('--beams', type=int, default=ALL_BEAMS)
  add('--contestants', choices=trie_peers.NAMES, default=trie_peers.NAMES)
  parser.add_argument('--repeats', type=int, default=5, help='rounds')
  parser.add_argument('--seconds', type=float, default=0.1, help='a turn')
  parser.add_argument(
    '--quick', action='store_true', help='small catalogues, 50 beams'
  )
  parser.add_argument('--out', type=pathlib.Path, help='the JSON')
  parser.add_argument('--plot', type=pathlib.Path, help='an .html')
  parser.add_argument(
    '--build_memory',
    action='store_true',
    help='build each trie once more in a process of its own, for its peak',
  )
  parser.add_argument(
    '--roofline',
    action='store_true',
    default=jax.default_backend() != 'cpu',
    help='bytes to move over measured bandwidth; always on where not a CPU',
  )
  options = parser.parse_args()
  if options.quick:
    options.num_items, options.levels, options.beams = [10**4, 10**5], [4], [50]
  options.contestants = [
    name
    for name in trie_peers.NAMES
    if name in (trie_peers.OURS, *options.contestants)
  ]
  if trie_peers.static_module('decoding_jax') is None:
    print(trie_peers.WITHOUT_STATIC)
    options.contestants = [
      name
      for name in options.contestants
      if name not in (trie_peers.STATIC, trie_peers.STATIC_30)
    ]
  options.bandwidth = copy_bandwidth() if options.roofline else None
  return options


def run_grid(options, results, save):
  """Measures every configuration, adding to `results` and saving each."""
  for settings in itertools.product(
    options.num_items, options.levels, options.codebook, options.skew
  ):
    num_items, num_levels, codebook_size, _ = settings
    if 2 * num_items > codebook_size**num_levels:
      continue
    catalogue = Catalogue(settings, options.contestants)
    if options.build_memory:
      catalogue.measure_build_memory(codebook_size)
    results['catalogues'].append(catalogue.facts)
    print(trie_report.catalogue_line(catalogue.facts), flush=True)
    for batch_size, num_beams in itertools.product(
      options.batch, options.beams
    ):
      row = measure(catalogue, batch_size, num_beams, options)
      results['rows'].append(row)
      print(trie_report.row_line(row, options.contestants), flush=True)
      save()
      # Compiled searches hold on to what they were compiled for.
      jax.clear_caches()
    del catalogue
    gc.collect()


def main():
  """Measures the grid, and reports what there is of it in any case."""
  if sys.platform == 'linux' and 'GLIBC_TUNABLES' not in os.environ:
    tunables = {'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=1'}
    os.execve(sys.executable, sys.orig_argv, os.environ | tunables)
  options = parse_options()
  results = dict(environment=environment(), catalogues=[], rows=[])
  if options.bandwidth:
    results['environment']['copy_bytes_per_second'] = options.bandwidth

  def save():
    if options.out:
      unfinished = options.out.with_name(options.out.name + '.tmp')
      unfinished.write_text(json.dumps(results, indent=1))
      unfinished.replace(options.out)

  print(trie_report.header(options.contestants, bool(options.bandwidth)))
  try:
    run_grid(options, results, save)
  except KeyboardInterrupt:
    sys.exit('Interrupted: the above is all that was measured.')
  finally:
    results['targets'] = trie_report.targets(results)
    save()
    print(trie_report.summary(results['targets']))
    if options.plot and results['rows']:
      options.plot.write_text(trie_report.page(results), encoding='utf-8')


if __name__ == '__main__':
  main()
