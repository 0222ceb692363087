r"""A whole experiment of many runs as one command; the same command resumes it.

  python experiments/compare.py --config=configs/dice_comparison.py \
      --out=runs/dice_comparison

Trains and evaluates models x pixel-variances x seeds one after the other, each
in a process and a workdir <out>/<model>-<variant>-seed<k> of its own, then
writes <out>/runs.jsonl (a row per run) and <out>/table.md. Finished runs are
passed over; a run that fails is named, and the others go on. --list shows the
runs.

With --together, the seeds of a model and variance are trained in one process
(train.py --seeds), which takes less time; they are evaluated one by one.

With --tune, beforehand: trials of settings in <out>/trials, as many of each
model, on validation scenes; what they choose is in <out>/chosen.json, and the
runs take it from there. --list, --run and --summary go with it.

On a cluster each is a job of its own (SLURM; --list says how many there are):

  sbatch --array=1-32 --gres=gpu:1 --signal=TERM@120 --wrap 'srun python \
      experiments/compare.py --config=configs/dice_comparison.py \
      --out=runs/dice_comparison --run=$SLURM_ARRAY_TASK_ID'

and --summary, afterwards, makes the tables of what is there. If the runs read
a dataset, build it first: datasets/build.py.
"""

from cgqn_jax.training import preemption

if __name__ == '__main__':
  preemption.catch()  # before the imports, which take seconds

# ruff: noqa: E402
import pathlib
import shlex
import signal
import subprocess
import sys
import time
from types import FrameType

from absl import flags
from ml_collections import ConfigDict, config_flags

from cgqn_jax import cli, files, shipped
from cgqn_jax.comparison import results, scores, tables, trials
from cgqn_jax.comparison import runs as runs_lib
from cgqn_jax.comparison.runs import Run
from cgqn_jax.data import sources
from cgqn_jax.training import loop, summary
from cgqn_jax.training import workdir as workdir_lib
from cgqn_jax.training.checkpoints import saved_steps
from cgqn_jax.training.progress import say

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Experiment: configs/dice_comparison.py:preset=...'
)
_OUT = cli.path_flag('out', None, 'Folder of the experiment.')
_LIST = flags.DEFINE_bool('list', False, 'Only list the runs, and how far.')
_RUN = flags.DEFINE_integer('run', None, 'Only this one, as --list numbers.')
_SUMMARY = flags.DEFINE_bool('summary', False, 'Only the tables.')
_TUNE = flags.DEFINE_bool(
  'tune', False, 'Choose settings: trials, on validation scenes alone.'
)
_TOGETHER = flags.DEFINE_bool(
  'together', False, 'Train the seeds of a model and variance in one process.'
)


def plan(config: ConfigDict, out: pathlib.Path) -> list[Run]:
  """The runs of an experiment, or with --tune its trials."""
  names = runs_lib.compared(config)
  variances = {name: variances_of(config, name) for name in names}
  if _TUNE.value:
    return trials.runs(config, variances)
  chosen = trials.overrides(trials.read(config, out))
  if chosen:
    print(f'settings chosen by trials, from {out / trials.CHOSEN}:')
  for name in names if chosen else ():
    print(f'  {name}: {chosen[name] or "the preset as it is"}')
  return runs_lib.runs(config, variances, chosen)


def variances_of(config: ConfigDict, name: str) -> tuple[float, ...]:
  """pixel_variance.values of a model's own config."""
  try:
    base = cli.config_file(config.base)
  except ValueError as error:
    raise ValueError(f'base: {error}') from error
  own = cli.load_config(f'{base}:{config.models[name].arguments}')
  if 'pixel_variance' not in own:
    raise ValueError(f'base is {config.base!r}, which is no config of one run')
  return own.pixel_variance['values']


def execute(config: ConfigDict, run: Run, out: pathlib.Path) -> None:
  """Trains and evaluates one run or trial, from where it stands."""
  workdir, own = out / run.name, cli.read_config(run.flags)
  workdirs = {run.seed: str(workdir)}
  model = loop.check(own, workdirs)  # before a dataset is built for nothing
  say(summary.plan(model, own))
  sources.build_missing(own)
  try:
    loop.train(model, own, workdirs)
  except FloatingPointError:
    runs_lib.record_divergence(config, run, out)
    raise
  step = max(saved_steps(workdir / 'checkpoints'), default=0)
  if step < run.num_steps:
    raise cli.Stopped(f'{run.name} at update {step:,} of {run.num_steps:,}')
  scores.evaluate_run(workdir, runs_lib.asked(config, run))
  if run.trial is not None:
    trials.record(config, run, out)


def execute_all(
  config: ConfigDict, runs: list[Run], out: pathlib.Path
) -> list[str]:
  """Every unfinished run, each as `--run` does it; the names that failed."""
  ends = (runs_lib.FINISHED, runs_lib.LOST)
  todo = {
    number: run
    for number, run in enumerate(runs, 1)
    if runs_lib.state(config, run, out) not in ends
  }
  if _TOGETHER.value:
    train_together(list(todo.values()), out)
  before, failed, times = len(runs) - len(todo), [], []
  for place, (number, run) in enumerate(todo.items()):
    notes = [f'{before + len(times)} finished']
    notes += [f'{len(failed)} failed'] if failed else []
    if times:
      minutes = sum(times) / len(times) * (len(todo) - place) / 60
      notes.append(f'about {minutes:.0f} min left')
    where = f'run {number} of {len(runs)}: {run.name}'
    print(f'== {where} ({", ".join(notes)})', flush=True)
    start = time.monotonic()
    try:
      call('compare.py', [*sys.argv[1:], f'--run={number}'])
      times.append(time.monotonic() - start)
    except subprocess.CalledProcessError:
      failed.append(run.name)
      print(f'== {where} failed; its error stands above', flush=True)
  return failed


