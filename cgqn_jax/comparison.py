"""Several runs as one experiment: what they are, how far, what came of them.

Paper, sections 4.1 and 4.2 and appendix C: models x pixel-variances x seeds,
each run in a folder of its own. Runs are chosen ('best 2 of 4') by their loss
on validation scenes and reported on test scenes.
"""

from collections.abc import Iterable, Mapping, Sequence
import json
import math
import pathlib
import shlex
from typing import Any, NamedTuple

from ml_collections import ConfigDict
import numpy as np

from cgqn_jax.reporting import read_metrics
from cgqn_jax.workdir import replace_text

METRICS, CURVE = 'eval/metrics.json', 'eval/curve.json'  # of a workdir
_BOOTSTRAPS = 10_000


class Run(NamedTuple):
  """One training of an experiment.

  number: from 1, as `--run` takes it; seeds are the outermost order, so that
    more of them renumber nothing.
  variance: the last pixel-variance; None where the experiment leaves it alone.
  name: of its folder.
  flags: what experiments/train.py gets, but for --workdir.
  """

  number: int
  model: str
  variance: float | None
  seed: int
  name: str
  flags: tuple[str, ...]


class State(NamedTuple):
  """How far a run is: `step` updates; `finished` once it is evaluated too."""

  step: int
  finished: bool
  text: str


def base(preset: str, config_file: str) -> ConfigDict:
  """The fields of every experiment; configs/*comparison.py fill them in."""
  config = ConfigDict()
  config.preset = preset
  config.base = config_file  # of all runs
  config.models = ConfigDict()  # name -> arguments of `base`, and overrides
  config.compared = ''  # names of these, 'cgqn,gqn'
  config.seeds = (0, 1, 2)
  # Variants that differ in the last of pixel_variance.values alone; () leaves
  # it as each model has it.
  config.final_variances = ()
  config.num_steps = 400_000
  # As on the command line of train.py without the '--config.', for all runs:
  # 'data.source=simulator batch_size=8'.
  config.overrides = ''
  # The share of a model's runs that counts as its best, from so many runs on.
  config.chosen_share = 0.5
  config.chosen_from = 1

  # The flags of experiments/evaluate.py.
  config.evaluation = ConfigDict()
  config.evaluation.split = 'test'
  config.evaluation.step = 'latest'  # equal updates
  config.evaluation.num_scenes = 1000
  config.evaluation.num_samples = 100
  config.evaluation.num_draws = 16
  config.evaluation.batch_size = 10
  config.evaluation.seed = 0

  # Of the curves over training: a point a checkpoint, on the same split.
  config.curve = ConfigDict()
  config.curve.points = 8
  config.curve.num_scenes = 1000
  config.curve.num_samples = 30  # of videos
  config.curve.num_draws = 4
  return config


def model(arguments: str, overrides: str = '') -> ConfigDict:
  """An entry of config.models."""
  return ConfigDict({'arguments': arguments, 'overrides': overrides})


