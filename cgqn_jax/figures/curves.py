"""Plots of an experiment's numbers: curves over training, ends of runs.

Paper, figures 5, 6 and 8 to 10.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from cgqn_jax.comparison import results, statistics
from cgqn_jax.comparison.statistics import Rows
from cgqn_jax.evaluation.videos import best_metric
from cgqn_jax.figures import style as style_lib

Curves = Mapping[str, Mapping[str, Any]]


class Line(NamedTuple):
  """A run over training; `best` ones are drawn solid."""

  model: str
  steps: Sequence[float]
  values: Sequence[float]
  best: bool


class Gain(NamedTuple):
  """Nats by which CGQN beats GQN, mean and deviation over seeds; the oracle's.

  `deviations` is None for a single seed.
  """

  steps: Sequence[float]
  means: Sequence[float]
  deviations: Sequence[float] | None
  oracle: float


class Panel(NamedTuple):
  """Runs that compare, and levels that no run moves, by their names."""

  title: str
  lines: Sequence[Line]
  levels: dict[str, float]
  gain: Gain | None


class Ends(NamedTuple):
  """A model's curves [R, P] at `costs` [P], and its R final values."""

  model: str
  costs: Sequence[float]
  curves: np.ndarray
  finals: Sequence[float]


@matplotlib.rc_context(style_lib.STYLE)
def training_curves(
  panels: Sequence[Panel], label: str, protocol: str
) -> Figure:
  """Figures 6 and 8 to 10: a panel per pixel-variance, a line per run."""
  columns = min(len(panels), 4)
  rows = -(-len(panels) // columns)
  size = (max(2.9 * columns, 4.2), 3.9 * rows + 0.3)
  figure = Figure(figsize=size, layout='constrained')
  axes = figure.subplots(
    2 * rows, columns, squeeze=False, height_ratios=(1.9, 1) * rows
  )
  for i, panel in enumerate(panels):
    row, column = divmod(i, columns)
    above, below = axes[2 * row : 2 * row + 2, column]
    _training_panel(above, panel)
    above.sharex(below)
    above.tick_params(labelbottom=False)
    _gain_panel(below, panel)
    if not column:
      above.set_ylabel(label)
      below.set_ylabel('gain, nats')
  for axis in axes[-2:, len(panels) - columns * (rows - 1) :].flat:
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
  style_lib.caption(figure, protocol)
  return figure


def _place(text: str) -> tuple[bool, bool, bool, str]:
  """Models first in the legend, then what is below, anchors, other runs."""
  return 'other' in text, 'oracle' in text, 'gain' in text, text


def _gain_panel(axis: Axes, panel: Panel) -> None:
  """What one latent for all views buys, beside what it can buy."""
  axis.axhline(0, color=style_lib.INK, lw=0.6)
  axis.grid(alpha=0.25, lw=0.5)
  axis.set_xlabel('updates')
  axis.xaxis.set_major_formatter(ticker.FuncFormatter(_count))
  axis.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
  its = panel.gain
  if its is None:
    axis.text(
      0.5, 0.7, 'no seed of both', transform=axis.transAxes, ha='center',
      fontsize=6, color=style_lib.FAINT,
    )  # fmt: skip
    return
  axis.errorbar(
    its.steps, its.means, its.deviations, color=style_lib.INK, lw=1.2,
    marker='o', ms=2.5, capsize=2, elinewidth=0.7,
    label='gain of CGQN over GQN',
  )  # fmt: skip
  axis.axhline(
    its.oracle, color='#3a8f4d', lw=1, ls=(0, (5, 2)), label="the oracle's gain"
  )
  # Where the gain ends matters, not how far off it starts.
  start = len(its.means) // 3
  late = np.array(its.means[start:])
  spread = np.array((its.deviations or [0] * len(its.means))[start:])
  low = min(0, its.oracle, (late - spread).min())
  high = max(0, its.oracle, (late + spread).max())
  span = high - low
  axis.set_ylim(low - 0.1 * span, high + 0.1 * span)


def _training_panel(axis: Axes, panel: Panel) -> None:
  low, high = zoom(panel.lines)
  span, outside = high - low, []
  for text, level in panel.levels.items():
    # Only where it does not squeeze what shall be seen.
    if low - 0.6 * span <= level <= high + 0.6 * span:
      low, high = min(low, level), max(high, level)
      style = (0, (5, 2)) if 'joint' in text else (0, (1.5, 1.5))
      axis.axhline(
        level, color=style_lib.INK, lw=0.9, ls=style, label=text, zorder=1
      )
    else:
      outside.append(f'{text} {level:,.1f}')
  for line in sorted(panel.lines, key=lambda line: line.best):
    best = dict(lw=1.6, alpha=1.0, marker='o', ms=2.8, zorder=3)
    other = dict(lw=0.9, alpha=0.35, marker='o', ms=1.8, zorder=2)
    text = style_lib.name(line.model) + ('' if line.best else ', other runs')
    axis.plot(
      line.steps,
      line.values,
      color=style_lib.color(line.model),
      label=text,
      **(best if line.best else other),
    )
  span = high - low
  axis.set_ylim(low - 0.06 * span, high + 0.06 * span)
  axis.set_title(panel.title)
  axis.grid(alpha=0.25, lw=0.5)
  axis.xaxis.set_major_formatter(ticker.FuncFormatter(_count))
  axis.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
  axis.yaxis.set_major_formatter(ticker.StrMethodFormatter('{x:,.5g}'))
  if outside:
    # Curves come down from the left, so there is room below them.
    axis.text(
      0.03, 0.03, 'not in range:\n' + '\n'.join(outside),
      transform=axis.transAxes, ha='left', va='bottom', fontsize=6,
      color=style_lib.INK,
    )  # fmt: skip


def zoom(lines: Sequence[Line]) -> tuple[float, float]:
  """The range of the later part of training, where runs differ by little."""
  steps = np.concatenate([line.steps for line in lines])
  values = np.concatenate([np.asarray(line.values, float) for line in lines])
  late = values[(steps >= 0.6 * steps.max()) & np.isfinite(values)]
  low, high = float(late.min()), float(late.max())
  # Some of what came before, to show where it came from.
  high += 0.25 * (high - low)
  return low, min(high, float(np.nanmax(values)))


def _count(value: float, position: int) -> str:
  del position
  for scale, unit in ((1e15, 'P'), (1e12, 'T'), (1e9, 'G'), (1e6, 'M')):
    if abs(value) >= scale:
      return f'{value / scale:g}{unit}'
  return f'{value / 1e3:g}k' if abs(value) >= 1e4 else f'{value:,g}'


@matplotlib.rc_context(style_lib.STYLE)
def error_over_training(
  models: Sequence[Ends],
  levels: dict[str, float],
  labels: dict[str, str],
  sem: float,
  protocol: str,
) -> Figure:
  """Figure 5: means over runs with bars, then the ends of all runs.

  Args:
    models: in the order of the legend.
    levels: of what is no model, by name.
    labels: 'title', 'x' and 'y'.
    sem: bars are this many standard errors of the mean over runs.
    protocol: below the plots.
  """
  figure = Figure(figsize=(7.4, 3.2), layout='constrained')
  left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
  for place, its in enumerate(models):
    tint = style_lib.color(its.model)
    mean = its.curves.mean(0)
    count = len(its.curves)
    error = its.curves.std(0, ddof=1) / np.sqrt(count) if count > 1 else None
    bars = None if error is None else sem * error
    left.errorbar(
      its.costs, mean, bars, color=tint, lw=1.4, capsize=2, marker='o', ms=3,
      label=style_lib.name(its.model), elinewidth=0.8,
    )  # fmt: skip
    _ends(right, place, its, sem)
  for text, level in levels.items():
    for axis in (left, right):
      axis.axhline(
        level, color=style_lib.FAINT, lw=0.8, ls=(0, (4, 2)), zorder=1
      )
    right.annotate(
      text, (1, level), xycoords=('axes fraction', 'data'), fontsize=6,
      color=style_lib.INK, ha='right', va='bottom', xytext=(0, 1),
      textcoords='offset points',
    )  # fmt: skip
  anchors = max(levels.values(), default=0)
  for axis, values in (
    (left, [its.curves for its in models]),
    (right, [its.finals for its in models]),
  ):
    top = max(anchors, *(np.max(value) for value in values))
    axis.set_ylim(0, 1.06 * top)
    axis.grid(alpha=0.25, lw=0.5, axis='y')
  left.set_xlim(left=0)
  left.set(xlabel=labels['x'], ylabel=labels['y'], title=labels['title'])
  left.xaxis.set_major_formatter(ticker.FuncFormatter(_count))
  right.set_title('every run at its end; mean and intervals')
  names = [style_lib.name(its.model) for its in models]
  right.set_xticks(range(len(models)), names)
  right.set_xlim(-0.6, len(models) - 0.4)
  figure.legend(loc='outside upper center', ncols=len(models))
  style_lib.caption(figure, protocol)
  return figure


def _ends(axis: Axes, place: int, its: Ends, sem: float) -> None:
  """Dots of runs, their mean with SEM bars, the bootstrap interval beside."""
  tint, finals = style_lib.color(its.model), np.asarray(its.finals, float)
  offsets = np.linspace(-0.12, 0.12, len(finals)) if len(finals) > 1 else [0.0]
  axis.scatter(
    place - 0.18 + np.array(offsets), finals, s=11, color=tint, alpha=0.55, lw=0
  )
  spread = statistics.deviation(finals)
  bars = None if spread is None else sem * spread / np.sqrt(len(finals))
  axis.errorbar(
    place + 0.12, finals.mean(), bars, color=tint, marker='_', ms=10, capsize=3,
    lw=1.2,
  )  # fmt: skip
  if len(finals) > 1:
    low, high = statistics.of_mean(finals)
    axis.plot([place + 0.3] * 2, [low, high], color=tint, lw=3, alpha=0.45,
              solid_capstyle='butt')  # fmt: skip


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
        f'oracle, {which}': statistics.mean(group, f'oracle_negative_{which}')
        for which in ('joint', 'factored')
      }
    lines = []
    for row in group:
      points = curves[row['run']]['points']
      steps = [point['step'] for point in points]
      values = [point['negative_elbo'] for point in points]
      lines.append(Line(row['model'], steps, values, row['chosen']))
      numbers.append(
        {'run': row['run'], 'model': row['model'], 'variance': variance}
        | {'chosen': row['chosen'], 'step': steps, 'negative_elbo': values}
        | {'error': [point['negative_elbo_error'] for point in points]}
        | levels
      )
    title = f'pixel-variance {variance:g}'
    gain = _gain_of(group, curves)
    panels.append(Panel(title, lines, levels, gain))
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
    f'line per run; opaque the best {", ".join(sorted(best))} of each model by '
    'the loss on validation scenes; y-axes show the later part of training. '
    'Below: GQN minus CGQN of the same seed, mean and standard deviation over '
    'seeds.'
  )
  figure = training_curves(panels, 'negative ELBO, nats per scene', text)
  result = {'caption': text, 'protocol': its, 'runs': numbers}
  return figure, result | {'gain': gains}


