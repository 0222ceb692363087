"""Programs that are killed at random moments leave what others leave.

SIGKILL to the program and all its children, again and again, each time at
another moment of a seeded draw; then the same command to its end. What is left
is compared with what an uninterrupted program left, to the bit, but for times.
`make test` has a handful of kills, `make test-crash` fifty: half an hour.
"""

from collections.abc import Callable
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
from typing import Any, NamedTuple

import chex
import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.training.trainer import assert_same_run

ROOT = pathlib.Path(__file__).parents[2]
FULL = pytest.mark.crash
_TIMES = ('seconds', 'per_second', 'data_share', 'minutes', 'hours')
_MODEL = (
  'model.kernel=3',
  'model.draw_steps=2',
  'model.nf_to_hidden=4',
  'model.nf_enc=4',
  'model.nf_to_obs=4',
  'model.nf_dec=4',
)
_DATA = (
  'data.source=simulator',
  'data.frame_size=16',
  'data.num_targets=2',
  'batch_size=4',
  'validation_scenes=6',
)
TRAIN = (
  'experiments/train.py',
  '--config=configs/narratives.py:preset=smoke',
  '--config.num_steps=40',
  '--config.checkpoint_every=3',
  '--config.validate_every=6',
  '--config.picture_every=12',
  '--config.log_every=1',
  '--config.keep_checkpoints=3',
  '--config.ema_decay=0.9',
  *(f'--config.{setting}' for setting in (*_DATA, *_MODEL)),
)


class Killed(NamedTuple):
  """A program, and its kills: how many, of which in a checkpoint's write."""

  command: tuple[str, ...]
  kills: int
  seed: int
  in_writes: int = 0


def start(
  command: tuple[str, ...], folder: pathlib.Path, env: dict[str, str]
) -> subprocess.Popen:
  """Starts a program, in a session of its own, so that all of it is killed."""
  with (folder.parent / f'{folder.name}.err').open('a') as errors:
    return subprocess.Popen(
      [sys.executable, *(part.format(folder=folder) for part in command)],
      cwd=ROOT,
      env=env,
      stdin=subprocess.DEVNULL,
      stdout=subprocess.DEVNULL,
      stderr=errors,
      start_new_session=True,
    )


def finish(
  command: tuple[str, ...], folder: pathlib.Path, env: dict[str, str]
) -> float:
  """Runs it to its end; the seconds that it takes."""
  began = time.monotonic()
  code = start(command, folder, env).wait(900)
  assert code == 0, (folder.parent / f'{folder.name}.err').read_text()
  return time.monotonic() - began


def is_writing(folder: pathlib.Path) -> bool:
  """Tells whether a checkpoint is being written: it has another name then."""
  try:
    return any(folder.glob('**/checkpoints/*tmp*'))
  except OSError:  # it went away under the search
    return False


def kill_again_and_again(
  program: Killed,
  folder: pathlib.Path,
  env: dict[str, str],
  seconds: float,
  prepare: Callable[[pathlib.Path], object],
) -> int:
  """Kills it as often as asked, always at work; how often it ended before.

  Moments are drawn over the seconds of a whole run. One that has ended before
  its kill is begun anew, and the kill is tried again.
  """
  draw, met, ended = random.Random(program.seed), 0, 0
  while met < program.kills:
    assert ended <= 4 * program.kills, 'nearly all end before they are killed'
    moment = draw.uniform(0.1, 1.0) * seconds
    in_write = met < program.in_writes
    process, began = start(program.command, folder, env), time.monotonic()
    while process.poll() is None:
      late = time.monotonic() - began > moment
      if late and (not in_write or is_writing(folder)):
        break
      if time.monotonic() - began > 4 * seconds + 60:
        break  # no write came after all
      time.sleep(0.001 if in_write else 0.01)
    if process.poll() is None:
      os.killpg(process.pid, signal.SIGKILL)
      process.wait()
      met += 1
      continue
    assert process.returncode == 0, (
      folder.parent / f'{folder.name}.err'
    ).read_text()
    shutil.rmtree(folder)
    prepare(folder)
    ended += 1
  return ended


def without_times(value: Any) -> Any:
  """JSON without what a clock measured."""
  if isinstance(value, dict):
    return {
      k: without_times(v)
      for k, v in value.items()
      if not any(word in k for word in _TIMES)
    }
  return [without_times(x) for x in value] if isinstance(value, list) else value


