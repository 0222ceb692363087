"""Writes docs/api.md from the docstrings, python docs/api.py.

It reads the sources as text and runs none of them, so the page is the same on
every machine.
"""

import ast
import pathlib
import re
import textwrap
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / 'docs' / 'api.md'
_WIDTH = 80  # columns of a signature
_INTRODUCTION = (
  'Made from the docstrings by `python docs/api.py`: change those, not this '
  'page. Shapes: B scenes, N views in a scene, C of them context, T targets or '
  'queries, S samples, H and W of a frame, V numbers of a view.'
)
_HEADS = ('Args', 'Attributes', 'Raises', 'Returns', 'Warns')
# 'name: text' or 'one, other: text' at the begin of a line.
_ITEM = re.compile(r'(\*?\w+(?:, \w+)*): +(.*)')

_Def = ast.FunctionDef | ast.ClassDef


class Section(NamedTuple):
  """A part of the page: what stands in it, as module:name."""

  title: str
  text: str
  names: tuple[str, ...]


def sections() -> list[Section]:
  """What the page has: all that the package exports, and the simulators."""
  exported = _exports('cgqn_jax')
  first = ['prediction:predictor', 'prediction:Predictor']
  structures = [x for x in exported if x.startswith('types:')]
  models = [
    'training.workdir:load',
    'models.build:build',
    'models.model:Model',
    'models.cgqn:LatentModel',
    'models.cgqn:CGQN',
    'models.cgqn:Latent',
    'models.gqn:GQN',
  ]
  rest = [x for x in exported if x not in (*first, *structures, *models)]
  return [
    Section(
      'NumPy in, NumPy out',
      'For those who want to use a trained model.',
      tuple(first + rest),
    ),
    Section(
      'Models',
      'Pure functions of parameters, typed keys and arrays, to be traced, '
      'differentiated and put together otherwise. Sequential models have the '
      'methods of `Model` alone.',
      tuple(models),
    ),
    Section('Data structures', '', tuple(structures)),
    *(
      Section(
        f'cgqn_jax.simulators.{name}',
        text,
        tuple(_exports(f'cgqn_jax.simulators.{name}')),
      )
      for name, text in (
        ('narratives', 'Videos of 2D shapes, with all their futures.'),
        ('dice', 'Rooms with a die.'),
      )
    ),
  ]


def page() -> str:
  """The text of docs/api.md."""
  lines = ['# API', '', *textwrap.wrap(_INTRODUCTION, 90)]
  for section in sections():
    lines += ['', f'## {section.title}']
    if section.text:
      lines += ['', *textwrap.wrap(section.text, 90)]
    for name in section.names:
      lines += _of_object(*name.split(':'))
  return '\n'.join(lines) + '\n'


def _exports(package: str) -> list[str]:
  """Functions and classes that a package exports, as module:name."""
  tree = _parsed(package)
  for node in tree.body:
    if isinstance(node, ast.Assign) and node.targets[0].id == '_HOMES':
      homes = ast.literal_eval(node.value)  # of the package itself
      return [f'{home}:{name}' for name, home in homes.items()]
  found = []
  for node in tree.body:
    if isinstance(node, ast.ImportFrom) and node.module.startswith(package):
      module = node.module.removeprefix('cgqn_jax.')
      found += [f'{module}:{alias.name}' for alias in node.names]
  return sorted(
    (x for x in found if _find(*x.split(':'))), key=lambda x: x.split(':')[1]
  )


def _parsed(module: str) -> ast.Module:
  path = ROOT / module.replace('.', '/')
  path = path / '__init__.py' if path.is_dir() else path.with_suffix('.py')
  return ast.parse(path.read_text('utf-8'))


def _find(module: str, name: str) -> _Def | None:
  """A function or class of a module; None for anything else."""
  for node in _parsed(f'cgqn_jax.{module}').body:
    if isinstance(node, _Def) and node.name == name:
      return node
  return None


