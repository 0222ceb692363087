"""The trainer: data, update, report, save, validate; and again.

A run that is stopped, by a signal or an error too, leaves a checkpoint (but
where updates are no longer finite: then the last one that was saved), and the
same call goes on from it bit for bit. What was due after the checkpoint
and is not there, as the run was killed in between, is then made first.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import math
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from cgqn_jax import files
from cgqn_jax.data import protocols
from cgqn_jax.data.batches import training_batches
from cgqn_jax.data.examples import Source
from cgqn_jax.data.sources import open_source
from cgqn_jax.evaluation.validation import Validation
from cgqn_jax.models.build import Model, build
from cgqn_jax.training import checkpoints, cluster, summary
from cgqn_jax.training import update as update_lib
from cgqn_jax.training import workdir as workdir_lib
from cgqn_jax.training.checkpoints import Checkpoints
from cgqn_jax.training.metrics_log import Log, picture_path, row_at
from cgqn_jax.training.preemption import Preemption
from cgqn_jax.training.progress import Progress, duration, say
from cgqn_jax.training.update import TrainState
from cgqn_jax.training.watch import Watch
from cgqn_jax.types import Batch

_PICTURE = 'targets'
_MEASURED = 10.0  # seconds of updates from which the time of a run follows


class Due(NamedTuple):
  """What is to be made at a step, beside the checkpoint."""

  validation: bool
  picture: bool


class Run(contextlib.ExitStack):
  """One of the runs that are trained together: its folder, and what is open.

  They differ in their seed alone; `config` has that of this run. The folder is
  this process's until the run is closed.
  """

  checkpoints: Checkpoints
  log: Log
  batches: Iterator[Batch]

  def __init__(self, config: ConfigDict, seed: int, workdir: str) -> None:
    super().__init__()
    self._first = jax.process_index() == 0
    self.config = _of_seed(config, seed)
    self.folder = workdir_lib.check_workdir(workdir, self.config)
    if self._first:
      self.enter_context(workdir_lib.locked(self.folder))
    workdir_lib.open_workdir(workdir, self.config, write=self._first)
    self.saved = set(checkpoints.saved_steps(self.folder / 'checkpoints'))
    self.watch = Watch(self.config)

  @property
  def ended(self) -> bool:
    """Tells whether the last update is saved."""
    return self.config.num_steps in self.saved

  @property
  def finished(self) -> bool:
    """Tells whether nothing is left to do, after the last update too."""
    if not self.ended:
      return False
    # Weights that were exported have no log, and lack nothing.
    logged = (self.folder / 'metrics.jsonl').exists()
    return not (logged and any(self.lacks(self.config.num_steps)))

  def due(self, step: int) -> Due:
    """What is due at a step."""
    config, last = self.config, step == self.config.num_steps
    return Due(
      validation=last or _is_due(step, config.validate_every),
      picture=last or _is_due(step, config.picture_every),
    )

  def lacks(self, step: int) -> Due:
    """What is due, and not there: a kill came in between."""
    due = self.due(step)
    row = row_at(self.folder, step, 'validation')
    picture = picture_path(self.folder, step, _PICTURE)
    return Due(
      validation=due.validation and not row,
      picture=due.picture and not picture.exists(),
    )

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
    with workdir_lib.writable(self.folder):
      self.log = self.enter_context(
        Log(self.folder, step=step, write=self._first)
      )
      self.checkpoints = self.enter_context(
        Checkpoints(self.folder / 'checkpoints', keep=keep)
      )
    batches = training_batches(self.config, source, step)
    self.batches = self.enter_context(contextlib.closing(batches))


def check(
  config: ConfigDict, workdirs: Mapping[int, str] | None = None
) -> Model:
  """Builds the model of a config; ValueError if it cannot be trained.

  Or if the folder of one of the seeds cannot be that of its run.
  """
  model = build(config)  # which checks each field
  protocols.check(config)
  update_lib.check_batch_size(config.batch_size)
  for seed, workdir in (workdirs or {}).items():
    workdir_lib.check_workdir(workdir, _of_seed(config, seed))
  return model


def _of_seed(config: ConfigDict, seed: int) -> ConfigDict:
  config = ConfigDict(config)
  config.seed = seed
  return config


def train(
  model: Model, config: ConfigDict, workdirs: Mapping[int, str]
) -> str | None:
  """Trains to config.num_steps, from the last checkpoints if there are any.

  Args:
    model: of the config, from `check`.
    config: of all runs; its seed is not looked at.
    workdirs: the folder of each seed. All are trained together; each is left
      as if it had been trained alone.

  Returns:
    None when all are finished; what stopped them, and where, after a signal.

  Raises:
    ValueError: where data, folders or files are not as they must be.
    FloatingPointError: for a loss that is not finite any more.
  """
  for seed, workdir in workdirs.items():
    workdir_lib.check_workdir(workdir, _of_seed(config, seed))
  # All that will be read, before anything is written.
  source = open_source(config, 'train')
  validation = Validation(model, config)
  validation.try_out()
  with contextlib.ExitStack() as stack:
    preemption = stack.enter_context(Preemption())
    runs = [
      stack.enter_context(Run(config, seed, workdir))
      for seed, workdir in workdirs.items()
    ]
    for run in runs:
      if run.finished:
        say(f'{run.folder} is finished: {config.num_steps:,} updates applied')
    # Of those with the last update, a kill may have prevented the rest.
    ended = [[run] for run in runs if run.ended and not run.finished]
    behind = [run for run in runs if not run.ended]
    for group in [*ended, behind] if behind else ended:
      if stopped := _train(model, group, source, validation, preemption):
        return stopped
  return None


def _train(
  model: Model,
  runs: Sequence[Run],
  source: Source,
  validation: Validation,
  preemption: Preemption,
) -> str | None:
  """Trains runs that begin at the same update, as `train` does.

  Update n + 1 is dispatched before update n's metrics are read: that bounds
  the queue of dispatched updates and keeps the device fed. State, batches and
  metrics have a leading axis of seeds.
  """
  start, config = _common_step(runs), runs[0].config
  names, began = ', '.join(str(run.folder) for run in runs), time.monotonic()
  say(f'{names}: {"resuming at" if start else "from"} update {start:,}')
  progress = Progress(
    config.num_steps,
    start,
    pauses={
      'save': config.checkpoint_every,
      'validation': config.validate_every,
      'picture': config.picture_every,
    },
    runs=len(runs),
  )
  compiling = progress.compiling('parameters') if not start else None
  with compiling or contextlib.nullcontext():
    states = [run.state(model, start) for run in runs]
  states = jax.tree.map(lambda *x: jnp.stack(x), *states)
  cluster.wait('start')  # what devices wait for must come within seconds
  states = update_lib.replicate(states)
  update = update_lib.make_update(model, config)
  update = update_lib.over_seeds(update, [run.config.seed for run in runs])
  update = update_lib.over_devices(update)
  for run in runs:
    run.open(source, start)
  pending = None  # metrics and batches of the update before
  told = False  # how long it will take
  try:
    if start:
      found = [
        _look(
          run, validation, progress, start, _state(states, i), run.lacks(start)
        )
        for i, run in enumerate(runs)
      ]
      _show(progress, found)
    for step in range(start + 1, config.num_steps + 1):
      with progress.timed('waiting'):
        batches = [_next(run, step) for run in runs]
      with progress.compiling('update'):
        states, metrics = update(states, update_lib.shard_seeds(batches))
      done, pending = pending, (metrics, batches)
      if done:
        _report(runs, progress, step - 1, *done)
      if not told and progress.measured(_MEASURED):
        told = True
        progress.say(
          summary.outlook(
            config,
            seconds=progress.left(),
            rate=progress.rate,
            untimed=progress.untimed(),
            fresh=not start,
          )
        )
      last, stop = step == config.num_steps, preemption.reached()
      due = runs[0].due(step)
      save = last or stop or _is_due(step, config.checkpoint_every)
      if not (save or any(due)):
        continue
      done, pending = pending, None
      _report(runs, progress, step, *done)
      found = []
      for i, run in enumerate(runs):
        state = _state(states, i)
        if save:  # before all that may fail
          with progress.timed('save'):
            run.checkpoints.save(state, wait=last or stop)
        if last or not stop:  # else it is done when the run goes on
          found.append(_look(run, validation, progress, step, state, due))
      _show(progress, found)
      if stop and not last:
        progress.say(f'stopped at update {step:,}; the same command resumes')
        return f'{names} by {preemption.reason} at update {step:,}'
  except FloatingPointError:
    raise  # for good: from here the run would only fail again
  except Exception as error:
    _rescue(runs, progress, states, pending)
    if text := cluster.lost(error):
      raise ValueError(f'{names}: {text}') from error
    if isinstance(error, OSError):  # of the log, the pictures, the data
      raise ValueError(f'{names}: {files.explain(error)}') from error
    raise
  taken = '' if start else f' in {duration(time.monotonic() - began)}'
  for run in runs if jax.process_index() == 0 else ():
    say(
      f'{run.folder}: {config.num_steps:,} updates applied{taken}; best: '
      f'{summary.outcome(run.folder)}'
    )
  return None


def _show(
  progress: Progress, found: Sequence[Mapping[str, Any] | None]
) -> None:
  """Has the line of progress show what validation found, if all have it."""
  if found and all(found):
    progress.validated(*summary.mean_error(found))


def _state(states: TrainState, i: int) -> TrainState:
  """The state of one of the runs."""
  return jax.tree.map(lambda x: x[i], states)


def _next(run: Run, step: int) -> Batch:
  """The batch of an update; ValueError, one line, where there is none."""
  try:
    return next(run.batches)
  except ValueError:
    raise
  except Exception as error:  # such as a worker that was killed
    if isinstance(error, OSError) and error.filename is not None:
      raise
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    text = f'no batch for update {step:,} of {run.folder}: {reason}'
    if run.config.data.workers:
      text += (
        '; where memory or /dev/shm is short, give fewer '
        '--config.data.workers, or 0, which reads without them'
      )
    raise ValueError(text) from error


def _look(
  run: Run,
  validation: Validation,
  progress: Progress,
  step: int,
  state: TrainState,
  due: Due,
) -> Mapping[str, Any] | None:
  """Validates and draws, each if it is due; the row of validation.

  The loss of validation goes to the checkpoint of that step, if it is saved.
  """
  params, seed = update_lib.evaluation_params(state), run.config.seed
  row = row_at(run.folder, step, 'validation')
  if due.validation:
    with progress.timed('validation'), progress.compiling('validation'):
      row = validation.loss(params, seed) | validation.best_of(params, seed)
      kl, text = float(row['kl']), None
      if run.watch.wants_samples(step, kl):
        spread = validation.spread(params, seed)
        text = run.watch.collapse(step, kl, spread)
    if text:
      progress.say(f'{run.folder}: {text}')
    run.log.scalars(step, row, split='validation')
  if row:
    loss = math.nan if row['loss'] is None else row['loss']
    run.checkpoints.note_loss(step, loss)
  if due.picture:
    with progress.timed('picture'), progress.compiling('picture'):
      picture = validation.picture(params, seed)
    run.log.image(step, _PICTURE, picture)
  return row


def _rescue(
  runs: Sequence[Run],
  progress: Progress,
  states: TrainState,
  pending: tuple[Any, Any] | None,
) -> None:
  """Saves the last update before an error ends the runs, or says why not."""
  with contextlib.suppress(Exception):
    if not (step := int(_state(states, 0).step)):
      return
    if pending:
      _report(runs, progress, step, *pending)
  for i, run in enumerate(runs):
    folder = run.folder / 'checkpoints'
    try:
      if jax.process_count() > 1:
        raise RuntimeError('the other processes know nothing of the error')
      state = jax.device_get(_state(states, i))
      with contextlib.suppress(Exception):
        run.checkpoints.wait()  # tells of the save before, and forgets it
      run.checkpoints.save(state, wait=True)
      text = f'update {int(state.step):,} is saved'
    except Exception as error:
      reason = (str(error).splitlines() or [type(error).__name__])[0]
      latest = max(checkpoints.saved_steps(folder), default=None)
      left = 'nothing' if latest is None else f'update {latest:,}'
      text = f'the last update could not be saved ({reason}); {left} is saved'
    progress.say(f'{run.folder}: {text}; the same command goes on from there')


def _is_due(step: int, every: int) -> bool:
  """Tells whether `every` updates have passed once more; 0 is never."""
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
  # A model of one's own may have no `mse`.
  mse, kl = (
    float(np.mean(metrics.get(name, math.nan))) for name in ('mse', 'kl')
  )
  progress.update(step, mse=mse, kl=kl)
  due = _is_due(step, config.log_every) or step in (1, config.num_steps)
  rates = progress.lap() if due else {}
  if rates:  # Seeds trained together share the time: each has its part.
    rates['updates_per_second'] *= len(runs)
  for i, run in enumerate(runs):
    row = {name: value[i] for name, value in metrics.items()}
    if text := run.watch.update(step, float(row['kl'])):
      progress.say(f'{run.folder}: {text}')
    if row['skipped_in_a_row'] >= config.max_skipped_in_a_row:
      ids = np.ravel(jax.device_get(batches[i].example_id)).tolist()
      raise FloatingPointError(
        f'{run.folder}: the loss or its gradient was not finite in '
        f'{int(row["skipped_in_a_row"])} updates in a row, the last of them '
        f'update {step} on examples {ids}; lower learning_rate.values or '
        'raise pixel_variance (these updates are not saved)'
      )
    if due:
      run.log.scalars(step, row | rates)
