r"""Trains a model; the same command resumes it.

  python experiments/train.py --config=configs/narratives.py
  python experiments/train.py --config=configs/narratives.py:preset=small \
      --config.batch_size=8 --workdir=runs/mine

The workdir holds config.json, versions.json, metrics.jsonl (a row per logged
step), checkpoints/, images/ and tensorboard/. A dataset that is missing is
built first. --seeds=0,1,2 trains these seeds together, which takes less time
than one after the other; each leaves the workdir that it would leave alone. On
a cluster, start one process per host with --distributed; each reads its share
of every batch. Where the cluster does not say who is who, each also gets
--coordinator=host:port of process 0, --num_processes=N and --process_id=k.
"""

from cgqn_jax.training import preemption

if __name__ == '__main__':
  preemption.catch()  # before the imports, which take seconds

# ruff: noqa: E402
from collections.abc import Iterable, Sequence
import pathlib
import shlex

from absl import flags
import jax
from ml_collections import config_flags

from cgqn_jax import cli, fields, shipped
from cgqn_jax.data import sources
from cgqn_jax.training import cluster, loop, summary, workdir
from cgqn_jax.training.progress import say

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Config, with its arguments: configs/narratives.py:preset=...'
)
_WORKDIR = cli.path_flag(
  'workdir',
  None,
  'Folder of the run; by default runs/<dataset>-<model>-<preset>-seed<k>, and '
  "of one's own scenes with the name of their folder for the dataset.",
)
_BUILDING = 24 * 3600  # seconds that a dataset may take, while others wait
_SEEDS = flags.DEFINE_list(
  'seeds',
  None,
  'Train these seeds together, each in <workdir>-seed<k>, as if it were alone.',
)
_DISTRIBUTED = flags.DEFINE_bool(
  'distributed', False, 'Train together with the other processes of a cluster.'
)
_COORDINATOR = flags.DEFINE_string(
  'coordinator',
  None,
  'Of --distributed, where no cluster says it: host:port of process 0.',
)
_NUM_PROCESSES = flags.DEFINE_integer(
  'num_processes',
  None,
  'Of --coordinator: how many processes there are.',
  lower_bound=1,
)
_PROCESS_ID = flags.DEFINE_integer(
  'process_id', None, 'Of --coordinator: which is this one.', lower_bound=0
)


def run() -> None:
  """Reads the flags and trains, alone or as one process of a cluster."""
  given = (_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
  if _DISTRIBUTED.value:
    with cluster.joined(*given):
      stopped = _train()
  elif any(value is not None for value in given):
    raise ValueError(
      '--coordinator, --num_processes and --process_id are of --distributed; '
      'give it too, or leave them out'
    )
  else:
    stopped = _train()
  if stopped:
    raise cli.Stopped(stopped)


def _train() -> str | None:
  config = _CONFIG.value
  fields.check(config)  # which the name of the folder is made of
  sources.make_absolute(config)
  stem = workdir.default_stem(config)
  if _SEEDS.value is None:
    folder = _WORKDIR.value or f'{stem}-seed{config.seed}'
    workdirs = {config.seed: folder}
  else:
    stem = _WORKDIR.value or stem
    workdirs = {seed: f'{stem}-seed{seed}' for seed in _seeds(_SEEDS.value)}
  # Before a dataset is built for nothing.
  model = loop.check(config, workdirs)
  if jax.process_index() == 0:
    say(summary.plan(model, config, len(workdirs)))
    sources.build_missing(config)
  cluster.wait('dataset', _BUILDING)
  stopped = loop.train(model, config, workdirs)
  if not stopped and jax.process_index() == 0:
    _say_next(workdirs.values())
  return stopped


def _say_next(folders: Iterable[str | pathlib.Path]) -> None:
  """Prints the commands that come next."""
  sample = shipped.command('experiments/sample.py')
  evaluate = shipped.command('experiments/evaluate.py')
  for folder in folders:
    run = shlex.quote(str(folder))
    picture = shlex.quote(str(pathlib.Path(folder) / 'samples.png'))
    say(
      f'next: {sample} --workdir={run} --out={picture}\n'
      f'next: {evaluate} --workdir={run} --num_scenes=200 '
      '--num_samples=30'
    )


def _seeds(given: Sequence[str]) -> list[int]:
  """The numbers of --seeds; ValueError unless they are some, each once."""
  if not given or not all(x.isdecimal() for x in given):
    raise ValueError(f'--seeds is {",".join(given)!r}; give numbers, as 0,1,2')
  seeds = [int(x) for x in given]
  for seed in seeds:
    fields.check_value('seed', seed)
  if len(set(seeds)) < len(seeds):
    raise ValueError(f'--seeds is {",".join(given)!r}; give each once')
  return seeds


if __name__ == '__main__':
  cli.start(run, required=('config',), resumes=True)
