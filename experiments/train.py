r"""Trains a model; the same command resumes it.

  python experiments/train.py --config=configs/narratives.py
  python experiments/train.py --config=configs/narratives.py:preset=small \
      --config.batch_size=8 --workdir=runs/mine

The workdir holds config.json, versions.json, metrics.jsonl (a row a logged
step), checkpoints/, images/ and tensorboard/. A dataset that is missing is
built first. On a cluster, start one process a host with
--distributed; each reads its share of every batch.
"""

import pathlib
import subprocess
import sys
from typing import Any

from absl import flags
import jax
from ml_collections import ConfigDict, config_flags
import numpy as np

from cgqn_jax import (
  commands,
  data,
  models,
  parallel,
  pictures,
  sources,
  training,
)
from cgqn_jax.checkpoints import Checkpoints
from cgqn_jax.preemption import Preemption
from cgqn_jax.reporting import Log, Progress
from cgqn_jax.types import Batch, TrainState
from cgqn_jax.workdir import open_workdir

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Config, with its arguments: configs/narratives.py:preset=...'
)
_WORKDIR = flags.DEFINE_string(
  'workdir',
  None,
  'Folder of the run; by default runs/<dataset>-<model>-<preset>-seed<k>.',
)
_DISTRIBUTED = flags.DEFINE_bool(
  'distributed', False, 'Call jax.distributed.initialize() first.'
)

_PICTURED = 6  # scenes in the strips of the training pictures
_BUILD = pathlib.Path(__file__).parent.parent / 'datasets' / 'build.py'


def default_workdir(config: ConfigDict) -> str:
  """runs/<dataset>-<model>-<preset>-seed<k>."""
  name = f'{config.dataset}-{config.model.name}-{config.preset}'
  return f'runs/{name}-seed{config.seed}'


def train(config: ConfigDict, workdir: str) -> TrainState:
  """Trains to config.num_steps, from the last checkpoint if there is one."""
  parallel.check_batch_size(config.batch_size)
  data.check_protocol(config)
  model = models.build(config)
  first = parallel.is_first_process()
  ensure_dataset(config)
  sources.open_source(config, 'train')
  folder = open_workdir(workdir, config, write=first)
  with (
    Checkpoints(
      folder / 'checkpoints', keep=config.keep_checkpoints
    ) as checkpoints,
    Preemption() as preemption,
  ):
    state = training.create_state(model, config)
    if checkpoints.latest_step is not None:
      state = checkpoints.restore(state)
    start = int(state.step)
    if start >= config.num_steps:
      print(f'{workdir} is finished: {start:,} updates applied')
      return state
    print(f'{workdir}: {"resuming at" if start else "from"} update {start:,}')
    with Log(folder, step=start, write=first) as log:
      return _run(config, model, state, checkpoints, log, preemption)


def _run(
  config: ConfigDict,
  model: Any,
  state: TrainState,
  checkpoints: Checkpoints,
  log: Log,
  preemption: Preemption,
) -> TrainState:
  """The loop: update n + 1 is dispatched before update n's metrics are read.

  That bounds the queue of dispatched updates and keeps the device fed.
  """
  update = parallel.over_devices(training.make_update(model, config))
  validation = _Validation(model, config)
  progress = Progress(config.num_steps)
  start = int(state.step)
  batches = data.training_batches(config, start)
  previous: tuple[Any, Batch] | None = None
  for step in range(start + 1, config.num_steps + 1):
    with progress.waiting():
      batch = parallel.shard(next(batches))
    state, metrics = update(state, batch)
    if previous is not None:
      _report(config, step - 1, previous, log, progress)
    previous = (metrics, batch)
    last = step == config.num_steps
    stop = preemption.reached()
    notes = None
    if last or step % config.validate_every == 0:
      _report(config, step, previous, log, progress)
      previous = None
      notes = validation.loss(state)
      log.scalars(step, notes, split='validation')
    if last or step % config.picture_every == 0:
      log.image(step, 'targets', validation.picture(state))
    if last or stop or step % config.checkpoint_every == 0:
      if previous is not None:
        _report(config, step, previous, log, progress)
        previous = None
      loss = notes and {'loss': notes['loss']}
      checkpoints.save(state, step, loss, wait=last or stop)
    if stop and not last:
      progress.say(f'stopped at update {step:,}; the same command resumes')
      break
  return state


