"""The trainer: data, update, report, validate, save; and again.

A run that is stopped, by a signal too, leaves a checkpoint, and the same call
goes on from it bit for bit.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any, Self

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np
import orbax.checkpoint as ocp

from cgqn_jax.data import protocols
from cgqn_jax.data.batches import training_batches
from cgqn_jax.data.examples import Source
from cgqn_jax.data.sources import open_source
from cgqn_jax.evaluation.validation import Validation
from cgqn_jax.models.build import Model, build
from cgqn_jax.training import checkpoints
from cgqn_jax.training import update as update_lib
from cgqn_jax.training import workdir as workdir_lib
from cgqn_jax.training.checkpoints import Checkpoints
from cgqn_jax.training.metrics_log import Log, Progress
from cgqn_jax.training.update import TrainState
from cgqn_jax.types import Batch


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


class Run(contextlib.ExitStack):
  """One of the runs that are trained together: its folder, and what is open.

  They differ in their seed alone; `config` has that of this run.
  """

  checkpoints: Checkpoints
  log: Log
  batches: Iterator[Batch]

  def __init__(self, config: ConfigDict, seed: int, workdir: str) -> None:
    super().__init__()
    self._first = jax.process_index() == 0
    self.config = ConfigDict(config)
    self.config.seed = seed
    self.folder = workdir_lib.open_workdir(
      workdir, self.config, write=self._first
    )
    self.saved = set(checkpoints.saved_steps(self.folder / 'checkpoints'))

  def state(self, model: Model, step: int) -> TrainState:
    """The state after `step` updates: a new one, or as it was saved."""
    if not step:
      state = update_lib.create_state(model, self.config)
      if self.config.init_from:
        state = workdir_lib.begin_from(self.config.init_from, state)
      return state
    like = jax.eval_shape(lambda: update_lib.create_state(model, self.config))
    return checkpoints.restore(self.folder / 'checkpoints', like, step)

  def open(self, source: Source, step: int) -> None:
    """Opens what is read and written in the updates after `step`."""
    keep = self.config.keep_checkpoints
    self.checkpoints = self.enter_context(
      Checkpoints(self.folder / 'checkpoints', keep=keep)
    )
    self.log = self.enter_context(
      Log(self.folder, step=step, write=self._first)
    )
    batches = training_batches(self.config, source, step)
    self.batches = self.enter_context(contextlib.closing(batches))


def check(config: ConfigDict) -> Model:
  """Builds the model of a config; ValueError if it cannot be trained."""
  model = build(config)  # which checks each field
  protocols.check(config)
  update_lib.check_batch_size(config.batch_size)
  return model


def train(
  model: Model, config: ConfigDict, workdirs: Mapping[int, str]
) -> None:
  """Trains to config.num_steps, from the last checkpoints if there are any.

  Update n + 1 is dispatched before update n's metrics are read: that bounds
  the queue of dispatched updates and keeps the device fed. State, batches and
  metrics have a leading axis of seeds.

  Args:
    model: of the config, from `check`.
    config: of all runs; its seed is not looked at.
    workdirs: the folder of each seed. All are trained together; each is left
      as if it had been trained alone.
  """
  source = open_source(config, 'train')
  with contextlib.ExitStack() as stack:
    preemption = stack.enter_context(Preemption())
    runs = [
      stack.enter_context(Run(config, seed, workdir))
      for seed, workdir in workdirs.items()
    ]
    for run in runs:
      if config.num_steps in run.saved:
        print(f'{run.folder} is finished: {config.num_steps:,} updates applied')
    runs = [run for run in runs if config.num_steps not in run.saved]
    if not runs:
      return
    start = _common_step(runs)
    names = ', '.join(str(run.folder) for run in runs)
    print(f'{names}: {"resuming at" if start else "from"} update {start:,}')
    states = [run.state(model, start) for run in runs]
    states = jax.tree.map(lambda *x: jnp.stack(x), *states)
    states = update_lib.replicate(states)
    update = update_lib.make_update(model, config)
    update = update_lib.over_seeds(update, [run.config.seed for run in runs])
    update = update_lib.over_devices(update)
    validation = Validation(model, config)
    for run in runs:
      run.open(source, start)
    progress = Progress(config.num_steps, start)
    pending = None  # metrics and batches of the update before
    for step in range(start + 1, config.num_steps + 1):
      with progress.timed('waiting'):
        batches = [next(run.batches) for run in runs]
      states, metrics = update(states, update_lib.shard_seeds(batches))
      if pending:
        _report(runs, progress, step - 1, *pending)
      pending = metrics, batches
      last, stop = step == config.num_steps, preemption.reached()
      validate = last or _is_due(step, config.validate_every)
      draw = last or _is_due(step, config.picture_every)
      save = last or stop or _is_due(step, config.checkpoint_every)
      if not (validate or draw or save):
        continue
      _report(runs, progress, step, *pending)
      pending = None
      with progress.timed('paused'):
        for i, run in enumerate(runs):
          state = jax.tree.map(lambda x, i=i: x[i], states)
          params, seed = update_lib.evaluation_params(state), run.config.seed
          loss = None
          if validate:
            notes = validation.loss(params, seed)
            notes |= validation.best_of(params, seed)
            run.log.scalars(step, notes, split='validation')
            loss = notes['loss']
          if draw:
            picture = validation.picture(params, seed)
            run.log.image(step, 'targets', picture)
          if save:
            run.checkpoints.save(state, loss, wait=last or stop)
      if stop and not last:
        progress.say(f'stopped at update {step:,}; the same command resumes')
        break


def _is_due(step: int, every: int) -> bool:
  """Whether `every` updates have passed once more; 0 is never."""
  return every > 0 and step % every == 0


def _common_step(runs: Sequence[Run]) -> int:
  """The last update that all have saved: one may have been killed later."""
  common = set.intersection(*(run.saved for run in runs))
  if not common and any(run.saved for run in runs):
    latest = ', '.join(
      f'{run.folder} has {max(run.saved, default=0):,}' for run in runs
    )
    raise ValueError(
      f'--seeds: no update that all have saved ({latest}); first train those '
      'behind alone, with --config.seed and --workdir'
    )
  return max(common, default=0)


def _report(
  runs: Sequence[Run],
  progress: Progress,
  step: int,
  metrics: Mapping[str, Any],
  batches: Sequence[Batch],
) -> None:
  """Logs a step's metrics; stops a run that has gone wrong for good."""
  config, metrics = runs[0].config, jax.device_get(metrics)
  loss, kl = (float(np.mean(metrics[name])) for name in ('loss', 'kl'))
  progress.update(step, loss=loss, kl=kl)
  due = _is_due(step, config.log_every) or step in (1, config.num_steps)
  rates = progress.lap() if due else {}
  if rates:  # Seeds trained together share the time: each has its part.
    rates['updates_per_second'] *= len(runs)
  for i, run in enumerate(runs):
    row = {name: value[i] for name, value in metrics.items()}
    if row['skipped_in_a_row'] >= config.max_skipped_in_a_row:
      ids = np.ravel(jax.device_get(batches[i].example_id)).tolist()
      raise FloatingPointError(
        f'{run.folder}: the loss or its gradient was not finite in '
        f'{int(row["skipped_in_a_row"])} updates in a row, the last of them '
        f'update {step} on examples {ids}; lower learning_rate.values or '
        'raise pixel_variance'
      )
    if due:
      run.log.scalars(step, row | rates)
