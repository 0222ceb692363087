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
from cgqn_jax.evaluation import metrics
from cgqn_jax.files import read_json, write_json

CHOSEN = 'chosen.json'  # of an experiment


def runs(
  config: ConfigDict, variances: Mapping[str, Sequence[float]]
) -> list[Run]:
  """All trials of an experiment, in the order of their numbers.

  Args:
    config: of configs/*comparison.py; models[name].trials are overrides.
    variances: pixel_variance.values of each model's own config.
  """
  names = runs_lib.compared(config)
  counts = {name: len(config.models[name].trials) for name in names}
  if len(set(counts.values())) > 1:
    shown = ', '.join(f'{name} {count}' for name, count in counts.items())
    raise ValueError(
      f'the numbers of trials differ, so the choice would not be fair: {shown}'
    )
  samples = runs_lib.on_validation(config)['num_samples']
  known = [f'best_of_{n}' for n in metrics.best_of(samples)]
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
  short = config.copy_and_resolve_references().unlock()
  short.num_steps, short.curve.points = config.trials.num_steps, 1
  variance = config.final_variances[0] if config.final_variances else None
  found = []
  for trial in range(counts[names[0]]):
    for name in names:
      overrides = config.models[name].trials[trial]
      if variance is not None and 'pixel_variance' in overrides:
        raise ValueError(
          f'trial {overrides!r} of {name} sets the pixel-variance, and so do '
          'final_variances'
        )
      schedule = () if variance is None else (*variances[name][:-1], variance)
      flags = runs_lib.command(
        short, name, config.trials.seed, schedule, overrides
      )
      found.append(
        Run(
          len(found) + 1,
          name,
          variance,
          config.trials.seed,
          f'trials/{name}-{trial + 1}',
          flags,
          short.num_steps,
          trial + 1,
        )
      )
  return found


def record(config: ConfigDict, run: Run, out: pathlib.Path) -> None:
  """Writes trial.json of a trial that is trained and evaluated."""
  workdir = out / run.name
  result = read_json(workdir / runs_lib.VALIDATION)
  metrics, metric = result['metrics'], config.trials.metric
  if metric not in metrics:
    raise ValueError(
      f'trials.metric is {metric!r}; {workdir} has {", ".join(metrics)}'
    )
  its = {
    'score': metrics[metric],
    'protocol': result['protocol'],
    'asked': runs_lib.asked(config, run),
  }
  write_json(workdir / runs_lib.TRIAL, its)


def choose(
  config: ConfigDict, trials: Sequence[Run], out: pathlib.Path
) -> dict[str, Any]:
  """The best trial of each model, and all others; writes chosen.json.

  A trial that diverged counts as tried, with the worst of scores.

  Raises:
    ValueError: where a trial is missing, or all of a model diverged.
  """
  states = {run.name: runs_lib.state(config, run, out) for run in trials}
  open_ = [n for n, its in states.items() if not its.finished | its.diverged]
  if open_:
    raise ValueError(
      f'{len(open_)} of {len(trials)} trials are not finished: '
      f'{", ".join(open_)}; the choice waits for them'
    )
  models: dict[str, Any] = {}
  for run in trials:
    its = {
      'trial': run.trial,
      'overrides': config.models[run.model].trials[run.trial - 1],
      'score': None,
    }
    if not states[run.name].diverged:
      path = out / run.name / runs_lib.TRIAL
      its['score'] = read_json(path)['score']
    models.setdefault(run.model, {'trials': []})['trials'].append(its)
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
  chosen = read_json(path)
  for name in runs_lib.compared(config):
    its = chosen['models'].get(name)
    tried = [trial['overrides'] for trial in its['trials']] if its else []
    if tried != list(config.models[name].trials):
      raise ValueError(
        f'{path} was not made with these trials of {name}; choose again with '
        '--tune, or take it away'
      )
  return chosen


def overrides(chosen: Mapping[str, Any] | None) -> dict[str, str]:
  """Those of each model, as `runs.runs` takes them."""
  models = chosen['models'] if chosen else {}
  return {name: its['overrides'] for name, its in models.items()}


def table(chosen: Mapping[str, Any]) -> str:
  """Every trial in Markdown; says which of each model was chosen."""
  metric, its = chosen['metric'], chosen['validation']
  scale, form = (1e3, '.3f') if metric.startswith('best_of') else (1.0, '.2f')
  lines = []
  for name, entry in chosen['models'].items():
    for trial in entry['trials']:
      score = trial['score']
      lines.append(
        [
          name,
          f'{trial["trial"]}',
          f'`{trial["overrides"]}`' if trial['overrides'] else "preset's own",
          'diverged' if score is None else f'{score * scale:{form}}',
          'yes' if trial['trial'] == entry['trial'] else '',
        ]
      )
  spoken = metric.replace('_', ' ')
  spoken += ', MSE x 1e-3' if metric.startswith('best_of') else ', nats'
  notes = (
    f'Runs of {chosen["num_steps"]:,} updates, schedules shortened with them; '
    f'the least {spoken}, on {its["num_scenes"]} validation scenes is chosen. '
    'No test scene was looked at.'
  )
  heads = ['model', 'trial', 'settings', spoken, 'chosen']
  title = '### Choice of settings'
  return '\n\n'.join([title, markdown.table(heads, lines, 3), notes])
