"""What a training will do, how long it takes, and what came of it, in words."""

from collections.abc import Iterable, Mapping
import math
import pathlib
from typing import Any

import jax
from ml_collections import ConfigDict

from cgqn_jax.models.build import Model
from cgqn_jax.training.metrics_log import read_metrics
from cgqn_jax.training.progress import duration, speed

_LONG = 4 * 3600  # seconds, from which on a shorter run is named
_FOR_ACCELERATORS = ('paper', 'accelerator')


def plan(model: Model, config: ConfigDict, runs: int = 1) -> str:
  """What will be done: model, data, updates, device; known before all work."""
  params = jax.eval_shape(model.init, jax.random.key(0))
  networks = config.model.get('networks')
  data, devices = config.data, jax.devices()
  size = sum(x.size for x in jax.tree.leaves(params))
  parts = [f'{size:,} parameters']
  if networks:
    parts.insert(0, f'{networks} networks')
  name = '/'.join(filter(None, (config.dataset, data.get('config'))))
  times = f'{runs} x ' if runs > 1 else ''
  text = (
    f'{times}{config.model.name} ({", ".join(parts)}) on {name}, '
    f'{data.frame_size}x{data.frame_size}: {config.num_steps:,} updates of '
    f'{config.batch_size} scenes, on {len(devices)} x {devices[0].device_kind}'
  )
  if config.preset in _FOR_ACCELERATORS and jax.default_backend() == 'cpu':
    text += (
      f'\nnote: preset={config.preset} is made for accelerators and takes days '
      f'or weeks on a CPU; {_shorter(config)}'
    )
  return text


def outlook(
  config: ConfigDict,
  *,
  seconds: float,
  rate: float,
  untimed: Mapping[str, int],
  fresh: bool,
) -> str:
  """How long a training will take.

  Args:
    config: of the training.
    seconds: to its end, less what is untimed.
    rate: updates per second.
    untimed: what stops the updates, and how often it will.
    fresh: whether it has just begun, so that another could be chosen.
  """
  text = f'about {duration(seconds)} to go on this machine, at {speed(rate)}'
  if untimed:
    counts = [f'{n:,} x {what}' for what, n in untimed.items()]
    text += f'; {", ".join(counts)} not timed yet'
  if fresh and seconds > _LONG:
    text += f'; {_shorter(config)}'
  return text


def _shorter(config: ConfigDict) -> str:
  """How to have less of it."""
  if config.preset in _FOR_ACCELERATORS:
    return 'preset=small is made for a CPU, at 32x32, and takes hours'
  return (
    '--config.num_steps=N is shorter with a smaller N; the schedules shrink '
    'with it'
  )


def outcome(folder: pathlib.Path) -> str:
  """The best that validation found in a run, and when."""
  found = [
    (value, row['step'], name)
    for row in read_metrics(folder, 'validation')
    for name, value in [error(row)]
    if math.isfinite(value)
  ]
  if not found:
    return 'no validation is finite'
  value, step, name = min(found)
  return f'{name} on validation {1e3 * value:.3g} x 1e-3, at update {step:,}'


def error(row: Mapping[str, Any]) -> tuple[str, float]:
  """The name and value of a row's error: the best of n, or the MSE.

  NaN where there is none.
  """
  best = [name for name in row if name.startswith('best_of_')]
  field = best[0] if best else 'mse'
  value = row.get(field)
  name = field.replace('_', ' ') if best else 'MSE'
  return name, math.nan if value is None else float(value)


def mean_error(rows: Iterable[Mapping[str, Any]]) -> tuple[str, float]:
  """`error`, the mean over runs."""
  names, values = zip(*map(error, rows), strict=True)
  return names[0], sum(values) / len(values)
