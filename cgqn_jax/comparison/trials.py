"""The choice of settings: as many trials of each model, on validation scenes.

Baselines differ in what suits them, so each is tried with settings of its own;
a comparison is fair if all get as many tries, and if no test scene is seen
before the choice. Trials are short runs with a seed of their own.
"""

from collections.abc import Mapping, Sequence
import math
import pathlib
from typing import Any

from ml_collections import ConfigDict

from cgqn_jax.comparison import markdown
from cgqn_jax.comparison import runs as runs_lib
from cgqn_jax.comparison.runs import Run
from cgqn_jax.evaluation.metrics import best_of
from cgqn_jax.files import form_of, read_json, write_json

CHOSEN = 'chosen.json'  # of an experiment


def runs(
  config: ConfigDict, variances: Mapping[str, Sequence[float]]
) -> list[Run]:
  """All trials of an experiment, numbered from 1 in this order.

  Args:
    config: of configs/*comparison.py; models[name].trials are overrides.
    variances: pixel_variance.values of each model's own config.
  """
  runs_lib.check(config)
  names = runs_lib.compared(config)
  tried = {name: config.models[name].trials for name in names}
  _check(config, tried)
  variance = config.final_variances[0] if config.final_variances else None
  seed, num_steps = config.trials.seed, config.trials.num_steps
  found = []
  for trial in range(1, len(next(iter(tried.values()))) + 1):
    for name, overrides in tried.items():
      folder = f'trials/{name}-{trial}'
      run = Run(name, variance, seed, folder, num_steps, trial)
      flags = runs_lib.command(config, run, variances, overrides[trial - 1])
      found.append(run._replace(flags=flags))
  return found


def _check(config: ConfigDict, tried: Mapping[str, Sequence[str]]) -> None:
  """Raises a ValueError where the choice would not be fair, or possible."""
  if len({len(trials) for trials in tried.values()}) > 1:
    shown = ', '.join(f'{name} {len(tries)}' for name, tries in tried.items())
    raise ValueError(
      f'the numbers of trials differ, so the choice would not be fair: {shown}'
    )
  samples = runs_lib.on_validation(config)['num_samples']
  known = [f'best_of_{n}' for n in best_of(samples)]
  metric = config.trials.metric
  if metric.startswith('best_of_') and metric not in known:
    raise ValueError(
      f'trials.metric is {metric!r}; with validation.num_samples={samples} '
      f'there are {", ".join(known)}'
    )
  if config.trials.seed in config.seeds:
    raise ValueError(
      f'trials.seed is {config.trials.seed}, which is one of the runs that the '
      'choice is for'
    )
  for name, trials in tried.items() if config.final_variances else ():
    for overrides in trials:
      if 'pixel_variance' in overrides:
        raise ValueError(
          f'trial {overrides!r} of {name} sets the pixel-variance, and so do '
          'final_variances'
        )


def record(config: ConfigDict, run: Run, out: pathlib.Path) -> None:
  """Writes trial.json of a trial that is trained and evaluated."""
  workdir, metric = out / run.name, config.trials.metric
  path = workdir / runs_lib.VALIDATION
  metrics = runs_lib.read(path, 'metrics')
  if metric not in metrics:
    raise ValueError(
      f'trials.metric is {metric!r}; {workdir} has {", ".join(metrics)}'
    )
  trial = {
    'score': metrics[metric],
    'protocol': runs_lib.read(path, 'protocol'),
    'asked': runs_lib.asked(config, run),
  }
  write_json(workdir / runs_lib.TRIAL, trial)


def choose(
  config: ConfigDict, trials: Sequence[Run], out: pathlib.Path
) -> dict[str, Any]:
  """The best trial of each model, and all others; writes chosen.json.

  A trial that diverged counts as tried, with the worst of scores.

  Raises:
    ValueError: where a trial is missing, or all of a model diverged.
  """
  states = {run.name: runs_lib.state(config, run, out) for run in trials}
  ends = (runs_lib.FINISHED, runs_lib.LOST)
  unfinished = [name for name, state in states.items() if state not in ends]
  if unfinished:
    raise ValueError(
      f'{len(unfinished)} of {len(trials)} trials are not finished: '
      f'{", ".join(unfinished)}; the choice waits for them'
    )
  models: dict[str, Any] = {}
  for run in trials:
    score = None
    if states[run.name] == runs_lib.FINISHED:
      score = runs_lib.read(out / run.name / runs_lib.TRIAL, 'score')
    overrides = config.models[run.model].trials[run.trial - 1]
    models.setdefault(run.model, {'trials': []})['trials'].append(
      {'trial': run.trial, 'overrides': overrides, 'score': score}
    )
  for name, entry in models.items():
    best = min(entry['trials'], key=_score)
    if best['score'] is None:
      raise ValueError(f'all trials of {name} diverged; give it others')
    entry |= best
  chosen = {
    'metric': config.trials.metric,
    'num_steps': config.trials.num_steps,
    'validation': runs_lib.on_validation(config),
    'models': models,
  }
  out.mkdir(parents=True, exist_ok=True)
  write_json(out / CHOSEN, chosen)
  return chosen


def _score(trial: Mapping[str, Any]) -> float:
  score = trial['score']
  return math.inf if score is None or math.isnan(score) else score


def read(config: ConfigDict, out: pathlib.Path) -> dict[str, Any] | None:
  """chosen.json, None where settings were not chosen.

  Raises:
    ValueError: where it is not of these models and their trials.
  """
  path = out / CHOSEN
  if not path.exists():
    return None
  remedy = 'choose again with --tune, or take it away'
  chosen = read_json(path, remedy)
  for name in runs_lib.compared(config):
    with form_of(path, remedy):
      trials = chosen['models'].get(name, {'trials': []})['trials']
      tried = tuple(trial['overrides'] for trial in trials)
    if tried != tuple(config.models[name].trials):
      raise ValueError(
        f'{path} was not made with these trials of {name}; {remedy}'
      )
  return chosen


def overrides(chosen: Mapping[str, Any] | None) -> dict[str, str]:
  """The chosen ones of each model, as `runs.runs` takes them."""
  models = chosen['models'] if chosen else {}
  return {name: entry['overrides'] for name, entry in models.items()}


def table(chosen: Mapping[str, Any]) -> str:
  """Every trial in Markdown; says which of each model was chosen."""
  metric, spoken = chosen['metric'], chosen['metric'].replace('_', ' ')
  if metric.startswith('best_of'):
    head, scale, form = f'{spoken}, MSE x 1e-3', 1e3, '.3f'
  else:
    head, scale, form = f'{spoken}, nats', 1.0, '.2f'
  lines = []
  for name, entry in chosen['models'].items():
    for trial in entry['trials']:
      overrides, score = trial['overrides'], trial['score']
      lines.append(
        {
          'model': name,
          'trial': f'{trial["trial"]}',
          'settings': f'`{overrides}`' if overrides else "preset's own",
          head: 'diverged' if score is None else f'{score * scale:{form}}',
          'chosen': 'yes' if trial['trial'] == entry['trial'] else '',
        }
      )
  notes = (
    f'Runs of {chosen["num_steps"]:,} updates, schedules shortened with them; '
    f'the least {head}, on {chosen["validation"]["num_scenes"]} validation '
    'scenes is chosen. No test scene was looked at.'
  )
  return markdown.section('Choice of settings', lines, 3, notes)