def assert_same_numbers(one: pathlib.Path, other: pathlib.Path) -> None:
  """All JSON and NPZ below, but times and what names the folder."""
  for path in sorted(one.rglob('*.npz')):
    with np.load(path) as a, np.load(other / path.relative_to(one)) as b:
      chex.assert_trees_all_equal(dict(a), dict(b))
  for name in ('metrics.json', 'curve.json'):
    for path in sorted(one.rglob(name)):
      a, b = (
        without_times(json.loads(p.read_text()))
        for p in (path, other / path.relative_to(one))
      )
      for key in ('metrics', 'points'):
        assert a.get(key) == b.get(key), path


def crash(
  program: Killed,
  root: pathlib.Path,
  env: dict[str, str],
  prepare: Callable[[pathlib.Path], object] = lambda folder: None,
) -> tuple[pathlib.Path, pathlib.Path]:
  """The folder of an uninterrupted program, and that of a killed one."""
  whole, killed, timed = root / 'whole', root / 'killed', root / 'timed'
  for folder in (whole, killed, timed):
    prepare(folder)
  finish(program.command, whole, env)
  seconds = finish(program.command, timed, env)  # all is compiled by now
  ended = kill_again_and_again(program, killed, env, seconds, prepare)
  finish(program.command, killed, env)
  print(
    f'{program.kills} kills of a program at work, {program.in_writes} of them '
    f'in a write; {ended} times it ended before'
  )
  return whole, killed


@pytest.mark.parametrize(
  ('kills', 'in_writes', 'seed'),
  [
    pytest.param(3, 1, 0, id='a_handful'),
    pytest.param(26, 13, 1, id='full', marks=FULL),
  ],
)
def test_training(kills, in_writes, seed, tmp_path, env):
  command = (*TRAIN, '--workdir={folder}')
  program = Killed(command, kills, seed, in_writes)
  whole, killed = crash(program, tmp_path, env)
  assert_same_run(whole, killed)


@FULL
def test_building(tmp_path, env):
  command = (
    'datasets/build.py',
    'narratives',
    '--config=color_reaction_32_tiny',
    '--data_dir={folder}',
    '--workers=2',
  )
  whole, killed = crash(Killed(command, 8, 2), tmp_path, env)
  files = sorted(p.relative_to(whole) for p in whole.rglob('*') if p.is_file())
  assert files and files == sorted(
    p.relative_to(killed) for p in killed.rglob('*') if p.is_file()
  )
  # Not their bytes: the fields of a record are written in no fixed order.
  builds = [
    next(x.glob('narratives/color_reaction_32_tiny/*')) for x in (whole, killed)
  ]
  for split in ('train', 'validation', 'test'):
    one, other = (
      tfds.builder_from_directory(build).as_data_source(split)
      for build in builds
    )
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
      chex.assert_trees_all_equal(a, b)


@FULL
def test_evaluating(tmp_path, env):
  """It begins anew, and neither a kill nor a half file changes its numbers."""
  trained = tmp_path / 'trained'
  finish((*TRAIN, '--workdir={folder}'), trained, env)
  command = (
    'experiments/evaluate.py',
    '--workdir={folder}',
    '--num_scenes=12',
    '--num_samples=6',
    '--num_draws=2',
    '--batch_size=4',
  )

  def prepare(folder: pathlib.Path) -> None:
    shutil.copytree(trained, folder)

  program = Killed(command, 6, 3)
  whole, killed = crash(program, tmp_path, env, prepare)
  assert_same_numbers(whole, killed)
  assert_same_run(whole, killed)


@FULL
def test_comparing(tmp_path, env):
  settings = ' '.join((*_DATA, *_MODEL))
  command = (
    'experiments/compare.py',
    '--config=configs/comparison.py:preset=smoke',
    '--config.compared=cgqn',
    '--config.seeds=(0,)',
    f'--config.overrides={settings}',
    '--out={folder}',
  )
  whole, killed = crash(Killed(command, 10, 4, 2), tmp_path, env)
  names = [p.name for p in whole.iterdir() if (p / 'config.json').exists()]
  assert names
  for name in names:
    assert_same_run(whole / name, killed / name)
  assert_same_numbers(whole, killed)