def train_together(runs: list[Run], out: pathlib.Path) -> None:
  """Trains runs that differ in their seed alone by one train.py --seeds.

  What comes of it is what `execute` would leave; it takes it from there.
  """
  groups: dict[str, list[Run]] = {}
  for run in runs:
    stem = run.name.removesuffix(f'-seed{run.seed}')
    groups.setdefault(stem, []).append(run)
  for stem, group in groups.items():
    if len(group) == 1:
      continue  # `execute` does as well alone
    seeds = ','.join(str(run.seed) for run in group)
    common = [f for f in group[0].flags if not f.startswith('--config.seed=')]
    print(f'== {stem}: training seeds {seeds} together', flush=True)
    try:
      call('train.py', [*common, f'--seeds={seeds}', f'--workdir={out / stem}'])
    except subprocess.CalledProcessError:
      print(f'== {stem} failed; its seeds follow one by one', flush=True)


def call(script: str, arguments: list[str]) -> None:
  """Runs one of our programs to its end; subprocess.CalledProcessError.

  In a process of its own, so that none holds the accelerator while another
  works. Signals are passed on, but Ctrl-C, which reaches it anyway; it saves,
  and then we stop.
  """
  path = pathlib.Path(__file__).parent / script
  command = [sys.executable, str(path), *arguments]
  signals: list[int] = []

  def note(number: int, frame: FrameType | None) -> None:
    del frame
    signals.append(number)
    if number != signal.SIGINT:
      process.send_signal(number)

  process = subprocess.Popen(command, **preemption.child())
  numbers = preemption.wanted()
  previous = {number: signal.signal(number, note) for number in numbers}
  try:
    code = process.wait()
  finally:
    for number, handler in previous.items():
      signal.signal(number, handler)
  if signals:
    raise cli.Stopped(signal.Signals(signals[0]).name)
  if code:
    raise subprocess.CalledProcessError(code, command)


def summarise(config: ConfigDict, runs: list[Run], out: pathlib.Path) -> None:
  """Writes rows and tables of the finished runs, and names the others."""
  states = {run.name: runs_lib.state(config, run, out) for run in runs}
  finished = [run for run in runs if states[run.name] == runs_lib.FINISHED]
  lost = [run for run in runs if states[run.name] == runs_lib.LOST]
  if not finished:
    raise ValueError(f'none of the {len(runs)} runs in {out} is finished')
  missing = {
    name: state for name, state in states.items() if state != runs_lib.FINISHED
  }
  rows = results.choose(
    [results.row(run, out) for run in finished],
    config.chosen_share,
    config.chosen_from,
    lost,
  )
  curves = {run.name: runs_lib.read_curve(out / run.name) for run in finished}
  scenes = {
    run.name: results.read_per_scene(out / run.name) for run in finished
  }
  text, summary = tables.tables(rows, curves, [run.model for run in lost])
  apart, differences = tables.difference_table(rows, scenes)
  chosen = trials.read(config, out)
  program = shipped.command('experiments/compare.py')
  command = f'{program} {shlex.join(sys.argv[1:])}'
  head = [f'{len(finished)} of {len(runs)} runs are finished.']
  head += [f'missing: {name}: {state}' for name, state in missing.items()]
  parts = [f'`{command}`', '\n'.join(head), text, apart]
  parts += [trials.table(chosen)] if chosen else []
  text = '\n\n'.join(parts)
  results.write_rows(out, rows)
  files.replace_text(out / 'table.md', text + '\n')
  result = {
    'config': config.to_dict(),
    'runs': [run.name for run in runs],
    'missing': missing,
    'summary': summary,
    'differences': differences,
    'chosen': chosen,
  }
  files.write_json(out / 'comparison.json', result)
  print(f'{text}\n\nwrote {out}/table.md, runs.jsonl and comparison.json')


def run() -> None:
  """Reads the flags and does what they say."""
  config, out = _CONFIG.value, _OUT.value
  runs = plan(config, out)
  if _LIST.value:
    width = max(len(run.name) for run in runs)
    for number, run in enumerate(runs, 1):
      state = runs_lib.state(config, run, out)
      print(f'{number:4}  {run.name:{width}}  {state}')
    return
  files.try_folder(out)
  if _RUN.value is not None:
    if not 1 <= _RUN.value <= len(runs):
      raise ValueError(
        f'there is no run {_RUN.value}; --list shows them, 1 to {len(runs)}'
      )
    execute(config, runs[_RUN.value - 1], out)
    return
  if _SUMMARY.value:
    failed = []
  else:
    with workdir_lib.locked(out):
      failed = execute_all(config, runs, out)
  if _TUNE.value:
    print(trials.table(trials.choose(config, runs, out)))
    print(f'\nwrote {out / trials.CHOSEN}; without --tune, the runs take it')
  else:
    summarise(config, runs, out)
  if failed:
    sys.exit(f'error: {len(failed)} runs failed: {", ".join(failed)}')


if __name__ == '__main__':
  cli.start(run, required=('config', 'out'), resumes=True)
