"""The trainer: data, update, report, validate, save; and again.

A run that is stopped, by a signal too, leaves a checkpoint, and the same call
goes on from it bit for bit.
"""

from collections.abc import Mapping, Sequence
import contextlib
import os
import pathlib
import signal
import threading
from types import FrameType
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np
import orbax.checkpoint as ocp

from cgqn_jax.data import batches as batches_lib
from cgqn_jax.data import protocols
from cgqn_jax.data.examples import Source
from cgqn_jax.data.sources import open_source
from cgqn_jax.evaluation.validation import Validation
from cgqn_jax.models.build import Model, build
from cgqn_jax.training import update as update_lib
from cgqn_jax.training.checkpoints import Checkpoints
from cgqn_jax.training.metrics_log import Log, Progress
from cgqn_jax.training.update import TrainState
from cgqn_jax.training.workdir import open_workdir
from cgqn_jax.types import Batch


class Seed(NamedTuple):
  """One of the runs that are trained together; they differ in their seed."""

  seed: int
  folder: pathlib.Path
  checkpoints: Checkpoints


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
    """True if it is time to stop; every process asks once after every step."""
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


def check(config: ConfigDict) -> Model:
  """The model of a config; ValueError if it cannot be trained."""
  update_lib.check_batch_size(config.batch_size)
  protocols.check(config)
  update_lib.make_optimizer(config)
  return build(config)


def train(config: ConfigDict, workdirs: Mapping[int, str]) -> None:
  """Trains to config.num_steps, from the last checkpoints if there are any.

  Args:
    config: of all runs; its seed is not looked at.
    workdirs: the folder of each seed. All are trained together; each is left
      as if it had been trained alone.
  """
  model = check(config)
  source = open_source(config, 'train')
  first = update_lib.is_first_process()
  with contextlib.ExitStack() as stack:
    preemption = stack.enter_context(Preemption())
    seeds = []
    for seed, workdir in workdirs.items():
      folder = open_workdir(workdir, with_seed(config, seed), write=first)
      checkpoints = stack.enter_context(
        Checkpoints(folder / 'checkpoints', keep=config.keep_checkpoints)
      )
      if config.num_steps in checkpoints.steps:
        print(f'{workdir} is finished: {config.num_steps:,} updates applied')
      else:
        seeds.append(Seed(seed, folder, checkpoints))
    if seeds:
      _run(config, model, source, seeds, _start(seeds), preemption)


def _start(seeds: Sequence[Seed]) -> int:
  """The last update that all have saved: one may have been killed later."""
  steps = [set(its.checkpoints.steps) for its in seeds]
  common = set.intersection(*steps)
  if not common and any(steps):
    latest = ', '.join(
      f'{its.folder} has {max(saved, default=0):,}'
      for its, saved in zip(seeds, steps, strict=True)
    )
    raise ValueError(
      f'--seeds: no update that all have saved ({latest}); first train those '
      'behind alone, with --config.seed and --workdir'
    )
  return max(common, default=0)


def _run(
  config: ConfigDict,
  model: Model,
  source: Source,
  seeds: Sequence[Seed],
  start: int,
  preemption: Preemption,
) -> None:
  """The loop: update n + 1 is dispatched before update n's metrics are read.

  That bounds the queue of dispatched updates and keeps the device fed. State,
  batches and metrics have a leading axis of seeds.
  """
  first = update_lib.is_first_process()
  names = ', '.join(str(its.folder) for its in seeds)
  print(f'{names}: {"resuming at" if start else "from"} update {start:,}')
  numbers = [its.seed for its in seeds]
  states = update_lib.replicate(_restore(config, model, seeds, start))
  update = update_lib.over_devices(
    update_lib.over_seeds(update_lib.make_update(model, config), numbers)
  )
  validation = Validation(model, config)
  progress = Progress(config.num_steps, start)
  previous: tuple[Any, Sequence[Batch]] | None = None
  with contextlib.ExitStack() as stack:
    logs = [
      stack.enter_context(Log(its.folder, step=start, write=first))
      for its in seeds
    ]
    streams = [
      stack.enter_context(
        contextlib.closing(
          batches_lib.training_batches(with_seed(config, seed), source, start)
        )
      )
      for seed in numbers
    ]
    for step in range(start + 1, config.num_steps + 1):
      with progress.waiting():
        batches = [next(stream) for stream in streams]
      states, metrics = update(states, update_lib.shard_seeds(batches))
      if previous is not None:
        _report(config, step - 1, previous, seeds, logs, progress)
      previous = (metrics, batches)
      last = step == config.num_steps
      stop = preemption.reached()
      validate = last or step % config.validate_every == 0
      draw = last or step % config.picture_every == 0
      save = last or stop or step % config.checkpoint_every == 0
      if validate or draw or save:
        _report(config, step, previous, seeds, logs, progress)
        previous = None
        with progress.paused():
          for i, its in enumerate(seeds):
            state = jax.tree.map(lambda x, i=i: x[i], states)
            params = update_lib.evaluation_params(state)
            notes = None
            if validate:
              notes = validation.loss(params, its.seed)
              notes |= validation.best_of(params, its.seed)
              logs[i].scalars(step, notes, split='validation')
            if draw:
              picture = validation.picture(params, its.seed)
              logs[i].image(step, 'targets', picture)
            if save:
              loss = notes and {'loss': notes['loss']}
              its.checkpoints.save(state, step, loss, wait=last or stop)
      if stop and not last:
        progress.say(f'stopped at update {step:,}; the same command resumes')
        break


def _restore(
  config: ConfigDict, model: Model, seeds: Sequence[Seed], step: int
) -> TrainState:
  """The states after `step` updates, with a leading axis of seeds."""
  if step:
    template = jax.eval_shape(lambda: update_lib.create_state(model, config))
    states = [its.checkpoints.restore(template, step) for its in seeds]
  else:
    states = [
      update_lib.create_state(model, with_seed(config, its.seed))
      for its in seeds
    ]
  return jax.tree.map(lambda *x: jnp.stack(x), *states)


def _report(
  config: ConfigDict,
  step: int,
  previous: tuple[Any, Sequence[Batch]],
  seeds: Sequence[Seed],
  logs: Sequence[Log],
  progress: Progress,
) -> None:
  """Logs a step's metrics; stops a run that has gone wrong for good."""
  metrics, batches = previous
  metrics = jax.device_get(metrics)
  loss, kl = (float(np.mean(metrics[name])) for name in ('loss', 'kl'))
  progress.update(step, loss=loss, kl=kl)
  due = step % config.log_every == 0 or step in (1, config.num_steps)
  rates = progress.lap() if due else {}
  if rates:  # Seeds trained together share the time: each has its part.
    rates['updates_per_second'] *= len(seeds)
  for i, its in enumerate(seeds):
    own = {name: value[i] for name, value in metrics.items()}
    if own['skipped_in_a_row'] >= config.max_skipped_in_a_row:
      ids = np.ravel(jax.device_get(batches[i].example_id)).tolist()
      raise FloatingPointError(
        f'{its.folder}: the loss or its gradient was not finite in '
        f'{int(own["skipped_in_a_row"])} updates in a row, the last of them '
        f'update {step} on examples {ids}; lower learning_rate.values or '
        'raise pixel_variance'
      )
    if due:
      logs[i].scalars(step, own | rates)


def with_seed(config: ConfigDict, seed: int) -> ConfigDict:
  config = ConfigDict(config)
  config.seed = seed
  return config
