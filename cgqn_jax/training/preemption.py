"""Signals that end a program: a training saves first, all else ends at once.

Nothing that takes time is imported here, so that `catch` can stand before the
imports that do.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from types import FrameType
from typing import Any, Self

# What people, terminals that close, and clusters send; USR1 is a warning that
# the time of a job is nearly up.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)

_END_WITH_STDIN = 'CGQN_JAX_END_WITH_STDIN'  # datasets/build.py knows it too


def catch() -> None:
  """Lets a signal end this process at once, in one line: nothing is to save.

  Call it first of all: a library that is being imported may swallow the
  KeyboardInterrupt of Ctrl-C. The exit code is 128 and the signal's number.
  In a program that `child` describes, the end of its parent is a SIGTERM.
  """
  for number in wanted():
    signal.signal(number, _end)
  if os.environ.pop(_END_WITH_STDIN, None):
    threading.Thread(target=_watch_parent, daemon=True).start()


def child() -> dict[str, Any]:
  """Options of subprocess.Popen for a child that ends with its parent.

  However the parent ends, the pipe that is the child's standard input closes.
  """
  environment = os.environ | {_END_WITH_STDIN: '1'}
  return {'stdin': subprocess.PIPE, 'env': environment}


def _watch_parent() -> None:
  while os.read(0, 1024):
    pass
  os.kill(os.getpid(), signal.SIGTERM)


def _end(number: int, frame: FrameType | None) -> None:
  del frame
  with contextlib.suppress(Exception):
    sys.stdout.flush()
  _write(f'stopped by {signal.Signals(number).name}; the same command goes on')
  os._exit(128 + number)


def wanted() -> list[int]:
  """All of SIGNALS but SIGHUP under nohup, which asks to outlive a terminal."""
  ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
  return [n for n in SIGNALS if not (ignored and n == signal.SIGHUP)]


def _write(line: str) -> None:
  """Writes to stderr, if there is still one.

  Not by print: the signal may have come in the middle of one.
  """
  with contextlib.suppress(OSError):
    os.write(2, f'\n{line}\n'.encode())


class Preemption:
  """Turns a signal into a request to stop after this step.

  On a lone machine by a handler of its own; under `jax.distributed` JAX
  catches SIGTERM, agrees with the other processes on the step, and gets the
  other signals as SIGTERM.

    with Preemption() as preemption:
      for step in ...:
        if preemption.reached(): save, say so, and leave
  """

  def __init__(self) -> None:
    self.reason: str | None = None
    self._asked = 0
    self._distributed = False
    self._previous: dict[int, Any] = {}

  def reached(self) -> bool:
    """True if it is time to stop; every process asks once after every step."""
    if self._distributed:
      from orbax.checkpoint import multihost

      # The processes agree on one of the numbers they ask with, so these must
      # count up by one, whatever the steps do.
      self._asked += 1
      if multihost.reached_preemption(self._asked):
        self.reason = self.reason or 'SIGTERM'
        return True
      return False
    return self.reason is not None

  def __enter__(self) -> Self:
    import jax

    self._distributed = jax.distributed.is_initialized()
    # Python takes handlers in the main thread alone.
    if threading.current_thread() is threading.main_thread():
      for number in wanted():
        if not (self._distributed and number == signal.SIGTERM):
          self._previous[number] = signal.signal(number, self._request)
    return self

  def __exit__(self, *_: object) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)
    self._previous = {}

  def _request(self, number: int, frame: FrameType | None) -> None:
    """Notes the request; a Ctrl-C after it acts as it would without us.

    Any other signal after it changes nothing: schedulers repeat themselves,
    and the end of a terminal reaches a process on several ways.
    """
    if self.reason is None:
      self.reason = signal.Signals(number).name
      _write(f'{self.reason}: finishing this step, then saving')
      if self._distributed:
        os.kill(os.getpid(), signal.SIGTERM)
    elif number == signal.SIGINT:
      before = self._previous.get(number)
      self.__exit__()
      if not callable(before):
        raise KeyboardInterrupt
      before(number, frame)