def _report(
  config: ConfigDict,
  step: int,
  previous: tuple[Any, Batch],
  log: Log,
  progress: Progress,
) -> None:
  """Logs a step's metrics; stops a run that has gone wrong for good."""
  metrics, batch = previous
  metrics = jax.device_get(metrics)
  progress.update(step, loss=float(metrics['loss']), kl=float(metrics['kl']))
  if metrics['skipped_in_a_row'] >= config.max_skipped_in_a_row:
    ids = np.ravel(jax.device_get(batch.example_id)).tolist()
    raise FloatingPointError(
      f'the loss or its gradient was not finite in '
      f'{int(metrics["skipped_in_a_row"])} updates in a row, the last of them '
      f'update {step} on examples {ids}; lower learning_rate.values or '
      'raise pixel_variance'
    )
  if step % config.log_every == 0 or step in (1, config.num_steps):
    log.scalars(step, metrics | progress.rates())


class _Validation:
  """Validation loss at the final pixel-variance, and strips of samples."""

  def __init__(self, model: Any, config: ConfigDict):
    self._config = config
    self._model = model
    key = jax.random.key(config.seed)
    # The variance of the schedule's end, so that the curve shows learning
    # and not the schedule.
    self._loss = jax.jit(
      lambda params, batch: model.loss(params, key, batch, config.num_steps)[1]
    )
    self._sample = jax.jit(
      lambda params, batch: model.sample(
        params, key, batch.context, batch.context_mask, batch.target.views, 2
      )
    )
    self._reconstruct = jax.jit(
      lambda params, batch: model.reconstruct(params, key, batch)
    )

  def loss(self, state: TrainState) -> dict[str, Any]:
    """Means over config.validation_scenes."""
    config = self._config
    params = training.evaluation_params(state)
    batch_size = min(config.batch_size, config.validation_scenes)
    rows, weights = [], []
    for batch in data.validation_batches(
      config, 'validation', config.validation_scenes, batch_size
    ):
      rows.append(jax.device_get(self._loss(params, batch)))
      weights.append(np.sum(batch.weight))
    return jax.tree.map(lambda *x: np.average(x, 0, weights), *rows)

  def picture(self, state: TrainState) -> np.ndarray:
    """Truth, one posterior sample and two prior samples of the same scenes.

    The gap between posterior and prior is the first thing to look at.
    """
    params = training.evaluation_params(state)
    batch = next(
      data.test_batches(self._config, 'validation', _PICTURED, _PICTURED)
    )
    hidden = batch.target.views.shape[1]
    # The posterior sees as many targets as in training, and draws them all.
    seen = np.linspace(0, hidden - 1, self._config.data.num_targets).astype(int)
    mask = np.zeros_like(batch.target_mask)
    mask[:, seen] = True
    few = batch._replace(target_mask=mask)
    every = slice(None, None, max(1, hidden // 8))
    rows = [pictures.to_uint8(batch.target.frames)]
    rows.append(pictures.to_uint8(self._reconstruct(params, few)))
    rows.extend(pictures.to_uint8(self._sample(params, batch)))
    frames = np.stack(rows, axis=1)[:, :, every]
    labels = ['truth', 'posterior', 'prior 1', 'prior 2'] * len(frames)
    return pictures.sheet(frames.reshape((-1, *frames.shape[2:])), labels)


def ensure_dataset(config: ConfigDict) -> None:
  """Builds a TFDS dataset that is missing, in a process of its own."""
  if config.data.source != 'tfds' or sources.dataset_path(config):
    return
  name = sources.dataset_config(config)
  command = [sys.executable, str(_BUILD), config.dataset, f'--config={name}']
  if config.data.data_dir:
    command.append(f'--data_dir={config.data.data_dir}')
  shown = ' '.join(['python', 'datasets/build.py', *command[2:]])
  print(
    f'dataset {config.dataset}/{name} is not built yet; building it now. '
    f'Beforehand, in parallel: {shown} --workers=<cores>',
    flush=True,
  )
  subprocess.run(command, check=True)


def run() -> None:
  """Reads the flags and trains."""
  if _DISTRIBUTED.value:
    jax.distributed.initialize()
  config = _CONFIG.value
  train(config, _WORKDIR.value or default_workdir(config))


if __name__ == '__main__':
  commands.start(run, required=('config',))
