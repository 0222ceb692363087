"""A wheel in an empty environment, far from the clone: `make test-wheel`."""

import os
import pathlib
import shutil
import subprocess
import sys

from PIL import Image
import pytest

ROOT = pathlib.Path(__file__).parents[1]
PROGRAMS = [path.stem for path in (ROOT / 'experiments').glob('*.py')]
TINY = (
  '--config.num_steps=2',
  '--config.batch_size=4',
  '--config.validation_scenes=4',
)
pytestmark = pytest.mark.wheel


class Installed:
  """An environment with nothing but the wheel, and an empty folder."""

  def __init__(self, root: pathlib.Path):
    self.bin = root / 'environment' / 'bin'
    self.folder = root / 'empty'
    self.folder.mkdir()
    self.env = {
      name: value
      for name, value in os.environ.items()
      if name not in ('PYTHONPATH', 'XLA_FLAGS')
    } | {'JAX_PLATFORMS': 'cpu', 'TFDS_DATA_DIR': str(root / 'data')}

  def run(self, name: str, *arguments: str) -> str:
    """Runs a command of the environment; returns what it printed."""
    done = subprocess.run(
      [self.bin / name, *arguments],
      cwd=self.folder,
      env=self.env,
      capture_output=True,
      text=True,
    )
    assert done.returncode == 0, f'{name} {arguments}\n{done.stderr}'
    return done.stdout


@pytest.fixture(scope='module')
def installed(tmp_path_factory) -> Installed:
  root = tmp_path_factory.mktemp('wheel')
  clone = root / 'clone'
  shutil.copytree(
    ROOT,
    clone,
    ignore=shutil.ignore_patterns(
      '.*', 'runs', 'build', 'results', 'tests', '*.egg-info', '__pycache__'
    ),
  )
  environment = Installed(root)
  pip = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps']
  subprocess.run([*pip, '-w', root / 'dist', clone], check=True)
  shutil.rmtree(clone)
  subprocess.run(
    [sys.executable, '-m', 'venv', environment.bin.parent], check=True
  )
  (wheel,) = (root / 'dist').iterdir()
  environment.run('python', '-m', 'pip', 'install', '-q', str(wheel))
  return environment


def test_weights_are_found_by_name(installed):
  printed = installed.run(
    'python',
    '-c',
    'import cgqn_jax, jax\n'
    'from cgqn_jax.simulators import narratives\n'
    'for name in ("color_reaction", "traveling_salesman", "dice"):\n'
    '  model, params, config = cgqn_jax.load(name)\n'
    '  print(config.data.config, len(jax.tree.leaves(params)) > 10)\n'
    'print(cgqn_jax.__file__)',
  )
  *names, file = printed.splitlines()
  assert names == [
    'color_reaction True',
    'traveling_salesman True',
    'calm True',
  ]
  assert pathlib.Path(file).is_relative_to(installed.bin.parent)


def test_from_no_dataset_to_pictures(installed):
  printed = installed.run(
    'cgqn-train', '--config=configs/narratives.py:preset=smoke', *TINY,
    '--workdir=W',
  )  # fmt: skip
  name = 'traveling_salesman_32_tiny'
  assert f'cgqn-build narratives --config={name}' in printed
  data = pathlib.Path(installed.env['TFDS_DATA_DIR'])
  assert (data / 'narratives' / name / '1.0.0' / 'features.json').exists()
  installed.run('cgqn-sample', '--workdir=W', '--out=S.gif')
  with Image.open(installed.folder / 'S.gif') as film:
    assert film.n_frames == 21
  printed = installed.run(
    'cgqn-evaluate', '--workdir=W', '--num_scenes=2', '--num_samples=2'
  )
  assert 'cgqn on narratives/traveling_salesman' in printed
  assert (installed.folder / 'W' / 'eval' / 'metrics.json').exists()
  installed.run(
    'cgqn-explore', '--workdir=W', '--scenes=0:2', '--out=explore.html'
  )
  assert (installed.folder / 'explore.html').stat().st_size < 10e6


def test_every_program_is_a_command(installed):
  names = {f'cgqn-{name.replace("_", "-")}' for name in PROGRAMS}
  there = {path.name for path in installed.bin.glob('cgqn-*')}
  assert there == names | {'cgqn-build'} and len(names) > 8
  printed = installed.run(
    'cgqn-train', '--config=dice:preset=smoke', *TINY, '--workdir=dice',
    '--config.data.source=simulator',
  )  # fmt: skip
  assert (installed.folder / 'dice' / 'config.json').exists()
  printed = installed.run(
    'cgqn-compare', '--config=dice_comparison:preset=smoke', '--list', '--out=X'
  )
  assert len(printed.splitlines()) == 8
  installed.run('cgqn-build', 'preview', 'dice', '--config=calm_32')
  assert (installed.folder / 'dice_calm_32.png').exists()
