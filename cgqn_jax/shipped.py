"""What comes with the package: programs, configs, builders of datasets.

A clone has them in folders beside cgqn_jax/, a wheel has the same folders
inside of it (setup.py), and a command for each program: `cgqn-train` is
experiments/train.py, `cgqn-build` datasets/build.py.
"""

import os
import pathlib
import sys
from typing import NoReturn

_PACKAGE = pathlib.Path(__file__).parent
_BUILD = 'datasets/build.py'


def find(name: str) -> pathlib.Path:
  """Where a shipped file or folder lies, as configs or datasets/build.py."""
  inside = _PACKAGE / name
  return inside if inside.exists() else _PACKAGE.parent / name


def command(program: str) -> str:
  """How a user starts a shipped program, as experiments/train.py."""
  if find(program).is_relative_to(_PACKAGE):
    return f'cgqn-{pathlib.Path(program).stem.replace("_", "-")}'
  return f'python {program}'


def main() -> NoReturn:
  """Becomes the program that this command, cgqn-..., is named after."""
  name = pathlib.Path(sys.argv[0]).stem.removeprefix('cgqn-').replace('-', '_')
  path = find(_BUILD if name == 'build' else f'experiments/{name}.py')
  os.execv(sys.executable, [sys.executable, str(path), *sys.argv[1:]])
