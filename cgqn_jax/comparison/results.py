"""What came of the runs of an experiment: their rows, and which are best.

Paper, section 4.1: runs are chosen ('best 30 %') by their loss on validation
scenes and reported on test scenes. What the runs are: `runs`.
"""

from collections.abc import Iterable, Mapping, Sequence
import math
import pathlib
from typing import Any

import numpy as np

from cgqn_jax.comparison.runs import (
  METRICS,
  PER_SCENE,
  VALIDATION,
  Run,
  read_curve,
)
from cgqn_jax.config import DETERMINISTIC
from cgqn_jax.evaluation.videos import best_metric
from cgqn_jax.files import read_json, read_jsonl, write_jsonl
from cgqn_jax.training.metrics_log import read_metrics

COLLAPSED = 0.1  # nats
BUDGETS = ('updates', 'seconds', 'FLOPs')


def row(run: Run, out: pathlib.Path) -> dict[str, Any]:
  """All of a finished run as one flat row of runs.jsonl."""
  workdir = out / run.name
  result, curve = read_json(workdir / METRICS), read_curve(workdir)
  protocol, metrics = result['protocol'], dict(result['metrics'])
  validation = read_json(workdir / VALIDATION)['metrics']
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
    # What says whether the run has failed.
    **{
      f'validation_{name}': value
      for name, value in validation.items()
      if name.startswith(('best_of_', 'copy_last_frame', 'negative_elbo'))
      or name == 'kl'
    },
    **{f'error_{name}': value for name, value in errors.items()},
    'protocol_task': _task(metrics),
    **{f'protocol_{name}': value for name, value in protocol.items()},
    'date': result['date'],
    **{f'version_{name}': its for name, its in result['versions'].items()},
  }


def read_per_scene(workdir: pathlib.Path) -> dict[str, np.ndarray]:
  """What evaluate.py wrote of each test scene, by `example_id` [V]."""
  with np.load(workdir / PER_SCENE) as arrays:
    return dict(arrays)


def failure(its: Mapping[str, Any]) -> str | None:
  """Why a run has failed, None if it has not.

  The rule was fixed before any run, and looks at validation scenes alone: the
  KL of a model with a latent is below 0.1 nats, or the best of its samples is
  worse than repeating the last frame seen.
  """
  kl, copy = its['validation_kl'], its.get('validation_copy_last_frame')
  if its['protocol_model'] not in DETERMINISTIC and kl < COLLAPSED:
    return f'KL {kl:.3f}'
  validation = {
    name.removeprefix('validation_'): value
    for name, value in its.items()
    if name.startswith('validation_')
  }
  if copy is not None and validation[best_metric([validation])] > copy:
    return 'worse than copying'
  return None


def choose(
  rows: Iterable[Mapping[str, Any]],
  share: float,
  least: int,
  diverged: Sequence[Run] = (),
) -> list[dict[str, Any]]:
  """The rows, each with `chosen`: whether it is among its group's best.

  The best are those of the lowest validation loss; none are where a group
  has fewer than `least` runs. Those that diverged count as runs and are not
  among the best: the share is of all that were started.
  """
  rows = [dict(its) for its in rows]
  for (variance, model), group in groups(rows).items():
    ranked = sorted(group, key=_validation_loss)
    runs = len(group) + sum(
      its.model == model and its.variance in (None, variance)
      for its in diverged
    )
    count = math.floor(share * runs + 1e-9)
    count = max(1, count) if runs >= least else 0
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
  write_jsonl(out / 'runs.jsonl', rows)


def read_rows(out: pathlib.Path) -> list[dict[str, Any]]:
  """Reads it; ValueError says what to run where it is not there."""
  path = out / 'runs.jsonl'
  if not path.exists():
    raise ValueError(
      f'{path} does not exist; experiments/compare.py --out={out} writes it'
    )
  # Versions before 0.2 did not write the task.
  return [{'protocol_task': _task(its)} | its for its in read_jsonl(path)]


def _task(metrics: Mapping[str, Any]) -> str:
  return 'dice' if 'kl_1' in metrics else 'videos'


def curve_headline(curves: Mapping[str, Mapping[str, Any]]) -> str:
  """As `videos.best_metric`, of the points of curves."""
  return best_metric([curve['points'][-1] for curve in curves.values()])


def costs(curve: Mapping[str, Any], kind: str) -> list[float | None]:
  """What each point of a curve cost, in updates, seconds or FLOPs."""
  points = curve['points']
  if kind == 'seconds':
    return [point['train_seconds'] for point in points]
  scale = curve['flops_per_update'] if kind == 'FLOPs' else 1
  return [point['step'] * scale for point in points]


def at_budget(
  curve: Mapping[str, Any], kind: str, budget: float
) -> Mapping[str, Any] | None:
  """The last point that costs no more; None where all do."""
  spent = costs(curve, kind)
  within = [
    p for p, c in zip(curve['points'], spent, strict=True) if c <= budget
  ]
  return within[-1] if within else None
