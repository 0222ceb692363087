"""What came of the runs of an experiment: their rows, and which are best.

Paper, section 4.1: runs are chosen ('best 30 %') by their loss on validation
scenes and reported on test scenes. What the runs are: `runs`.
"""

from collections.abc import Iterable, Mapping, Sequence
import math
import pathlib
from typing import Any

import numpy as np

from cgqn_jax.comparison import runs as runs_lib
from cgqn_jax.comparison.runs import Run
from cgqn_jax.config import DETERMINISTIC
from cgqn_jax.evaluation.videos import best_metric
from cgqn_jax.files import form_of, read_jsonl, read_npz, write_jsonl
from cgqn_jax.training.metrics_log import read_metrics

COLLAPSED = 0.1  # nats
# Of a row of runs.jsonl: those that tables and figures look at by name.
_FIELDS = (
  'run', 'model', 'variance', 'seed', 'validation_loss', 'chosen',
  'protocol_dataset', 'protocol_frame_size',
)  # fmt: skip
BUDGETS = ('updates', 'seconds', 'FLOPs')


def row(run: Run, out: pathlib.Path) -> dict[str, Any]:
  """All of a finished run as one flat row of runs.jsonl."""
  workdir = out / run.name
  result = runs_lib.read(workdir / runs_lib.METRICS)
  curve = runs_lib.read_curve(workdir)
  validation = runs_lib.read(workdir / runs_lib.VALIDATION, 'metrics')
  losses = {
    line['step']: line.get('loss')
    for line in read_metrics(workdir, 'validation')
  }
  with form_of(workdir / 'eval'):
    protocol, metrics = result['protocol'], dict(result['metrics'])
    errors = metrics.pop('standard_errors', {})
    return {
      'run': run.name,
      'model': run.model,
      'variance': run.variance or protocol['pixel_variance'],
      'seed': run.seed,
      'num_steps': curve['num_steps'],
      'train_seconds': curve['points'][-1]['train_seconds'],
      'parameters': curve['parameters'],
      'flops_per_update': curve['flops_per_update'],
      'validation_loss': losses.get(protocol['step']),
      **metrics,
      # By these `failure` decides.
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
      **{f'version_{name}': text for name, text in result['versions'].items()},
    }


def read_per_scene(workdir: pathlib.Path) -> dict[str, np.ndarray]:
  """The scores of each test scene, [V] by name, and their `example_id`."""
  return read_npz(workdir / runs_lib.PER_SCENE, runs_lib.REMEDY)


def failure(row: Mapping[str, Any]) -> str | None:
  """Why a run has failed, None if it has not.

  The rule was fixed before any run, and looks at validation scenes alone: the
  KL of a model with a latent is below 0.1 nats, or the best of its samples is
  worse than repeating the last frame seen.
  """
  prefix = 'validation_'
  validation = {
    name.removeprefix(prefix): value
    for name, value in row.items()
    if name.startswith(prefix)
  }
  kl, copy = validation['kl'], validation.get('copy_last_frame')
  if row['protocol_model'] not in DETERMINISTIC and kl < COLLAPSED:
    return f'KL {kl:.3f}'
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
  rows = [dict(row) for row in rows]
  for (variance, model), group in groups(rows).items():
    runs = len(group) + sum(
      run.model == model and run.variance in (None, variance)
      for run in diverged
    )
    count = max(1, math.floor(share * runs + 1e-9)) if runs >= least else 0
    for place, row in enumerate(sorted(group, key=_validation_loss)):
      row['chosen'] = place < count
  return rows


def _validation_loss(row: Mapping[str, Any]) -> float:
  """A loss that is unknown or was not finite ranks last."""
  loss = row['validation_loss']
  return math.inf if loss is None else loss


def groups(
  rows: Iterable[Mapping[str, Any]],
) -> dict[tuple[float, str], list[Any]]:
  """Rows by (pixel-variance, model), both in the order of appearance."""
  found: dict[float, dict[str, list[Any]]] = {}
  for row in rows:
    models = found.setdefault(row['variance'], {})
    models.setdefault(row['model'], []).append(row)
  return {
    (variance, model): group
    for variance, models in found.items()
    for model, group in models.items()
  }


def write_rows(out: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
  """Writes <out>/runs.jsonl."""
  write_jsonl(out / 'runs.jsonl', rows)


def read_rows(out: pathlib.Path) -> list[dict[str, Any]]:
  """Reads <out>/runs.jsonl; ValueError says what writes it."""
  path = out / 'runs.jsonl'
  if not path.exists():
    raise ValueError(
      f'{path} does not exist; experiments/compare.py --out={out} writes it'
    )
  rows = read_jsonl(path, _FIELDS)
  if not rows:
    raise ValueError(f'{path} holds no run; experiments/compare.py writes them')
  # Versions before 0.2 did not write the task.
  return [{'protocol_task': _task(row)} | row for row in rows]


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
  spent = zip(curve['points'], costs(curve, kind), strict=True)
  within = [point for point, cost in spent if cost <= budget]
  return within[-1] if within else None
