"""A training goes on on other numbers of devices and processes.

The global batch stays, so the results stay, to the rounding of float32. Of two
processes neither trains on alone: where one dies the other ends, in a line,
and both resume by the same commands.
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import chex
import numpy as np
import pytest

from cgqn_jax.training.checkpoints import saved_steps
from tests.crash.test_crash import TRAIN
from tests.experiments.trained_files import restore, rows

ROOT = pathlib.Path(__file__).parents[2]
FULL = pytest.mark.crash
LAST = 12
COMMAND = (
  *TRAIN,
  f'--config.num_steps={LAST}',
  '--config.keep_checkpoints=9',
  '--config.batch_size=8',
  '--config.validation_best_of=0',
  '--config.model.draw_steps=1',
)


def on_devices(env: dict[str, str], count: int) -> dict[str, str]:
  """The environment of a program that sees so many devices of the CPU."""
  flag = f'--xla_force_host_platform_device_count={count}'
  return env | {'XLA_FLAGS': f'{os.environ.get("XLA_FLAGS", "")} {flag}'}


def run(folder: pathlib.Path, env: dict[str, str]) -> None:
  done = subprocess.run(
    [sys.executable, *COMMAND, f'--workdir={folder}'],
    cwd=ROOT,
    env=env,
    capture_output=True,
    text=True,
    timeout=900,
  )
  assert done.returncode == 0, done.stderr


def assert_same_to_rounding(one: pathlib.Path, other: pathlib.Path) -> None:
  """The state at the end, the averaged parameters too, and the log."""
  a, b = restore(one, LAST), restore(other, LAST)
  # Adam moves a parameter by 5e-4 an update, in the gradient's direction.
  chex.assert_trees_all_close(a.params, b.params, rtol=1e-3, atol=1e-4)
  chex.assert_trees_all_close(a.ema_params, b.ema_params, rtol=1e-3, atol=1e-4)
  assert len(rows(one)) == len(rows(other))
  for row, same in zip(rows(one), rows(other), strict=True):
    assert row.keys() == same.keys() and row['step'] == same['step']
    for name in ('loss', 'kl', 'mse'):
      np.testing.assert_allclose(row[name], same[name], rtol=1e-3)


@pytest.fixture(scope='module')
def whole(tmp_path_factory, env) -> pathlib.Path:
  """An undisturbed run of one process on four devices."""
  folder = tmp_path_factory.mktemp('runs') / 'whole'
  run(folder, on_devices(env, 4))
  losses = [row['loss'] for row in rows(folder) if row['split'] == 'train']
  assert len(losses) == LAST and losses[-1] < 0.9 * losses[0]
  return folder


@pytest.mark.parametrize('count', [1, 8])
@FULL
def test_other_numbers_of_devices(whole, env, tmp_path, count):
  folder = tmp_path / 'run'
  shutil.copytree(whole, folder)
  for step in (9, LAST):
    shutil.rmtree(folder / f'checkpoints/{step}')
  run(folder, on_devices(env, count))
  assert (folder / 'versions.json').read_text().count(f'"devices": {count}')
  assert_same_to_rounding(whole, folder)


class Two:
  """Two processes that train together, of two devices each."""

  def __init__(self, folder: pathlib.Path, env: dict[str, str]) -> None:
    with socket.socket() as free:
      free.bind(('localhost', 0))
      port = free.getsockname()[1]
    self._errors = [folder.parent / f'{folder.name}.{i}.err' for i in (0, 1)]
    self.processes = []
    for i, error in enumerate(self._errors):
      with error.open('w') as file:
        self.processes.append(
          subprocess.Popen(
            [
              sys.executable,
              *COMMAND,
              f'--workdir={folder}',
              '--distributed',
              f'--coordinator=localhost:{port}',
              '--num_processes=2',
              f'--process_id={i}',
            ],
            cwd=ROOT,
            env=on_devices(env, 2),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
          )
        )

  def err(self, which: int) -> str:
    return self._errors[which].read_text()

  def ended(self, seconds: float = 900) -> list[int]:
    """Their exit codes."""
    return [process.wait(seconds) for process in self.processes]

  def at(self, folder: pathlib.Path, step: int) -> None:
    """Waits for a checkpoint, while both must live."""
    while step not in saved_steps(folder / 'checkpoints'):
      for which, process in enumerate(self.processes):
        assert process.poll() is None, self.err(which)
      time.sleep(0.02)

  def close(self) -> None:
    for process in self.processes:
      process.kill()
      process.wait()


@pytest.mark.parametrize('victim', [0, 1])
@FULL
def test_two_processes(whole, env, tmp_path, victim):
  """Killed, then asked to stop, then let go on to the end."""
  folder = tmp_path / 'run'
  two = Two(folder, env)
  try:
    two.at(folder, 3)
    two.processes[victim].kill()
    began = time.monotonic()
    code = two.processes[1 - victim].wait(60)
    print(f'{time.monotonic() - began:.0f} s after process {victim}: {code}')
    assert code not in (0, None)
    assert_says_so(two.err(1 - victim))
  finally:
    two.close()
  if victim == 0:  # and a signal to one of them stops both at one update
    two = Two(folder, env)
    try:
      two.at(folder, 6)
      two.processes[1].send_signal(signal.SIGTERM)
      assert two.ended() == [1, 1], (two.err(0), two.err(1))
      assert 'stopped: ' in two.err(0) and 'stopped: ' in two.err(1)
    finally:
      two.close()
  two = Two(folder, env)
  try:
    assert two.ended() == [0, 0], (two.err(0), two.err(1))
  finally:
    two.close()
  assert_same_to_rounding(whole, folder)


def assert_says_so(err: str) -> None:
  """A line of ours, or of JAX, which may notice first and end the process."""
  ours = [x for x in err.splitlines() if x.startswith('error: ')]
  theirs = 'indicates that another task died' in err
  assert theirs or (len(ours) == 1 and 'has ended' in ours[0]), err
  assert theirs or 'Traceback' not in err, err