def _gain_of(group: Rows, curves: Curves) -> Gain | None:
  """CGQN's gain over GQN at updates of all curves; None without both."""
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
  oracle = statistics.mean(group, 'oracle_gain')
  return Gain(steps, table.mean(0).tolist(), spread, oracle)


def errors(
  rows: Rows, curves: Curves, kind: str, sem: float, best_of: int | None = None
) -> tuple[Figure, dict[str, Any]]:
  """Figure 5: error of the best sample against updates, seconds or FLOPs.

  Args:
    rows: to be drawn, all or the best.
    curves: of at least these.
    kind: of `results.BUDGETS`.
    sem: bars, in standard errors of the mean over runs.
    best_of: the number of runs of which `rows` are the best; None for all.
  """
  curves = {row['run']: curves[row['run']] for row in rows}
  point_metric = results.curve_headline(curves)
  end_metric = best_metric(rows)
  ends = []
  groups: dict[str, list[Mapping[str, Any]]] = {}
  for row in rows:
    groups.setdefault(row['model'], []).append(row)
  for name, group in groups.items():
    its = [curves[row['run']] for row in group]
    costs = [results.costs(curve, kind) for curve in its]
    if len({len(cost) for cost in costs}) > 1 or None in sum(costs, []):
      raise ValueError(
        f'the curves of {name} over {kind} do not match; --summary of '
        'experiments/compare.py says which run differs'
      )
    values = [[point[point_metric] for point in its['points']] for its in its]
    ends.append(
      Ends(
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
    if (level := statistics.mean(rows, name)) is not None
  }
  text = _caption(rows, curves, sem, best_of)
  labels = {
    'title': 'all runs' if best_of is None else 'best runs by validation loss',
    'x': {'seconds': 'seconds of training'}.get(kind, kind),
    'y': f'MSE x 1e-3, {point_metric.replace("_", " ")}',
  }
  figure = error_over_training(ends, levels, labels, sem, text)
  numbers = {'caption': text, 'kind': kind, 'levels': levels, 'models': {}}
  for its in ends:
    numbers['models'][its.model] = _numbers(its, sem)
  return figure, numbers


def _numbers(its: Ends, sem: float) -> dict[str, Any]:
  """The numbers of one model, as drawn."""
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
  runs = ', '.join(
    f'{style_lib.name(m)} {count}' for m, count in counts.items()
  )
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
  return text + (f' {style_lib.FOOTNOTE}.' if 'cgqn_context' in counts else '')
