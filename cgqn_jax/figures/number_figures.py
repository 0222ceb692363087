"""Figures of an experiment's numbers, from its rows and curves.

Paper, figure 5 (videos) and figures 6 and 8 to 10 (dice). Each function also
returns what it drew.
"""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
import numpy as np

from cgqn_jax.comparison import markdown, results, statistics, tables
from cgqn_jax.comparison.markdown import Rows
from cgqn_jax.figures import curves as curves_lib
from cgqn_jax.figures import style

Curves = Mapping[str, Mapping[str, Any]]


def bounds(rows: Rows, curves: Curves) -> tuple[Figure, dict[str, Any]]:
  """Figures 6 and 8 to 10: negative ELBO of dice against updates."""
  panels, numbers, gains = [], [], {}
  its = next(iter(curves.values()))['protocol']
  for variance in dict.fromkeys(row['variance'] for row in rows):
    group = [row for row in rows if row['variance'] == variance]
    levels = {}
    # The anchors of the tables hold for the scenes of the tables.
    if its['num_scenes'] == group[0]['protocol_num_scenes']:
      levels = {
        f'oracle, {which}': markdown.mean(group, f'oracle_negative_{which}')
        for which in ('joint', 'factored')
      }
    lines = []
    for row in group:
      points = curves[row['run']]['points']
      steps = [point['step'] for point in points]
      values = [point['negative_elbo'] for point in points]
      lines.append(curves_lib.Line(row['model'], steps, values, row['chosen']))
      numbers.append(
        {'run': row['run'], 'model': row['model'], 'variance': variance}
        | {'chosen': row['chosen'], 'step': steps, 'negative_elbo': values}
        | {'error': [point['negative_elbo_error'] for point in points]}
        | levels
      )
    title = f'pixel-variance {variance:g}'
    gain = _gain(group, curves)
    panels.append(curves_lib.Panel(title, lines, levels, gain))
    gains[f'{variance:g}'] = gain and gain._asdict()
  row = rows[0]
  size = row['protocol_frame_size']
  best = {
    f'{sum(r["chosen"] for r in group)} of {len(group)}'
    for group in results.groups(rows).values()
  }
  text = (
    f'Dice, {size}x{size}: negative ELBO over {its["num_targets"]} views of '
    f'the unseen side, {its["split"]} split, {its["num_scenes"]} scenes, '
    f"{its['num_draws']} posterior draws, at the panel's pixel-variance. A "
    f'line a run; opaque the best {", ".join(sorted(best))} of each model by '
    'the loss on validation scenes; y-axes show the later part of training. '
    'Below: GQN minus CGQN of the same seed, mean and standard deviation over '
    'seeds.'
  )
  figure = curves_lib.training_curves(
    panels, 'negative ELBO, nats a scene', text
  )
  result = {'caption': text, 'protocol': its, 'runs': numbers}
  return figure, result | {'gain': gains}


def _gain(group: Rows, curves: Curves) -> curves_lib.Gain | None:
  """Of CGQN over GQN at the updates that all curves have; None without both."""
  values = {
    (row['model'], row['seed']): {
      point['step']: point['negative_elbo']
      for point in curves[row['run']]['points']
    }
    for row in group
  }
  pairs = [
    (its, values['gqn', seed])
    for (model, seed), its in values.items()
    if model == 'cgqn' and ('gqn', seed) in values
  ]
  if not pairs:
    return None
  steps = sorted(
    set.intersection(*(set(its) for pair in pairs for its in pair))
  )
  table = np.array(
    [[other[step] - its[step] for step in steps] for its, other in pairs]
  )
  spread = table.std(0, ddof=1).tolist() if len(pairs) > 1 else None
  oracle = markdown.mean(group, 'oracle_gain')
  return curves_lib.Gain(steps, table.mean(0).tolist(), spread, oracle)