def compared(config: ConfigDict) -> list[str]:
  """The names in config.compared; ValueError for one that is not there."""
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
  config: ConfigDict, variances: Mapping[str, Sequence[float]]
) -> list[Run]:
  """All runs of an experiment, in the order of their numbers.

  Args:
    config: of configs/*comparison.py.
    variances: pixel_variance.values of each model's own config.
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
        flags = _flags(config, name, seed, variance, variances[name])
        middle = '' if variance is None else f'-variance{variance:g}'
        folder = f'{name}{middle}-seed{seed}'
        found.append(
          Run(len(found) + 1, name, variance, seed, folder, tuple(flags))
        )
  return found


def _flags(
  config: ConfigDict,
  name: str,
  seed: int,
  variance: float | None,
  values: Sequence[float],
) -> list[str]:
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
  settings += shlex.split(config.overrides) + shlex.split(entry.overrides)
  if variance is not None:
    schedule = ','.join(f'{value:g}' for value in (*values[:-1], variance))
    settings.append(f'pixel_variance.values={schedule}')
  flags = [f'--config.{setting}' for setting in settings]
  return [f'--config={config.base}{arguments}', *flags]


def asked(config: ConfigDict, run: Run) -> dict[str, Any]:
  """What a finished run was made and evaluated with, as JSON gives it back."""
  settings = {
    'flags': run.flags,
    'evaluation': config.evaluation.to_dict(),
    'curve': config.curve.to_dict(),
  }
  return json.loads(json.dumps(settings))


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
  if step < config.num_steps:
    return State(step, False, f'update {step:,} of {config.num_steps:,}')
  if not (workdir / CURVE).exists():
    return State(step, False, 'trained, not evaluated')
  if read_curve(workdir)['asked'] != asked(config, run):
    return State(step, False, 'trained or evaluated with other settings')
  return State(step, True, 'finished')


def read_curve(workdir: pathlib.Path) -> dict[str, Any]:
  """What `checkpoint_curve` wrote of a run."""
  return read_json(workdir / CURVE)


def read_json(path: pathlib.Path) -> Any:
  """ValueError, one line, where there is no such JSON."""
  try:
    return json.loads(path.read_text('utf-8'))
  except (OSError, ValueError) as error:
    raise ValueError(f'{path} cannot be read as JSON: {error}') from error


def row(run: Run, out: pathlib.Path) -> dict[str, Any]:
  """All of a finished run as one flat row of runs.jsonl."""
  workdir = out / run.name
  result, curve = read_json(workdir / METRICS), read_curve(workdir)
  protocol, metrics = result['protocol'], dict(result['metrics'])
  errors = metrics.pop('standard_errors', {})
  validated = {
    line['step']: line['loss'] for line in read_metrics(workdir, 'validation')
  }
  return {
    'run': run.name,
    'model': run.model,
    'variance': run.variance or protocol['pixel_variance'],
    'seed': run.seed,
    'num_steps': curve['num_steps'],
    'train_seconds': curve['points'][-1]['train_seconds'],
    'parameters': curve['parameters'],
    'flops_per_update': curve['flops_per_update'],
    'validation_loss': validated.get(protocol['step']),
    **metrics,
    **{f'error_{name}': value for name, value in errors.items()},
    **{f'protocol_{name}': value for name, value in protocol.items()},
    'date': result['date'],
    **{f'version_{name}': its for name, its in result['versions'].items()},
  }


def choose(
  rows: Iterable[Mapping[str, Any]], share: float, least: int
) -> list[dict[str, Any]]:
  """The rows, each with `chosen`: whether it is among its group's best.

  The best are those of the lowest validation loss; none are where a group
  has fewer than `least` runs.
  """
  rows = [dict(its) for its in rows]
  for group in groups(rows).values():
    ranked = sorted(group, key=_validation_loss)
    count = math.floor(share * len(ranked) + 1e-9)
    count = max(1, count) if len(ranked) >= least else 0
    for place, its in enumerate(ranked):
      its['chosen'] = place < count
  return rows


def _validation_loss(its: Mapping[str, Any]) -> float:
  """A loss that is unknown or was not finite ranks last."""
  loss = its['validation_loss']
  return math.inf if loss is None else loss


def groups(
  rows: Iterable[Mapping[str, Any]],
) -> dict[tuple[float, str], list[Any]]:
  """Rows by (pixel-variance, model), both in the order of appearance."""
  found: dict[tuple[float, str], list[Any]] = {}
  for its in rows:
    found.setdefault((its['variance'], its['model']), []).append(its)
  order = list(dict.fromkeys(variance for variance, _ in found))
  return dict(sorted(found.items(), key=lambda item: order.index(item[0][0])))


def write_rows(out: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
  """Writes <out>/runs.jsonl."""
  text = ''.join(json.dumps(its) + '\n' for its in rows)
  replace_text(out / 'runs.jsonl', text)


def read_rows(out: pathlib.Path) -> list[dict[str, Any]]:
  """Reads it; ValueError says what to run where it is not there."""
  path = out / 'runs.jsonl'
  if not path.exists():
    raise ValueError(
      f'{path} does not exist; experiments/compare.py --out={out} writes it'
    )
  return [json.loads(line) for line in path.read_text('utf-8').splitlines()]


def interval(values: Sequence[float]) -> tuple[float, float]:
  """95 % bootstrap interval of the mean over runs."""
  rng = np.random.default_rng(0)
  drawn = rng.choice(np.asarray(values), (_BOOTSTRAPS, len(values)))
  low, high = np.quantile(drawn.mean(1), (0.025, 0.975))
  return float(low), float(high)


def deviation(values: Sequence[float]) -> float | None:
  """Standard deviation over runs, of the sample; None for a single one."""
  return float(np.std(values, ddof=1)) if len(values) > 1 else None
