"""Scores of every kept checkpoint of a run on held-out scenes.

Paper, figures 5, 6 and 8 to 10: error and negative ELBO against training. A
point also says what it cost: updates, seconds and FLOPs.
"""

from collections.abc import Mapping, Sequence
import math
import pathlib
from typing import Any

import jax
from ml_collections import ConfigDict
import numpy as np
import optax

from cgqn_jax.benchmark.flops import count_flops
from cgqn_jax.comparison import runs
from cgqn_jax.data import batches
from cgqn_jax.data.sources import open_source
from cgqn_jax.evaluation import tasks
from cgqn_jax.evaluation.subject import Subject
from cgqn_jax.files import write_json
from cgqn_jax.models.build import Model, build, counted
from cgqn_jax.training.metrics_log import read_metrics
from cgqn_jax.training.workdir import read_workdir, restore
from cgqn_jax.types import Params


def write(
  workdir: pathlib.Path, asked: Mapping[str, Any], points: int
) -> dict[str, Any]:
  """Scores the checkpoints and writes <workdir>/eval/curve.json.

  Args:
    workdir: of a finished training.
    asked: as `runs.asked` says it.
    points: of the curve; checkpoints between them, saved when a machine was
      taken away, are passed over.
  """
  steps = runs.checkpoint_steps(workdir)
  last = steps[-1]
  every = math.ceil(last / points)
  steps = [step for step in steps if step % every == 0 or step == last]
  seconds = training_seconds(read_metrics(workdir), steps)
  # One model for all of them, so that its samples are compiled once.
  config = read_workdir(workdir)
  model, task = build(config), tasks.for_config(config)
  source = open_source(config, asked['evaluation']['split'])
  protocol = tasks.protocol(
    config, source, last, asked['evaluation'] | asked['curve']
  )
  rows = []
  for step, its in zip(steps, seconds, strict=True):
    print(f'{workdir.name}: scores of update {step:,} of {last:,}', flush=True)
    params = restore(model, workdir, step)
    scores = task.point(Subject(model, params, config, source, protocol))
    rows.append({'step': step, 'train_seconds': its} | scores)
  curve = {
    'num_steps': last,
    'points': rows,
    'protocol': protocol,
    'parameters': optax.tree.size(params),
    'flops_per_update': flops_per_update(model, config),
    'asked': asked,
    # Of the files that belong to it, should they be written over.
    'evaluated': runs.evaluated(workdir),
  }
  path = workdir / runs.CURVE
  path.parent.mkdir(exist_ok=True)
  write_json(path, curve)
  return curve


def training_seconds(
  rows: Sequence[Mapping[str, Any]], steps: Sequence[int]
) -> list[float | None]:
  """Seconds of training up to each step, from the logged speeds.

  Waiting for data is in them; compiling, validation, pictures and saving are
  not, nor the time between a kill and the resumption. Seeds trained together
  have each its part. A row without a speed takes that of the next one that has
  it.

  Args:
    rows: of training, in order.
    steps: to be timed; None for each where no row has a speed.
  """
  speeds = [row.get('updates_per_second') for row in rows]
  if not any(speeds):
    return [None] * len(steps)
  following = next(speed for speed in reversed(speeds) if speed)
  for i in reversed(range(len(speeds))):
    following = speeds[i] = speeds[i] or following
  ends = np.array([0] + [row['step'] for row in rows])
  total = np.insert(np.cumsum(np.diff(ends) / speeds), 0, 0.0)
  return np.interp(steps, ends, total).tolist()


def flops_per_update(model: Model, config: ConfigDict) -> int:
  """FLOPs of loss and gradient for a batch, by `count_flops`."""
  source = open_source(config, 'validation')
  batch = next(batches.validation_batches(config, source, 1, 1))
  step = jax.ShapeDtypeStruct((), 'int32')
  params = jax.eval_shape(model.init, jax.random.key(0))

  def update(params: Params, batch: Any, step: Any) -> Any:
    key = jax.random.key(0)
    return jax.grad(counted(model).loss, has_aux=True)(params, key, batch, step)

  return config.batch_size * count_flops(update, params, batch, step)
