"""Plots of an experiment's numbers: curves over training, ends of runs.

Paper, figures 5, 6 and 8 to 10. The numbers that a figure comes with are those
that are drawn.
"""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from cgqn_jax import images
from cgqn_jax.comparison import results, statistics
from cgqn_jax.comparison.statistics import Rows
from cgqn_jax.evaluation.videos import best_metric
from cgqn_jax.figures import style

Curves = Mapping[str, Mapping[str, Any]]
Numbers = dict[str, Any]


@matplotlib.rc_context(style.STYLE)
def bounds(rows: Rows, curves: Curves) -> tuple[Figure, Numbers]:
  """Figures 6 and 8 to 10: negative ELBO of dice against updates.

  A panel per pixel-variance, a line per run; below it the gain of one latent
  for all views.

  Args:
    rows: of runs.jsonl.
    curves: of these runs, by name.
  """
  groups = _by(rows, 'variance')
  columns = min(len(groups), 4)
  height = -(-len(groups) // columns)
  size = (max(2.9 * columns, 4.2), 3.9 * height + 0.3)
  figure = Figure(figsize=size, layout='constrained')
  axes = figure.subplots(
    2 * height, columns, squeeze=False, height_ratios=(1.9, 1) * height
  )
  protocol = next(iter(curves.values()))['protocol']
  numbers, gains = [], {}
  for i, (variance, group) in enumerate(groups.items()):
    row, column = divmod(i, columns)
    above, below = axes[2 * row : 2 * row + 2, column]
    levels = {}
    # The anchors of the tables hold for the scenes of the tables.
    if protocol['num_scenes'] == group[0]['protocol_num_scenes']:
      levels = {
        f'oracle, {which}': statistics.mean(group, f'oracle_negative_{which}')
        for which in ('joint', 'factored')
      }
    lines = [_line(one, curves[one['run']]['points']) for one in group]
    gain = _gain(group, curves)
    _bound_panel(above, lines, levels)
    _gain_panel(below, gain)
    above.set_title(f'pixel-variance {variance:g}')
    above.sharex(below)
    above.tick_params(labelbottom=False)
    if not column:
      above.set_ylabel('negative ELBO, nats per scene')
      below.set_ylabel('gain, nats')
    numbers += [line | levels for line in lines]
    gains[f'{variance:g}'] = gain
  for axis in axes[-2:, len(groups) - columns * (height - 1) :].flat:
    axis.remove()
  handles = {
    text: handle
    for axis in figure.axes
    for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)
  }
  order = sorted(handles, key=_place)
  figure.legend(
    [handles[text] for text in order],
    order,
    loc='outside upper center',
    ncols=max(2, min(len(order), int(size[0] / 1.45))),
  )
  text = _bound_caption(rows, protocol)
  style.caption(figure, text)
  result = {'caption': text, 'protocol': protocol, 'runs': numbers}
  return figure, result | {'gain': gains}


def _by(rows: Rows, field: str) -> dict[Any, list[Mapping[str, Any]]]:
  """The rows by a field's value, in the order of appearance."""
  found = collections.defaultdict(list)
  for row in rows:
    found[row[field]].append(row)
  return dict(found)


def _line(row: Mapping[str, Any], points: Rows) -> Numbers:
  """A run over training."""
  return {
    'run': row['run'],
    'model': row['model'],
    'variance': row['variance'],
    'chosen': row['chosen'],
    'step': [point['step'] for point in points],
    'negative_elbo': [point['negative_elbo'] for point in points],
    'error': [point['negative_elbo_error'] for point in points],
  }


