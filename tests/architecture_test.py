"""The house's order: which room may import which, and who needs TensorFlow."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = ROOT / 'genrec_jax'

# A room may import the rooms to its left, and itself.
ORDER = (
  'types',
  'artifacts',
  'progress',
  'data',
  'ids',
  'retrieval',
  'models',
  'decoding',
  'evaluation',
  'baselines',
  'training',
  'answering',
  'measuring',
  'experiments',
  'reporting',
  'exchange',
  'tasks',
  'commands',
  'main',
)
ROOMS = set(ORDER) - {'commands'}


def room_of(module: str) -> str:
  """Returns the room of `genrec_jax.x.y`: x, or `commands` for an entry."""
  parts = module.split('.')
  name = parts[1] if len(parts) > 1 else 'types'
  return name if name in ROOMS else 'commands'


def modules() -> dict[str, pathlib.Path]:
  return {
    '.'.join(path.relative_to(ROOT).with_suffix('').parts): path
    for path in sorted(PACKAGE.rglob('*.py'))
    if path.name != '__init__.py'
  }


def imports(path: pathlib.Path) -> set[str]:
  """Returns every module that a file imports, inside functions too."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      found |= {f'{node.module}.{alias.name}' for alias in node.names}
  return found


@pytest.mark.parametrize('module', modules())
def test_imports_go_one_way(module):
  here = ORDER.index(room_of(module))
  for imported in imports(modules()[module]):
    if imported.startswith('genrec_jax.'):
      there = ORDER.index(room_of(imported))
      assert there <= here, f'{module} imports {imported} from its right'


@pytest.mark.parametrize('module', modules())
def test_only_main_knows_gin(module):
  if module != 'genrec_jax.main':
    assert not {i for i in imports(modules()[module]) if i.startswith('gin')}


def test_everything_but_tasks_imports_without_tensorflow_and_seqio():
  lean = [m for m in modules() if room_of(m) != 'tasks']
  script = f"""
import importlib, sys
class Blocked:
  def find_spec(self, name, path=None, target=None):
    if name.split('.')[0] in ('tensorflow', 'seqio', 'tensorflow_datasets',
                              't5x', 'torch'):
      raise ImportError(f'{{name}} is blocked')
sys.meta_path.insert(0, Blocked())
for module in {lean!r}:
  importlib.import_module(module)
"""
  done = subprocess.run(
    [sys.executable, '-c', script], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('module', modules())
def test_files_stay_readable_in_one_sitting(module):
  assert len(modules()[module].read_text().splitlines()) <= 400


def test_setup_names_every_package():
  setup = (ROOT / 'setup.py').read_text()
  for path in PACKAGE.rglob('__init__.py'):
    name = '.'.join(path.parent.relative_to(ROOT).parts)
    assert f"'{name}'," in setup, f'{name} is not in setup.py'
