"""The processes of one training: how they meet, wait, and end together.

Each runs the same program on its share of every batch; process 0 writes, and
is where they meet. None can go on without the others.
"""

import atexit
from collections.abc import Iterator
import contextlib
import os
import re
import sys
import time

import jax
from jax.errors import JaxRuntimeError
from orbax.checkpoint import multihost

_SILENCE = 30  # seconds without a sign of life, and a process is dead
_MEETING = 600  # seconds within which all must come to where they meet


@contextlib.contextmanager
def joined(
  coordinator: str | None, num_processes: int | None, process_id: int | None
) -> Iterator[None]:
  """Meets the other processes, and leaves them in order.

  After an error of its own a process leaves at once: the others wait for its
  share of an update, and would let it wait for them.

  Args:
    coordinator: host:port of process 0. All three are None where a cluster
      tells them (Slurm, Open MPI, a TPU pod).
    num_processes: how many there are.
    process_id: which of them this is.

  Raises:
    ValueError: in one line, where they cannot meet.
  """
  _check(coordinator, num_processes, process_id)
  try:
    jax.distributed.initialize(
      coordinator,
      num_processes,
      process_id,
      initialization_timeout=_MEETING,
      heartbeat_timeout_seconds=_SILENCE,
    )
  except (ValueError, RuntimeError) as error:
    raise ValueError(f'--distributed: {_reason(error)}') from error
  try:
    yield
  except FloatingPointError:  # all have it in the same update
    raise
  except BaseException:
    atexit.register(_leave)
    raise


def wait(name: str, seconds: int = _MEETING) -> None:
  """Waits until all processes are at the same place, by no device.

  Args:
    name: of the place.
    seconds: after which ValueError says that some have not come.
  """
  if jax.process_count() == 1:
    return
  meet = multihost.get_barrier_sync_fn()
  try:
    meet(key=f'cgqn_jax_{name}', timeout_ms=1000 * seconds)
  except JaxRuntimeError as error:
    raise ValueError(lost(error)) from error


def lost(error: BaseException) -> str | None:
  """What an error means if JAX gave it, or None: a process is gone."""
  cause = error
  while cause and not isinstance(cause, JaxRuntimeError):
    cause = cause.__cause__
  if jax.process_count() == 1 or cause is None:
    return None
  return (
    f'another process of this training has ended ({_reason(cause)}); its own '
    'output says why; start all of them again, and they resume'
  )


def _check(
  coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
  """ValueError unless all three are given and fit, or none."""
  if (coordinator, num_processes, process_id) == (None, None, None):
    return  # a cluster tells, or JAX says what is missing
  coordinator = coordinator or os.environ.get('JAX_COORDINATOR_ADDRESS')
  given = {
    '--coordinator': coordinator,
    '--num_processes': num_processes,
    '--process_id': process_id,
  }
  missing = [name for name, value in given.items() if value is None]
  if missing:
    raise ValueError(
      f'{" and ".join(missing)} must be given too: each process is told '
      '--coordinator=host:port of process 0, --num_processes and --process_id'
    )
  if not re.fullmatch(r'\S+:\d{1,5}', coordinator):
    raise ValueError(
      f'--coordinator is {coordinator!r}; it must be host:port of process 0, '
      'with a port that is free there, as node1:8476'
    )
  if not process_id < num_processes:
    raise ValueError(
      f'--process_id is {process_id}; it must be 0 to {num_processes - 1}, for '
      f'--num_processes is {num_processes}'
    )


def _reason(error: Exception) -> str:
  """The first line of an error, and what to do where there is no cluster."""
  text = (str(error).splitlines() or [type(error).__name__])[0].rstrip('.')
  if 'should be defined' in text or 'must be defined' in text:
    text += (
      '; no cluster tells this process of the others; start them by srun, '
      'mpirun or on a TPU pod, give each --coordinator, --num_processes and '
      '--process_id, or leave the flag out'
    )
  return text


def _leave() -> None:
  """Ends the process without JAX's wait for the others, its line being said."""
  if jax.process_index() == 0:
    time.sleep(5)  # others may have a line of their own to say: the same one
  for stream in filter(None, (sys.stdout, sys.stderr)):
    with contextlib.suppress(OSError, ValueError):
      stream.flush()
  os._exit(1)