def errors(
  rows: Rows, curves: Curves, kind: str, sem: float, best_of: int | None = None
) -> tuple[Figure, dict[str, Any]]:
  """Figure 5: error of the best sample against updates, seconds or FLOPs.

  Args:
    rows: to be drawn, all or the best.
    curves: of at least these.
    kind: of `comparison_tables.BUDGETS`.
    sem: bars, in standard errors of the mean over runs.
    best_of: the number of runs of which `rows` are the best; None for all.
  """
  curves = {row['run']: curves[row['run']] for row in rows}
  point_metric = tables.curve_headline(curves)
  end_metric = results.headline(rows)
  ends = []
  groups: dict[str, list[Mapping[str, Any]]] = {}
  for row in rows:
    groups.setdefault(row['model'], []).append(row)
  for name, group in groups.items():
    its = [curves[row['run']] for row in group]
    costs = [tables.costs(curve, kind) for curve in its]
    if len({len(cost) for cost in costs}) > 1 or None in sum(costs, []):
      raise ValueError(
        f'the curves of {name} over {kind} do not match; --summary of '
        'experiments/compare.py says which run differs'
      )
    values = [[point[point_metric] for point in its['points']] for its in its]
    ends.append(
      curves_lib.Ends(
        name,
        np.mean(costs, 0).tolist(),
        1e3 * np.array(values),
        [1e3 * row[end_metric] for row in group],
      )
    )
  levels = {
    text: 1e3 * level
    for text, name in (
      ('copy last frame', 'copy_last_frame'),
      ('pixel-mean of futures', 'pixel_mean'),
      ('oracle', f'oracle_{end_metric}'),
    )
    if (level := markdown.mean(rows, name)) is not None
  }
  text = _caption(rows, curves, sem, best_of)
  labels = {
    'title': 'all runs' if best_of is None else 'best runs by validation loss',
    'x': {'seconds': 'seconds of training'}.get(kind, kind),
    'y': f'MSE x 1e-3, {point_metric.replace("_", " ")}',
  }
  figure = curves_lib.error_over_training(ends, levels, labels, sem, text)
  numbers = {'caption': text, 'kind': kind, 'levels': levels, 'models': {}}
  for its in ends:
    numbers['models'][its.model] = _numbers(its, sem)
  return figure, numbers


def _numbers(its: curves_lib.Ends, sem: float) -> dict[str, Any]:
  """Of one model, as drawn."""
  spread = statistics.deviation(its.finals)
  error = None if spread is None else spread / np.sqrt(len(its.finals))
  return {
    'costs': list(its.costs),
    'curves': its.curves.tolist(),
    'finals': list(its.finals),
    'mean': float(np.mean(its.finals)),
    'bar': error and float(sem * error),
    'student_95': statistics.student(its.finals),
    'bootstrap_95': statistics.of_mean(its.finals),
  }


def _caption(
  rows: Rows, curves: Curves, sem: float, best_of: int | None
) -> str:
  row, its = rows[0], next(iter(curves.values()))['protocol']
  size = row['protocol_frame_size']
  counts = {}
  for one in rows:
    counts[one['model']] = counts.get(one['model'], 0) + 1
  runs = ', '.join(f'{style.name(m)} {count}' for m, count in counts.items())
  which = 'Runs' if best_of is None else f'Best runs (of {best_of} in all)'
  text = (
    f'{row["protocol_dataset"]}, {size}x{size}: MSE of the '
    f'{row["protocol_hidden_frames"]} hidden frames, jointly, {its["split"]} '
    f'split; context: frames {row["protocol_context"]} (from 0). Left: '
    f'{its["num_scenes"]} scenes, {its["num_samples"]} samples each; right: '
    f'{row["protocol_num_scenes"]} scenes, {row["protocol_num_samples"]} '
    f'samples. {which}: {runs}. Bars: {sem:.2f} x SEM over runs; wide lines: '
    '95 % bootstrap intervals of the mean over runs. Dashed: anchors.'
  )
  return text + (f' {style.FOOTNOTE}.' if 'cgqn_context' in counts else '')
