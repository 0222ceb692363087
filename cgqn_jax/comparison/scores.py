"""Scores of a trained run: on test and validation scenes, and over training.

Paper, figures 5, 6 and 8 to 10: error and negative ELBO against training. A
point of such a curve also says what it cost: updates, seconds and FLOPs.
"""

from collections.abc import Mapping, Sequence
import datetime
import math
import pathlib
from typing import Any

import jax
from ml_collections import ConfigDict
import numpy as np
import optax

from cgqn_jax import images
from cgqn_jax.benchmark.flops import count_flops
from cgqn_jax.comparison import runs
from cgqn_jax.data import batches
from cgqn_jax.data.sources import open_source
from cgqn_jax.evaluation import tasks
from cgqn_jax.evaluation.subject import Subject
from cgqn_jax.files import (
  form_of,
  read_json,
  replacing,
  try_folder,
  write_json,
)
from cgqn_jax.models.build import Model, build, counted
from cgqn_jax.training.checkpoints import saved_steps
from cgqn_jax.training.metrics_log import read_metrics
from cgqn_jax.training.workdir import (
  checkpoint_step,
  read_workdir,
  restore,
  versions,
)
from cgqn_jax.types import Params

_ANEW = 'evaluate.py --overwrite writes it anew'


def evaluate(
  subject: Subject, out: pathlib.Path, overwrite: bool = False
) -> None:
  """Scores a model under a protocol; prints the report.

  Writes metrics.json, per_scene.npz and samples.png into the folder `out`,
  unless this evaluation is there already.
  """
  task, protocol = tasks.for_config(subject.config), subject.protocol
  path, arrays = out / 'metrics.json', out / 'per_scene.npz'
  if path.exists() and arrays.exists() and not overwrite:
    there = read_json(path, _ANEW)
    with form_of(path, _ANEW):
      same = there['protocol'] == protocol
      text = task.report(there['metrics'], protocol) if same else None
    if same:
      print(f'{text}\n\nthis evaluation was already in {path}')
      return
  try_folder(out)
  scores = task.evaluate(subject)
  # First of all: whatever becomes of the files, the numbers are there.
  print(task.report(scores.metrics, protocol), flush=True)
  images.save_png(out / 'samples.png', scores.sheet)
  with replacing(arrays) as file:
    np.savez_compressed(file, **scores.per_scene)
    # Old numbers never stand beside new arrays, should a kill come now.
    path.unlink(missing_ok=True)
  result = {
    'metrics': scores.metrics,
    'protocol': protocol,
    'versions': versions(),
    'date': datetime.date.today().isoformat(),
  }
  write_json(path, result)
  print(f'\nwrote {path}, {arrays} and {out / "samples.png"}')


def evaluate_run(workdir: pathlib.Path, asked: Mapping[str, Any]) -> None:
  """All that is asked of a finished training: scores and curve.

  Args:
    workdir: of the training.
    asked: as `runs.asked` says it; of a trial the validation scenes alone.
  """
  # One model for all of it, so that its samples are compiled once.
  config = read_workdir(workdir)
  model = build(config)
  for folder, name in (('validation', 'validation'), ('eval', 'evaluation')):
    if name in asked:
      step = checkpoint_step(workdir, asked[name]['step'])
      source = open_source(config, asked[name]['split'])
      protocol = tasks.protocol(config, source, step, asked[name])
      params = restore(model, workdir, step)
      subject = Subject(model, params, config, source, protocol)
      evaluate(subject, workdir / folder)
  if 'curve' in asked:
    write_curve(workdir, model, config, asked)


def write_curve(
  workdir: pathlib.Path,
  model: Model,
  config: ConfigDict,
  asked: Mapping[str, Any],
) -> dict[str, Any]:
  """Scores the checkpoints and writes <workdir>/eval/curve.json.

  Those between the points, saved when a machine was taken away, are passed
  over.
  """
  steps = saved_steps(workdir / 'checkpoints')
  last = steps[-1]
  every = math.ceil(last / asked['curve']['points'])
  steps = [step for step in steps if step % every == 0 or step == last]
  seconds = training_seconds(read_metrics(workdir), steps)
  task = tasks.for_config(config)
  source = open_source(config, asked['evaluation']['split'])
  protocol = tasks.protocol(
    config, source, last, asked['evaluation'] | asked['curve']
  )
  points = []
  for step, spent in zip(steps, seconds, strict=True):
    print(f'{workdir.name}: scores of update {step:,} of {last:,}', flush=True)
    params = restore(model, workdir, step)
    point = task.point(Subject(model, params, config, source, protocol))
    points.append({'step': step, 'train_seconds': spent} | point)
  curve = {
    'num_steps': last,
    'points': points,
    'protocol': protocol,
    'parameters': optax.tree.size(params),
    'flops_per_update': flops_per_update(model, config),
    'asked': asked,
    # The evaluations it belongs to, should they be written over.
    'evaluated': runs.evaluated(workdir),
  }
  write_json(workdir / runs.CURVE, curve)
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
