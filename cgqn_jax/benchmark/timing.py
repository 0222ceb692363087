"""Seconds of calls whose results JAX computes in the background.

What is timed is warmed up first, waited for, and summed up by its median.
"""

from collections.abc import Callable, Sequence
import datetime
import random
import statistics
import time
from typing import Any

import jax
import tqdm

from cgqn_jax.training.workdir import versions

WARM_UP = 3


def circumstances() -> dict[str, Any]:
  """Where, with what and when something is timed, for its row of numbers."""
  now = datetime.datetime.now(datetime.UTC)
  return {
    'device': jax.devices()[0].device_kind,
    'devices': jax.device_count(),
    'versions': versions(),
    'date': now.isoformat(timespec='seconds'),
  }


def timed(call: Callable[..., Any], *args: Any) -> tuple[Any, float]:
  """What `call(*args)` returns, once it is computed, and its seconds."""
  start = time.perf_counter()
  result = jax.block_until_ready(call(*args))
  return result, time.perf_counter() - start


def warm_up(call: Callable[[], Any]) -> None:
  """Compiles a jitted call and runs it WARM_UP times."""
  for _ in range(WARM_UP):
    timed(call)


def median_seconds(call: Callable[[], Any], repeats: int) -> float:
  """Median wall-clock seconds of one call, after warm-up."""
  warm_up(call)
  return statistics.median(timed(call)[1] for _ in range(repeats))


def interleaved(
  calls: Sequence[Callable[[], Any]], repeats: int
) -> list[list[float]]:
  """Seconds of each of several calls, compiled already: one per round.

  Every round makes all calls in an order of its own, so a machine that slows
  down favours none. Each is made twice and timed the second time, when the
  caches hold what it needs and not what the call before it left.
  """
  shuffler, order = random.Random(0), list(range(len(calls)))
  seconds: list[list[float]] = [[] for _ in calls]
  for _ in tqdm.trange(repeats, desc='timed', unit=' rounds'):
    shuffler.shuffle(order)
    for number in order:
      timed(calls[number])
      seconds[number].append(timed(calls[number])[1])
  return seconds