def _gain(group: Rows, curves: Curves) -> Numbers | None:
  """Nats by which CGQN beats GQN of the same seed, at updates of all curves.

  None without a seed of both; `deviations` is None where there is one.
  """
  values = {
    (row['model'], row['seed']): {
      point['step']: point['negative_elbo']
      for point in curves[row['run']]['points']
    }
    for row in group
  }
  pairs = [
    (own, values['gqn', seed])
    for (model, seed), own in values.items()
    if model == 'cgqn' and ('gqn', seed) in values
  ]
  if not pairs:
    return None
  shared = set.intersection(*(set(one) for pair in pairs for one in pair))
  steps = sorted(shared)
  gains = np.array(
    [[other[step] - own[step] for step in steps] for own, other in pairs]
  )
  return {
    'steps': steps,
    'means': gains.mean(0).tolist(),
    'deviations': gains.std(0, ddof=1).tolist() if len(pairs) > 1 else None,
    'oracle': statistics.mean(group, 'oracle_gain'),
  }


def _bound_panel(
  axis: Axes, lines: Sequence[Numbers], levels: Mapping[str, float]
) -> None:
  """Runs that compare, the chosen ones solid, and the oracles."""
  low, high = _late_range(lines)
  span, outside = high - low, []
  for text, level in levels.items():
    # Only where it does not squeeze what shall be seen.
    if low - 0.6 * span <= level <= high + 0.6 * span:
      low, high = min(low, level), max(high, level)
      dashes = (0, (5, 2)) if 'joint' in text else (0, (1.5, 1.5))
      axis.axhline(
        level, color=style.INK, lw=0.9, ls=dashes, label=text, zorder=1
      )
    else:
      outside.append(f'{text} {level:,.1f}')
  best = dict(lw=1.6, alpha=1.0, ms=2.8, zorder=3)
  other = dict(lw=0.9, alpha=0.35, ms=1.8, zorder=2)
  for line in sorted(lines, key=lambda line: line['chosen']):
    axis.plot(
      line['step'],
      line['negative_elbo'],
      color=style.color(line['model']),
      label=style.name(line['model'])
      + ('' if line['chosen'] else ', other runs'),
      marker='o',
      **(best if line['chosen'] else other),
    )
  span = high - low
  axis.set_ylim(low - 0.06 * span, high + 0.06 * span)
  axis.yaxis.set_major_formatter(ticker.StrMethodFormatter('{x:,.5g}'))
  _over_updates(axis)
  if outside:
    # Curves come down from the left, so there is room below them.
    axis.text(
      0.03, 0.03, 'not in range:\n' + '\n'.join(outside),
      transform=axis.transAxes, ha='left', va='bottom', fontsize=6,
      color=style.INK,
    )  # fmt: skip


def _late_range(lines: Sequence[Numbers]) -> tuple[float, float]:
  """The range of the later part of training, where runs differ by little."""
  steps = np.concatenate([line['step'] for line in lines])
  values = np.concatenate([line['negative_elbo'] for line in lines])
  late = values[(steps >= 0.6 * steps.max()) & np.isfinite(values)]
  low, high = float(late.min()), float(late.max())
  # Some of what came before, to show where it came from.
  high += 0.25 * (high - low)
  return low, min(high, float(np.nanmax(values)))


def _gain_panel(axis: Axes, gain: Numbers | None) -> None:
  """What one latent for all views buys, beside what it can buy."""
  axis.axhline(0, color=style.INK, lw=0.6)
  axis.set_xlabel('updates')
  _over_updates(axis)
  if gain is None:
    axis.text(
      0.5, 0.7, 'no seed of both', transform=axis.transAxes, ha='center',
      fontsize=6, color=style.FAINT,
    )  # fmt: skip
    return
  means, deviations, oracle = gain['means'], gain['deviations'], gain['oracle']
  axis.errorbar(
    gain['steps'], means, deviations, color=style.INK, lw=1.2, marker='o',
    ms=2.5, capsize=2, elinewidth=0.7, label='gain of CGQN over GQN',
  )  # fmt: skip
  axis.axhline(
    oracle, color='#3a8f4d', lw=1, ls=(0, (5, 2)), label="the oracle's gain"
  )
  # Where the gain ends matters, not how far off it starts.
  start = len(means) // 3
  late = np.array(means[start:])
  spread = np.array(deviations[start:]) if deviations else 0.0
  low = min(0, oracle, (late - spread).min())
  high = max(0, oracle, (late + spread).max())
  span = high - low
  axis.set_ylim(low - 0.1 * span, high + 0.1 * span)


