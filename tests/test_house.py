"""The order of the house: who imports whom, and what stays outside."""

import ast
import graphlib
import os
import pathlib
import subprocess
import sys

import cgqn_jax

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / 'cgqn_jax'
FOLDERS = ('cgqn_jax', 'configs', 'datasets', 'experiments', 'tests')
SOURCES = sorted(
  [*ROOT.glob('*.py')] + [p for f in FOLDERS for p in (ROOT / f).rglob('*.py')]
)
MODULES = sorted(PACKAGE.rglob('*.py'))

# A folder or file imports only what stands in rows above its own;
# inside a folder, imports have no circle.
ORDER = (
  (
    'types',
    'files',
    'films',
    'images',
    'fields',
    'config',
    'shipped',
    'cli',
    'compilations',
  ),
  ('simulators',),
  ('data', 'models'),
  ('evaluation',),
  ('training',),
  ('prediction',),
  ('benchmark',),
  ('comparison',),
  ('figures',),
)


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


def test_the_lists_are_not_empty():
  assert len(MODULES) > 10 and len(SOURCES) > len(MODULES)


def test_the_package_imports_neither_programs_nor_flags():
  for path in set(MODULES) - {PACKAGE / 'cli.py'}:
    for name in imports_of(path):
      assert not is_under(
        name, 'experiments', 'configs', 'datasets', 'absl.flags', 'absl.app',
        'tensorflow', 'tests',
      ), f'{path}: imports {name}'  # fmt: skip


def test_rooms_import_downwards():
  rows = {room: row for row, rooms in enumerate(ORDER) for room in rooms}
  modules = {}
  for path in MODULES:
    name = '.'.join(path.relative_to(PACKAGE).with_suffix('').parts)
    modules[name.removesuffix('.__init__')] = path
  graph = {}
  for name, path in modules.items():
    if name == '__init__':  # the face of the package
      continue
    graph[name] = set()
    for imported in imports_of(path):
      parts = imported.split('.')[1:]
      if imported.split('.')[0] != 'cgqn_jax' or not parts:
        continue
      room, other = name.split('.')[0], parts[0]
      assert (
        room == other
        or rows[other] < rows[room]
        or (rows[other] == rows[room] == 0)
      ), f'{path}: imports {imported}'
      module = max(
        ('.'.join(parts[:n]) for n in range(1, len(parts) + 1)),
        key=lambda m: (m in modules, len(m)),
      )
      if module in modules and module != name:
        graph[name].add(module)
  graphlib.TopologicalSorter(graph).prepare()  # raises on a cycle


def test_simulators_lean_on_little():
  allowed = ['numpy', 'jax', 'PIL']
  for source in PACKAGE.glob('simulators/**/*.py'):
    for name in imports_of(source):
      assert is_under(name, 'cgqn_jax.simulators', *allowed) or (
        name.split('.')[0] in sys.stdlib_module_names
      ), f'{source}: imports {name}'


def test_datasets_builders_use_simulators_images_and_files_alone():
  for path in (ROOT / 'datasets').rglob('*.py'):
    for name in imports_of(path):
      if is_under(name, 'cgqn_jax'):
        assert is_under(
          name, 'cgqn_jax.simulators', 'cgqn_jax.images', 'cgqn_jax.files'
        ), f'{path}: {name}'


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


def test_no_module_is_left_out_of_a_wheel():
  for path in MODULES:  # else find_packages passes it over
    assert (path.parent / '__init__.py').exists(), f'{path} is left out'


def test_one_version():
  text = (ROOT / 'CITATION.cff').read_text('utf-8')
  assert f'\nversion: {cgqn_jax.__version__}\n' in text


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
