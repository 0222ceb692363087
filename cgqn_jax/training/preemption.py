"""Stopping after a step when the machine is taken away or Ctrl-C is pressed.

Nothing of the paper: training on borrowed machines needs it.
"""

import os
import signal
import threading
from types import FrameType
from typing import Any, Self

import jax
import orbax.checkpoint as ocp


class Preemption:
  """Turns SIGTERM and Ctrl-C into a request to stop after this step.

  On a lone machine by a handler of its own; under `jax.distributed` JAX
  catches SIGTERM and agrees with the other processes on the step.

    with Preemption() as preemption:
      for step in ...:
        if preemption.reached(): save, say so, and leave
  """

  def __init__(self) -> None:
    self.reason: str | None = None
    self._asked = 0
    self._previous: dict[int, Any] = {}

  def reached(self) -> bool:
    """Whether to stop now; every process asks once after every step."""
    if jax.distributed.is_initialized():
      # The processes agree on one of the numbers they ask with, so these must
      # count up by one, whatever the steps do.
      self._asked += 1
      if ocp.multihost.reached_preemption(self._asked):
        self.reason = 'SIGTERM'
    return self.reason is not None

  def __enter__(self) -> Self:
    # Python takes handlers in the main thread alone.
    if (
      not jax.distributed.is_initialized()
      and threading.current_thread() is threading.main_thread()
    ):
      for number in (signal.SIGTERM, signal.SIGINT):
        self._previous[number] = signal.signal(number, self._request)
    return self

  def __exit__(self, *_: object) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)
    self._previous = {}

  def _request(self, number: int, frame: FrameType | None) -> None:
    """Notes the request; a second signal acts as it would without us."""
    del frame
    self.reason = signal.Signals(number).name
    # Not print: the signal may have come in the middle of one.
    os.write(2, f'\n{self.reason}: finishing this step, then saving\n'.encode())
    self.__exit__()
