"""Signals ask for a stop; before a training they end the program."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from cgqn_jax.training.preemption import SIGNALS, Preemption, child

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def handlers():
  before = {number: signal.getsignal(number) for number in SIGNALS}
  # These tests may run under nohup themselves.
  signal.signal(signal.SIGHUP, signal.SIG_DFL)
  yield before | {signal.SIGHUP: signal.SIG_DFL}
  for number, handler in before.items():
    signal.signal(number, handler)


@pytest.mark.parametrize('number', SIGNALS)
def test_a_signal_asks_for_a_stop(handlers, number):
  with Preemption() as preemption:
    assert not preemption.reached()
    os.kill(os.getpid(), number)
    assert preemption.reached()
    assert preemption.reason == signal.Signals(number).name
    # Schedulers repeat themselves; a person who does means it.
    for other in set(SIGNALS) - {signal.SIGINT}:
      signal.raise_signal(other)
    assert preemption.reason == signal.Signals(number).name
    with pytest.raises(KeyboardInterrupt):
      signal.raise_signal(signal.SIGINT)
  assert handlers == {n: signal.getsignal(n) for n in SIGNALS}
  with Preemption() as preemption:
    assert not preemption.reached()


def test_nohup_is_obeyed(handlers):
  signal.signal(signal.SIGHUP, signal.SIG_IGN)
  with Preemption() as preemption:
    signal.raise_signal(signal.SIGHUP)
    assert not preemption.reached()


# An import that swallows Ctrl-C, as real ones do.
_PROGRAM = """
import sys
from cgqn_jax.training import preemption
preemption.catch()
assert 'jax' not in sys.modules and 'numpy' not in sys.modules
print('caught', flush=True)
import time
while True:
  try:
    time.sleep(60)
  except KeyboardInterrupt:
    pass
"""


def begin(**options) -> subprocess.Popen:
  env = options.pop('env', os.environ) | {'PYTHONPATH': str(ROOT)}
  process = subprocess.Popen(
    [sys.executable, '-c', _PROGRAM],
    env=env,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    **options,
  )
  assert process.stdout.readline() == 'caught\n'
  return process


@pytest.mark.parametrize('number', SIGNALS)
def test_a_signal_in_the_imports_ends_the_program(handlers, number):
  process = begin()
  process.send_signal(number)
  _, err = process.communicate(timeout=30)
  assert process.returncode == 128 + number
  name = signal.Signals(number).name
  assert err == f'\nstopped by {name}; the same command goes on\n'


def test_a_child_ends_with_its_parent():
  process = begin(**child())
  time.sleep(0.2)
  assert process.poll() is None
  process.stdin.close()  # as the kernel does for a parent that is killed
  assert process.wait(30) == 128 + signal.SIGTERM
  process.stdout.close(), process.stderr.close()