def _of_object(module: str, name: str) -> list[str]:
  """The lines of a function or class, and of its methods."""
  node = _find(module, name)
  if module.startswith('simulators.'):  # as users import them
    module = '.'.join(module.split('.')[:2])
    module = module.removeprefix('simulators.')
  elif f'{module}:{name}' in _exports('cgqn_jax'):
    module = 'cgqn_jax'
  else:
    module = f'cgqn_jax.{module}'
  if isinstance(node, ast.FunctionDef):
    return ['', f'### {module}.{name}', *_of_function(node)]
  bases = ', '.join(ast.unparse(base) for base in node.bases)
  lines = ['', f'### {module}.{name}', '']
  if bases and bases != 'NamedTuple':
    lines += [f'A {bases}, with all that it has.', '']
  lines += _markdown(ast.get_docstring(node))
  for part in node.body:
    if not isinstance(part, ast.FunctionDef) or not ast.get_docstring(part):
      continue
    if part.name == '__init__':
      lines += ['', f'#### {name}(...)', *_of_function(part, name)]
    elif not part.name.startswith('_'):
      lines += ['', f'#### {name}.{part.name}', *_of_function(part)]
  return lines


def _of_function(node: ast.FunctionDef, name: str | None = None) -> list[str]:
  return [
    '',
    '```python',
    _signature(node, name),
    '```',
    '',
    *_markdown(ast.get_docstring(node)),
  ]


def _signature(node: ast.FunctionDef, name: str | None) -> str:
  """As it is written, without self; on several lines where one is too long."""
  arguments = node.args
  if arguments.args and arguments.args[0].arg == 'self':
    del arguments.args[0]
  result = '' if name or not node.returns else _plain(node.returns)
  result = f' -> {result}' if result else ''
  name = name or node.name
  parts = []
  positional = [*arguments.posonlyargs, *arguments.args]
  missing = [None] * (len(positional) - len(arguments.defaults))
  defaults = [*missing, *arguments.defaults]
  pairs = list(zip(positional, defaults, strict=True))
  if arguments.kwonlyargs:
    pairs += [(None, None)]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
  for argument, default in pairs:
    text = '*' if argument is None else argument.arg
    if argument is not None and argument.annotation:
      text += f': {_plain(argument.annotation)}'
      text += f' = {ast.unparse(default)}' if default else ''
    parts.append(text)
  line = f'{name}({", ".join(parts)}){result}'
  if len(line) <= _WIDTH:
    return line
  parts = [f'  {part},' for part in parts]
  return '\n'.join([f'{name}(', *parts, f'){result}'])


def _plain(annotation: ast.expr) -> str:
  return ast.unparse(annotation).strip("'")


def _markdown(docstring: str) -> list[str]:
  """A docstring of ours as Markdown.

  What stands under Args: and the like, and lines of 'name: text', become
  lists; formulas, which are indented by themselves, become code.
  """
  lines, head = [], None
  for block in docstring.split('\n\n'):
    rows = block.split('\n')
    if rows[0].rstrip(':') in _HEADS and rows[0].endswith(':'):
      head = rows.pop(0).rstrip(':')
      lines += [f'**{head}**', '']
      rows = [row[2:] for row in rows]
      if head == 'Returns':
        lines += [*rows, '']
        continue
    elif rows[0].startswith('  '):
      lines += ['```', *(row[2:] for row in rows), '```', '']
      continue
    lines += [*_items(rows), '']
  while lines and not lines[-1]:
    lines.pop()
  return lines


def _items(rows: list[str]) -> list[str]:
  """Rows as a list, where each is 'name: text' or further in; else as text."""
  if not _ITEM.fullmatch(rows[0]) or not all(
    _ITEM.fullmatch(row) or row[:2] == '  ' for row in rows
  ):
    return rows
  return [
    f'* `{match[1]}`: {match[2]}' if (match := _ITEM.fullmatch(row)) else row
    for row in rows
  ]


if __name__ == '__main__':
  PAGE.write_text(page(), 'utf-8')
  print(PAGE)
