"""What the runs of an experiment are, and how far each is.

Paper, sections 4.1 and 4.2 and appendix C: models x pixel-variances x seeds,
each run in a folder of its own. What came of them: `results`.
"""

from collections.abc import Mapping, Sequence
import itertools
import json
import math
import pathlib
import shlex
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from cgqn_jax import fields
from cgqn_jax.files import form_of, read_json, write_json
from cgqn_jax.training.checkpoints import saved_steps

# Of a workdir: the scores on test and on validation scenes, the curve over
# training, the score of a trial, and the note that the loss was not finite.
METRICS, PER_SCENE = 'eval/metrics.json', 'eval/per_scene.npz'
VALIDATION = 'validation/metrics.json'
CURVE, TRIAL, DIVERGED = 'eval/curve.json', 'trial.json', 'diverged.json'
REMEDY = 'remove it, and experiments/compare.py writes it anew'
# What `state` says of runs with which nothing is left to do.
FINISHED, LOST = 'finished', 'diverged: its loss was not finite'


class Run(NamedTuple):
  """One training of an experiment.

  variance: the last pixel-variance; None where the experiment leaves it alone.
  name: of its folder.
  num_steps: updates.
  trial: its number among the trials of its model, from 1; None for a run of
    the comparison itself.
  flags: what experiments/train.py gets, but for --workdir.
  """

  model: str
  variance: float | None
  seed: int
  name: str
  num_steps: int
  trial: int | None = None
  flags: tuple[str, ...] = ()


def compared(config: ConfigDict) -> list[str]:
  """The names in config.compared; ValueError for one that is not there."""
  fields.check_experiment(config)
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
  """All runs of an experiment, numbered from 1 in this order.

  Seeds are the outermost order, so that more of them renumber nothing.

  Args:
    config: of configs/*comparison.py.
    variances: pixel_variance.values of each model's own config.
    chosen: overrides of each model, as `trials` chose them.
  """
  check(config)
  found = []
  for seed, variance, name in itertools.product(
    config.seeds, config.final_variances or (None,), compared(config)
  ):
    middle = '' if variance is None else f'-variance{variance:g}'
    folder = f'{name}{middle}-seed{seed}'
    run = Run(name, variance, seed, folder, config.num_steps)
    overrides = (chosen or {}).get(name, '')
    flags = command(config, run, variances, overrides)
    found.append(run._replace(flags=flags))
  return found


def check(config: ConfigDict) -> None:
  """Raises a ValueError where a run could not be made or evaluated."""
  fields.check_experiment(config)
  if len(set(config.seeds)) < len(config.seeds):
    raise ValueError(f'seeds is {config.seeds}; give each once')


def command(
  config: ConfigDict,
  run: Run,
  variances: Mapping[str, Sequence[float]],
  overrides: str,
) -> tuple[str, ...]:
  """The flags of one training.

  Args:
    config: of the experiment.
    run: whose flags they are.
    variances: pixel_variance.values of each model's own config; the last
      gives way to the run's, if it has one.
    overrides: beyond those of the experiment and of the model.
  """
  entry = config.models[run.model]
  arguments = f':{entry.arguments}' if entry.arguments else ''
  # Every checkpoint is a point of the curve, and is validated.
  points = config.curve.points if run.trial is None else 1
  every = math.ceil(run.num_steps / points)
  settings = [
    f'num_steps={run.num_steps}',
    f'seed={run.seed}',
    f'checkpoint_every={every}',
    f'validate_every={every}',
    'keep_checkpoints=1000',
  ]
  for text in (config.overrides, entry.overrides, overrides):
    settings += shlex.split(text)
  if run.variance is not None:
    values = (*variances[run.model][:-1], run.variance)
    shown = ','.join(f'{v:g}' for v in values)
    settings.append(f'pixel_variance.values={shown}')
  flags = [f'--config.{setting}' for setting in settings]
  return (f'--config={config.base}{arguments}', *flags)


def on_validation(config: ConfigDict) -> dict[str, Any]:
  """The settings of an evaluation on validation scenes."""
  settings = config.evaluation.to_dict() | config.validation.to_dict()
  return settings | {'split': 'validation'}


def asked(config: ConfigDict, run: Run) -> dict[str, Any]:
  """What a finished run was made and evaluated with, as JSON gives it back."""
  settings = {'flags': run.flags, 'validation': on_validation(config)}
  if run.trial is None:
    settings['evaluation'] = config.evaluation.to_dict()
    settings['curve'] = config.curve.to_dict()
  return json.loads(json.dumps(settings))


def read(path: pathlib.Path, *fields: str) -> Any:
  """A record of a run, or what `fields` lead to in it.

  Raises:
    ValueError: in one line, where it is damaged or of another form.
  """
  value = read_json(path, REMEDY)
  with form_of(path, REMEDY):
    for field in fields:
      value = value[field]
  return value


def evaluated(workdir: pathlib.Path) -> dict[str, Any]:
  """The protocols under which a run was evaluated last, by anyone."""
  names = [n for n in (METRICS, VALIDATION) if (workdir / n).exists()]
  return {name: read(workdir / name, 'protocol') for name in names}


def state(config: ConfigDict, run: Run, out: pathlib.Path) -> str:
  """How far a run is, in words, from its folder alone.

  A run is FINISHED, or LOST for good, if the record that was written last says
  that it was made with what is asked now; else something is left to do.
  """
  workdir = out / run.name
  if not workdir.is_dir():
    return 'not started'
  now = asked(config, run)
  step = max(saved_steps(workdir / 'checkpoints'), default=0)
  if step < run.num_steps:
    lost = workdir / DIVERGED
    if lost.exists() and read(lost, 'asked', 'flags') == now['flags']:
      return LOST
    return f'update {step:,} of {run.num_steps:,}'
  needed = (METRICS, PER_SCENE, VALIDATION, CURVE)
  if run.trial is not None:
    needed = (TRIAL,)
  if not all((workdir / name).exists() for name in needed):
    return 'trained, not evaluated'
  record = workdir / needed[-1]
  same = read(record, 'asked') == now
  if run.trial is None:  # and nobody has evaluated it otherwise since
    same = same and read(record).get('evaluated') == evaluated(workdir)
  return FINISHED if same else 'trained or evaluated with other settings'


def record_divergence(config: ConfigDict, run: Run, out: pathlib.Path) -> None:
  """Writes that a run ended because its loss was not finite any more."""
  write_json(out / run.name / DIVERGED, {'asked': asked(config, run)})


def read_curve(workdir: pathlib.Path) -> dict[str, Any]:
  """What `scores.write_curve` wrote of a run."""
  return read(workdir / CURVE)
