"""The order of the house: who imports whom, and what stays outside."""

import ast
import graphlib
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / 'cgqn_jax'
FOLDERS = ('cgqn_jax', 'configs', 'datasets', 'experiments', 'tests')
SOURCES = sorted(
  [*ROOT.glob('*.py')] + [p for f in FOLDERS for p in (ROOT / f).rglob('*.py')]
)
MODULES = sorted(PACKAGE.rglob('*.py'))

# What of the package a layer may import; the others are only free of cycles.
NETWORKS = {
  'types',
  'gaussian',
  'layers',
  'draw',
  'renderer',
  'networks',
  'residual',
}
MAY_IMPORT = {
  'types': set(),
  'gaussian': {'types'},
  'convolutions': {'types'},
  'layers': {'types', 'convolutions'},
  'draw': {'types', 'gaussian', 'layers'},
  'renderer': {'types', 'gaussian', 'layers'},
  'networks': NETWORKS - {'networks', 'residual'},
  'residual': {'types', 'gaussian', 'layers'},
  'objective': {'types', 'gaussian'},
  'model': NETWORKS | {'objective'},
  'gqn': NETWORKS | {'objective', 'model'},
  'baselines': NETWORKS | {'objective', 'baselines'},
  'parallel': set(),
  'simulators': {'simulators'},
}


def imports_of(path: pathlib.Path) -> set[str]:
  """Returns the dotted names that a file imports, wherever in it."""
  names = set()
  for node in ast.walk(ast.parse(path.read_text('utf-8'))):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: relative import'
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return names


def is_under(name: str, *parents: str) -> bool:
  return any(name == p or name.startswith(p + '.') for p in parents)


def layer(path: pathlib.Path) -> str:
  return path.relative_to(PACKAGE).with_suffix('').parts[0]


def test_the_lists_are_not_empty():
  assert len(MODULES) > 10 and len(SOURCES) > len(MODULES)


def test_the_package_imports_neither_programs_nor_flags():
  for path in set(MODULES) - {PACKAGE / 'commands.py'}:
    for name in imports_of(path):
      assert not is_under(
        name, 'experiments', 'configs', 'datasets', 'absl.flags', 'absl.app',
        'tensorflow', 'tests',
      ), f'{path}: imports {name}'  # fmt: skip


def test_layers_import_downwards():
  graph = {}
  for path in MODULES:
    own = {
      name.split('.')[1]
      for name in imports_of(path)
      if name.startswith('cgqn_jax.')
    }
    allowed = MAY_IMPORT.get(layer(path))
    if allowed is not None:
      assert own <= allowed, f'{path}: imports {own - allowed}'
    if layer(path) != '__init__':
      graph.setdefault(layer(path), set()).update(own - {layer(path)})
  graphlib.TopologicalSorter(graph).prepare()  # raises on a cycle


@pytest.mark.parametrize(
  ('folder', 'allowed'),
  [('parallel.py', ['jax', 'numpy']), ('simulators', ['numpy', 'jax', 'PIL'])],
)
def test_parallel_and_simulators_lean_on_little(folder, allowed):
  sources = list(PACKAGE.glob(folder)) + list(PACKAGE.glob(f'{folder}/**/*.py'))
  sources = [source for source in sources if source.is_file()]
  assert sources
  for source in sources:
    for name in imports_of(source):
      assert is_under(name, 'cgqn_jax.simulators', *allowed) or (
        name.split('.')[0] in sys.stdlib_module_names
      ), f'{source}: imports {name}'


def test_datasets_builders_use_the_simulators_alone():
  for path in (ROOT / 'datasets').rglob('*.py'):
    for name in imports_of(path):
      if is_under(name, 'cgqn_jax'):
        assert is_under(name, 'cgqn_jax.simulators'), f'{path}: {name}'


def test_another_package_called_datasets_wins(tmp_path):
  assert not (ROOT / 'datasets' / '__init__.py').exists()
  (tmp_path / 'datasets').mkdir()
  (tmp_path / 'datasets' / '__init__.py').write_text('name = "the other"\n')
  path = os.pathsep.join([str(ROOT), str(tmp_path)])  # ours comes first
  result = subprocess.run(
    [sys.executable, '-c', 'import datasets; print(datasets.name)'],
    env=os.environ | {'PYTHONPATH': path},
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert result.stdout == 'the other\n', result.stderr


def test_only_cgqn_jax_is_installed():
  text = (ROOT / 'setup.py').read_text()
  assert "find_packages(include=['cgqn_jax', 'cgqn_jax.*'])" in text
  for path in MODULES:  # else find_packages passes it over
    assert (path.parent / '__init__.py').exists(), f'{path} is left out'


def test_no_machine_is_named():
  patterns = ['/' + name + '/' for name in ('work', 'home', 'root', 'tmp')]
  texts = [*SOURCES, *ROOT.glob('*.md'), *ROOT.glob('*.txt')]
  texts += [p for f in FOLDERS for p in (ROOT / f).rglob('*.md')]
  for path in texts:
    if any(part.startswith('.') for part in path.relative_to(ROOT).parts):
      continue
    text = path.read_text('utf-8')
    for pattern in patterns:
      assert pattern not in text, f'{path}: names {pattern}'
