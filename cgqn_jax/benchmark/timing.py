"""Seconds of calls whose results JAX computes in the background.

Whatever is timed is warmed up first, waited for, and
summed up by its median.
"""

from collections.abc import Callable, Hashable, Mapping
import datetime
import random
import statistics
import time
from typing import Any

import jax

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


def warm_up(call: Callable[..., Any], *args: Any) -> float:
  """Compiles a jitted call and runs it WARM_UP times; seconds of the first."""
  _, first_s = timed(call, *args)
  for _ in range(WARM_UP - 1):
    timed(call, *args)
  return first_s


def median_seconds(call: Callable[..., Any], *args: Any, repeats: int) -> float:
  """Median wall-clock seconds of one call, after warm-up."""
  warm_up(call, *args)
  return statistics.median(timed(call, *args)[1] for _ in range(repeats))


def interleaved(
  calls: Mapping[Hashable, Callable[[], Any]],
  repeats: int,
  after_round: Callable[[int], None] = lambda rounds: None,
) -> dict[Hashable, list[float]]:
  """Seconds of each of several calls, compiled already: one a round.

  Every round makes all calls in an order of its own, so a machine that slows
  down favours none. Each is made twice and timed the second time, when the
  caches hold what it needs and not what the call before it left.

  Args:
    calls: by name.
    repeats: rounds.
    after_round: called with the number of rounds that are done.
  """
  shuffler, order = random.Random(0), list(calls)
  seconds: dict[Hashable, list[float]] = {name: [] for name in calls}
  for number in range(repeats):
    shuffler.shuffle(order)
    for name in order:
      timed(calls[name])
      seconds[name].append(timed(calls[name])[1])
    after_round(number + 1)
  return seconds
