"""A finished tiny run, and programs started without their 3 s of imports."""

from collections.abc import Callable, Iterator
import itertools
import json
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

import pytest

ROOT = pathlib.Path(__file__).parents[2]
# 12 updates of a tiny model on 16x16 frames, a checkpoint every 4.
TINY = (
  '--config=configs/narratives.py:preset=smoke',
  '--config.num_steps=12',
  '--config.checkpoint_every=4',
  '--config.validate_every=6',
  '--config.log_every=1',
  '--config.keep_checkpoints=4',
  '--config.batch_size=4',
  '--config.validation_scenes=6',
  '--config.ema_decay=0.9',
  '--config.data.source=simulator',
  '--config.data.frame_size=16',
  '--config.data.num_targets=2',
  '--config.model.kernel=3',
  '--config.model.draw_steps=2',
  '--config.model.nf_to_hidden=4',
  '--config.model.nf_enc=4',
  '--config.model.nf_to_obs=4',
  '--config.model.nf_dec=4',
)

# The same of residual networks; an update renders one of the two targets.
RESIDUAL = (
  '--config=configs/narratives.py:preset=smoke,networks=residual',
  *(flag for flag in TINY[1:] if not flag.startswith('--config.model.')),
  '--config.num_rendered=1',
  '--config.model.map_latent=2',
  '--config.model.representation=8',
)

# Imports once, then forks a process for each command line: JAX starts its
# threads only when it computes. What runs is the whole program, from its
# flags to its exit code.
_FORKS = """
import json, os, runpy, sys, traceback
from ml_collections import config_flags
import cgqn_jax.training.loop, cgqn_jax.evaluation.videos
import cgqn_jax.data.importing
from configs import narratives

for line in sys.stdin:
  argv, place, output = json.loads(line)
  if not (child := os.fork()):
    os.chdir(place)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for fd, name in (1, 'out'), (2, 'err'):
      os.dup2(os.open(f'{output}.{name}', os.O_CREAT | os.O_WRONLY), fd)
    sys.argv, code = argv, 0
    sys.path.insert(0, os.path.dirname(argv[0]))
    try:
      runpy.run_path(argv[0], run_name='__main__')
    except SystemExit as error:
      code = error.code or 0
      if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    except BaseException:
      traceback.print_exc()
      code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
  print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Done(NamedTuple):
  """What a program left."""

  code: int
  out: str
  err: str


@pytest.fixture(scope='session')
def programs(tmp_path_factory, env) -> Iterator[Callable[[list], list[Done]]]:
  """Runs command lines, [script, *flags] each, one after the other.

  A script without a folder is one of experiments/; `place` is where all run.
  """
  root = tmp_path_factory.mktemp('programs')
  numbers = itertools.count()
  with subprocess.Popen(
    [sys.executable, '-c', _FORKS],
    env=env,
    cwd=ROOT,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  ) as forks:

    def run_one(command: list, place: pathlib.Path) -> Done:
      script, *flags = map(str, command)
      script = script if '/' in script else f'experiments/{script}'
      output = root / str(next(numbers))
      request = [script, *flags], str(place), str(output)
      print(json.dumps(request), file=forks.stdin, flush=True)
      code = int(forks.stdout.readline())
      out, err = (
        output.with_suffix(f'.{name}').read_text() for name in ('out', 'err')
      )
      return Done(code, out, err)

    def run(commands: list[list], place: pathlib.Path = ROOT) -> list[Done]:
      return [run_one(command, place) for command in commands]

    yield run
    forks.stdin.close()


@pytest.fixture(scope='session')
def finished(tmp_path_factory, programs) -> pathlib.Path:
  """The workdir of an uninterrupted run."""
  return _trained(tmp_path_factory.mktemp('runs') / 'finished', TINY, programs)


@pytest.fixture(scope='session')
def finished_residual(tmp_path_factory, programs) -> pathlib.Path:
  """The same of residual networks."""
  folder = tmp_path_factory.mktemp('runs') / 'residual'
  return _trained(folder, RESIDUAL, programs)


def _trained(
  workdir: pathlib.Path, flags: tuple[str, ...], programs: Callable
) -> pathlib.Path:
  (done,) = programs([['train.py', *flags, f'--workdir={workdir}']])
  assert done.code == 0, done.err
  return workdir


@pytest.fixture(scope='session')
def tiny() -> tuple[str, ...]:
  return TINY


@pytest.fixture(scope='session')
def tiny_residual() -> tuple[str, ...]:
  return RESIDUAL


@pytest.fixture(scope='session')
def env() -> dict[str, str]:
  """One device, and the package of this checkout."""
  platforms = os.environ.get('JAX_PLATFORMS', 'cpu')
  return os.environ | {'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': platforms}