def _over_updates(axis: Axes) -> None:
  axis.grid(alpha=0.25, lw=0.5)
  axis.xaxis.set_major_formatter(ticker.FuncFormatter(_count))
  axis.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))


def _count(value: float, position: int) -> str:
  """A large number as 20k or 3M."""
  del position
  if abs(value) < 1e4:
    return f'{value:,g}'
  return ticker.EngFormatter(sep='').format_eng(value)


def _place(text: str) -> tuple[bool, bool, bool, str]:
  """Models first in the legend, then what is below, anchors, other runs."""
  return 'other' in text, 'oracle' in text, 'gain' in text, text


def _bound_caption(rows: Rows, protocol: Mapping[str, Any]) -> str:
  size = rows[0]['protocol_frame_size']
  best = {
    f'{sum(row["chosen"] for row in group)} of {len(group)}'
    for group in results.groups(rows).values()
  }
  return (
    f'Dice, {size}x{size}: negative ELBO over {protocol["num_targets"]} views '
    f'of the unseen side, {protocol["split"]} split, '
    f'{protocol["num_scenes"]} scenes, {protocol["num_draws"]} posterior '
    "draws, at the panel's pixel-variance. A line per run; opaque the best "
    f'{", ".join(sorted(best))} of each model by the loss on validation '
    'scenes; y-axes show the later part of training. Below: GQN minus CGQN of '
    'the same seed, mean and standard deviation over seeds.'
  )


@matplotlib.rc_context(style.STYLE)
def errors(
  rows: Rows, curves: Curves, kind: str, sem: float, best_of: int | None = None
) -> tuple[Figure, Numbers]:
  """Figure 5: error of the best sample against updates, seconds or FLOPs.

  Left the means over runs with bars, right the ends of all runs.

  Args:
    rows: to be drawn, all or the best.
    curves: of at least these.
    kind: of `results.BUDGETS`.
    sem: bars are this many standard errors of the mean over runs.
    best_of: the number of runs of which `rows` are the best; None for all.
  """
  curves = {row['run']: curves[row['run']] for row in rows}
  point_metric = results.curve_headline(curves)
  end_metric = best_metric(rows)
  models = {
    name: _errors_of(name, group, curves, kind, sem, point_metric, end_metric)
    for name, group in _by(rows, 'model').items()
  }
  anchors = {
    'copy last frame': 'copy_last_frame',
    'pixel-mean of futures': 'pixel_mean',
    'oracle': f'oracle_{end_metric}',
  }
  levels = {
    text: 1e3 * level
    for text, metric in anchors.items()
    if (level := statistics.mean(rows, metric)) is not None
  }
  figure = Figure(figsize=(7.4, 3.2), layout='constrained')
  left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
  for place, (name, model) in enumerate(models.items()):
    _mean_curve(left, name, model, sem)
    _ends(right, place, name, model)
  for text, level in levels.items():
    for axis in (left, right):
      axis.axhline(level, color=style.FAINT, lw=0.8, ls=(0, (4, 2)), zorder=1)
    right.annotate(
      text, (1, level), xycoords=('axes fraction', 'data'), fontsize=6,
      color=style.INK, ha='right', va='bottom', xytext=(0, 1),
      textcoords='offset points',
    )  # fmt: skip
  for axis, values in ((left, 'curves'), (right, 'finals')):
    tops = [np.max(model[values]) for model in models.values()]
    axis.set_ylim(0, 1.06 * max(*tops, *levels.values(), 0))
    axis.grid(alpha=0.25, lw=0.5, axis='y')
  left.set_xlim(left=0)
  best = best_of is not None
  left.set_title('best runs by validation loss' if best else 'all runs')
  left.set_xlabel('seconds of training' if kind == 'seconds' else kind)
  left.set_ylabel(f'MSE x 1e-3, {point_metric.replace("_", " ")}')
  left.xaxis.set_major_formatter(ticker.FuncFormatter(_count))
  right.set_title('every run at its end; mean and intervals')
  right.set_xticks(range(len(models)), [style.name(name) for name in models])
  right.set_xlim(-0.6, len(models) - 0.4)
  figure.legend(loc='outside upper center', ncols=len(models))
  text = _error_caption(rows, curves, sem, best_of)
  style.caption(figure, text)
  numbers = {'caption': text, 'kind': kind, 'levels': levels, 'models': models}
  return figure, numbers


