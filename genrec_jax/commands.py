"""The commands of `genrec`: the modules that hold them, and their order."""

from __future__ import annotations

import ast
import importlib.util
import pathlib

# In the order in which one runs them; `run` runs them all.
PIPELINE = (
  'prepare',
  'build_ids',
  'tokenize',
  'train',
  'evaluate',
  'recommend',
  'report',
)
# What several processes share.
TOGETHER = ('train', 'evaluate', 'recommend', 'counterfactual')
BESIDE = (
  'add_items',
  'compare',
  'count_cooccurrences',
  'experiment',
  'export',
  'inspect_ids',
  'ledger',
  'measure_cost',
  'measure_hallucination',
  'measure_search',
  'serve',
)
COMMANDS = {
  **{name: f'genrec_jax.{name}' for name in (*PIPELINE, *BESIDE)},
  # No module can be named `import` or `try`, and baselines/ is a room.
  'baselines': 'genrec_jax.measure_baselines',
  'counterfactual': 'genrec_jax.measure_counterfactuals',
  'import': 'genrec_jax.import_model',
  'try': 'genrec_jax.try_model',
}


def overview(introduction: str) -> str:
  """Returns the help of `genrec` itself, after what it is."""
  lines = [introduction.strip(), '', 'Commands, in the order of a run:']
  for command in PIPELINE:
    lines.append(f'  {command:<20} {_first_sentence(COMMANDS[command])}')
  lines.append('  run          Runs all of them, one after the other.')
  lines.append('\nBeside a run:')
  for command in [name for name in COMMANDS if name not in PIPELINE]:
    lines.append(f'  {command:<20} {_first_sentence(COMMANDS[command])}')
  lines.append('\n`genrec COMMAND --help` lists the arguments of a command.')
  return '\n'.join(lines)


def _first_sentence(module: str) -> str:
  """Returns the first line of a module's docstring without importing it."""
  spec = importlib.util.find_spec(module)
  assert spec is not None and spec.origin is not None
  source = pathlib.Path(spec.origin).read_text(encoding='utf-8')
  return (ast.get_docstring(ast.parse(source)) or '').split('\n')[0]
