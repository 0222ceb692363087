"""What the runs of an experiment are, and how far each is.

Paper, sections 4.1 and 4.2 and appendix C: models x pixel-variances x seeds,
each run in a folder of its own. What came of them: `results`.
"""

from collections.abc import Mapping, Sequence
import json
import math
import pathlib
import shlex
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from cgqn_jax.files import read_json, write_json

# Of a workdir: what evaluate.py writes of the test split and of validation
# scenes, the curve over training, and the record of a trial.
METRICS, PER_SCENE = 'eval/metrics.json', 'eval/per_scene.npz'
VALIDATION = 'validation/metrics.json'
CURVE, TRIAL, DIVERGED = 'eval/curve.json', 'trial.json', 'diverged.json'


class Run(NamedTuple):
  """One training of an experiment.

  number: from 1, as `--run` takes it; seeds are the outermost order, so that
    more of them renumber nothing.
  variance: the last pixel-variance; None where the experiment leaves it alone.
  name: of its folder.
  flags: what experiments/train.py gets, but for --workdir.
  num_steps: of the run.
  trial: its number among the trials of its model, from 1; None for a run of
    the comparison itself.
  """

  number: int
  model: str
  variance: float | None
  seed: int
  name: str
  flags: tuple[str, ...]
  num_steps: int
  trial: int | None = None


class State(NamedTuple):
  """How far a run is.

  step: updates applied, as far as they were saved.
  finished: whether it is evaluated too.
  text: for people.
  diverged: whether its loss was not finite any more, which ended it.
  """

  step: int
  finished: bool
  text: str
  diverged: bool = False


def compared(config: ConfigDict) -> list[str]:
  """The names in config.compared; ValueError for one that is not there."""
  if 'compared' not in config:
    raise ValueError(
      '--config is of one run, which is no experiment; give '
      'configs/comparison.py or configs/dice_comparison.py'
    )
  names = [name.strip() for name in config.compared.split(',') if name.strip()]
  for name in names:
    if name not in config.models:
      raise ValueError(
        f'compared names {name!r}; config.models has {", ".join(config.models)}'
      )
  if not names or len(set(names)) < len(names):
    raise ValueError(
      f'compared is {config.compared!r}; it must name models, each once'
    )
  return names


def runs(
  config: ConfigDict,
  variances: Mapping[str, Sequence[float]],
  chosen: Mapping[str, str] | None = None,
) -> list[Run]:
  """All runs of an experiment, in the order of their numbers.

  Args:
    config: of configs/*comparison.py.
    variances: pixel_variance.values of each model's own config.
    chosen: overrides of each model, as `trials` chose them.
  """
  if config.num_steps < 1 or config.curve.points < 1:
    raise ValueError(
      f'num_steps is {config.num_steps} and curve.points '
      f'{config.curve.points}; both must be at least 1'
    )
  if len(set(config.seeds)) < max(1, len(config.seeds)):
    raise ValueError(f'seeds is {config.seeds}; give some, each once')
  found = []
  for seed in config.seeds:
    for variance in config.final_variances or (None,):
      for name in compared(config):
        schedule = () if variance is None else (*variances[name][:-1], variance)
        overrides = (chosen or {}).get(name, '')
        flags = command(config, name, seed, schedule, overrides)
        middle = '' if variance is None else f'-variance{variance:g}'
        folder = f'{name}{middle}-seed{seed}'
        found.append(
          Run(
            len(found) + 1,
            name,
            variance,
            seed,
            folder,
            flags,
            config.num_steps,
          )
        )
  return found


def command(
  config: ConfigDict,
  name: str,
  seed: int,
  schedule: Sequence[float],
  overrides: str,
) -> tuple[str, ...]:
  """The flags of one training.

  Args:
    config: of the experiment; num_steps and curve.points are of this run.
    name: of the model in config.models.
    seed: of the run.
    schedule: pixel_variance.values; () leaves them to the model.
    overrides: beyond those of the experiment and of the model.
  """
  every = math.ceil(config.num_steps / config.curve.points)
  entry = config.models[name]
  arguments = f':{entry.arguments}' if entry.arguments else ''
  fields = {
    'num_steps': config.num_steps,
    'seed': seed,
    # Every checkpoint is a point of the curve, and is validated.
    'checkpoint_every': every,
    'validate_every': every,
    'keep_checkpoints': 1000,
  }
  settings = [f'{key}={value}' for key, value in fields.items()]
  for text in (config.overrides, entry.overrides, overrides):
    settings += shlex.split(text)
  if schedule:
    values = ','.join(f'{value:g}' for value in schedule)
    settings.append(f'pixel_variance.values={values}')
  flags = [f'--config.{setting}' for setting in settings]
  return (f'--config={config.base}{arguments}', *flags)


def asked(config: ConfigDict, run: Run) -> dict[str, Any]:
  """What a finished run was made and evaluated with, as JSON gives it back."""
  settings = {'flags': run.flags, 'validation': on_validation(config)}
  if run.trial is None:
    settings['evaluation'] = config.evaluation.to_dict()
    settings['curve'] = config.curve.to_dict()
  return json.loads(json.dumps(settings))


def on_validation(config: ConfigDict) -> dict[str, Any]:
  """The flags of experiments/evaluate.py for validation scenes."""
  its = config.evaluation.to_dict() | config.validation.to_dict()
  return its | {'split': 'validation'}


def checkpoint_steps(workdir: pathlib.Path) -> list[int]:
  """The complete checkpoints of a run; a name without a number is none."""
  folder = workdir / 'checkpoints'
  names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
  return sorted(int(name) for name in names if name.isdigit())


def state(config: ConfigDict, run: Run, out: pathlib.Path) -> State:
  """How far a run is, from its folder alone."""
  workdir = out / run.name
  if not workdir.is_dir():
    return State(0, False, 'not started')
  step = max(checkpoint_steps(workdir), default=0)
  its, ended = asked(config, run), workdir / DIVERGED
  if step < run.num_steps:
    if ended.exists() and read_json(ended)['asked']['flags'] == its['flags']:
      return State(step, False, 'diverged: its loss was not finite', True)
    return State(step, False, f'update {step:,} of {run.num_steps:,}')
  needed = (METRICS, PER_SCENE, VALIDATION, CURVE)
  needed = needed if run.trial is None else (TRIAL,)
  if not all((workdir / name).exists() for name in needed):
    return State(step, False, 'trained, not evaluated')
  record = read_json(workdir / needed[-1])
  same = run.trial is not None or record.get('evaluated') == evaluated(workdir)
  if record['asked'] != its or not same:
    return State(step, False, 'trained or evaluated with other settings')
  return State(step, True, 'finished')


def evaluated(workdir: pathlib.Path) -> dict[str, Any]:
  """The protocols under which a run was evaluated last, by anyone."""
  names = [n for n in (METRICS, VALIDATION) if (workdir / n).exists()]
  return {name: read_json(workdir / name)['protocol'] for name in names}


def record_divergence(config: ConfigDict, run: Run, out: pathlib.Path) -> None:
  """Writes that a run ended because its loss was not finite any more."""
  write_json(out / run.name / DIVERGED, {'asked': asked(config, run)})


def read_curve(workdir: pathlib.Path) -> dict[str, Any]:
  """What `curve.write` wrote of a run."""
  return read_json(workdir / CURVE)