def _errors_of(
  name: str,
  group: Rows,
  curves: Curves,
  kind: str,
  sem: float,
  point_metric: str,
  end_metric: str,
) -> Numbers:
  """The numbers of one model: R curves of P points, R final values."""
  own = [curves[row['run']] for row in group]
  costs = [results.costs(curve, kind) for curve in own]
  if len({len(cost) for cost in costs}) > 1 or None in sum(costs, []):
    raise ValueError(
      f'the curves of {name} over {kind} do not match; --summary of '
      'experiments/compare.py says which run differs'
    )
  values = [[point[point_metric] for point in curve['points']] for curve in own]
  finals = [1e3 * row[end_metric] for row in group]
  spread = statistics.deviation(finals)
  return {
    'costs': np.mean(costs, 0).tolist(),
    'curves': (1e3 * np.array(values)).tolist(),
    'finals': finals,
    'mean': float(np.mean(finals)),
    'bar': spread and float(sem * (spread / np.sqrt(len(finals)))),
    'student_95': statistics.student(finals),
    'bootstrap_95': statistics.of_mean(finals),
  }


def _mean_curve(axis: Axes, name: str, model: Numbers, sem: float) -> None:
  """The mean over runs with SEM bars."""
  curves, bars = np.array(model['curves']), None
  if len(curves) > 1:
    bars = sem * (curves.std(0, ddof=1) / np.sqrt(len(curves)))
  axis.errorbar(
    model['costs'], curves.mean(0), bars, color=style.color(name), lw=1.4,
    capsize=2, marker='o', ms=3, label=style.name(name), elinewidth=0.8,
  )  # fmt: skip


def _ends(axis: Axes, place: int, name: str, model: Numbers) -> None:
  """Dots of runs, their mean with SEM bars, the bootstrap interval beside."""
  finals, tint = model['finals'], style.color(name)
  several = len(finals) > 1
  offsets = np.linspace(-0.12, 0.12, len(finals)) if several else np.zeros(1)
  axis.scatter(
    place - 0.18 + offsets, finals, s=11, color=tint, alpha=0.55, lw=0
  )
  axis.errorbar(
    place + 0.12, model['mean'], model['bar'], color=tint, marker='_', ms=10,
    capsize=3, lw=1.2,
  )  # fmt: skip
  if several:
    axis.plot([place + 0.3] * 2, model['bootstrap_95'], color=tint, lw=3,
              alpha=0.45, solid_capstyle='butt')  # fmt: skip


def _error_caption(
  rows: Rows, curves: Curves, sem: float, best_of: int | None
) -> str:
  row, protocol = rows[0], next(iter(curves.values()))['protocol']
  size = row['protocol_frame_size']
  dataset = row['protocol_dataset'].rpartition('/')[2].replace('_', ' ')
  dataset = dataset.capitalize()
  counts = collections.Counter(row['model'] for row in rows)
  runs = ', '.join(
    f'{style.name(model)} {count}' for model, count in counts.items()
  )
  which = 'Runs' if best_of is None else f'Best runs (of {best_of} in all)'
  return (
    f'{dataset}, {size}x{size}: MSE of the '
    f'{row["protocol_hidden_frames"]} hidden frames, jointly, '
    f'{protocol["split"]} split; the model sees '
    f'{images.frame_names(row["protocol_context"])}. Left: '
    f'{protocol["num_scenes"]} scenes, '
    f'{protocol["num_samples"]} samples each; right: '
    f'{row["protocol_num_scenes"]} scenes, {row["protocol_num_samples"]} '
    f'samples. {which}: {runs}. Bars: {sem:.2f} x SEM over runs; wide lines: '
    '95 % bootstrap intervals of the mean over runs. Dashed: anchors.'
  ) + style.footnote(counts)
