r"""Trains a model; the same command resumes it.

  python experiments/train.py --config=configs/narratives.py
  python experiments/train.py --config=configs/narratives.py:preset=small \
      --config.batch_size=8 --workdir=runs/mine

The workdir holds config.json, versions.json, metrics.jsonl (a row a logged
step), checkpoints/, images/ and tensorboard/. A dataset that is missing is
built first. --seeds=0,1,2 trains these seeds together, which takes less time
than one after the other; each leaves the workdir that it would leave alone. On
a cluster, start one process a host with --distributed; each reads its share of
every batch.
"""

from collections.abc import Mapping, Sequence
import contextlib
import pathlib
import subprocess
import sys
from typing import Any, NamedTuple

from absl import flags
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict, config_flags
import numpy as np

from cgqn_jax import cli
from cgqn_jax.data import batches as batches_lib
from cgqn_jax.data import sources
from cgqn_jax.evaluation.validation import Validation
from cgqn_jax.models.build import build
from cgqn_jax.training import parallel
from cgqn_jax.training import update as update_lib
from cgqn_jax.training.checkpoints import Checkpoints
from cgqn_jax.training.metrics_log import Log, Progress
from cgqn_jax.training.preemption import Preemption
from cgqn_jax.training.workdir import open_workdir
from cgqn_jax.types import Batch, TrainState

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Config, with its arguments: configs/narratives.py:preset=...'
)
_WORKDIR = flags.DEFINE_string(
  'workdir',
  None,
  'Folder of the run; by default runs/<dataset>-<model>-<preset>-seed<k>.',
)
_SEEDS = flags.DEFINE_list(
  'seeds',
  None,
  'Train these seeds together, each in <workdir>-seed<k>, as if it were alone.',
)
_DISTRIBUTED = flags.DEFINE_bool(
  'distributed', False, 'Call jax.distributed.initialize() first.'
)

_BUILD = pathlib.Path(__file__).parent.parent / 'datasets' / 'build.py'


class Seed(NamedTuple):
  """One of the runs that are trained together; they differ in their seed."""

  seed: int
  folder: pathlib.Path
  checkpoints: Checkpoints


def default_workdir(config: ConfigDict) -> str:
  """runs/<dataset>-<model>-<preset>-seed<k>."""
  name = f'{config.dataset}-{config.model.name}-{config.preset}'
  return f'runs/{name}-seed{config.seed}'


def train(config: ConfigDict, workdirs: Mapping[int, str]) -> None:
  """Trains to config.num_steps, from the last checkpoints if there are any.

  Args:
    config: of all runs; its seed is not looked at.
    workdirs: the folder of each seed. All are trained together; each is left
      as if it had been trained alone.
  """
  parallel.check_batch_size(config.batch_size)
  batches_lib.check_protocol(config)
  model = build(config)
  update_lib.make_optimizer(config)  # what is none leaves no folder behind
  ensure_dataset(config)
  sources.open_source(config, 'train')
  first = parallel.is_first_process()
  with contextlib.ExitStack() as stack:
    preemption = stack.enter_context(Preemption())
    seeds = []
    for seed, workdir in workdirs.items():
      folder = open_workdir(workdir, _with_seed(config, seed), write=first)
      checkpoints = stack.enter_context(
        Checkpoints(folder / 'checkpoints', keep=config.keep_checkpoints)
      )
      if config.num_steps in checkpoints.steps:
        print(f'{workdir} is finished: {config.num_steps:,} updates applied')
      else:
        seeds.append(Seed(seed, folder, checkpoints))
    if seeds:
      _run(config, model, seeds, _start(seeds), preemption)


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
  model: Any,
  seeds: Sequence[Seed],
  start: int,
  preemption: Preemption,
) -> None:
  """The loop: update n + 1 is dispatched before update n's metrics are read.

  That bounds the queue of dispatched updates and keeps the device fed. State,
  batches and metrics have a leading axis of seeds.
  """
  first = parallel.is_first_process()
  names = ', '.join(str(its.folder) for its in seeds)
  print(f'{names}: {"resuming at" if start else "from"} update {start:,}')
  numbers = [its.seed for its in seeds]
  states = parallel.replicate(_restore(config, model, seeds, start))
  update = parallel.over_devices(
    update_lib.over_seeds(update_lib.make_update(model, config), numbers)
  )
  validation = Validation(model, config)
  progress = Progress(config.num_steps)
  previous: tuple[Any, Sequence[Batch]] | None = None
  with contextlib.ExitStack() as stack:
    logs = [
      stack.enter_context(Log(its.folder, step=start, write=first))
      for its in seeds
    ]
    streams = [
      stack.enter_context(
        contextlib.closing(
          batches_lib.training_batches(_with_seed(config, seed), start)
        )
      )
      for seed in numbers
    ]
    for step in range(start + 1, config.num_steps + 1):
      with progress.waiting():
        batches = [next(stream) for stream in streams]
      states, metrics = update(states, parallel.shard_seeds(batches))
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
  config: ConfigDict, model: Any, seeds: Sequence[Seed], step: int
) -> TrainState:
  """The states after `step` updates, with a leading axis of seeds."""
  if step:
    template = jax.eval_shape(lambda: update_lib.create_state(model, config))
    states = [its.checkpoints.restore(template, step) for its in seeds]
  else:
    states = [
      update_lib.create_state(model, _with_seed(config, its.seed))
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


def _with_seed(config: ConfigDict, seed: int) -> ConfigDict:
  config = ConfigDict(config)
  config.seed = seed
  return config


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
  config, workdir = _CONFIG.value, _WORKDIR.value
  if _SEEDS.value is None:
    train(config, {config.seed: workdir or default_workdir(config)})
    return
  workdirs = {}
  for seed in _seeds(_SEEDS.value):
    own = default_workdir(_with_seed(config, seed))
    workdirs[seed] = f'{workdir}-seed{seed}' if workdir else own
  train(config, workdirs)


def _seeds(given: Sequence[str]) -> list[int]:
  """The numbers of --seeds; ValueError unless they are some, each once."""
  if not given or not all(x.isdecimal() for x in given):
    raise ValueError(f'--seeds is {",".join(given)!r}; give numbers, as 0,1,2')
  seeds = [int(x) for x in given]
  if len(set(seeds)) < len(seeds):
    raise ValueError(f'--seeds is {",".join(given)!r}; give each once')
  return seeds


if __name__ == '__main__':
  cli.start(run, required=('config',))
